// Time as an argument: a real clock for daemons, a manual one for tests and simulations.

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
  /** Monotonic milliseconds, for intervals. */
  monotonic(): number;
  /** Runs `callback` once after `ms`, however many. Real timers do not keep the process alive when `unref`. */
  after(ms: number, callback: () => void, options?: { unref?: boolean }): Timer;
}

/** What Node's timers hold; a longer one would fire at once. */
const longestMs = 2 ** 31 - 1;

export const realClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, callback, options) {
    let handle: NodeJS.Timeout;
    const arm = (leftMs: number) => {
      const next = leftMs > longestMs ? () => arm(leftMs - longestMs) : callback;
      handle = setTimeout(next, Math.min(leftMs, longestMs));
      if (options?.unref) handle.unref();
    };
    arm(ms);
    return { cancel: () => clearTimeout(handle) };
  },
};

/** A clock that moves only by `advance`; timers fire in order of their time, then of their making. */
export class ManualClock implements Clock {
  #now: number;
  #sequence = 0;
  #timers: { at: number; sequence: number; callback: () => void }[] = [];

  constructor(start = 1_700_000_000_000) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): Timer {
    const timer = { at: this.#now + Math.max(0, ms), sequence: this.#sequence++, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  /** Milliseconds until the next timer, or undefined. */
  untilNext(): number | undefined {
    const next = this.#next();
    return next && next.at - this.#now;
  }

  /** Moves on by `ms`, firing what falls due; lets promise callbacks run between timers. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (let next = this.#next(); next && next.at <= end; next = this.#next()) {
      this.#now = next.at;
      const due = next;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      due.callback();
      await settle();
    }
    this.#now = end;
    await settle();
  }

  #next() {
    let next: { at: number; sequence: number; callback: () => void } | undefined;
    for (const timer of this.#timers) {
      if (!next || timer.at < next.at || (timer.at === next.at && timer.sequence < next.sequence)) next = timer;
    }
    return next;
  }
}

/** Lets everything that waits on resolved promises run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
export function delay(clock: Pick<Clock, 'after'>, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
