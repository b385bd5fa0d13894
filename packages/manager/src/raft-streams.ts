import type { Duplex } from 'node:stream';
import type { Channel } from 'raft-ts';

// The preamble of a raft stream, eight bytes: which member opened it and for which channel. The stream itself is authenticated already.

const channels: readonly Channel[] = ['control', 'append', 'snapshot'];
const length = 8;

/** One byte for the channel, seven for the member's id. */
export function encodePreamble(from: number, channel: Channel): Buffer {
  const bytes = Buffer.alloc(length);
  bytes.writeUInt8(channels.indexOf(channel), 0);
  bytes.writeUInt8(Math.floor(from / 2 ** 48), 1);
  bytes.writeUIntBE(from % 2 ** 48, 2, 6);
  return bytes;
}

/** Reads exactly the preamble; what follows stays in the stream. Undefined for garbage or an early end. */
export function readPreamble(stream: Duplex): Promise<{ from: number; channel: Channel } | undefined> {
  return new Promise((resolve) => {
    const done = (result: { from: number; channel: Channel } | undefined) => {
      stream.off('readable', attempt);
      stream.off('end', onEnd);
      stream.off('close', onEnd);
      stream.off('error', onEnd);
      resolve(result);
    };
    const onEnd = () => done(undefined);
    const attempt = () => {
      const bytes = stream.read(length) as Buffer | null;
      if (bytes) done(decode(bytes));
    };
    stream.on('readable', attempt);
    stream.once('end', onEnd);
    stream.once('close', onEnd);
    stream.once('error', onEnd);
    attempt();
  });
}

function decode(bytes: Buffer): { from: number; channel: Channel } | undefined {
  // Less is what a stream gives out at its end.
  if (bytes.length !== length) return undefined;
  const channel = channels[bytes.readUInt8(0)];
  const from = bytes.readUInt8(1) * 2 ** 48 + bytes.readUIntBE(2, 6);
  return channel && Number.isSafeInteger(from) && from > 0 ? { from, channel } : undefined;
}
