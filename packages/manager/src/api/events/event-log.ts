// The latest entries of something that goes on, in memory. Readers keep a position of their own and read when they can, so a slow one costs nothing; one that is
// overtaken by the oldest entry is told so.

const mostEntries = 8_192;
const batchSize = 256;

export class EventLog<T> {
  readonly #most: number;
  readonly #onDrop: (dropped: readonly T[]) => void;
  readonly #listeners = new Set<() => void>();
  #entries: T[] = [];
  /** Position of the first of them. */
  #first = 0;
  #closed = false;

  /** `onDrop` is told of what is there no more. */
  constructor(most = mostEntries, onDrop: (dropped: readonly T[]) => void = () => {}) {
    this.#most = most;
    this.#onDrop = onDrop;
  }

  /** The position of the oldest entry. */
  get start(): number {
    return this.#first;
  }

  /** The position behind the newest entry. */
  get end(): number {
    return this.#first + this.#entries.length;
  }

  /** The position of the first entry that passes; the end when there is none. */
  find(test: (entry: T) => boolean): number {
    const at = this.#entries.findIndex(test);
    return at < 0 ? this.end : this.#first + at;
  }

  /** All from a position on, of those that are still there. */
  since(position: number): readonly T[] {
    return this.#entries.slice(Math.max(0, position - this.#first));
  }

  /** The next from a position; `overtaken` when some of them are gone, `closed` when nothing more will come. */
  read(position: number): readonly T[] | 'overtaken' | 'closed' {
    if (position < this.#first) return 'overtaken';
    const at = position - this.#first;
    const entries = this.#entries.slice(at, at + batchSize);
    return entries.length === 0 && this.#closed ? 'closed' : entries;
  }

  add(entries: readonly T[]): void {
    if (this.#closed || entries.length === 0) return;
    this.#entries.push(...entries);
    const surplus = this.#entries.length - this.#most;
    if (surplus > 0) {
      // Seldom, and many at once.
      const dropped = this.#entries.splice(0, Math.max(surplus, Math.floor(this.#most / 8)));
      this.#first += dropped.length;
      this.#onDrop(dropped);
    }
    this.#tell();
  }

  /** Positions from before count as overtaken. */
  forget(): void {
    this.#first += this.#entries.length + 1;
    this.#onDrop(this.#entries.splice(0));
    this.#tell();
  }

  close(): void {
    this.#closed = true;
    this.#tell();
  }

  /** Calls when there may be more to read. Returns how to end that. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
