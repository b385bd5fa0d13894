// A binary heap whose least item is at the top.

export class Heap<T> {
  readonly #items: T[];
  readonly #less: (a: T, b: T) => boolean;

  /** Takes the array over. */
  constructor(items: T[], less: (a: T, b: T) => boolean) {
    this.#items = items;
    this.#less = less;
    for (let at = (items.length >> 1) - 1; at >= 0; at--) this.#down(at);
  }

  get top(): T | undefined {
    return this.#items[0];
  }

  /** To be called after the top item has got a worse place. */
  settleTop(): void {
    this.#down(0);
  }

  pop(): void {
    const last = this.#items.pop();
    if (this.#items.length === 0 || last === undefined) return;
    this.#items[0] = last;
    this.#down(0);
  }

  #down(at: number): void {
    const items = this.#items;
    const item = items[at];
    if (item === undefined) return;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.#less(items[child + 1] as T, items[child] as T)) child++;
      if (!this.#less(items[child] as T, item)) break;
      items[at] = items[child] as T;
      at = child;
    }
    items[at] = item;
  }
}
