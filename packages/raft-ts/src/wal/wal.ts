import { join } from 'node:path';
import type { HardState } from '../core/types.ts';
import type { Sealer } from '../host/types.ts';
import { type Extent, ExtentFile, extentPath, type LogIdentity } from './extent.ts';
import { type FileSystem, syncBytes, zeroFill } from './file-system.ts';
import { encodeItems, itemSize, type LogId, type LogItem } from './log-items.ts';
import type { LogState } from './log-state.ts';
import { type Chain, encodeRecord, recordSize } from './record.ts';
import {
  beginSegment,
  lastIndexOf,
  type OpenSegment,
  openWith,
  type Prepared,
  prepareSegment,
  readLog,
  removeUnfinished,
  type Segment,
  sparePath,
} from './segments.ts';
import { WalError } from './wal-error.ts';

// The write-ahead log: appends are gathered into one write and one fdatasync, one such pair after the other.

export interface WalEnv {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly sealer: Sealer;
  /** Bytes that a segment is filled with zeros for; 16 MiB. */
  readonly segmentBytes?: number;
}

interface Waiting {
  readonly items: readonly LogItem[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

const defaultSegmentBytes = 16 << 20;
/** What one write takes at most, unless a single append is larger: sealing it must not hold up the event loop. */
const maxBatchBytes = 1 << 20;

export class Wal {
  readonly #env: WalEnv;
  readonly #segmentBytes: number;
  readonly #segments: Segment[];
  #open: OpenSegment;
  #chain: Chain;
  /** What heads of new segments repeat. */
  #member: number;
  #hardState: HardState;
  #snapshot: LogId;
  #before: LogId;
  #queue: Waiting[] = [];
  #running: Promise<void> | undefined;
  #prepared: Promise<Prepared> | undefined;
  readonly #extent: ExtentFile;
  #spare: string | undefined;
  #failure: Error | undefined;

  private constructor(
    env: WalEnv,
    extent: ExtentFile,
    open: OpenSegment,
    segments: Segment[],
    chain: Chain,
    state: CarriedState,
  ) {
    this.#env = env;
    this.#extent = extent;
    this.#segmentBytes = env.segmentBytes ?? defaultSegmentBytes;
    this.#open = open;
    this.#segments = segments;
    this.#chain = chain;
    this.#member = state.member;
    this.#hardState = state.hardState;
    this.#snapshot = state.snapshot;
    this.#before = state.before;
  }

  /** Makes a new log. It is there wholly, with `items`, or not at all. */
  static async create(env: WalEnv, identity: LogIdentity, items: readonly LogItem[] = []): Promise<Wal> {
    const { fileSystem, dir } = env;
    await fileSystem.mkdir(dir);
    await removeUnfinished(fileSystem, dir);
    const { keyId } = env.sealer;
    const { member } = identity;
    const extent = await ExtentFile.create(fileSystem, extentPath(dir), {
      ...identity,
      first: 1,
      last: 0,
      sequence: 1,
      peers: 0,
      keyId,
    });
    try {
      const prepared = await prepareSegment(fileSystem, dir, env.segmentBytes ?? defaultSegmentBytes);
      const head: LogItem[] = [{ kind: 'member', id: member }];
      const content = items.length === 0 ? { head } : { head, batch: items };
      const { open, chain } = await beginSegment(env, prepared, 1, { sequence: 1, crc: 0 }, content);
      await extent.write({ last: 1, sequence: chain.sequence });
      const none = { index: 0, term: 0 };
      const hardState = { term: 0, vote: 0, commit: 0 };
      const state = { member, hardState, snapshot: none, before: none };
      const wal = new Wal(env, extent, open, [open.segment], chain, state);
      wal.#carry(items);
      return wal;
    } catch (error) {
      await extent.close();
      throw error;
    }
  }

  /** Reads a log and goes on with it; a torn last record is cut off. */
  static async load(env: WalEnv): Promise<{ readonly wal: Wal; readonly state: LogState; readonly torn: boolean }> {
    const { fileSystem, dir, sealer } = env;
    const extent = await ExtentFile.open(fileSystem, extentPath(dir));
    try {
      const log = await readLog(fileSystem, dir, extent?.extent, openWith(sealer));
      const { state, segments, released, chain, offset, torn, unsettled } = log;
      await removeUnfinished(fileSystem, dir);
      for (const { path } of released) await fileSystem.unlink(path);
      await syncAll(fileSystem, dir, segments);
      const segment = segments.at(-1)!;
      const file = await fileSystem.open(segment.path, 'write-through');
      const bytes = await file.size();
      // When a sync failed before, the kernel takes these for clean: only written again are they sure to get to the disk.
      await file.write(unsettled.bytes, unsettled.offset);
      await file.datasync();
      if (torn) {
        await zeroFill(file, offset, bytes, syncBytes);
        await file.sync();
      }
      await extent!.write({ last: segment.sequence, sequence: chain.sequence, keyId: sealer.keyId });
      const wal = new Wal(env, extent!, { segment, file, bytes, offset }, segments, chain, state);
      return { wal, state, torn };
    } catch (error) {
      await extent?.close();
      throw error;
    }
  }

  /** Why nothing can be written any more. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  get idle(): boolean {
    return this.#running === undefined;
  }

  get extent(): Extent {
    return this.#extent.extent;
  }

  /** From now on a start misses them should fewer members be noted. Rejects when the disk fails. */
  async notePeers(peers: number): Promise<void> {
    await this.#guarded(this.#extent.write({ peers }));
  }

  /** Resolves once the items are durable; in the order of the calls. Rejects when the disk fails, then and ever after. */
  write(items: readonly LogItem[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#queue.push({ items, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Makes sure that what is durable now is missed should it ever be gone. Rejects when the disk fails. */
  async settle(): Promise<void> {
    if (this.#failure !== undefined || this.#extent.extent.sequence === this.#chain.sequence >>> 0) return;
    await this.#guarded(this.#extent.write(this.#reach()));
  }

  /** Removes segments whose entries all have an index up to `index`; one of them is kept to be used again. Rejects when the disk fails. */
  async release(index: number): Promise<void> {
    const kept = this.#segments.findIndex(({ lastIndex }, i) => lastIndex > index || i === this.#segments.length - 1);
    if (kept <= 0 || this.#failure !== undefined) return;
    await this.#guarded(this.#release(kept));
  }

  async #release(count: number): Promise<void> {
    const { fileSystem, dir } = this.#env;
    await this.#extent.write({ first: this.#segments[count]!.sequence });
    for (const { path } of this.#segments.splice(0, count)) {
      const keeps = this.#spare === undefined;
      if (keeps) await fileSystem.rename(path, sparePath(dir));
      else await fileSystem.unlink(path);
      // One after the other, so that no crash leaves a gap, or an old name with new content.
      await fileSystem.syncDir(dir);
      if (keeps) this.#spare = sparePath(dir);
    }
  }

  /** Lets what was begun finish, and closes the files. */
  async close(): Promise<void> {
    await this.#running;
    // What cannot be noted down now was durable anyhow.
    await this.settle().catch(() => {});
    this.#failure ??= new WalError('io', 'the log is closed');
    const prepared = await this.#prepared?.catch(() => undefined);
    await prepared?.file.close();
    await this.#open.file.close();
    await this.#extent.close();
  }

  #reach(): { last: number; sequence: number } {
    return { last: this.#open.segment.sequence, sequence: this.#chain.sequence };
  }

  async #guarded(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#fail(error, []);
      throw this.#failure;
    }
  }

  async #run(): Promise<void> {
    // What is appended in the same turn goes into the same write.
    await Promise.resolve();
    while (this.#queue.length > 0 && this.#failure === undefined) {
      const group = this.#takeGroup();
      try {
        await this.#writeGroup(itemsOf(group));
        for (const waiting of group) waiting.resolve();
      } catch (error) {
        this.#fail(error, group);
      }
    }
    this.#running = undefined;
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { items } of this.#queue) {
      bytes += items.reduce((sum, item) => sum + itemSize(item), 0);
      if (count > 0 && bytes > maxBatchBytes) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  /** After a failed write or sync the kernel may have dropped the pages: trying again would be to guess. */
  #fail(error: unknown, group: readonly Waiting[]): void {
    const what = error instanceof Error ? error.message : String(error);
    if (this.#failure !== undefined && group.length === 0) return;
    const failure = new WalError('io', `the log cannot be written: ${what}`, { file: this.#open.segment.path }, error);
    this.#failure = failure;
    for (const waiting of [...group, ...this.#queue.splice(0)]) waiting.reject(failure);
  }

  async #writeGroup(items: readonly LogItem[]): Promise<void> {
    const payload = this.#env.sealer.seal(encodeItems(items));
    const size = recordSize(payload.length);
    if (this.#open.offset + size > this.#open.bytes) await this.#cut(size);
    const record = encodeRecord('batch', payload, this.#chain);
    await this.#open.file.write(record.bytes, this.#open.offset);
    await this.#open.file.datasync();
    this.#chain = { sequence: this.#chain.sequence + 1, crc: record.crc };
    this.#open.offset += size;
    this.#open.segment.lastIndex = Math.max(this.#open.segment.lastIndex, lastIndexOf(items));
    this.#carry(items);
    if (this.#open.offset > this.#open.bytes / 2) void this.#prepareNext();
  }

  #carry(items: readonly LogItem[]): void {
    for (const item of items) {
      if (item.kind === 'hard-state') this.#hardState = item.hardState;
      if (item.kind === 'installed' || item.kind === 'compacted') this.#snapshot = item.snapshot;
      if (item.kind === 'installed') this.#before = item.snapshot;
      if (item.kind === 'compacted') this.#before = item.before;
    }
  }

  #prepareNext(): Promise<Prepared> {
    if (this.#prepared === undefined) {
      const prepared = prepareSegment(this.#env.fileSystem, this.#env.dir, this.#segmentBytes, this.#spare);
      this.#spare = undefined;
      this.#prepared = prepared;
      // A disk that was full may have room by the time that the file is needed.
      prepared.catch(() => {
        if (this.#prepared === prepared) this.#prepared = undefined;
      });
    }
    return this.#prepared;
  }

  /** `room`: of the record that did not fit. */
  async #cut(room: number): Promise<void> {
    const prepared = await this.#prepareNext();
    this.#prepared = undefined;
    const head: LogItem[] = [
      { kind: 'member', id: this.#member },
      { kind: 'hard-state', hardState: this.#hardState },
      { kind: 'compacted', snapshot: this.#snapshot, before: this.#before },
    ];
    const sequence = this.#open.segment.sequence + 1;
    const { open, chain } = await beginSegment(this.#env, prepared, sequence, this.#chain, { head, room });
    await this.#open.file.close();
    this.#open = open;
    this.#chain = chain;
    this.#segments.push(open.segment);
    await this.#extent.write(this.#reach());
  }
}

function itemsOf(group: readonly Waiting[]): readonly LogItem[] {
  const [first, ...others] = group;
  if (first !== undefined && others.length === 0) return first.items;
  return group.flatMap(({ items }) => items);
}

/** What was read may be in the page cache only, written by a process that was killed before it could sync: nobody may build on it yet. */
async function syncAll(fileSystem: FileSystem, dir: string, segments: readonly Segment[]): Promise<void> {
  for (const { path } of segments) {
    const file = await fileSystem.open(path, 'write');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await fileSystem.syncDir(dir);
}

type CarriedState = Pick<LogState, 'member' | 'hardState' | 'snapshot' | 'before'>;

/** Where the log is kept within a member's folder. */
export const walDir = (dir: string): string => join(dir, 'wal');
