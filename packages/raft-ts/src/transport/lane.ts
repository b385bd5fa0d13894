import type { Duplex } from 'node:stream';
import type { Channel } from '../host/types.ts';
import { Connection } from './connection.ts';
import { Doorkeeper } from './doorkeeper.ts';
import { encodeFrame, type Frame, frameKind } from './frames.ts';
import type { Introduction } from './hello.ts';

// One channel to one peer: a stream that this member opened, or one that the peer did, whichever is there. Both carry
// frames both ways, so that a member answers also one whose address it does not know yet.

export interface LaneEnv extends Introduction {
  readonly peer: number;
  readonly channel: Exclude<Channel, 'snapshot'>;
  readonly limits: LaneLimits;
  /** Former members are told so, and nothing else. */
  readonly isRemoved: (peer: number) => boolean;
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

export const ping = encodeFrame(frameKind.ping, new Uint8Array(0));

/** Until the peer has said who it is. */
interface Dialing {
  readonly abort: AbortController;
  readonly since: number;
  connection: Connection | undefined;
}

export class Lane {
  readonly #env: LaneEnv;
  #dialed: Connection | undefined;
  #accepted: Connection | undefined;
  /** Accepted, and not known yet to be meant for this lane. */
  readonly #ungreeted = new Set<Connection>();
  #dialing: Dialing | undefined;
  #queue: Buffer[] = [];
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
  send(frame: Buffer): boolean {
    const { limits } = this.#env;
    if (this.#state !== 'open') return false;
    const connection = this.connection;
    if (connection !== undefined) {
      if (connection.backlog > limits.maxBacklogBytes) return false;
      connection.send(frame);
      return true;
    }
    if (this.#dialing === undefined && !this.#dial()) return false;
    // The newest say most: an old heartbeat or vote is worth nothing.
    if (this.#queue.length >= limits.maxQueued) this.#queue.shift();
    this.#queue.push(frame);
    return true;
  }

  flush(): void {
    this.#dialed?.flush();
    this.#accepted?.flush();
  }

  accept(stream: Duplex): void {
    const connection = this.#connect(stream, 'accepted', () => {
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
    if (this.#dialing !== undefined && now() - this.#dialing.since > limits.dialTicks) {
      this.#dialing.abort.abort();
      this.#dialing.connection?.close(new Error('no hello came in time'));
    }
    for (const connection of this.#connections()) {
      if (now() - connection.heardAt > limits.deadTicks) connection.close(new Error('nothing was heard for too long'));
    }
    if (now() < this.#pingAt) return;
    this.#pingAt = now() + limits.pingTicks;
    for (const connection of [this.#dialed, this.#accepted]) {
      connection?.send(ping);
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
    for (const connection of [this.#dialed, this.#accepted]) connection?.finish();
    for (const connection of this.#ungreeted) connection.close();
  }

  #connections(): Connection[] {
    const all = [this.#dialed, this.#accepted, this.#dialing?.connection, ...this.#ungreeted];
    return all.filter((connection) => connection !== undefined);
  }

  /** False when it is too early to try again, or there is no address. */
  #dial(): boolean {
    const { now, dial } = this.#env;
    if (now() < this.#notBefore) return false;
    const abort = new AbortController();
    const stream = dial(abort.signal);
    if (stream === undefined) return false;
    const dialing: Dialing = { abort, since: now(), connection: undefined };
    this.#dialing = dialing;
    stream.then(
      (opened) => this.#opened(opened, dialing),
      (error: unknown) => this.#dialFailed(error),
    );
    return true;
  }

  #opened(stream: Duplex, dialing: Dialing): void {
    if (this.#state === 'closed' || dialing.abort.signal.aborted) {
      this.#dialing = undefined;
      stream.on('error', () => {});
      stream.destroy();
      if (this.#state === 'open') this.#backOff();
      return;
    }
    // Nothing is said to it either before it has: what waits is not for one that has lost its log.
    dialing.connection = this.#connect(stream, 'dialed', (connection) => {
      this.#failures = 0;
      this.#dialing = undefined;
      this.#dialed = connection;
      this.#sendQueue(connection);
      if (this.#state === 'leaving') connection.finish();
    });
  }

  #sendQueue(connection: Connection): void {
    for (const frame of this.#queue.splice(0)) connection.send(frame);
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

  /** Nothing is heard of the peer before it has said who it is; `open` is called then. */
  #connect(stream: Duplex, side: 'dialed' | 'accepted', open: (connection: Connection) => void): Connection {
    const { limits, now, peer, channel, log, lost } = this.#env;
    const doorkeeper = new Doorkeeper({
      ...this.#env,
      maxHeld: limits.maxQueued,
      open,
      frame: (frame, from) => {
        if (this.#state !== 'closed') this.#env.frame(frame, from);
      },
    });
    const connection: Connection = new Connection(stream, limits.maxFrameBytes, now, {
      frame: (frame) => doorkeeper.take(frame, connection, side === 'accepted'),
      closed: (error) => {
        const inUse = this.connection === connection;
        if (this.#dialed === connection) {
          this.#dialed = undefined;
          this.#backOff();
        }
        if (this.#accepted === connection) this.#accepted = undefined;
        if (this.#dialing?.connection === connection) {
          this.#dialFailed(error ?? new Error('the stream closed before hello'));
          return;
        }
        this.#ungreeted.delete(connection);
        if (this.#state !== 'open') return;
        log({ peer, channel, ...(error === undefined ? {} : { reason: error.message }) }, 'a stream closed');
        if (inUse) lost();
      },
    });
    if (side === 'dialed') {
      doorkeeper.greet(connection);
      connection.flush();
    }
    return connection;
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
