import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

// Small things that every part of the lab does: run a program, wait for something.

const execute = promisify(execFile);

/** Its output; rejects with what it said when it fails. */
export async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  try {
    return (await execute(program, args, { env: { ...process.env, ...env } })).stdout;
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(stderr?.trim() || message, { cause: error });
  }
}

/** Waits for all of them, also when one fails: nothing is still at work afterwards. */
export async function all(jobs: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(jobs)).find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

/** As a shell has it. */
export const exitCode = (code: number | null, signal: NodeJS.Signals | null) =>
  code ?? 128 + (constants.signals[signal ?? 'SIGKILL'] ?? 0);

/** Polls until true. `hint` adds to the error. */
export async function eventually(
  what: string,
  check: () => Promise<boolean> | boolean,
  { timeoutMs = 30_000, hint = () => '' }: { timeoutMs?: number; hint?: () => string } = {},
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    let last: unknown;
    try {
      if (await check()) return;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline)
      throw new Error([`not in ${timeoutMs} ms: ${what}`, ...(last ? [String(last)] : []), hint()].join('\n').trim());
    await sleep(25);
  }
}

export const tail = (file: string, lines = 8) =>
  existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '(no log)';
