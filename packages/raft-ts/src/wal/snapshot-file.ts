import type { Sealer } from '../host/types.ts';
import { crc32 } from './crc32.ts';
import type { File, FileSystem } from './file-system.ts';
import { decodeSnapshotHeader, encodeSnapshotHeader, type SnapshotHeader } from './snapshot-header.ts';
import { corrupt } from './wal-error.ts';

// One snapshot in one file: after eight magic bytes, frames of length, CRC (chained) and sealed bytes. The first byte
// of what is sealed says what the frame is: the header, a whole chunk or the last part of one, another part, or the end.

const magic = Buffer.from('RTSNAP\x01\n');
const frame = { header: 0, chunk: 1, part: 2, end: 3 } as const;
/** Longer chunks are sealed in parts, so that none holds up the event loop. */
const maxPart = 512 << 10;
const maxSealed = 4 << 20;
const bufferBytes = 256 << 10;

/** Writes to a temporary name; whoever uses it renames. */
export class SnapshotFileWriter {
  readonly path: string;
  readonly #file: File;
  readonly #sealer: Sealer;
  #position = 0;
  #crc = 0;
  #buffered: Buffer[] = [magic];
  #bufferedBytes = magic.length;

  private constructor(path: string, file: File, sealer: Sealer) {
    this.path = path;
    this.#file = file;
    this.#sealer = sealer;
  }

  static async create(fileSystem: FileSystem, path: string, sealer: Sealer, header: SnapshotHeader) {
    const writer = new SnapshotFileWriter(path, await fileSystem.open(path, 'create'), sealer);
    writer.#frame(frame.header, encodeSnapshotHeader(header));
    return writer;
  }

  async add(chunk: Uint8Array): Promise<void> {
    let at = 0;
    for (; chunk.length - at > maxPart; at += maxPart) {
      this.#frame(frame.part, chunk.subarray(at, at + maxPart));
      await this.#flush(bufferBytes);
    }
    this.#frame(frame.chunk, chunk.subarray(at));
    await this.#flush(bufferBytes);
  }

  /** Ends the file and makes it durable. */
  async finish(): Promise<void> {
    this.#frame(frame.end, new Uint8Array(0));
    await this.#flush(0);
    await this.#file.sync();
    await this.#file.close();
  }

  async abort(): Promise<void> {
    await this.#file.close();
  }

  #frame(kind: number, bytes: Uint8Array): void {
    const plain = Buffer.allocUnsafe(bytes.length + 1);
    plain[0] = kind;
    plain.set(bytes, 1);
    const sealed = this.#sealer.seal(plain);
    const head = Buffer.alloc(8);
    head.writeUInt32LE(sealed.length, 0);
    this.#crc = crc32(sealed, crc32(head.subarray(0, 4), this.#crc));
    head.writeUInt32LE(this.#crc, 4);
    this.#buffered.push(head, Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length));
    this.#bufferedBytes += 8 + sealed.length;
  }

  async #flush(above: number): Promise<void> {
    if (this.#bufferedBytes <= above) return;
    const bytes = Buffer.concat(this.#buffered);
    this.#buffered = [];
    this.#bufferedBytes = 0;
    await this.#file.write(bytes, this.#position);
    this.#position += bytes.length;
  }
}

/** Reads a snapshot from front to back; throws `corrupt`, also when it ends early. */
export class SnapshotFileReader {
  readonly #path: string;
  readonly #file: File;
  readonly #sealer: Sealer;
  #position = magic.length;
  #crc = 0;
  #window: Buffer = Buffer.alloc(0);
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
      for (;;) {
        const { kind, bytes } = await this.#frame();
        if (kind === frame.end) return;
        parts.push(bytes);
        if (kind === frame.part) continue;
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
    const { kind, bytes } = await this.#frame();
    if (kind !== frame.header) throw corrupt(this.#path, magic.length, 'the header is missing');
    try {
      this.header = decodeSnapshotHeader(bytes);
    } catch (error) {
      throw corrupt(this.#path, magic.length, 'the header cannot be read', error);
    }
  }

  async #frame(): Promise<{ kind: number; bytes: Buffer }> {
    const at = this.#position - this.#window.length;
    const head = await this.#take(8, at);
    const length = head.readUInt32LE(0);
    if (length === 0 || length > maxSealed) throw corrupt(this.#path, at, 'a frame has no sensible length');
    const sealed = await this.#take(length, at);
    this.#crc = crc32(sealed, crc32(head.subarray(0, 4), this.#crc));
    if (this.#crc !== head.readUInt32LE(4)) throw corrupt(this.#path, at, 'checksum mismatch');
    const plain = this.#unseal(sealed, at);
    return { kind: plain[0] ?? frame.end, bytes: plain.subarray(1) };
  }

  #unseal(sealed: Buffer, at: number): Buffer {
    try {
      const plain = this.#sealer.open(sealed);
      return Buffer.from(plain.buffer, plain.byteOffset, plain.length);
    } catch (error) {
      throw corrupt(this.#path, at, error instanceof Error ? error.message : 'it cannot be opened', error);
    }
  }

  /** `position` is where the window ends in the file. */
  async #take(length: number, frameAt: number): Promise<Buffer> {
    if (this.#window.length < length) {
      const more = Buffer.allocUnsafe(Math.max(bufferBytes, length - this.#window.length));
      const got = await this.#file.read(more, this.#position);
      this.#position += got;
      this.#window = Buffer.concat([this.#window, more.subarray(0, got)]);
      if (this.#window.length < length) throw corrupt(this.#path, frameAt, 'the file ends early');
    }
    const taken = this.#window.subarray(0, length);
    this.#window = this.#window.subarray(length);
    return taken;
  }
}
