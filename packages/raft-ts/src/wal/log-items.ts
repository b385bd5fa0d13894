import type { Entry, HardState } from '../core/types.ts';
import { ByteReader, ByteWriter, DecodeError } from './bytes.ts';
import { readEntry, writeEntry } from './entry-codec.ts';

// What the log's records say, one item after the other.

export interface LogId {
  readonly index: number;
  readonly term: number;
}

export type LogItem =
  | { readonly kind: 'entry'; readonly entry: Entry }
  | { readonly kind: 'hard-state'; readonly hardState: HardState }
  /** The log begins anew behind a snapshot that another member sent. */
  | { readonly kind: 'installed'; readonly snapshot: LogId }
  /** A snapshot was taken here; entries up to `before` are not needed any more. */
  | { readonly kind: 'compacted'; readonly snapshot: LogId; readonly before: LogId }
  /** Whose log this is. */
  | { readonly kind: 'member'; readonly id: number }
  /** The bytes that the segment's file was made with: a shorter one was cut. */
  | { readonly kind: 'made'; readonly bytes: number };

const kinds: readonly LogItem['kind'][] = ['entry', 'hard-state', 'installed', 'compacted', 'member', 'made'];
const version = 1;

export function encodeItems(items: readonly LogItem[]): Buffer {
  const out = new ByteWriter(1024).u8(version);
  for (const item of items) writeItem(out, item);
  return out.take();
}

function writeItem(out: ByteWriter, item: LogItem): void {
  out.u8(kinds.indexOf(item.kind));
  switch (item.kind) {
    case 'entry':
      writeEntry(out, item.entry);
      return;
    case 'hard-state':
      out.varint(item.hardState.term).varint(item.hardState.vote).varint(item.hardState.commit);
      return;
    case 'installed':
      writeId(out, item.snapshot);
      return;
    case 'compacted':
      writeId(out, item.snapshot);
      writeId(out, item.before);
      return;
    case 'member':
      out.varint(item.id);
      return;
    case 'made':
      out.varint(item.bytes);
      return;
    default:
      item satisfies never;
  }
}

const writeId = (out: ByteWriter, id: LogId): void => {
  out.varint(id.index).varint(id.term);
};

const readId = (input: ByteReader): LogId => ({ index: input.varint(), term: input.varint() });

export function decodeItems(payload: Uint8Array): LogItem[] {
  const input = new ByteReader(payload);
  const layout = input.u8();
  if (layout !== version) throw new DecodeError(`log record layout ${layout} is not known`);
  const items: LogItem[] = [];
  while (!input.atEnd) items.push(readItem(input));
  return items;
}

function readItem(input: ByteReader): LogItem {
  const kind = kinds[input.u8()];
  switch (kind) {
    case 'entry':
      return { kind, entry: readEntry(input) };
    case 'hard-state':
      return { kind, hardState: { term: input.varint(), vote: input.varint(), commit: input.varint() } };
    case 'installed':
      return { kind, snapshot: readId(input) };
    case 'compacted':
      return { kind, snapshot: readId(input), before: readId(input) };
    case 'member':
      return { kind, id: input.varint() };
    case 'made':
      return { kind, bytes: input.varint() };
    case undefined:
      throw new DecodeError('unknown kind of log item');
    default:
      return kind satisfies never;
  }
}

/** Roughly the bytes an item takes. */
export const itemSize = (item: LogItem): number => (item.kind === 'entry' ? item.entry.data.length + 24 : 32);
