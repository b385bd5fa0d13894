import { crc32 } from './crc32.ts';

// Records as they lie in a segment. A segment is zero-filled and a record is one write that is synced before the next
// one begins, so a power cut can only leave zeros in the last record, by whole sectors or from some byte on.
//
//   0 payload length u32 | 4 magic u16 | 6 type u8 | 7 version u8 | 8 sequence u32 | 12 CRC of these u32
//   16 payload | padding to 8 | CRC of header and payload, chained to the record before, u32 | end mark u8

export type RecordType = 'head' | 'batch';

const headerBytes = 16;
const trailerBytes = 5;
const magic = 0x5752;
const version = 1;
const endMark = 0xa5;
const sectorBytes = 512;
const types: readonly RecordType[] = ['head', 'batch'];

export interface Chain {
  /** Of the next record. */
  readonly sequence: number;
  /** The CRC of the last record. */
  readonly crc: number;
}

export interface LogRecord {
  readonly type: RecordType;
  readonly sequence: number;
  readonly payload: Buffer;
  readonly crc: number;
  /** Where the next record begins. */
  readonly end: number;
}

/** `end`: nothing is there. `torn`: what a power cut left of the last write. `corrupt`: neither. */
export type Found =
  | { readonly kind: 'record'; readonly record: LogRecord }
  | { readonly kind: 'end' }
  | { readonly kind: 'torn' }
  | { readonly kind: 'corrupt'; readonly reason: string };

export const recordSize = (payloadLength: number): number =>
  Math.ceil((headerBytes + payloadLength + trailerBytes) / 8) * 8;

export function encodeRecord(
  type: RecordType,
  payload: Uint8Array,
  chain: Chain,
): { readonly bytes: Buffer; readonly crc: number } {
  const content = headerBytes + payload.length;
  const bytes = Buffer.allocUnsafe(recordSize(payload.length));
  bytes.writeUInt32LE(payload.length, 0);
  bytes.writeUInt16LE(magic, 4);
  bytes[6] = types.indexOf(type) + 1;
  bytes[7] = version;
  bytes.writeUInt32LE(chain.sequence >>> 0, 8);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 12)), 12);
  bytes.set(payload, headerBytes);
  bytes.fill(0, content, bytes.length - trailerBytes);
  const crc = crc32(bytes.subarray(0, content), chain.crc);
  bytes.writeUInt32LE(crc, bytes.length - trailerBytes);
  bytes[bytes.length - 1] = endMark;
  return { bytes, crc };
}

const isHeader = (bytes: Buffer, at: number): boolean =>
  at + headerBytes <= bytes.length &&
  bytes.readUInt16LE(at + 4) === magic &&
  bytes.readUInt32LE(at + 12) === crc32(bytes.subarray(at, at + 12));

/** Reads the record at `at`. Without `chain` (a segment's head) sequence and seed are taken as they are. */
export function readRecord(segment: Buffer, at: number, chain: { sequence?: number; crc: number }): Found {
  const header = padded(segment, at, at + headerBytes);
  if (!isHeader(header, 0)) return withoutHeader(segment, at, header);
  const length = header.readUInt32LE(0);
  const end = at + recordSize(length);
  const bytes = padded(segment, at, end);
  const fault = faultOf(bytes, length, chain);
  if (fault === undefined) {
    const payload = bytes.subarray(headerBytes, headerBytes + length);
    const record = {
      type: types[header[6]! - 1]!,
      sequence: header.readUInt32LE(8),
      payload,
      crc: bytes.readUInt32LE(bytes.length - trailerBytes),
      end,
    };
    return { kind: 'record', record };
  }
  if (hasHeaderAfter(segment, at)) return { kind: 'corrupt', reason: `${fault}, and records follow` };
  const cutOff = bytes.at(-1) === 0 || end > segment.length || hasZeroSector(bytes, at);
  return cutOff ? { kind: 'torn' } : { kind: 'corrupt', reason: `${fault}, though the record was written to its end` };
}

function faultOf(bytes: Buffer, length: number, chain: { sequence?: number; crc: number }): string | undefined {
  if (bytes[7] !== version) return `record version ${bytes[7]} is not known`;
  if (types[bytes[6]! - 1] === undefined) return `record type ${bytes[6]} is not known`;
  if (chain.sequence !== undefined && bytes.readUInt32LE(8) !== chain.sequence >>> 0) return 'a record is missing';
  const crc = bytes.readUInt32LE(bytes.length - trailerBytes);
  const content = headerBytes + length;
  const intact = bytes.at(-1) === endMark && crc === crc32(bytes.subarray(0, content), chain.crc);
  if (!intact) return 'checksum mismatch';
  return isZero(bytes.subarray(content, bytes.length - trailerBytes)) ? undefined : 'the padding is not empty';
}

function withoutHeader(segment: Buffer, at: number, header: Buffer): Found {
  if (hasHeaderAfter(segment, at)) return { kind: 'corrupt', reason: 'a record header is damaged, and records follow' };
  const rest = segment.subarray(Math.min(segment.length, at + headerBytes));
  const restEmpty = isZero(rest);
  if (isZero(header)) return restEmpty ? { kind: 'end' } : { kind: 'torn' };
  const cutOff = restEmpty || hasZeroSector(header, at);
  return cutOff ? { kind: 'torn' } : { kind: 'corrupt', reason: 'a record header is damaged' };
}

/** What lies behind the end of the file counts as zeros. */
function padded(segment: Buffer, from: number, to: number): Buffer {
  if (to <= segment.length) return segment.subarray(from, to);
  const out = Buffer.alloc(to - from);
  if (from < segment.length) segment.copy(out, 0, from);
  return out;
}

function isZero(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Whether a sector's worth of `bytes`, which lie at `at` in the file, is all zeros. */
function hasZeroSector(bytes: Buffer, at: number): boolean {
  for (let from = at; from < at + bytes.length; ) {
    const to = Math.min(at + bytes.length, (Math.floor(from / sectorBytes) + 1) * sectorBytes);
    if (isZero(bytes.subarray(from - at, to - at))) return true;
    from = to;
  }
  return false;
}

function hasHeaderAfter(segment: Buffer, at: number): boolean {
  for (let i = at + 8; i + headerBytes <= segment.length; i += 8) {
    if (segment[i + 4] === (magic & 0xff) && isHeader(segment, i)) return true;
  }
  return false;
}
