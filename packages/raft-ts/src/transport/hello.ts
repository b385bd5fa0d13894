import type { Channel } from '../host/types.ts';
import { ByteReader, ByteWriter, DecodeError } from '../wal/bytes.ts';
import { type Frame, frameKind } from './frames.ts';

// The first frame each way on a stream: it is for this member, on this channel, in this version of the protocol, and says
// which log its sender has.

const channels: readonly Channel[] = ['control', 'append', 'snapshot'];
const version = 2;

/** How a member makes itself known, and knows others. */
export interface Introduction {
  readonly self: number;
  /** Which log this member has. */
  readonly logId: number;
  /** Whether that is the log the peer is known by; a promise while it is being noted. */
  readonly identify: (peer: number, logId: number) => boolean | Promise<boolean>;
}

export const encodeHello = (
  { self, logId }: Pick<Introduction, 'self' | 'logId'>,
  to: number,
  channel: Channel,
): Buffer => new ByteWriter(32).u8(version).u8(channels.indexOf(channel)).varint(self).varint(to).varint(logId).take();

/** Whether the frame's sender is `from` with the log it is known by. Throws `DecodeError` on anything but its hello. */
export function checkHello(
  { kind, body }: Frame,
  from: number,
  channel: Channel,
  { self, identify }: Introduction,
): boolean | Promise<boolean> {
  if (kind !== frameKind.hello) throw new DecodeError('a stream did not begin with hello');
  const input = new ByteReader(body);
  const theirs = input.u8();
  if (theirs !== version) throw new DecodeError(`protocol version ${theirs} is not known`);
  if (channels[input.u8()] !== channel) throw new DecodeError('a stream for another channel');
  if (input.varint() !== from) throw new DecodeError('a stream of another member');
  if (input.varint() !== self) throw new DecodeError('a stream for another member');
  const logId = input.varint();
  input.end();
  return identify(from, logId);
}

export const otherLog = (peer: number): Error =>
  new Error(`member ${peer} has another log than it is known by: it has lost what it promised`);
