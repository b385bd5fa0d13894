import type { Channel } from '../host/types.ts';
import { ByteReader, ByteWriter, DecodeError } from '../wal/bytes.ts';
import { type Frame, frameKind } from './frames.ts';

// The first frame each way on a stream: it is for this member, on this channel, in this version of the protocol, and says
// which log its sender has, and by which ones it knows others: a member that joins later could not tell one that has lost its log from one that is new.

const channels: readonly Channel[] = ['control', 'append', 'snapshot'];
const version = 3;

/** How a member makes itself known, and knows others. */
export interface Introduction {
  readonly self: number;
  /** Which log this member has. */
  readonly logId: number;
  /** Whether that is the log the peer is known by; a promise while it is being noted. */
  readonly identify: (peer: number, logId: number) => boolean | Promise<boolean>;
  /** By which logs this member knows others, for good. */
  readonly known: () => ReadonlyMap<number, number>;
}

export function encodeHello(
  { self, logId, known }: Omit<Introduction, 'identify'>,
  to: number,
  channel: Channel,
): Buffer {
  const out = new ByteWriter(64).u8(version).u8(channels.indexOf(channel)).varint(self).varint(to).varint(logId);
  const others = known();
  out.varint(others.size);
  for (const [id, log] of others) out.varint(id).varint(log);
  return out.take();
}

/** Whether the frame's sender is `from` with the log it is known by. Throws `DecodeError` on anything but its hello. */
export function checkHello(
  { kind, body }: Frame,
  from: number,
  channel: Channel,
  { self, identify, known }: Introduction,
): boolean | Promise<boolean> {
  if (kind !== frameKind.hello) throw new DecodeError('a stream did not begin with hello');
  const input = new ByteReader(body);
  const theirs = input.u8();
  if (theirs !== version) throw new DecodeError(`protocol version ${theirs} is not known`);
  if (channels[input.u8()] !== channel) throw new DecodeError('a stream for another channel');
  if (input.varint() !== from) throw new DecodeError('a stream of another member');
  if (input.varint() !== self) throw new DecodeError('a stream for another member');
  const logId = input.varint();
  const others: [id: number, log: number][] = [];
  for (let left = input.count(); left > 0; left--) others.push([input.varint(), input.varint()]);
  input.end();
  const isKnown = identify(from, logId);
  if (isKnown === false) return false;
  // What is known here already counts for more. All is noted before anything of the sender's is heard.
  const noted = others
    .filter(([id]) => id !== self && id !== from && !known().has(id))
    .map(([id, log]) => identify(id, log));
  return [isKnown, ...noted].every((one) => typeof one === 'boolean')
    ? isKnown
    : Promise.all([isKnown, ...noted]).then(([first]) => first === true);
}

export const otherLog = (peer: number): Error =>
  new Error(`member ${peer} has another log than it is known by: it has lost what it promised`);
