import type { Clock } from '@swarmctl/shared/kit';

// Long work in slices: raft's heartbeats and everybody else get the event loop in between.

export class Slices {
  readonly #clock: Clock;
  readonly #ms: number;
  #since: number;

  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
    this.#since = clock.monotonic();
  }

  restart(): void {
    this.#since = this.#clock.monotonic();
  }

  /** Lets others run when this slice has been long enough; costs next to nothing otherwise. */
  pause(): Promise<void> | undefined {
    if (this.#clock.monotonic() - this.#since < this.#ms) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.restart();
        resolve();
      });
    });
  }
}
