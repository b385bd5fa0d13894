import type { Clock } from './clock.ts';
import { ClusterError } from './errors.ts';

// Work that is waited for so long, and no longer.

export class LateError extends ClusterError {
  constructor(what: string, ms: number) {
    super('deadline-exceeded', `${what} took longer than ${ms} ms`);
    this.name = 'LateError';
  }
}

export interface TimeLimit {
  /** The work, as an error speaks of it. */
  readonly what: string;
  readonly ms: number;
  /** Whoever waits is gone. */
  readonly signal?: AbortSignal;
}

/**
 * What `work` comes to. Rejects with LateError after `ms`, and with the signal's reason when that aborts first; the work's own signal then aborts with the
 * same, and what it still comes to nobody hears.
 */
export async function inTime<T>(
  clock: Pick<Clock, 'after'>,
  { what, ms, signal }: TimeLimit,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const end = new AbortController();
  const onAbort = () => end.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = clock.after(ms, () => end.abort(new LateError(what, ms)));
  const ended = new Promise<never>((_, reject) => {
    end.signal.addEventListener('abort', () => reject(end.signal.reason), { once: true });
  });
  try {
    return await Promise.race([ended, work(end.signal)]);
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
  }
}

/** For `catch`: to be late is no failure, but comes to `value`. */
export const ifLate =
  <T>(value: T) =>
  (error: unknown): T => {
    if (error instanceof LateError) return value;
    throw error;
  };
