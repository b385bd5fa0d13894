// A map from strings to values in the order of the keys, persistent: what others hold of it never changes. It is cut into small chunks;
// an edit copies what it touches, once for each owner. An owner is a token that lives as long as one edit of many steps.

interface Chunk<V> {
  readonly owner: object;
  readonly keys: string[];
  readonly values: V[];
}

const maxChunk = 128;
const nobody: object = {};

export class OrderedMap<V> {
  readonly #owner: object;
  readonly #chunks: Chunk<V>[];
  #size: number;
  #values: readonly V[] | undefined;

  private constructor(owner: object, chunks: Chunk<V>[], size: number) {
    this.#owner = owner;
    this.#chunks = chunks;
    this.#size = size;
  }

  // Not kept in a static field: the compiler gets one wrong that makes an instance of its own class.
  static empty<V>(): OrderedMap<V> {
    return new OrderedMap<V>(nobody, [], 0);
  }

  get size(): number {
    return this.#size;
  }

  get(key: string): V | undefined {
    const chunk = this.#chunks[this.#chunkOf(key)];
    if (!chunk) return undefined;
    const at = lowerBound(chunk.keys, key);
    return chunk.keys[at] === key ? chunk.values[at] : undefined;
  }

  /** In the order of the keys. The same array as long as nothing is changed, so it may serve as a key of caches. */
  values(): readonly V[] {
    if (!this.#values) {
      const values: V[] = [];
      for (const chunk of this.#chunks) for (const value of chunk.values) values.push(value);
      this.#values = values;
    }
    return this.#values;
  }

  set(owner: object, key: string, value: V): OrderedMap<V> {
    const map = this.#ownedBy(owner);
    map.#put(owner, key, value);
    return map;
  }

  delete(owner: object, key: string): OrderedMap<V> {
    const place = this.#chunkOf(key);
    const chunk = this.#chunks[place];
    if (!chunk || chunk.keys[lowerBound(chunk.keys, key)] !== key) return this;
    const map = this.#ownedBy(owner);
    map.#drop(owner, place, key);
    return map;
  }

  #ownedBy(owner: object): OrderedMap<V> {
    if (this.#owner !== owner) return new OrderedMap(owner, this.#chunks.slice(), this.#size);
    this.#values = undefined;
    return this;
  }

  #ownChunk(owner: object, place: number): Chunk<V> {
    const chunk = this.#chunks[place] as Chunk<V>;
    if (chunk.owner === owner) return chunk;
    const copy = { owner, keys: chunk.keys.slice(), values: chunk.values.slice() };
    this.#chunks[place] = copy;
    return copy;
  }

  #put(owner: object, key: string, value: V): void {
    if (this.#chunks.length === 0) this.#chunks.push({ owner, keys: [], values: [] });
    const place = this.#chunkOf(key);
    const chunk = this.#ownChunk(owner, place);
    const at = lowerBound(chunk.keys, key);
    if (chunk.keys[at] === key) {
      chunk.values[at] = value;
      return;
    }
    chunk.keys.splice(at, 0, key);
    chunk.values.splice(at, 0, value);
    this.#size++;
    if (chunk.keys.length > maxChunk) this.#split(owner, place, chunk, at);
  }

  /** Keys that come in order leave full chunks behind them. */
  #split(owner: object, place: number, chunk: Chunk<V>, at: number): void {
    const appended = place === this.#chunks.length - 1 && at === chunk.keys.length - 1;
    const from = appended ? chunk.keys.length - 1 : chunk.keys.length >> 1;
    const half = { owner, keys: chunk.keys.splice(from), values: chunk.values.splice(from) };
    this.#chunks.splice(place + 1, 0, half);
  }

  #drop(owner: object, place: number, key: string): void {
    const chunk = this.#ownChunk(owner, place);
    const at = lowerBound(chunk.keys, key);
    chunk.keys.splice(at, 1);
    chunk.values.splice(at, 1);
    this.#size--;
    if (chunk.keys.length === 0) this.#chunks.splice(place, 1);
    else if (chunk.keys.length < maxChunk / 4) this.#merge(owner, place, chunk);
  }

  #merge(owner: object, place: number, chunk: Chunk<V>): void {
    const left = this.#chunks[place - 1];
    if (!left || left.keys.length + chunk.keys.length > maxChunk / 2) return;
    const joined = this.#ownChunk(owner, place - 1);
    joined.keys.push(...chunk.keys);
    joined.values.push(...chunk.values);
    this.#chunks.splice(place, 1);
  }

  /** The chunk that holds the key or would: the last one that starts at or before it. */
  #chunkOf(key: string): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#chunks[middle]?.keys[0] as string) <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** The place of the first key that is not below `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
