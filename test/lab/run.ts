import { execFile } from 'node:child_process';
import { constants } from 'node:os';
import { promisify } from 'node:util';

// Small things that every part of the lab does: run a program, wait for several jobs.

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
