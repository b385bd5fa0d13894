import { join } from 'node:path';
import type { Sealer } from '../host/types.ts';
import { type File, type FileSystem, readAll, zeroFill } from './file-system.ts';
import { decodeItems, encodeItems, type LogItem } from './log-items.ts';
import { LogState } from './log-state.ts';
import { type Chain, encodeRecord, type LogRecord, readRecord } from './record.ts';
import { corrupt, WalError } from './wal-error.ts';

// Segment files: their names, how one is made, and how all of them are read at a start.

const suffix = '.wal';
const unfinished = '.tmp';

export interface Segment {
  readonly sequence: number;
  readonly path: string;
  /** The largest index of an entry in it; 0 for none. */
  lastIndex: number;
}

export const segmentPath = (dir: string, sequence: number): string =>
  join(dir, `${sequence.toString(16).padStart(16, '0')}${suffix}`);

export async function listSegments(fileSystem: FileSystem, dir: string): Promise<Segment[]> {
  const names = (await fileSystem.readdir(dir)).filter((name) => /^[0-9a-f]{16}\.wal$/.test(name)).sort();
  return names.map((name) => ({ sequence: Number.parseInt(name, 16), path: join(dir, name), lastIndex: 0 }));
}

export async function removeUnfinished(fileSystem: FileSystem, dir: string): Promise<void> {
  for (const name of await fileSystem.readdir(dir)) {
    if (name.endsWith(unfinished)) await fileSystem.unlink(join(dir, name));
  }
}

export interface Prepared {
  readonly path: string;
  readonly file: File;
  readonly bytes: number;
}

/**
 * A synced file of zeros that waits to become a segment. `spare`, if there is one, is a segment that nobody needs any more: its blocks are
 * the disk's already.
 */
export async function prepareSegment(
  fileSystem: FileSystem,
  dir: string,
  bytes: number,
  spare?: string,
): Promise<Prepared> {
  const path = join(dir, `next${unfinished}`);
  if (spare !== undefined) await fileSystem.rename(spare, path);
  const made = await fileSystem.open(path, spare === undefined ? 'create' : 'write');
  await zeroFill(made, 0, Math.max(bytes, await made.size()));
  await made.sync();
  await made.close();
  return { path, file: await fileSystem.open(path, 'write-through'), bytes };
}

/** Where a released segment waits to be used again. */
export const sparePath = (dir: string): string => join(dir, `spare${unfinished}`);

export interface OpenSegment {
  readonly segment: Segment;
  readonly file: File;
  /** Where the first record after the head goes. */
  readonly start: number;
  /** Where the next record goes. */
  offset: number;
}

/** Gives a prepared file its head (and more records, if any) and its name, in this order: what has a name is whole. */
export async function beginSegment(
  env: { readonly fileSystem: FileSystem; readonly dir: string; readonly sealer: Sealer },
  prepared: Prepared,
  sequence: number,
  chain: Chain,
  items: { readonly head: readonly LogItem[]; readonly batch?: readonly LogItem[] },
): Promise<{ readonly open: OpenSegment; readonly chain: Chain }> {
  const { fileSystem, dir, sealer } = env;
  const made: LogItem = { kind: 'made', bytes: prepared.bytes };
  const head = encodeRecord('head', headPayload(sealer, chain.crc, [...items.head, made]), chain);
  let next: Chain = { sequence: chain.sequence + 1, crc: head.crc };
  let bytes = head.bytes;
  if (items.batch !== undefined) {
    const batch = encodeRecord('batch', sealer.seal(encodeItems(items.batch)), next);
    next = { sequence: next.sequence + 1, crc: batch.crc };
    bytes = Buffer.concat([bytes, batch.bytes]);
  }
  await prepared.file.write(bytes, 0);
  await prepared.file.datasync();
  const segment: Segment = { sequence, path: segmentPath(dir, sequence), lastIndex: lastIndexOf(items.batch ?? []) };
  await fileSystem.rename(prepared.path, segment.path);
  await fileSystem.syncDir(dir);
  return { open: { segment, file: prepared.file, start: head.bytes.length, offset: bytes.length }, chain: next };
}

/** The head repeats what older segments said, so that they can be removed, and the CRC that the chain goes on from. */
function headPayload(sealer: Sealer, seed: number, items: readonly LogItem[]): Buffer {
  const sealed = sealer.seal(encodeItems(items));
  const payload = Buffer.alloc(4 + sealed.length);
  payload.writeUInt32LE(seed, 0);
  payload.set(sealed, 4);
  return payload;
}

export const lastIndexOf = (items: readonly LogItem[]): number =>
  items.reduce((last, item) => (item.kind === 'entry' ? Math.max(last, item.entry.index) : last), 0);

export interface ReadLog {
  readonly state: LogState;
  readonly segments: Segment[];
  readonly chain: Chain;
  /** Where the log ends in the last segment. */
  readonly offset: number;
  /** Something behind `offset` is left from a write that a power cut interrupted. */
  readonly torn: boolean;
}

/** Reads all segments; throws `corrupt` on anything but a torn last record. */
export async function readLog(fileSystem: FileSystem, dir: string, sealer: Sealer): Promise<ReadLog> {
  const segments = await listSegments(fileSystem, dir);
  if (segments.length === 0) throw new WalError('no-log', `there is no log in ${dir}`, { dir });
  const reader = new LogReader(fileSystem, sealer);
  for (const [i, segment] of segments.entries()) await reader.read(segment, i === segments.length - 1);
  return { state: reader.state, segments, chain: reader.chain(), offset: reader.offset, torn: reader.torn };
}

class LogReader {
  readonly state = new LogState();
  offset = 0;
  torn = false;
  readonly #fileSystem: FileSystem;
  readonly #sealer: Sealer;
  #chain: Chain | undefined;
  #lastSegment: number | undefined;
  #madeBytes = 0;

  constructor(fileSystem: FileSystem, sealer: Sealer) {
    this.#fileSystem = fileSystem;
    this.#sealer = sealer;
  }

  chain(): Chain {
    return this.#chain ?? { sequence: 0, crc: 0 };
  }

  async read(segment: Segment, isLast: boolean): Promise<void> {
    if (this.#lastSegment !== undefined && segment.sequence !== this.#lastSegment + 1) {
      throw corrupt(segment.path, 0, `segment ${this.#lastSegment + 1} is missing`);
    }
    this.#lastSegment = segment.sequence;
    const bytes = await readAll(this.#fileSystem, segment.path);
    this.#madeBytes = 0;
    this.#readHead(segment, bytes);
    // What a power cut leaves is as long as the file was made.
    if (bytes.length < this.#madeBytes) {
      throw corrupt(segment.path, bytes.length, `the file was made with ${this.#madeBytes} bytes, and is cut`);
    }
    for (;;) {
      const found = readRecord(bytes, this.offset, this.chain());
      if (found.kind === 'corrupt') throw corrupt(segment.path, this.offset, found.reason);
      if (found.kind === 'record') {
        this.#take(segment, found.record, found.record.payload);
        continue;
      }
      if (found.kind === 'torn' && !isLast) throw corrupt(segment.path, this.offset, 'torn, and segments follow');
      this.torn = found.kind === 'torn';
      return;
    }
  }

  #readHead(segment: Segment, bytes: Buffer): void {
    const seed = bytes.length >= 20 ? bytes.readUInt32LE(16) : 0;
    const found = readRecord(bytes, 0, { crc: seed });
    if (found.kind !== 'record') {
      throw corrupt(segment.path, 0, found.kind === 'corrupt' ? found.reason : 'the head is missing');
    }
    const { record } = found;
    if (record.type !== 'head') throw corrupt(segment.path, 0, 'the first record is not a head');
    const chain = this.#chain;
    if (chain !== undefined && (seed !== chain.crc || record.sequence !== chain.sequence >>> 0)) {
      throw corrupt(segment.path, 0, 'it does not continue the segment before');
    }
    this.#take(segment, record, record.payload.subarray(4));
  }

  #take(segment: Segment, record: LogRecord, sealed: Uint8Array): void {
    const at = record.type === 'head' ? 0 : this.offset;
    try {
      const items = decodeItems(this.#sealer.open(sealed));
      for (const item of items) {
        this.state.apply(item);
        if (item.kind === 'made') this.#madeBytes = item.bytes;
      }
      segment.lastIndex = Math.max(segment.lastIndex, lastIndexOf(items));
    } catch (error) {
      throw corrupt(segment.path, at, error instanceof Error ? error.message : 'it cannot be opened', error);
    }
    this.#chain = { sequence: record.sequence + 1, crc: record.crc };
    this.offset = record.end;
  }
}
