import { payloadsSize } from '../core/entry-size.ts';
import { message, noBytes } from '../core/message.ts';
import type { Entry, Message, MessageType } from '../core/types.ts';
import { ByteReader, ByteWriter, DecodeError } from '../wal/bytes.ts';
import { readEntry, writeEntry } from '../wal/entry-codec.ts';
import { readConfState, writeConfState } from '../wal/snapshot-header.ts';

// The core's messages on the wire. A snapshot goes as its place in the log: its content is streamed apart.

/** By code. Messages that a member only sends to itself have none. */
const wireTypes: readonly MessageType[] = [
  'app',
  'app-resp',
  'vote',
  'vote-resp',
  'pre-vote',
  'pre-vote-resp',
  'snap',
  'heartbeat',
  'heartbeat-resp',
  'timeout-now',
  'read-index',
  'read-index-resp',
  'transfer-leader',
  'prop',
];

/** What a message takes without entries and context, about; and an entry without its data. */
const messageBytes = 64;
const entryBytes = 24;
const rejects = 1;
const hasSnapshot = 2;
const hasKnown = 4;

/** Roughly the bytes a message takes. */
export function messageSize({ context, entries }: Message): number {
  return messageBytes + context.length + entries.length * entryBytes + payloadsSize(entries);
}

export function encodeMessage(m: Message, out = new ByteWriter(messageSize(m))): ByteWriter {
  const code = wireTypes.indexOf(m.type);
  if (code < 0) throw new TypeError(`a ${m.type} message is not for the wire`);
  const flags =
    (m.reject ? rejects : 0) | (m.snapshot === undefined ? 0 : hasSnapshot) | (m.known === undefined ? 0 : hasKnown);
  out.u8(code).u8(flags);
  out.varint(m.to).varint(m.from).varint(m.term).varint(m.logTerm).varint(m.index);
  out.varint(m.commit).varint(m.vote).varint(m.rejectHint).bytes(m.context);
  out.varint(m.entries.length);
  for (const entry of m.entries) writeEntry(out, entry);
  if (m.snapshot !== undefined) {
    const { index, term, confState } = m.snapshot.meta;
    out.varint(index).varint(term);
    writeConfState(out, confState);
  }
  if (m.known !== undefined) out.varint(m.known.index).varint(m.known.term);
  return out;
}

/** Throws `DecodeError` on anything that `encodeMessage` does not make. */
export function decodeMessage(bytes: Uint8Array): Message {
  const input = new ByteReader(bytes);
  const type = wireTypes[input.u8()];
  if (type === undefined) throw new DecodeError('unknown message type');
  const flags = input.u8();
  const m = message({
    type,
    to: input.varint(),
    from: input.varint(),
    term: input.varint(),
    logTerm: input.varint(),
    index: input.varint(),
    commit: input.varint(),
    vote: input.varint(),
    rejectHint: input.varint(),
    reject: (flags & rejects) !== 0,
    context: readContext(input),
    entries: readEntries(input),
    snapshot: (flags & hasSnapshot) === 0 ? undefined : readSnapshot(input),
    known: (flags & hasKnown) === 0 ? undefined : { index: input.varint(), term: input.varint() },
  });
  input.end();
  check(m);
  return m;
}

function readContext(input: ByteReader): Uint8Array {
  const context = input.bytes();
  return context.length === 0 ? noBytes : new Uint8Array(context);
}

function readEntries(input: ByteReader): Entry[] {
  const entries: Entry[] = [];
  for (let left = input.count(); left > 0; left--) entries.push(readEntry(input));
  return entries;
}

function readSnapshot(input: ByteReader): NonNullable<Message['snapshot']> {
  const index = input.varint();
  const term = input.varint();
  return { meta: { index, term, confState: readConfState(input) }, data: new Uint8Array(0) };
}

/** What the core takes for granted. */
function check(m: Message): void {
  if (m.type === 'app') {
    m.entries.forEach((entry, i) => {
      if (entry.index !== m.index + 1 + i) throw new DecodeError('entries do not follow one another');
    });
  }
  if ((m.type === 'snap') !== (m.snapshot !== undefined)) throw new DecodeError('a snapshot in the wrong message');
}
