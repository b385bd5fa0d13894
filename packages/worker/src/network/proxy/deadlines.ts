import type { Clock, Timer } from '@swarmctl/shared/kit';

// Many things that may be overdue, with one timer for all: setting and cancelling one is little more than nothing.

export class Deadlines<T> {
  readonly #clock: Clock;
  readonly #overdue: (item: T) => void;
  /** In the order of adding, which is that of the deadlines as long as the time allowed is the same. */
  readonly #due = new Map<T, number>();
  #timer: Timer | undefined;

  constructor(clock: Clock, overdue: (item: T) => void) {
    this.#clock = clock;
    this.#overdue = overdue;
  }

  add(item: T, ms: number): void {
    this.#due.set(item, this.#clock.monotonic() + ms);
    this.#timer ??= this.#clock.after(ms, () => this.#look(), { unref: true });
  }

  delete(item: T): void {
    this.#due.delete(item);
  }

  clear(): void {
    this.#due.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    this.#timer = undefined;
    const now = this.#clock.monotonic();
    const late: T[] = [];
    for (const [item, due] of this.#due) {
      if (due > now) break;
      late.push(item);
    }
    for (const item of late) if (this.#due.delete(item)) this.#overdue(item);
    const [first] = this.#due.values();
    if (first !== undefined) this.#timer ??= this.#clock.after(first - now, () => this.#look(), { unref: true });
  }
}
