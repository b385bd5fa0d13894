// One thing after the other.

export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `act` when all that came before has ended, well or not. */
  run<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(act);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}
