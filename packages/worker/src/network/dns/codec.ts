import { isIPv4 } from 'node:net';
import { parseIp } from '@swarmctl/shared/model';

// The little of the DNS's wire format that a resolver needs which answers one question at a time: whom is asked for, and an answer to it. What
// is passed on for others stays as it came.

export const types = { A: 1, PTR: 12, AAAA: 28, OPT: 41 } as const;
export const rcodes = { ok: 0, malformed: 1, failed: 2, noName: 3, notImplemented: 4, refused: 5 } as const;
export type Rcode = (typeof rcodes)[keyof typeof rcodes];

const classIn = 1;
const headerSize = 12;
/** Of a datagram, unless the client says that it takes more. */
const plainLimit = 512;
/** What this side takes; small enough to pass everywhere unfragmented. */
const ourLimit = 1232;

export interface Question {
  /** Lower case, without the last dot; a dot within a label is `\.`. */
  readonly name: string;
  readonly type: number;
  /** As it was sent, to be sent back. */
  readonly raw: Buffer;
}

export interface Query {
  readonly id: number;
  /** What the answer repeats: the kind of query, and whether recursion is desired. */
  readonly flags: number;
  /** Absent: only an error can be answered. */
  readonly question?: Question;
  /** Why it cannot be answered. */
  readonly error?: Rcode;
  /** The client speaks of EDNS, so the answer must. */
  readonly edns: boolean;
  /** The largest datagram that the client takes. */
  readonly limit: number;
}

export interface Answer {
  readonly rcode: Rcode;
  /** Addresses for A and AAAA, a name for PTR. */
  readonly records?: readonly string[];
}

/** Seconds that anybody may remember an answer. */
const ttl = 1;

/** Undefined for what must not be answered: too short, or an answer itself. */
export function parseQuery(packet: Buffer): Query | undefined {
  if (packet.length < headerSize) return undefined;
  const bits = packet.readUInt16BE(2);
  if (bits & 0x8000) return undefined;
  const head = { id: packet.readUInt16BE(0), flags: bits & 0x7900, edns: false, limit: plainLimit };
  if (bits & 0x7800) return { ...head, error: rcodes.notImplemented };
  const question = packet.readUInt16BE(4) === 1 ? readQuestion(packet) : undefined;
  if (!question) return { ...head, error: rcodes.malformed };
  const records = packet.readUInt16BE(6) + packet.readUInt16BE(8) + packet.readUInt16BE(10);
  const limit = payloadLimit(packet, headerSize + question.raw.length, records);
  if (limit === 'malformed') return { ...head, question, error: rcodes.malformed };
  const wrongClass = question.raw.readUInt16BE(question.raw.length - 2) !== classIn;
  return {
    ...head,
    question,
    ...(wrongClass && { error: rcodes.refused }),
    ...(limit !== undefined && { edns: true, limit: Math.max(plainLimit, limit) }),
  };
}

function readQuestion(packet: Buffer): Question | undefined {
  const labels: string[] = [];
  let at = headerSize;
  for (;;) {
    const length = packet[at++];
    if (length === undefined || length > 63) return undefined;
    if (length === 0) break;
    if (at + length > packet.length || at + length - headerSize > 254) return undefined;
    labels.push(packet.toString('latin1', at, at + length).replaceAll('.', '\\.'));
    at += length;
  }
  if (at + 4 > packet.length) return undefined;
  const raw = packet.subarray(headerSize, at + 4);
  return { name: lower(labels.join('.')), type: packet.readUInt16BE(at), raw };
}

/** ASCII only: other bytes are not letters here. */
const lower = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

/** From the OPT record among the `count` records at `at`; undefined when there is none. */
function payloadLimit(packet: Buffer, at: number, count: number): number | undefined | 'malformed' {
  for (let i = 0; i < count; i++) {
    const end = skipName(packet, at);
    if (end === undefined || end + 10 > packet.length) return 'malformed';
    if (packet.readUInt16BE(end) === types.OPT) return packet.readUInt16BE(end + 2);
    at = end + 10 + packet.readUInt16BE(end + 8);
    if (at > packet.length) return 'malformed';
  }
  return undefined;
}

function skipName(packet: Buffer, at: number): number | undefined {
  for (;;) {
    const length = packet[at];
    if (length === undefined) return undefined;
    if (length >= 0xc0) return at + 2;
    if (length > 63) return undefined;
    at += length + 1;
    if (length === 0) return at;
  }
}

/** As many records as `limit` has room for; a client that is not told all is told so, and asks again by TCP. */
export function encodeAnswer(query: Query, { rcode, records = [] }: Answer, limit: number): Buffer {
  const { question } = query;
  const opt = query.edns ? optRecord : empty;
  const room = limit - headerSize - (question?.raw.length ?? 0) - opt.length;
  const encoded = question ? records.map((record) => encodeRecord(question.type, record)) : [];
  const sizes = encoded.map(({ length }) => length);
  const count = fitting(sizes, room);
  const header = Buffer.alloc(headerSize);
  header.writeUInt16BE(query.id, 0);
  // An answer, by who knows, where recursion is to be had.
  const bits = 0x8000 | query.flags | 0x0400 | (count < encoded.length ? 0x0200 : 0) | 0x0080 | rcode;
  header.writeUInt16BE(bits, 2);
  header.writeUInt16BE(question ? 1 : 0, 4);
  header.writeUInt16BE(count, 6);
  header.writeUInt16BE(query.edns ? 1 : 0, 10);
  return Buffer.concat([header, question?.raw ?? empty, ...encoded.slice(0, count), opt]);
}

function fitting(sizes: readonly number[], room: number): number {
  let count = 0;
  for (const size of sizes) {
    room -= size;
    if (room < 0) break;
    count++;
  }
  return count;
}

function encodeRecord(type: number, value: string): Buffer {
  const data = type === types.PTR ? encodeName(value) : encodeAddress(value);
  const head = Buffer.alloc(12);
  // The name of the question.
  head.writeUInt16BE(0xc000 | headerSize, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(classIn, 4);
  head.writeUInt32BE(ttl, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function encodeAddress(addr: string): Buffer {
  const bytes = isIPv4(addr) ? 4 : 16;
  return Buffer.from((parseIp(addr)?.value ?? 0n).toString(16).padStart(bytes * 2, '0'), 'hex');
}

export function encodeName(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.from(label.slice(0, 63), 'latin1'));
  return Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)]);
}

const empty = Buffer.alloc(0);

const optRecord = Buffer.from([0, 0, types.OPT, ourLimit >> 8, ourLimit & 255, 0, 0, 0, 0, 0, 0]);

/** Is `packet` an answer to what `query` asked? */
export function isAnswerTo(packet: Buffer, query: Buffer, question: Question): boolean {
  if (packet.length < headerSize || packet.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  if (!(packet.readUInt16BE(2) & 0x8000)) return false;
  // Some servers leave the question out of an error.
  if (packet.readUInt16BE(4) === 0) return (packet.readUInt16BE(2) & 15) !== 0;
  const answered = readQuestion(packet);
  return answered !== undefined && answered.name === question.name && answered.type === question.type;
}

export const isTruncated = (packet: Buffer): boolean => (packet.readUInt16BE(2) & 0x0200) !== 0;

/** A resolver's answer made to fit: as it is, or its head and question with the word that there is more. */
export function fitted(packet: Buffer, query: Query, limit: number): Buffer {
  if (packet.length <= limit) return packet;
  const rcode = (packet.readUInt16BE(2) & 15) as Rcode;
  const short = encodeAnswer(query, { rcode }, limit);
  short.writeUInt16BE(short.readUInt16BE(2) | 0x0200, 2);
  return short;
}

/** The address that a name under in-addr.arpa or ip6.arpa stands for. */
export function reverseAddress(name: string): string | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4) {
    const addr = v4.slice(1).reverse().map(Number).join('.');
    return isIPv4(addr) ? addr : undefined;
  }
  const v6 = /^((?:[\da-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (!v6) return undefined;
  const digits = v6.replaceAll('.', '').split('').reverse().join('');
  return digits.match(/.{4}/g)?.join(':');
}
