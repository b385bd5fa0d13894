// The latest entries of something that goes on, in memory. Readers keep a position of their own and read when they can, so a slow one costs nothing; one that is
// overtaken by the oldest entry is told so.

const mostEntries = 8_192;
/** As far as it can be told. */
const mostBytes = 16 << 20;
const batchSize = 256;

export interface EventLogOptions<T> {
  readonly most?: number | undefined;
  readonly mostBytes?: number;
  /** Is told of what is there no more. */
  readonly onDrop?: (dropped: readonly T[]) => void;
}

export class EventLog<T> {
  readonly #most: number;
  readonly #mostBytes: number;
  readonly #onDrop: (dropped: readonly T[]) => void;
  readonly #listeners = new Set<() => void>();
  #entries: T[] = [];
  /** Of each of them. */
  #sizes: number[] = [];
  #bytes = 0;
  /** Position of the first of them. */
  #first = 0;
  #closed = false;

  constructor(options: EventLogOptions<T> = {}) {
    this.#most = options.most ?? mostEntries;
    this.#mostBytes = options.mostBytes ?? mostBytes;
    this.#onDrop = options.onDrop ?? (() => {});
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
    for (const entry of entries) {
      const size = sizeOf(entry);
      this.#entries.push(entry);
      this.#sizes.push(size);
      this.#bytes += size;
    }
    const surplus = this.#surplus();
    if (surplus > 0) this.#drop(surplus);
    this.#tell();
  }

  /** Of the oldest, how many are too much: seldom some, and many at once. */
  #surplus(): number {
    const isLong = this.#entries.length > this.#most;
    const isLarge = this.#bytes > this.#mostBytes;
    if (!isLong && !isLarge) return 0;
    const [most, bytes] = [this.#most, this.#mostBytes].map((limit) => limit - Math.floor(limit / 8)) as [
      number,
      number,
    ];
    let count = isLong ? this.#entries.length - most : 0;
    let left = this.#bytes - this.#sizes.slice(0, count).reduce((sum, size) => sum + size, 0);
    if (isLarge) for (; left > bytes; count++) left -= this.#sizes[count] ?? left;
    return count;
  }

  #drop(count: number): void {
    const dropped = this.#entries.splice(0, count);
    for (const size of this.#sizes.splice(0, count)) this.#bytes -= size;
    this.#first += dropped.length;
    this.#onDrop(dropped);
  }

  /** Positions from before count as overtaken. */
  forget(): void {
    this.#drop(this.#entries.length);
    this.#first++;
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

/** Roughly, of its texts and what holds them. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 16 + 2 * value.length;
  if (typeof value !== 'object' || value === null) return 8;
  let size = 32;
  for (const [key, member] of Object.entries(value)) size += key.length + sizeOf(member);
  return size;
}
