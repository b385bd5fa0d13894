// Reading and writing the numbers and byte strings that log records, snapshots and messages are made of.

/** The bytes are not what they claim to be. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}

export class ByteWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  #reserve(size: number): void {
    const needed = this.#length + size;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }

  u8(value: number): this {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
    return this;
  }

  /** A non-negative integer below 2^53, seven bits a byte, the lowest first. */
  varint(value: number): this {
    this.#reserve(8);
    while (value >= 0x80) {
      this.#bytes[this.#length++] = (value % 0x80) | 0x80;
      value = Math.floor(value / 0x80);
    }
    this.#bytes[this.#length++] = value;
    return this;
  }

  /** With its length before it. */
  bytes(value: Uint8Array): this {
    return this.varint(value.length).raw(value);
  }

  raw(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  string(value: string): this {
    return this.bytes(Buffer.from(value));
  }

  numbers(values: readonly number[]): this {
    this.varint(values.length);
    for (const value of values) this.varint(value);
    return this;
  }

  /** Overwrites four bytes that were written before. */
  patchU32(at: number, value: number): void {
    this.#bytes.writeUInt32LE(value, at);
  }

  /** What was written; the writer must not be used again. */
  take(): Buffer {
    return this.#length === this.#bytes.length ? this.#bytes : this.#bytes.subarray(0, this.#length);
  }
}

export class ByteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw new DecodeError('bytes end early');
    return byte;
  }

  u32(): number {
    if (this.remaining < 4) throw new DecodeError('bytes end early');
    const value = this.#bytes.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (!Number.isSafeInteger(value)) throw new DecodeError('a number is too large');
      if (byte < 0x80) return value;
    }
  }

  /** A view, not a copy. */
  bytes(): Buffer {
    return this.raw(this.varint());
  }

  raw(length: number): Buffer {
    if (length > this.remaining) throw new DecodeError('bytes end early');
    const value = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  string(): string {
    return this.bytes().toString();
  }

  numbers(): number[] {
    const count = this.count();
    return Array.from({ length: count }, () => this.varint());
  }

  /** The number of items that follow, each of at least one byte. */
  count(): number {
    const count = this.varint();
    if (count > this.remaining) throw new DecodeError('bytes end early');
    return count;
  }

  end(): void {
    if (!this.atEnd) throw new DecodeError(`${this.remaining} bytes too many`);
  }
}
