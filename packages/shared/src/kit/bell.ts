import type { Clock } from './clock.ts';

// An event that is remembered, for one loop that sleeps until there is something to do.

/** A ring before `wait` is not lost; many rings count as one. */
export class Bell {
  #rung = false;
  #answer: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#answer?.();
  }

  /** True at the next ring, or at once after one that nobody waited for; false when `ms` pass first. */
  async wait(clock?: Clock, ms?: number): Promise<boolean> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = ms === undefined ? undefined : clock?.after(ms, () => this.#answer?.());
        this.#answer = () => {
          this.#answer = undefined;
          timer?.cancel();
          resolve();
        };
      });
    }
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }
}
