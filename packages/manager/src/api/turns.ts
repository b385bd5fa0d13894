// Writes whose checks look at more than the object that they change go one after the other, so that each is checked against all that came
// before it.

export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  async take<T>(write: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(write);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
