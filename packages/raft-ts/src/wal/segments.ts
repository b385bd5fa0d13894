import { join } from 'node:path';
import type { Sealer } from '../host/types.ts';
import { type Extent, extentPath, missingFrom } from './extent.ts';
import { type File, type FileSystem, readAll, syncBytes, zeroFill } from './file-system.ts';
import { decodeItems, encodeItems, type LogItem } from './log-items.ts';
import { LogState } from './log-state.ts';
import { type Chain, encodeRecord, type LogRecord, readRecord, recordSize } from './record.ts';
import { corrupt, WalError } from './wal-error.ts';

// Segment files: their names, how one is made, and how all of them are read at a start.

const suffix = '.wal';
const unfinished = '.tmp';
const pageBytes = 4096;
/** What the head may grow by when it says that its file is longer. */
const madeSlack = 64;

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
  /** As long as the file is. */
  readonly bytes: number;
}

/**
 * A synced file of zeros that waits to become a segment. `spare`, if there is one, is a segment that nobody needs any more: its blocks are
 * the log's already.
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
  try {
    // One that a long record made longer gives its blocks back.
    if ((await made.size()) > bytes) await made.truncate(bytes);
    await zeroFill(made, 0, bytes);
    await made.sync();
  } finally {
    await made.close();
  }
  return { path, file: await fileSystem.open(path, 'write-through'), bytes };
}

/** Where a released segment waits to be used again. */
export const sparePath = (dir: string): string => join(dir, `spare${unfinished}`);

export interface OpenSegment {
  readonly segment: Segment;
  readonly file: File;
  /** As long as the file is. */
  readonly bytes: number;
  /** Where the next record goes. */
  offset: number;
}

/**
 * Gives a prepared file its head (and more records, if any) and its name, in this order: what has a name is whole. `room` is what a record
 * that is to come takes: for one that is longer than segments are, the file is made longer.
 */
export async function beginSegment(
  env: { readonly fileSystem: FileSystem; readonly dir: string; readonly sealer: Sealer },
  prepared: Prepared,
  sequence: number,
  chain: Chain,
  items: { readonly head: readonly LogItem[]; readonly batch?: readonly LogItem[]; readonly room?: number },
): Promise<{ readonly open: OpenSegment; readonly chain: Chain }> {
  const { fileSystem, dir, sealer } = env;
  const { path, file } = prepared;
  const batch = items.batch && sealer.seal(encodeItems(items.batch));
  const room = (items.room ?? 0) + (batch === undefined ? 0 : recordSize(batch.length));
  const headFor = (made: number) =>
    encodeRecord('head', headPayload(sealer, chain.crc, [...items.head, { kind: 'made', bytes: made }]), chain);
  let head = headFor(prepared.bytes);
  const needed = head.bytes.length + madeSlack + room;
  const bytes = needed <= prepared.bytes ? prepared.bytes : Math.ceil(needed / pageBytes) * pageBytes;
  if (bytes > prepared.bytes) {
    await zeroFill(file, prepared.bytes, bytes, syncBytes);
    await file.sync();
    head = headFor(bytes);
  }
  let next: Chain = { sequence: chain.sequence + 1, crc: head.crc };
  let records = head.bytes;
  if (batch !== undefined) {
    const record = encodeRecord('batch', batch, next);
    next = { sequence: next.sequence + 1, crc: record.crc };
    records = Buffer.concat([records, record.bytes]);
  }
  await file.write(records, 0);
  await file.datasync();
  const segment: Segment = { sequence, path: segmentPath(dir, sequence), lastIndex: lastIndexOf(items.batch ?? []) };
  await fileSystem.rename(path, segment.path);
  await fileSystem.syncDir(dir);
  return { open: { segment, file, bytes, offset: records.length }, chain: next };
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
  /** Left by a crash while they were being removed. */
  readonly released: Segment[];
  readonly chain: Chain;
  /** Where the log ends in the last segment. */
  readonly offset: number;
  /** Something behind `offset` is left from a write that a power cut interrupted. */
  readonly torn: boolean;
  /** Records of the last segment that are not known to be synced. */
  readonly unsettled: { readonly offset: number; readonly bytes: Buffer };
}

/** Called for each segment and each record in it; `items` is undefined when the record cannot be opened. */
export interface LogVisitor {
  segment(segment: Segment, bytes: number): void;
  record(segment: Segment, offset: number, record: LogRecord, items: readonly LogItem[] | undefined): void;
}

/** What a record holds; undefined: it stays closed, and nothing is known of the entries. Throws on what it should open and cannot. */
export type OpenRecord = (sealed: Uint8Array) => readonly LogItem[] | undefined;

/**
 * Reads all segments that `extent` wants. Throws `no-log` when none was ever finished, and `corrupt` on whatever is damaged or missing, be it
 * a whole file at either end; only a torn last record that was not known to be synced is none.
 */
export async function readLog(
  fileSystem: FileSystem,
  dir: string,
  extent: Extent | undefined,
  open: OpenRecord,
  visitor?: LogVisitor,
): Promise<ReadLog> {
  const found = await listSegments(fileSystem, dir);
  if (extent === undefined || extent.last === 0) {
    if (found.length === 0) throw new WalError('no-log', `there is no log in ${dir}`, { dir });
    if (extent === undefined) throw corrupt(extentPath(dir), 0, 'it is missing, though there is a log');
  }
  const released = found.filter(({ sequence }) => sequence < extent.first);
  const segments = found.slice(released.length);
  let expected = extent.first;
  for (const { sequence } of segments) if (sequence === expected) expected++;
  if (expected <= Math.max(extent.last, segments.at(-1)?.sequence ?? 0)) {
    throw corrupt(segmentPath(dir, expected), 0, 'the file is missing');
  }
  const reader = new LogReader(fileSystem, extent, open, visitor);
  for (const segment of segments) await reader.read(segment, segment === segments.at(-1));
  const { state, offset, torn, unsettled } = reader;
  const chain = reader.chain();
  const missing = missingFrom(extent, chain.sequence);
  if (missing > 0) {
    const what = torn ? 'the next is damaged' : 'nothing follows';
    throw corrupt(segments.at(-1)!.path, offset, `${missing} records that were synced are gone: ${what}`);
  }
  if (state.member !== 0 && state.member !== extent.member) {
    throw corrupt(extentPath(dir), 0, `it is of member ${extent.member}, and the log of member ${state.member}`);
  }
  return { state, segments, released, chain, offset, torn, unsettled };
}

/** Opens and decodes; throws when the sealer does not know the key or the bytes are not what they claim. */
export const openWith =
  (sealer: Sealer): OpenRecord =>
  (sealed) =>
    decodeItems(sealer.open(sealed));

class LogReader {
  readonly state = new LogState();
  offset = 0;
  torn = false;
  unsettled: ReadLog['unsettled'] = { offset: 0, bytes: Buffer.alloc(0) };
  readonly #fileSystem: FileSystem;
  readonly #extent: Extent;
  readonly #open: OpenRecord;
  readonly #visitor: LogVisitor | undefined;
  #chain: Chain | undefined;
  #previous = '';
  #madeBytes = 0;

  constructor(fileSystem: FileSystem, extent: Extent, open: OpenRecord, visitor?: LogVisitor) {
    this.#fileSystem = fileSystem;
    this.#extent = extent;
    this.#open = open;
    this.#visitor = visitor;
  }

  chain(): Chain {
    return this.#chain ?? { sequence: 0, crc: 0 };
  }

  async read(segment: Segment, isLast: boolean): Promise<void> {
    const bytes = await readAll(this.#fileSystem, segment.path);
    this.#visitor?.segment(segment, bytes.length);
    this.#madeBytes = 0;
    this.#readHead(segment, bytes);
    // What a power cut leaves is as long as the file was made.
    if (bytes.length < this.#madeBytes) {
      throw corrupt(segment.path, bytes.length, `the file was made with ${this.#madeBytes} bytes, and is cut`);
    }
    let settled = this.offset;
    for (;;) {
      if (missingFrom(this.#extent, this.chain().sequence) >= 0) settled = this.offset;
      const found = readRecord(bytes, this.offset, this.chain());
      if (found.kind === 'corrupt') throw corrupt(segment.path, this.offset, found.reason);
      if (found.kind === 'record') {
        this.#take(segment, found.record, found.record.payload);
        continue;
      }
      if (found.kind === 'torn' && !isLast) throw corrupt(segment.path, this.offset, 'torn, and segments follow');
      this.torn = found.kind === 'torn';
      this.unsettled = { offset: settled, bytes: bytes.subarray(settled, this.offset) };
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
    const lost = chain === undefined ? 0 : (record.sequence - chain.sequence) | 0;
    if (lost > 0) throw corrupt(this.#previous, this.offset, `${lost} records are missing at its end`);
    this.#previous = segment.path;
    if (chain !== undefined && (seed !== chain.crc || record.sequence !== chain.sequence >>> 0)) {
      throw corrupt(segment.path, 0, 'it does not continue the segment before');
    }
    this.#take(segment, record, record.payload.subarray(4));
  }

  #take(segment: Segment, record: LogRecord, sealed: Uint8Array): void {
    const at = record.type === 'head' ? 0 : this.offset;
    try {
      const items = this.#open(sealed);
      for (const item of items ?? []) {
        this.state.apply(item);
        if (item.kind === 'made') this.#madeBytes = item.bytes;
      }
      segment.lastIndex = Math.max(segment.lastIndex, lastIndexOf(items ?? []));
      this.#visitor?.record(segment, at, record, items);
    } catch (error) {
      throw corrupt(segment.path, at, error instanceof Error ? error.message : 'it cannot be opened', error);
    }
    this.#chain = { sequence: record.sequence + 1, crc: record.crc };
    this.offset = record.end;
  }
}
