import { StorageError } from '../core/storage-error.ts';
import type { ConfState, Entry, HardState, LogStorage, Snapshot } from '../core/types.ts';
import type { Sealer } from '../host/types.ts';
import { extentPath, type LogIdentity, readExtent } from './extent.ts';
import type { FileSystem } from './file-system.ts';
import type { LogId, LogItem } from './log-items.ts';
import type { LogState } from './log-state.ts';
import { LogTail } from './log-tail.ts';
import { PeerLogs, peersFile } from './peer-logs.ts';
import { listSegments } from './segments.ts';
import type { SnapshotHeader } from './snapshot-header.ts';
import { SnapshotStore, snapshotDir, type UnnamedSnapshot } from './snapshot-store.ts';
import { Wal, walDir } from './wal.ts';
import { corrupt, WalError } from './wal-error.ts';

// A member's durable state: the log on disk with its tail in memory, and the snapshots. What the core reads is here.

export interface LogStoreEnv {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly sealer: Sealer;
  readonly segmentBytes?: number;
  /** What was found and mended at a start. */
  readonly warn?: (fields: Record<string, unknown>, message: string) => void;
}

const noConf: ConfState = { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
const start: LogId = { index: 0, term: 0 };
const maxPartBytes = 512 << 10;
const noData = new Uint8Array(0);

/** Whether a member was here, be its log damaged or even gone since. */
export async function holdsLog(fileSystem: FileSystem, dir: string): Promise<boolean> {
  return (await hasLogFiles(fileSystem, dir)) || (await hasOtherFiles(fileSystem, dir));
}

/** What comes after the log only. */
async function hasOtherFiles(fileSystem: FileSystem, dir: string): Promise<boolean> {
  if ((await fileSystem.readdir(snapshotDir(dir))).some((name) => name.endsWith('.snap'))) return true;
  return (await fileSystem.readdir(dir)).includes(peersFile);
}

async function hasLogFiles(fileSystem: FileSystem, dir: string): Promise<boolean> {
  if ((await listSegments(fileSystem, walDir(dir))).length > 0) return true;
  // One that cannot be read is for the start to refuse.
  const extent = await readExtent(fileSystem, extentPath(walDir(dir))).catch(() => 'damaged' as const);
  return extent === 'damaged' || (extent !== undefined && extent.last > 0);
}

export class LogStore implements LogStorage {
  readonly snapshots: SnapshotStore;
  /** By which logs the other members are known. */
  readonly peers: PeerLogs;
  readonly #wal: Wal;
  readonly #tail: LogTail;
  /** As last written or about to be. */
  #hardState: HardState;
  /** The commit index moved since the last write: that alone is not worth a write. */
  #commitUnsaved = false;
  #latest: SnapshotHeader | undefined;
  /** Resolves once everything written so far is durable. */
  #lastWrite: Promise<void> = Promise.resolve();
  #lastChange: Promise<void> = Promise.resolve();

  private constructor(
    wal: Wal,
    tail: LogTail,
    snapshots: SnapshotStore,
    peers: PeerLogs,
    hardState: HardState,
    latest?: SnapshotHeader,
  ) {
    this.#wal = wal;
    this.#tail = tail;
    this.snapshots = snapshots;
    this.peers = peers;
    this.#hardState = hardState;
    this.#latest = latest;
  }

  /** A new member's: with the entries and the hard state, or not at all. */
  static async create(
    env: LogStoreEnv,
    identity: LogIdentity,
    entries: Entry[],
    hardState: HardState,
  ): Promise<LogStore> {
    if (await holdsLog(env.fileSystem, env.dir)) {
      throw new WalError('log-exists', `there is a log in ${env.dir} already`, { dir: env.dir });
    }
    const snapshots = new SnapshotStore({ ...env, dir: snapshotDir(env.dir) });
    await snapshots.removeUnfinished();
    const items: LogItem[] = entries.map(entryItem);
    if (entries.length > 0) items.push({ kind: 'hard-state', hardState });
    const wal = await Wal.create({ ...env, dir: walDir(env.dir) }, identity, items);
    const peers = await PeerLogs.load(env.fileSystem, env.dir, wal);
    return new LogStore(wal, new LogTail(start, [...entries]), snapshots, peers, hardState);
  }

  static async load(env: LogStoreEnv, member: number): Promise<LogStore> {
    const { fileSystem, dir } = env;
    if (!(await hasLogFiles(fileSystem, dir)) && (await hasOtherFiles(fileSystem, dir))) {
      throw corrupt(extentPath(walDir(dir)), 0, 'it is missing, and so is the log, though a member was here');
    }
    const { wal, state, torn } = await Wal.load({ ...env, dir: walDir(env.dir) });
    try {
      if (torn) env.warn?.({ dir: env.dir }, 'the last log record was torn by a crash and is cut off');
      if (state.member !== member) {
        throw new WalError('foreign', `${env.dir} has the log of member ${state.member}, not of ${member}`, {
          dir: env.dir,
          member: state.member,
        });
      }
      return await LogStore.#restore(env, wal, state);
    } catch (error) {
      await wal.close();
      throw error;
    }
  }

  static async #restore(env: LogStoreEnv, wal: Wal, state: LogState): Promise<LogStore> {
    const snapshots = new SnapshotStore({ ...env, dir: snapshotDir(env.dir) });
    await snapshots.removeUnfinished();
    const header = await newestUsable(env, snapshots, state);
    const snapshot = header?.meta ?? start;
    const before =
      snapshot.index === state.snapshot.index ? state.before : { index: snapshot.index, term: snapshot.term };
    const entries = state.entries.filter((entry) => entry.index > before.index);
    const firstMissing = before.index + 1 + entries.length;
    if ((entries[0]?.index ?? firstMissing) !== before.index + 1 || firstMissing <= snapshot.index) {
      const file = walDir(env.dir);
      throw new WalError('corrupt', `the log in ${file} lacks entries behind index ${before.index}`, {
        file,
        offset: 0,
        index: before.index,
      });
    }
    const { term, vote, commit } = state.hardState;
    const hardState = { term, vote, commit: Math.max(commit, snapshot.index) };
    const peers = await PeerLogs.load(env.fileSystem, env.dir, wal);
    return new LogStore(wal, new LogTail(before, entries), snapshots, peers, hardState, header);
  }

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#latest?.meta.confState ?? noConf };
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] {
    return this.#tail.slice(lo, hi, maxBytes);
  }

  term(index: number): number {
    return this.#tail.term(index);
  }

  firstIndex(): number {
    return this.#tail.firstIndex;
  }

  lastIndex(): number {
    return this.#tail.lastIndex;
  }

  snapshot(): Snapshot {
    if (this.#latest === undefined) throw new StorageError('snapshot-temporarily-unavailable');
    return { meta: this.#latest.meta, data: noData };
  }

  /** The number that this member's log is told from others by. */
  get log(): number {
    return this.#wal.extent.log;
  }

  get latest(): SnapshotHeader | undefined {
    return this.#latest;
  }

  /** Resolves, in the order of the calls, once entries and hard state are durable. */
  save(entries: readonly Entry[], hardState?: HardState): Promise<void> {
    const before = this.#hardState;
    const votes = hardState !== undefined && (hardState.term !== before.term || hardState.vote !== before.vote);
    if (hardState !== undefined) {
      this.#hardState = hardState;
      this.#commitUnsaved = true;
    }
    const writes = split(entries);
    if (writes.length > 1 && votes) {
      // The term must not come after entries of it, nor the commit index before what it covers.
      void this.#append([{ kind: 'hard-state', hardState: { ...this.#hardState, commit: before.commit } }]);
    }
    for (const part of writes.slice(0, -1)) void this.#append(part.map(entryItem), () => this.#tail.append(part));
    const last = writes.at(-1) ?? [];
    const items: LogItem[] = last.map(entryItem);
    if (votes) items.push(this.#hardStateItem());
    if (items.length === 0) return this.#lastWrite;
    return this.#write(items, () => this.#tail.append(last));
  }

  /** Puts a received snapshot in the place of the whole log. Nothing may be saved until it has resolved. */
  install(received: UnnamedSnapshot, hardState: HardState): Promise<void> {
    return this.#alone(() => this.#install(received, hardState));
  }

  async #install(received: UnnamedSnapshot, hardState: HardState): Promise<void> {
    const { meta } = received.header;
    // Its final name comes after the record: what has one is never beyond the log's end.
    await received.stage();
    this.#hardState = hardState;
    const id = { index: meta.index, term: meta.term };
    await this.#write([{ kind: 'installed', snapshot: id }, this.#hardStateItem()], () => this.#tail.reset(id));
    await received.commit();
    this.#latest = received.header;
    await this.snapshots.keepOnly([id]);
    await this.#wal.release(id.index);
  }

  /** Takes note of a snapshot that was written here, and forgets entries more than `keep` behind it. */
  recordSnapshot(header: SnapshotHeader, keep: number): Promise<void> {
    return this.#alone(() => this.#recordSnapshot(header, keep));
  }

  async #recordSnapshot(header: SnapshotHeader, keep: number): Promise<void> {
    const previous = this.#latest?.meta ?? start;
    const { index, term } = header.meta;
    if (index <= previous.index) return;
    const cut = Math.max(this.#tail.before.index, index - keep);
    const before = { index: cut, term: this.#tail.term(cut) };
    await this.#write([{ kind: 'compacted', snapshot: { index, term }, before }, this.#hardStateItem()], () => {
      this.#tail.compact(cut);
      this.#latest = header;
    });
    // One older snapshot and the log from there on stay, should this one turn out to be damaged.
    await this.snapshots.keepOnly([header.meta, previous]);
    await this.#wal.release(Math.min(cut, previous.index));
  }

  /** One at a time changes which snapshots there are: what one cleans away must not be what another just made. */
  #alone(change: () => Promise<void>): Promise<void> {
    const done = this.#lastChange.then(change);
    this.#lastChange = done.catch(() => {});
    return done;
  }

  /** To be called now and then: what is durable by now is missed should it ever be gone. Rejects when the disk fails. */
  settle(): Promise<void> {
    return this.#wal.settle();
  }

  async close(): Promise<void> {
    await this.#lastChange;
    await this.peers.idle();
    if (this.#commitUnsaved && this.#wal.failure === undefined)
      await this.#write([this.#hardStateItem()]).catch(() => {});
    await this.#wal.close();
  }

  #hardStateItem(): LogItem {
    return { kind: 'hard-state', hardState: this.#hardState };
  }

  /** An unsaved commit index goes along. */
  #write(items: LogItem[], done?: () => void): Promise<void> {
    const hasHardState = items.some((item) => item.kind === 'hard-state');
    if (this.#commitUnsaved && !hasHardState) items.push(this.#hardStateItem());
    this.#commitUnsaved = false;
    return this.#append(items, done);
  }

  #append(items: LogItem[], done?: () => void): Promise<void> {
    this.#lastWrite = this.#wal.write(items).then(done);
    // Whoever waits hears of a failure; `close` and later saves must not be troubled by it.
    this.#lastWrite.catch(() => {});
    return this.#lastWrite;
  }
}

const entryItem = (entry: Entry): LogItem => ({ kind: 'entry', entry });

/** Into parts that are sealed and written at once without holding up the event loop. */
function split(entries: readonly Entry[]): (readonly Entry[])[] {
  const parts: Entry[][] = [];
  let bytes = maxPartBytes;
  for (const entry of entries) {
    bytes += entry.data.length;
    if (bytes >= maxPartBytes) {
      parts.push([]);
      bytes = entry.data.length;
    }
    parts.at(-1)!.push(entry);
  }
  return parts;
}

/** Throws `corrupt` when a snapshot was taken beyond the log's end: then the log is not the newest that was here. */
export async function refuseOlderLog(snapshots: SnapshotStore, state: LogState): Promise<void> {
  const [taken] = await snapshots.list();
  const end = Math.max(state.snapshot.index, state.entries.at(-1)?.index ?? state.before.index);
  if (taken === undefined || taken.index <= end) return;
  const reason = `it was taken at index ${taken.index}, and the log, an older one, ends at ${end}`;
  throw corrupt(snapshots.path(taken), 0, reason);
}

/** The newest snapshot that the log knows of; when it is damaged an older one, if the log goes on from there. */
async function newestUsable(
  env: LogStoreEnv,
  snapshots: SnapshotStore,
  state: LogState,
): Promise<SnapshotHeader | undefined> {
  const newest = state.snapshot;
  await snapshots.adopt(newest);
  await refuseOlderLog(snapshots, state);
  if (newest.index === 0) {
    await snapshots.keepOnly([]);
    return undefined;
  }
  const older = (await snapshots.list()).filter((id) => id.index < newest.index);
  await snapshots.keepOnly([newest, ...older]);
  try {
    return await snapshots.verify(newest);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const first = state.entries[0]?.index ?? Number.POSITIVE_INFINITY;
    for (const id of older.filter(({ index }) => first <= index + 1)) {
      const header = await snapshots.verify(id).catch(() => undefined);
      if (header === undefined) continue;
      env.warn?.(
        { index: newest.index, older: id.index, reason },
        'the newest snapshot is damaged: an older one is used',
      );
      return header;
    }
    if (first === 1) {
      env.warn?.({ index: newest.index, reason }, 'the only snapshot is damaged: the whole log is played');
      return undefined;
    }
    const file = snapshots.path(newest);
    const offset = error instanceof WalError ? error.data['offset'] : 0;
    throw new WalError(
      'corrupt',
      `snapshot ${file} cannot be used, and the log does not reach back: ${reason}`,
      { file, offset },
      error,
    );
  }
}
