import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { Message } from '../core/types.ts';
import { ByteReader, ByteWriter, DecodeError } from '../wal/bytes.ts';
import { decodeSnapshotHeader, encodeSnapshotHeader, type SnapshotHeader } from '../wal/snapshot-header.ts';
import type { IncomingSnapshot, UnnamedSnapshot } from '../wal/snapshot-store.ts';
import { encodeFrame, type Frame, FrameDecoder, type FrameKind, frameKind } from './frames.ts';
import { checkHello, encodeHello, type Introduction, otherLog } from './hello.ts';
import { decodeMessage, encodeMessage } from './message-codec.ts';

// A snapshot on a stream of its own: hello, what it is, its chunks no faster than the other side stores them, the end;
// then the other side says that it is durable.

const maxPart = 256 << 10;
const maxFrameBytes = 4 << 20;
const maxChunkBytes = 256 << 20;

export interface Outgoing extends Introduction {
  readonly peer: number;
  readonly message: Message;
  readonly header: SnapshotHeader;
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Something moved. */
  readonly progress: () => void;
}

/** Resolves once the peer has it on disk. */
export async function sendSnapshot(stream: Duplex, out: Outgoing): Promise<void> {
  const stored = untilStored(stream, out);
  stored.catch(() => {});
  const write = async (kind: FrameKind, body: Uint8Array): Promise<void> => {
    if (!stream.write(encodeFrame(kind, body))) await Promise.race([once(stream, 'drain'), stored]);
    out.progress();
  };
  await write(frameKind.hello, encodeHello(out, out.peer, 'snapshot'));
  const what = new ByteWriter().bytes(encodeMessage(out.message).take()).bytes(encodeSnapshotHeader(out.header));
  await write(frameKind.snapshot, what.take());
  for await (const chunk of out.chunks) {
    let at = 0;
    for (; chunk.length - at > maxPart; at += maxPart) await write(frameKind.part, chunk.subarray(at, at + maxPart));
    await write(frameKind.chunk, chunk.subarray(at));
  }
  await write(frameKind.end, new Uint8Array(0));
  await stored;
}

async function untilStored(stream: Duplex, out: Outgoing): Promise<void> {
  const decoder = new FrameDecoder(maxFrameBytes);
  let greeted = false;
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    for (const frame of decoder.push(chunk)) {
      if (greeted && frame.kind === frameKind.stored) return;
      if (greeted) continue;
      if (!(await checkHello(frame, out.peer, 'snapshot', out))) throw otherLog(out.peer);
      greeted = true;
    }
  }
  throw new Error('the stream ended before the snapshot was stored');
}

export interface Incoming extends Introduction {
  readonly peer: number;
  readonly begin: (header: SnapshotHeader) => Promise<IncomingSnapshot>;
  /** It is durable, and from now on the receiver's. */
  readonly deliver: (message: Message, snapshot: UnnamedSnapshot) => void;
  readonly progress: () => void;
}

/** Stores what the peer sends; throws on anything out of order, and leaves nothing behind then. */
export async function receiveSnapshot(stream: Duplex, incoming: Incoming): Promise<void> {
  const receiver = new Receiver(stream, incoming);
  const decoder = new FrameDecoder(maxFrameBytes);
  try {
    for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      for (const frame of decoder.push(chunk)) {
        incoming.progress();
        if (!(await receiver.take(frame))) continue;
        stream.end(encodeFrame(frameKind.stored, new Uint8Array(0)));
        return;
      }
    }
    throw new Error('the stream ended before the snapshot did');
  } finally {
    await receiver.abort();
  }
}

class Receiver {
  readonly #stream: Duplex;
  readonly #incoming: Incoming;
  #greeted = false;
  #message: Message | undefined;
  #file: IncomingSnapshot | undefined;
  #parts: Buffer[] = [];
  #partBytes = 0;

  constructor(stream: Duplex, incoming: Incoming) {
    this.#stream = stream;
    this.#incoming = incoming;
  }

  /** True when that was the last frame. */
  async take(frame: Frame): Promise<boolean> {
    const { kind, body } = frame;
    if (!this.#greeted) {
      const { peer } = this.#incoming;
      if (!(await checkHello(frame, peer, 'snapshot', this.#incoming))) throw otherLog(peer);
      this.#stream.write(encodeFrame(frameKind.hello, encodeHello(this.#incoming, peer, 'snapshot')));
      this.#greeted = true;
      return false;
    }
    switch (kind) {
      case frameKind.snapshot:
        await this.#begin(body);
        return false;
      case frameKind.part:
      case frameKind.chunk:
        await this.#chunk(kind === frameKind.chunk, body);
        return false;
      case frameKind.end:
        await this.#end();
        return true;
      default:
        throw new DecodeError(`a frame of kind ${kind} in a snapshot`);
    }
  }

  async abort(): Promise<void> {
    await this.#file?.abort();
  }

  async #begin(body: Buffer): Promise<void> {
    if (this.#message !== undefined) throw new DecodeError('two snapshots on one stream');
    const input = new ByteReader(body);
    const message = decodeMessage(input.bytes());
    const header = decodeSnapshotHeader(input.bytes());
    input.end();
    const { peer, self } = this.#incoming;
    if (message.type !== 'snap' || message.from !== peer || message.to !== self) {
      throw new DecodeError('it is not a snapshot of this member for this one');
    }
    if (message.snapshot?.meta.index !== header.meta.index || message.snapshot.meta.term !== header.meta.term) {
      throw new DecodeError('message and header of a snapshot differ');
    }
    this.#message = message;
    this.#file = await this.#incoming.begin(header);
  }

  async #chunk(whole: boolean, body: Buffer): Promise<void> {
    if (this.#file === undefined) throw new DecodeError('a chunk before the snapshot');
    this.#partBytes += body.length;
    if (this.#partBytes > maxChunkBytes) throw new DecodeError('a chunk is too long');
    this.#parts.push(Buffer.from(body));
    if (!whole) return;
    const parts = this.#parts;
    this.#parts = [];
    this.#partBytes = 0;
    await this.#file.add(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
  }

  async #end(): Promise<void> {
    const file = this.#file;
    const message = this.#message;
    if (file === undefined || message === undefined || this.#parts.length > 0) {
      throw new DecodeError('the end before the snapshot is whole');
    }
    this.#file = undefined;
    this.#incoming.deliver(message, await file.finish());
  }
}
