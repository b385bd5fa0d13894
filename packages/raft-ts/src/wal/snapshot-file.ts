import { setImmediate } from 'node:timers/promises';
import type { Sealer } from '../host/types.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { crc32 } from './crc32.ts';
import type { File, FileSystem } from './file-system.ts';
import { decodeSnapshotHeader, encodeSnapshotHeader, type SnapshotHeader } from './snapshot-header.ts';
import { corrupt } from './wal-error.ts';

// One snapshot in one file: after eight magic bytes, frames of length, CRC (chained) and sealed bytes. What is sealed
// are items of kind, length and bytes: first the header, then whole chunks or parts of long ones, at last the end.

const magic = Buffer.from('RTSNAP\x01\n');
/** `part`: more of the same chunk follows. */
const item = { header: 0, chunk: 1, part: 2, end: 3 } as const;
/** Longer chunks are split, so that sealing none holds up the event loop. */
const maxPart = 256 << 10;
/** Items are gathered up to here before they are sealed. */
const frameBytes = 64 << 10;
const maxSealed = 4 << 20;
const windowBytes = 256 << 10;
/** After so many items, however small, others get their turn. */
const turnItems = 1024;

/** Writes to a temporary name; whoever uses it renames. */
export class SnapshotFileWriter {
  readonly path: string;
  readonly #file: File;
  readonly #sealer: Sealer;
  #position = 0;
  #crc = 0;
  #items = new ByteWriter(frameBytes);
  #gathered = 0;

  private constructor(path: string, file: File, sealer: Sealer) {
    this.path = path;
    this.#file = file;
    this.#sealer = sealer;
  }

  static async create(
    fileSystem: FileSystem,
    path: string,
    sealer: Sealer,
    header: SnapshotHeader,
  ): Promise<SnapshotFileWriter> {
    const writer = new SnapshotFileWriter(path, await fileSystem.open(path, 'create'), sealer);
    try {
      await writer.#write(magic);
      writer.#add(item.header, encodeSnapshotHeader(header));
      return writer;
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }

  async add(chunk: Uint8Array): Promise<void> {
    let at = 0;
    for (; chunk.length - at > maxPart; at += maxPart) {
      this.#add(item.part, chunk.subarray(at, at + maxPart));
      await this.#seal();
    }
    this.#add(item.chunk, chunk.subarray(at));
    if (this.#items.length >= frameBytes || this.#gathered >= turnItems) await this.#seal();
  }

  /** Ends the file and makes it durable. */
  async finish(): Promise<void> {
    this.#add(item.end, new Uint8Array(0));
    await this.#seal();
    await this.#file.sync();
    await this.#file.close();
  }

  async abort(): Promise<void> {
    await this.#file.close();
  }

  #add(kind: number, bytes: Uint8Array): void {
    this.#items.u8(kind).bytes(bytes);
    this.#gathered++;
  }

  async #seal(): Promise<void> {
    const sealed = this.#sealer.seal(this.#items.take());
    this.#items = new ByteWriter(frameBytes);
    this.#gathered = 0;
    const frame = Buffer.allocUnsafe(8 + sealed.length);
    frame.writeUInt32LE(sealed.length, 0);
    this.#crc = crc32(sealed, crc32(frame.subarray(0, 4), this.#crc));
    frame.writeUInt32LE(this.#crc, 4);
    frame.set(sealed, 8);
    await this.#write(frame);
  }

  async #write(bytes: Buffer): Promise<void> {
    await this.#file.write(bytes, this.#position);
    this.#position += bytes.length;
  }
}

export const endsEarlyReason = 'the file ends early';

interface Item {
  readonly kind: number;
  readonly bytes: Buffer;
}

/** Reads a snapshot from front to back; throws `corrupt`, also when it ends early. */
export class SnapshotFileReader {
  readonly #path: string;
  readonly #file: File;
  readonly #sealer: Sealer;
  /** Where the window ends in the file. */
  #position = magic.length;
  #crc = 0;
  #window: Buffer = Buffer.alloc(0);
  #items = new ByteReader(Buffer.alloc(0));
  header!: SnapshotHeader;

  private constructor(path: string, file: File, sealer: Sealer) {
    this.#path = path;
    this.#file = file;
    this.#sealer = sealer;
  }

  static async open(fileSystem: FileSystem, path: string, sealer: Sealer): Promise<SnapshotFileReader> {
    const reader = new SnapshotFileReader(path, await fileSystem.open(path, 'read'), sealer);
    try {
      await reader.#readHeader();
      return reader;
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  /** Closes the file at its end, or when whoever iterates leaves. */
  async *chunks(): AsyncGenerator<Uint8Array> {
    const parts: Buffer[] = [];
    try {
      for (let items = 1; ; items++) {
        if (items % turnItems === 0) await setImmediate();
        const { kind, bytes } = await this.#next();
        if (kind === item.end) return;
        parts.push(bytes);
        if (kind === item.part) continue;
        yield parts.length === 1 ? bytes : Buffer.concat(parts);
        parts.length = 0;
      }
    } finally {
      await this.close();
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #readHeader(): Promise<void> {
    const start = Buffer.alloc(magic.length);
    await this.#file.read(start, 0);
    if (!start.equals(magic)) throw corrupt(this.#path, 0, 'it is not a snapshot');
    const { kind, bytes } = await this.#next();
    if (kind !== item.header) throw corrupt(this.#path, magic.length, 'the header is missing');
    try {
      this.header = decodeSnapshotHeader(bytes);
    } catch (error) {
      throw corrupt(this.#path, magic.length, 'the header cannot be read', error);
    }
  }

  async #next(): Promise<Item> {
    const at = this.#position - this.#window.length;
    if (this.#items.atEnd) this.#items = new ByteReader(await this.#frame(at));
    try {
      return { kind: this.#items.u8(), bytes: this.#items.bytes() };
    } catch (error) {
      throw corrupt(this.#path, at, 'a frame cannot be read', error);
    }
  }

  async #frame(at: number): Promise<Uint8Array> {
    const head = await this.#take(8, at);
    const length = head.readUInt32LE(0);
    if (length === 0 || length > maxSealed) throw corrupt(this.#path, at, 'a frame has no sensible length');
    const sealed = await this.#take(length, at);
    this.#crc = crc32(sealed, crc32(head.subarray(0, 4), this.#crc));
    if (this.#crc !== head.readUInt32LE(4)) throw corrupt(this.#path, at, 'checksum mismatch');
    try {
      return this.#sealer.open(sealed);
    } catch (error) {
      throw corrupt(this.#path, at, error instanceof Error ? error.message : 'it cannot be opened', error);
    }
  }

  async #take(length: number, frameAt: number): Promise<Buffer> {
    if (this.#window.length < length) {
      const more = Buffer.allocUnsafe(Math.max(windowBytes, length - this.#window.length));
      const got = await this.#file.read(more, this.#position);
      this.#position += got;
      this.#window = Buffer.concat([this.#window, more.subarray(0, got)]);
      if (this.#window.length < length) throw corrupt(this.#path, frameAt, endsEarlyReason);
    }
    const taken = this.#window.subarray(0, length);
    this.#window = this.#window.subarray(length);
    return taken;
  }
}
