import type { Channel } from '../host/types.ts';
import { ByteReader, ByteWriter, DecodeError } from '../wal/bytes.ts';

// The first frame of whoever opens a stream: it is for this member, on this channel, in this version of the protocol.

const channels: readonly Channel[] = ['control', 'append', 'snapshot'];
const version = 1;

export const encodeHello = (from: number, to: number, channel: Channel): Buffer =>
  new ByteWriter(16).u8(version).u8(channels.indexOf(channel)).varint(from).varint(to).take();

/** Throws `DecodeError` unless `from` opened the stream for `to`. */
export function checkHello(body: Uint8Array, from: number, to: number, channel: Channel): void {
  const input = new ByteReader(body);
  const theirs = input.u8();
  if (theirs !== version) throw new DecodeError(`protocol version ${theirs} is not known`);
  if (channels[input.u8()] !== channel) throw new DecodeError('a stream for another channel');
  if (input.varint() !== from) throw new DecodeError('a stream of another member');
  if (input.varint() !== to) throw new DecodeError('a stream for another member');
  input.end();
}
