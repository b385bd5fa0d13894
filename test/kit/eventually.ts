import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

// Waiting for what real processes do, and what their logs end with when they do not.

export interface Patience {
  /** 30 s if not given. */
  readonly timeoutMs?: number;
  readonly everyMs?: number;
  /** Added to the error. */
  readonly hint?: () => string;
}

type Truthy<T> = Exclude<T, false | 0 | '' | null | undefined>;

/** What `check` comes to as soon as that is true; until then it is asked again, also when it fails. Rejects with what was waited for. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T> | T,
  { timeoutMs = 30_000, everyMs = 25, hint = () => '' }: Patience = {},
): Promise<Truthy<T>> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    let problem = '';
    try {
      const found = await check();
      if (found) return found as Truthy<T>;
    } catch (error) {
      problem = ` (${error})`;
    }
    if (performance.now() > end) throw new Error(`not in ${timeoutMs} ms: ${what}${problem}\n${hint()}`.trim());
    await sleep(everyMs);
  }
}

/** The last lines of a file. */
export const tail = (file: string, lines = 8): string =>
  existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '(no log)';
