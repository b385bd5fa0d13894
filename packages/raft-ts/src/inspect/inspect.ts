import { dirname, join } from 'node:path';
import type { HardState } from '../core/types.ts';
import type { Sealer } from '../host/types.ts';
import { crc32 } from '../wal/crc32.ts';
import { type Extent, extentPath, readExtent } from '../wal/extent.ts';
import { type FileSystem, readAll } from '../wal/file-system.ts';
import { decodeItems, type LogId, type LogItem } from '../wal/log-items.ts';
import { refuseOlderLog } from '../wal/log-store.ts';
import { PeerLogs } from '../wal/peer-logs.ts';
import type { LogRecord } from '../wal/record.ts';
import { readLog } from '../wal/segments.ts';
import { endsEarlyReason, SnapshotFileReader } from '../wal/snapshot-file.ts';
import { SnapshotStore, snapshotDir } from '../wal/snapshot-store.ts';
import { walDir } from '../wal/wal.ts';
import { corrupt, WalError } from '../wal/wal-error.ts';

// Looks into a member's folder, record by record, and writes nothing: also while the member runs. What entries carry is never shown, only how
// long it is; without the sealer, not even which entries there are.

export interface EntryFacts {
  readonly index: number;
  readonly term: number;
  readonly type: string;
  readonly bytes: number;
}

export type Finding =
  /** What must be there: the segments from `first` to `last` and all records below `sequence`. */
  | ({ readonly kind: 'extent'; readonly file: string } & Extent)
  | { readonly kind: 'segment'; readonly file: string; readonly bytes: number }
  | {
      readonly kind: 'record';
      readonly file: string;
      readonly offset: number;
      readonly bytes: number;
      readonly type: string;
      readonly sequence: number;
      /** The content cannot be opened without the member's sealer. */
      readonly sealed: boolean;
      readonly entries: readonly EntryFacts[];
      readonly member?: number;
      readonly hardState?: HardState;
      readonly installed?: LogId;
      readonly compacted?: { readonly snapshot: LogId; readonly before: LogId };
    }
  /** What a power cut, or a write that is going on now, leaves at the end. */
  | { readonly kind: 'torn'; readonly file: string; readonly offset: number }
  | { readonly kind: 'snapshot'; readonly file: string; readonly bytes: number; readonly frames: number }
  | { readonly kind: 'damage'; readonly file: string; readonly offset: number; readonly reason: string };

export interface InspectEnv {
  readonly fileSystem: FileSystem;
  /** Undefined: content that is not plain is left closed. */
  readonly sealer?: Sealer;
}

/** Everything in order; after a damage in the log it goes on with the snapshots. */
export async function* inspect(dir: string, env: InspectEnv): AsyncGenerator<Finding> {
  yield* inspectLog(dir, env);
  yield* inspectSnapshots(dir, env);
}

/** A member that runs may remove segments meanwhile. */
const attempts = 5;

async function* inspectLog(dir: string, env: InspectEnv): AsyncGenerator<Finding> {
  for (let attempt = 1; ; attempt++) {
    const { findings, moved } = await readOnce(walDir(dir), env);
    if (moved && attempt < attempts) continue;
    yield* findings;
    return;
  }
}

/** `moved`: what was to be read has been removed or replaced since. */
async function readOnce(dir: string, env: InspectEnv): Promise<{ findings: Finding[]; moved: boolean }> {
  const { fileSystem, sealer } = env;
  const findings: Finding[] = [];
  const file = extentPath(dir);
  let extent: Extent | undefined;
  const damage = (error: unknown): void => {
    if (!(error instanceof WalError)) throw error;
    const { file: damaged = dir, offset = 0, reason = error.message } = error.data;
    findings.push({ kind: 'damage', file: String(damaged), offset: Number(offset), reason: String(reason) });
  };
  let gone = false;
  try {
    // First: what is durable now must be in what is read later.
    extent = await readExtent(fileSystem, file);
    if (extent !== undefined) findings.push({ kind: 'extent', file, ...extent });
    const { state, segments, offset, torn } = await readLog(
      fileSystem,
      dir,
      extent,
      (sealed) => itemsOf(sealed, sealer),
      {
        segment: ({ path }, bytes) => findings.push({ kind: 'segment', file: path, bytes }),
        record: ({ path }, at, record, items) => findings.push(recordFinding(path, at, record, items)),
      },
    );
    if (torn) findings.push({ kind: 'torn', file: segments.at(-1)!.path, offset });
    await PeerLogs.load(fileSystem, dirname(dir), { extent: extent!, notePeers: async () => {} });
    // Of a log that stays closed it is not known where it ends.
    const snapshots = new SnapshotStore({ fileSystem, dir: snapshotDir(dirname(dir)), sealer: plain });
    if (state.member !== 0) await refuseOlderLog(snapshots, state);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') gone = true;
    else damage(error);
  }
  const now = await readExtent(fileSystem, file).catch(() => undefined);
  const moved = now?.first !== extent?.first || now?.sequence !== extent?.sequence || now?.peers !== extent?.peers;
  return { findings, moved: gone || moved };
}

function recordFinding(
  file: string,
  offset: number,
  { type, sequence, end }: LogRecord,
  items: readonly LogItem[] | undefined,
): Finding {
  const last = <K extends LogItem['kind']>(kind: K) =>
    items?.findLast((item): item is Extract<LogItem, { kind: K }> => item.kind === kind);
  const [member, hard, installed, compacted] = [
    last('member'),
    last('hard-state'),
    last('installed'),
    last('compacted'),
  ];
  return {
    kind: 'record',
    file,
    offset,
    bytes: end - offset,
    type,
    sequence,
    sealed: items === undefined,
    entries: (items ?? []).flatMap((item) =>
      item.kind === 'entry'
        ? [{ index: item.entry.index, term: item.entry.term, type: item.entry.type, bytes: item.entry.data.length }]
        : [],
    ),
    ...(member && { member: member.id }),
    ...(hard && { hardState: hard.hardState }),
    ...(installed && { installed: installed.snapshot }),
    ...(compacted && { compacted: { snapshot: compacted.snapshot, before: compacted.before } }),
  };
}

function itemsOf(payload: Uint8Array, sealer: Sealer | undefined): LogItem[] | undefined {
  try {
    return decodeItems(sealer === undefined ? payload : sealer.open(payload));
  } catch {
    return undefined;
  }
}

const magicBytes = 8;
const frameHeadBytes = 8;
const plain: Sealer = { keyId: '', seal: (bytes) => bytes, open: (bytes) => bytes };

async function* inspectSnapshots(dir: string, { fileSystem, sealer }: InspectEnv): AsyncGenerator<Finding> {
  const folder = snapshotDir(dir);
  for (const name of (await fileSystem.readdir(folder)).filter((one) => one.endsWith('.snap')).sort()) {
    const file = join(folder, name);
    try {
      const { bytes, frames } = await followFrames(fileSystem, file);
      await readThrough(fileSystem, file, sealer);
      yield { kind: 'snapshot', file, bytes, frames };
    } catch (error) {
      // A member that runs removes old ones.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      if (!(error instanceof WalError)) throw error;
      yield { kind: 'damage', file, offset: Number(error.data['offset']), reason: String(error.data['reason']) };
    }
  }
}

/** The chained CRC of a snapshot's frames can be followed without opening them. */
async function followFrames(fileSystem: FileSystem, file: string): Promise<{ bytes: number; frames: number }> {
  const bytes = await readAll(fileSystem, file);
  let [offset, crc, frames] = [magicBytes, 0, 0];
  while (offset < bytes.length) {
    const end = offset + frameHeadBytes + (offset + 4 <= bytes.length ? bytes.readUInt32LE(offset) : 0);
    if (offset + frameHeadBytes > bytes.length || end > bytes.length) throw corrupt(file, offset, 'it ends early');
    crc = crc32(bytes.subarray(offset + frameHeadBytes, end), crc32(bytes.subarray(offset, offset + 4), crc));
    if (bytes.readUInt32LE(offset + 4) !== crc) throw corrupt(file, offset, 'checksum mismatch');
    [offset, frames] = [end, frames + 1];
  }
  if (frames === 0) throw corrupt(file, offset, 'it is empty');
  return { bytes: bytes.length, frames };
}

/** To its end, which a file that was cut between frames lacks. Without the sealer only one that is plain can be read. */
async function readThrough(fileSystem: FileSystem, file: string, sealer: Sealer | undefined): Promise<void> {
  try {
    const reader = await SnapshotFileReader.open(fileSystem, file, sealer ?? plain);
    for await (const _ of reader.chunks());
  } catch (error) {
    const endsEarly = error instanceof WalError && error.data['reason'] === endsEarlyReason;
    if (sealer !== undefined || endsEarly || !(error instanceof WalError)) throw error;
  }
}
