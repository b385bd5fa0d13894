// What is asked of an upkeep that always goes for the latest wish: each wish has a number, and whoever uttered it waits until it, or a newer
// one, is in force.

interface Waiter {
  readonly version: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Versions {
  #latest = 0;
  #waiters: Waiter[] = [];

  /** Of the newest wish; 0: there was none yet. */
  get latest(): number {
    return this.#latest;
  }

  /** A new wish. Resolves when it or a newer one is in force; rejects with what `settle` or `rejectAll` was given. */
  next(): Promise<void> {
    const version = ++this.#latest;
    return new Promise((resolve, reject) => {
      this.#waiters.push({ version, resolve, reject });
    });
  }

  /** This one is in force, and with it all before; with an error, none of them can be had. */
  settle(version: number, error?: unknown): void {
    const settled = this.#waiters.filter((waiter) => waiter.version <= version);
    this.#waiters = this.#waiters.filter((waiter) => waiter.version > version);
    for (const { resolve, reject } of settled) error === undefined ? resolve() : reject(error);
  }

  /** Nothing more comes into force. */
  rejectAll(error: unknown): void {
    this.settle(this.#latest, error);
  }
}
