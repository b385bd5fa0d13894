import type { Clock } from '@swarmctl/shared/kit';

// Of several that may be asked, whoever answers first. One that is gone without a word costs the others a moment, not its whole time-out.

/** How long one has for itself before the next is asked as well. */
const headStartMs = 250;

export interface Asking<C, T> {
  /** The signal aborts once another has answered. */
  readonly ask: (candidate: C, signal: AbortSignal) => Promise<T>;
  /** An answer that came after the first. */
  readonly discard: (answer: T) => void;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Asks in this order, the next at once when one fails. Rejects with the last failure once all have; never settles when there is nobody. */
export function firstToAnswer<C, T>(candidates: readonly C[], asking: Asking<C, T>): Promise<T> {
  const { ask, discard, clock, signal } = asking;
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const waiting = [...candidates];
  let left = waiting.length;
  return new Promise((resolve, reject) => {
    const next = () => {
      const candidate = waiting.shift();
      if (candidate === undefined || over.signal.aborted) return;
      const headStart = clock.after(headStartMs, next);
      ask(candidate, either)
        .then(
          (answer) => {
            if (over.signal.aborted) return discard(answer);
            over.abort(new Error('another has answered'));
            resolve(answer);
          },
          (error: unknown) => {
            if (--left === 0) reject(error);
            else next();
          },
        )
        .finally(() => headStart.cancel());
    };
    next();
  });
}
