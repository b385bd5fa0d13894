import type { Clock, Timer } from '@swarmctl/shared/kit';

// The timers of an upkeep, by name. The process does not stay for them.

export class NamedTimers {
  readonly #clock: Clock;
  readonly #timers = new Map<string, Timer>();
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** It is still to come. */
  has(name: string): boolean {
    return this.#timers.has(name);
  }

  /** In place of one of that name that is still to come. */
  after(name: string, ms: number, act: () => void): void {
    this.#timers.get(name)?.cancel();
    if (this.#isClosed) return;
    const fire = () => {
      this.#timers.delete(name);
      act();
    };
    this.#timers.set(name, this.#clock.after(ms, fire, { unref: true }));
  }

  /** None comes any more, nor can one be set. */
  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }
}
