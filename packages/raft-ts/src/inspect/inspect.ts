import { join } from 'node:path';
import type { HardState } from '../core/types.ts';
import type { Sealer } from '../host/types.ts';
import { crc32 } from '../wal/crc32.ts';
import { type FileSystem, readAll } from '../wal/file-system.ts';
import { decodeItems, type LogId, type LogItem } from '../wal/log-items.ts';
import { type Chain, type LogRecord, readRecord } from '../wal/record.ts';
import { listSegments } from '../wal/segments.ts';
import { snapshotDir } from '../wal/snapshot-store.ts';
import { walDir } from '../wal/wal.ts';

// Looks into a member's folder, record by record, and writes nothing: also while the member runs. What entries carry is never shown, only how
// long it is; without the sealer, not even which entries there are.

export interface EntryFacts {
  readonly index: number;
  readonly term: number;
  readonly type: string;
  readonly bytes: number;
}

export type Finding =
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

async function* inspectLog(dir: string, { fileSystem, sealer }: InspectEnv): AsyncGenerator<Finding> {
  const segments = await listSegments(fileSystem, walDir(dir));
  let chain: Chain | undefined;
  for (const [i, { path }] of segments.entries()) {
    const bytes = await readAll(fileSystem, path);
    yield { kind: 'segment', file: path, bytes: bytes.length };
    const seed = bytes.length >= 20 ? bytes.readUInt32LE(16) : 0;
    if (chain !== undefined && seed !== chain.crc) {
      yield { kind: 'damage', file: path, offset: 0, reason: 'it does not continue the segment before' };
      return;
    }
    let expected: { sequence?: number; crc: number } = { crc: seed };
    for (let offset = 0; ; ) {
      const found = readRecord(bytes, offset, expected);
      if (found.kind === 'record') {
        const { record } = found;
        yield recordFinding(path, offset, record, sealer);
        chain = { sequence: record.sequence + 1, crc: record.crc };
        expected = chain;
        offset = record.end;
        continue;
      }
      const isLast = i === segments.length - 1;
      const reason = found.kind === 'corrupt' ? found.reason : offset === 0 ? 'the head is missing' : undefined;
      if (reason !== undefined) yield { kind: 'damage', file: path, offset, reason };
      else if (found.kind === 'torn' && isLast) yield { kind: 'torn', file: path, offset };
      else if (found.kind === 'torn') yield { kind: 'damage', file: path, offset, reason: 'torn, and segments follow' };
      if (reason !== undefined || (found.kind === 'torn' && !isLast)) return;
      break;
    }
  }
}

function recordFinding(file: string, offset: number, record: LogRecord, sealer: Sealer | undefined): Finding {
  const { type, sequence, payload, end } = record;
  const items = itemsOf(type === 'head' ? payload.subarray(4) : payload, sealer);
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

/** The chained CRC of a snapshot's frames can be followed without opening them. */
async function* inspectSnapshots(dir: string, { fileSystem }: InspectEnv): AsyncGenerator<Finding> {
  const folder = snapshotDir(dir);
  for (const name of (await fileSystem.readdir(folder)).filter((one) => one.endsWith('.snap')).sort()) {
    const file = join(folder, name);
    const bytes = await readAll(fileSystem, file);
    let [offset, crc, frames] = [magicBytes, 0, 0];
    let fault: string | undefined;
    while (fault === undefined && offset < bytes.length) {
      const end = offset + frameHeadBytes + (offset + 4 <= bytes.length ? bytes.readUInt32LE(offset) : 0);
      if (offset + frameHeadBytes > bytes.length || end > bytes.length) fault = 'it ends early';
      else {
        crc = crc32(bytes.subarray(offset + frameHeadBytes, end), crc32(bytes.subarray(offset, offset + 4), crc));
        if (bytes.readUInt32LE(offset + 4) !== crc) fault = 'checksum mismatch';
        else [offset, frames] = [end, frames + 1];
      }
    }
    if (frames === 0) fault ??= 'it is empty';
    if (fault === undefined) yield { kind: 'snapshot', file, bytes: bytes.length, frames };
    else yield { kind: 'damage', file, offset, reason: fault };
  }
}
