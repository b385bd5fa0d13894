import type { Duplex } from 'node:stream';
import { type Frame, FrameDecoder } from './frames.ts';

// One stream that carries frames both ways. What cannot be read closes it.

export interface ConnectionEvents {
  /** May throw: that closes the connection. */
  frame(frame: Frame): void;
  /** Once. */
  closed(error: Error | undefined): void;
}

/** Up to here frames are joined into one write. */
const joinBytes = 64 << 10;

export class Connection {
  readonly #stream: Duplex;
  readonly #decoder: FrameDecoder;
  readonly #events: ConnectionEvents;
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  #open = true;
  /** The owner's clock when something last came. */
  heardAt: number;

  constructor(stream: Duplex, maxFrameBytes: number, now: () => number, events: ConnectionEvents) {
    this.#stream = stream;
    this.#decoder = new FrameDecoder(maxFrameBytes);
    this.#events = events;
    this.heardAt = now();
    stream.on('data', (chunk: Buffer) => {
      this.heardAt = now();
      this.#read(chunk);
    });
    stream.on('error', (error: Error) => this.close(error));
    stream.on('end', () => this.close());
    stream.on('close', () => this.close());
    // Whoever read from it before may have paused it; it may also have ended since, and will not say so again.
    if (stream.destroyed) queueMicrotask(() => this.close());
    else stream.resume();
  }

  get open(): boolean {
    return this.#open;
  }

  /** Bytes that wait to be taken by the other side. */
  get backlog(): number {
    return this.#unsentBytes + this.#stream.writableLength;
  }

  /** Gathers until `flush`. */
  send(frame: Buffer): void {
    if (!this.#open) return;
    this.#unsent.push(frame);
    this.#unsentBytes += frame.length;
  }

  flush(): void {
    if (this.#unsent.length === 0 || !this.#open) return;
    const frames = this.#unsent;
    const bytes = this.#unsentBytes;
    this.#unsent = [];
    this.#unsentBytes = 0;
    if (bytes <= joinBytes) {
      this.#stream.write(frames.length === 1 ? frames[0] : Buffer.concat(frames, bytes));
      return;
    }
    this.#stream.cork();
    for (const frame of frames) this.#stream.write(frame);
    this.#stream.uncork();
  }

  /** Sends what is gathered, then closes. */
  finish(error?: Error): void {
    this.flush();
    if (this.#open) this.#stream.end(() => this.close(error));
  }

  close(error?: Error): void {
    if (!this.#open) return;
    this.#open = false;
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#stream.destroy();
    this.#events.closed(error);
  }

  #read(chunk: Buffer): void {
    try {
      for (const frame of this.#decoder.push(chunk)) {
        if (!this.#open) return;
        this.#events.frame(frame);
      }
    } catch (error) {
      this.close(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
