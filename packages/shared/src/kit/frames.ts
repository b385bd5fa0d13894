import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { Packr } from 'msgpackr';
import { ClusterError } from './errors.ts';

// Messages over a byte stream: a 4-byte big-endian length, then a msgpack map. Used by every protocol on port 2377 but HTTP and raft.

const packr = new Packr({ useRecords: false, variableMapSize: true, int64AsType: 'number' });

/** Plain-map msgpack, self-describing; `undefined` members are left out by the callers. */
export const encode = (value: unknown): Buffer => packr.pack(value);
export const decode = (bytes: Uint8Array): unknown => packr.unpack(bytes);

export const maxFrameBytes = 16 * 1024 * 1024;

/** A message with its length before it. */
export function frameOf(message: unknown): Buffer {
  const body = encode(message);
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}

/** Messages out of bytes as they come. Throws for garbage, and for a frame over the limit. */
export async function* readFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  const frames = new FrameBuffer(maxFrameBytes);
  for await (const chunk of chunks) {
    frames.push(Buffer.from(chunk));
    for (let body = frames.take(); body; body = frames.take()) yield decode(body);
  }
}

interface FrameEvents<In> {
  message: [message: In];
  /** Once; with the error that broke the stream, if any. Garbage or an oversized frame destroys the stream first. */
  close: [error?: Error];
}

/** A framed, typed view of a duplex stream. */
export class FrameStream<In, Out> extends EventEmitter<FrameEvents<In>> {
  readonly stream: Duplex;
  #error: Error | undefined;
  #closed = false;
  readonly #frames: FrameBuffer;

  constructor(stream: Duplex, options: { maxBytes?: number } = {}) {
    super();
    this.stream = stream;
    this.#frames = new FrameBuffer(options.maxBytes ?? maxFrameBytes);
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('error', (error: Error) => {
      this.#error ??= error;
    });
    stream.on('end', () => stream.end());
    stream.once('close', () => {
      this.#closed = true;
      this.emit('close', this.#error);
    });
  }

  get closed(): boolean {
    return this.#closed || this.stream.destroyed;
  }

  /** Bytes accepted but not yet written to the stream. */
  get queuedBytes(): number {
    return this.stream.writableLength;
  }

  /** Queues a message; false when the stream asks to wait for `drain`. A closed stream swallows it. */
  send(message: Out): boolean {
    if (this.closed || this.stream.writableEnded) return false;
    const body = encode(message);
    const head = Buffer.allocUnsafe(4);
    head.writeUInt32BE(body.length);
    this.stream.cork();
    this.stream.write(head);
    const ready = this.stream.write(body);
    this.stream.uncork();
    return ready;
  }

  /** Ends after what was sent has been written. */
  end(): void {
    this.stream.end();
  }

  destroy(error?: Error): void {
    this.#error ??= error;
    this.stream.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#frames.push(chunk);
    try {
      for (let body = this.#frames.take(); body && !this.stream.destroyed; body = this.#frames.take()) {
        this.emit('message', decode(body) as In);
      }
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }
}

class FrameBuffer {
  readonly #limit: number;
  #buffered: Buffer[] = [];
  #bufferedBytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(chunk: Buffer): void {
    this.#buffered.push(chunk);
    this.#bufferedBytes += chunk.length;
  }

  /** The next whole frame's body. */
  take(): Buffer | undefined {
    if (this.#bufferedBytes < 4) return undefined;
    if (this.#buffered.length > 1) {
      const head = this.#buffered[0];
      // Join only when a whole frame may be there, so that a large frame in small chunks is copied once.
      if (head && head.length >= 4 && this.#bufferedBytes < 4 + head.readUInt32BE(0)) return undefined;
      this.#buffered = [Buffer.concat(this.#buffered)];
    }
    const all = this.#buffered[0];
    if (!all) return undefined;
    const length = all.readUInt32BE(0);
    if (length > this.#limit) {
      throw new ClusterError('invalid-argument', `frame of ${length} bytes is over the limit of ${this.#limit}`);
    }
    if (all.length < 4 + length) return undefined;
    const rest = all.subarray(4 + length);
    this.#buffered = rest.length > 0 ? [rest] : [];
    this.#bufferedBytes = rest.length;
    return all.subarray(4, 4 + length);
  }
}
