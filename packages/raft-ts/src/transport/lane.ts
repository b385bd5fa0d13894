import type { Duplex } from 'node:stream';
import type { Channel } from '../host/types.ts';
import { Connection } from './connection.ts';
import { type Frame, type FrameKind, frameKind } from './frames.ts';
import { checkHello, encodeHello } from './hello.ts';

// One channel to one peer: a stream that this member opened, or one that the peer did, whichever is there. Both carry
// frames both ways, so that a member answers also one whose address it does not know yet.

export interface LaneEnv {
  readonly self: number;
  readonly peer: number;
  readonly channel: Exclude<Channel, 'snapshot'>;
  readonly limits: LaneLimits;
  /** Counted in ticks. */
  readonly now: () => number;
  readonly random: () => number;
  /** Undefined when the peer's address is not known. */
  readonly dial: (signal: AbortSignal) => Promise<Duplex> | undefined;
  readonly frame: (frame: Frame, connection: Connection) => void;
  /** What was sent last is probably lost. */
  readonly lost: () => void;
  readonly log: (fields: Record<string, unknown>, message: string) => void;
}

export interface LaneLimits {
  readonly maxFrameBytes: number;
  /** Bytes that wait to be sent before frames are dropped. */
  readonly maxBacklogBytes: number;
  /** Frames that wait for a stream. */
  readonly maxQueued: number;
  readonly pingTicks: number;
  /** Silence after which a stream counts as dead. */
  readonly deadTicks: number;
  readonly dialTicks: number;
  readonly maxBackoffTicks: number;
}

interface Dialing {
  readonly abort: AbortController;
  readonly since: number;
}

export class Lane {
  readonly #env: LaneEnv;
  #dialed: Connection | undefined;
  #accepted: Connection | undefined;
  /** Accepted, and not known yet to be meant for this lane. */
  readonly #ungreeted = new Set<Connection>();
  #dialing: Dialing | undefined;
  #queue: { kind: FrameKind; body: Uint8Array }[] = [];
  #failures = 0;
  #notBefore = 0;
  #pingAt = 0;
  /** `leaving`: what waits for a stream is still sent. */
  #state: 'open' | 'leaving' | 'closed' = 'open';

  constructor(env: LaneEnv) {
    this.#env = env;
  }

  get connection(): Connection | undefined {
    return this.#dialed ?? this.#accepted;
  }

  /** Frames go out with the next `flush`; false when this one was dropped. */
  send(kind: FrameKind, body: Uint8Array): boolean {
    const { limits } = this.#env;
    if (this.#state !== 'open') return false;
    const connection = this.connection;
    if (connection !== undefined) {
      if (connection.backlog > limits.maxBacklogBytes) return false;
      connection.send(kind, body);
      return true;
    }
    if (this.#dialing === undefined && !this.#dial()) return false;
    // The newest say most: an old heartbeat or vote is worth nothing.
    if (this.#queue.length >= limits.maxQueued) this.#queue.shift();
    this.#queue.push({ kind, body });
    return true;
  }

  flush(): void {
    this.#dialed?.flush();
    this.#accepted?.flush();
  }

  accept(stream: Duplex): void {
    let greeted = false;
    const connection: Connection = this.#connect(stream, (frame) => {
      if (greeted) return this.#env.frame(frame, connection);
      if (frame.kind !== frameKind.hello) throw new Error('a stream did not begin with hello');
      const { self, peer, channel } = this.#env;
      checkHello(frame.body, peer, self, channel);
      greeted = true;
      // The peer opened a new one because it has given up the old one.
      const before = this.#accepted;
      this.#accepted = connection;
      before?.close();
      this.#ungreeted.delete(connection);
      this.#sendQueue(connection);
    });
    this.#ungreeted.add(connection);
  }

  tick(): void {
    const { now, limits } = this.#env;
    if (this.#dialing !== undefined && now() - this.#dialing.since > limits.dialTicks) this.#dialing.abort.abort();
    for (const connection of this.#connections()) {
      if (now() - connection.heardAt > limits.deadTicks) connection.close(new Error('nothing was heard for too long'));
    }
    if (now() < this.#pingAt) return;
    this.#pingAt = now() + limits.pingTicks;
    for (const connection of [this.#dialed, this.#accepted]) {
      connection?.send(frameKind.ping, new Uint8Array(0));
      connection?.flush();
    }
  }

  close(): void {
    this.#state = 'closed';
    this.#queue = [];
    this.#dialing?.abort.abort();
    for (const connection of this.#connections()) connection.close();
  }

  /** Takes nothing more, and closes once what is gathered, or waits for a stream, is sent. */
  leave(): void {
    this.#state = 'leaving';
    for (const connection of this.#connections()) connection.finish();
  }

  #connections(): Connection[] {
    return [this.#dialed, this.#accepted, ...this.#ungreeted].filter((connection) => connection !== undefined);
  }

  /** False when it is too early to try again, or there is no address. */
  #dial(): boolean {
    const { now, dial } = this.#env;
    if (now() < this.#notBefore) return false;
    const abort = new AbortController();
    const stream = dial(abort.signal);
    if (stream === undefined) return false;
    const dialing = { abort, since: now() };
    this.#dialing = dialing;
    stream.then(
      (opened) => this.#opened(opened, dialing),
      (error: unknown) => this.#dialFailed(error),
    );
    return true;
  }

  #opened(stream: Duplex, dialing: Dialing): void {
    this.#dialing = undefined;
    if (this.#state === 'closed' || dialing.abort.signal.aborted) {
      stream.on('error', () => {});
      stream.destroy();
      if (this.#state === 'open') this.#backOff();
      return;
    }
    const { self, peer, channel, frame } = this.#env;
    const connection: Connection = this.#connect(stream, (got) => {
      this.#failures = 0;
      frame(got, connection);
    });
    this.#dialed = connection;
    connection.send(frameKind.hello, encodeHello(self, peer, channel));
    this.#sendQueue(connection);
    if (this.#state === 'leaving') connection.finish();
  }

  #sendQueue(connection: Connection): void {
    for (const { kind, body } of this.#queue.splice(0)) connection.send(kind, body);
    connection.flush();
  }

  #dialFailed(error: unknown): void {
    this.#dialing = undefined;
    if (this.#state !== 'open') return;
    this.#backOff();
    const { peer, channel, log, lost } = this.#env;
    if (this.#failures === 1) log({ peer, channel, reason: reasonOf(error) }, 'a member cannot be reached');
    if (this.connection !== undefined) return;
    this.#queue = [];
    lost();
  }

  /** Twice as long each time, with some chance in it. */
  #backOff(): void {
    const { now, random, limits } = this.#env;
    this.#failures++;
    const ticks = Math.min(limits.maxBackoffTicks, 2 ** Math.min(this.#failures - 1, 16));
    this.#notBefore = now() + Math.ceil(ticks * (0.5 + random() / 2));
  }

  #connect(stream: Duplex, frame: (frame: Frame) => void): Connection {
    const { limits, now, peer, channel, log, lost } = this.#env;
    const connection = new Connection(stream, limits.maxFrameBytes, now, {
      frame,
      closed: (error) => {
        const inUse = this.connection === connection;
        if (this.#dialed === connection) {
          this.#dialed = undefined;
          this.#backOff();
        }
        if (this.#accepted === connection) this.#accepted = undefined;
        this.#ungreeted.delete(connection);
        if (this.#state !== 'open') return;
        log({ peer, channel, ...(error === undefined ? {} : { reason: error.message }) }, 'a stream closed');
        if (inUse) lost();
      },
    });
    return connection;
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
