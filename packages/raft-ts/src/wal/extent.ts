import { dirname } from 'node:path';
import { ByteReader, ByteWriter } from './bytes.ts';
import { crc32 } from './crc32.ts';
import { type File, type FileSystem, readAll } from './file-system.ts';
import { corrupt } from './wal-error.ts';

// How far a log reaches for certain, in a small file beside its folder: what a start finds must not be less. Without it a log
// that lost its end, by whole records or files, looks like one that never had it.
//
// Two sectors are written in turns, so that a power cut leaves one of them; each is
//   magic, version u8, generation, member, log, first, last, sequence, peers (varints), key id (string) | zeros | CRC u32

/** Whose log it is, and which: a random number below 2^52 that is drawn when it is made. */
export interface LogIdentity {
  readonly member: number;
  readonly log: number;
}

export interface Extent extends LogIdentity {
  /** Segments from this one on must be there; older ones are not needed. */
  readonly first: number;
  /** The newest segment that must be there; 0 while the log is being made. */
  readonly last: number;
  /** All records with a smaller sequence number, which is one of 32 bits, are synced. */
  readonly sequence: number;
  /** Other members whose logs were noted at least. */
  readonly peers: number;
  /** Of the sealer that wrote last. */
  readonly keyId: string;
}

const magic = Buffer.from('RTEXTENT');
const version = 1;
const slotBytes = 512;
const maxKeyIdBytes = 255;

export const extentPath = (walDir: string): string => `${walDir}.extent`;

/** How many records that were synced come after the one before `sequence`; negative when it is past the extent. */
export const missingFrom = (extent: Extent, sequence: number): number => (extent.sequence - sequence) | 0;

export class ExtentFile {
  readonly #file: File;
  #generation: number;
  #extent: Extent;
  #written: Extent;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: File, extent: Extent, generation: number) {
    this.#file = file;
    this.#extent = extent;
    this.#written = extent;
    this.#generation = generation;
  }

  /** In the place of the one that is there, if any. */
  static async create(fileSystem: FileSystem, path: string, extent: Extent): Promise<ExtentFile> {
    const temporary = `${path}.tmp`;
    const made = await fileSystem.open(temporary, 'create');
    try {
      await made.write(Buffer.concat([encodeSlot(extent, 1), Buffer.alloc(slotBytes)]), 0);
      await made.sync();
    } finally {
      await made.close();
    }
    await fileSystem.rename(temporary, path);
    await fileSystem.syncDir(dirname(path));
    return new ExtentFile(await fileSystem.open(path, 'write'), extent, 1);
  }

  /** Undefined when there is none. Throws `corrupt`. */
  static async open(fileSystem: FileSystem, path: string): Promise<ExtentFile | undefined> {
    const found = await readSlots(fileSystem, path);
    return found && new ExtentFile(await fileSystem.open(path, 'write'), found.extent, found.generation);
  }

  /** What is durable. */
  get extent(): Extent {
    return this.#written;
  }

  /** Resolves once it is durable; one after the other. */
  write(change: Partial<Extent>): Promise<void> {
    this.#extent = { ...this.#extent, ...change };
    this.#writing = this.#writing.then(() => this.#write());
    // Later ones must hear of it as well: it is not known what the disk holds.
    this.#writing.catch(() => {});
    return this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing.catch(() => {});
    await this.#file.close();
  }

  async #write(): Promise<void> {
    const extent = this.#extent;
    if (extent === this.#written) return;
    const generation = this.#generation + 1;
    await this.#file.write(encodeSlot(extent, generation), generation % 2 === 0 ? slotBytes : 0);
    await this.#file.datasync();
    this.#generation = generation;
    this.#written = extent;
  }
}

/** Undefined when there is none. Throws `corrupt`. */
export async function readExtent(fileSystem: FileSystem, path: string): Promise<Extent | undefined> {
  return (await readSlots(fileSystem, path))?.extent;
}

interface Slot {
  readonly extent: Extent;
  readonly generation: number;
}

async function readSlots(fileSystem: FileSystem, path: string): Promise<Slot | undefined> {
  const bytes = await readAll(fileSystem, path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (bytes === undefined) return undefined;
  if (bytes.length < 2 * slotBytes) throw corrupt(path, bytes.length, `it is cut: ${2 * slotBytes} bytes were made`);
  const slots = [decodeSlot(bytes.subarray(0, slotBytes)), decodeSlot(bytes.subarray(slotBytes, 2 * slotBytes))];
  const whole = slots.filter((slot) => slot !== undefined);
  if (whole.length === 0) throw corrupt(path, 0, 'checksum mismatch');
  return whole.reduce((a, b) => (b.generation > a.generation ? b : a));
}

function encodeSlot(extent: Extent, generation: number): Buffer {
  const { member, log, first, last, sequence, peers, keyId } = extent;
  const out = new ByteWriter(slotBytes).raw(magic).u8(version);
  out
    .varint(generation)
    .varint(member)
    .varint(log)
    .varint(first)
    .varint(last)
    .varint(sequence >>> 0)
    .varint(peers);
  out.bytes(Buffer.from(keyId).subarray(0, maxKeyIdBytes));
  const slot = Buffer.alloc(slotBytes);
  slot.set(out.take());
  slot.writeUInt32LE(crc32(slot.subarray(0, slotBytes - 4)), slotBytes - 4);
  return slot;
}

type SixNumbers = [number, number, number, number, number, number];

function decodeSlot(slot: Buffer): Slot | undefined {
  if (slot.readUInt32LE(slotBytes - 4) !== crc32(slot.subarray(0, slotBytes - 4))) return undefined;
  const input = new ByteReader(slot);
  if (!input.raw(magic.length).equals(magic) || input.u8() !== version) return undefined;
  const generation = input.varint();
  const [member, log, first, last, sequence, peers] = [0, 0, 0, 0, 0, 0].map(() => input.varint()) as SixNumbers;
  return { generation, extent: { member, log, first, last, sequence, peers, keyId: input.string() } };
}
