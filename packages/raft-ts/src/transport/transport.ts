import type { Duplex } from 'node:stream';
import type { Message } from '../core/types.ts';
import type { Channel, Dial } from '../host/types.ts';
import type { SnapshotFileReader } from '../wal/snapshot-file.ts';
import type { SnapshotHeader } from '../wal/snapshot-header.ts';
import type { IncomingSnapshot, UnnamedSnapshot } from '../wal/snapshot-store.ts';
import type { Connection } from './connection.ts';
import { beginFrame, endFrame, type Frame, frameKind, removed } from './frames.ts';
import type { Introduction } from './hello.ts';
import { Lane, type LaneLimits, ping } from './lane.ts';
import { decodeMessage, encodeMessage, messageSize } from './message-codec.ts';
import { receiveSnapshot, sendSnapshot } from './snapshot-transfer.ts';

// Messages to and from the other members: heartbeats, votes and reads on one stream, appends on another, each snapshot
// on its own, so that bulk never delays a heartbeat. Nothing is kept for later: what cannot go is dropped and reported.

export interface TransportEnv extends Introduction {
  readonly dial: Dial;
  readonly tickMs: number;
  readonly random: () => number;
  /** Calls once, after so many milliseconds, unless the returned function is called before. */
  readonly after: (ms: number, callback: () => void) => () => void;
  readonly log: (level: 'debug' | 'info' | 'warn', fields: Record<string, unknown>, message: string) => void;
  /** Where a member is, as far as is known here. */
  readonly address: (peer: number) => string | undefined;
  /** Former members: they are told so, and nothing of theirs is taken. */
  readonly isRemoved: (peer: number) => boolean;
  readonly receive: (header: SnapshotHeader) => Promise<IncomingSnapshot>;
  readonly events: TransportEvents;
}

export interface TransportEvents {
  message(m: Message): void;
  /** What was sent to the peer last is probably lost. */
  unreachable(peer: number): void;
  /** Another member says that this one was removed. */
  removed(): void;
  /** Another member knows this one by another log. */
  otherLog(peer: number): void;
  snapshotSent(peer: number, outcome: 'finished' | 'failed'): void;
  snapshotReceived(m: Message, snapshot: UnnamedSnapshot): void;
}

interface Peer {
  readonly control: Lane;
  readonly append: Lane;
  heardAt: number;
}

interface Transfer {
  readonly abort: AbortController;
  stream: Duplex | undefined;
  movedAt: number;
}

/** So long may the news that entries are committed wait for others that go the same way: half of all messages are nothing else. */
const newsDelayMs = 2;

export class Transport {
  readonly #env: TransportEnv;
  readonly #peers = new Map<number, Peer>();
  /** Lanes to former members, and when to give them up. */
  readonly #leaving = new Map<Lane, number>();
  readonly #transfers = new Set<Transfer>();
  readonly #receiving = new Set<Promise<void>>();
  /** By peer: an append without entries. The next append says it as well. */
  readonly #news = new Map<number, Message>();
  #stopNews: (() => void) | undefined;
  #now = 0;
  #closed = false;

  constructor(env: TransportEnv) {
    this.#env = env;
  }

  /** Goes out with the next `flush`; an append without entries may wait for one with some. */
  send(m: Message): void {
    if (this.#closed) return;
    if (m.type === 'app' && m.entries.length === 0) {
      this.#news.set(m.to, m);
      this.#stopNews ??= this.#env.after(newsDelayMs, () => this.#newsDue());
      return;
    }
    // Entries bring it along; what else is said may build on it.
    if (m.type === 'app') this.#forgetNews(m.to);
    else if (m.type !== 'heartbeat') this.#tell(m.to);
    this.#send(m);
  }

  #forgetNews(peer: number): void {
    // What comes next may wait its own time.
    if (this.#news.delete(peer) && this.#news.size === 0) this.#stopTimer();
  }

  /** What waits goes out with the next `flush`. */
  sendNews(): void {
    for (const peer of this.#news.keys()) this.#tell(peer);
  }

  #stopTimer(): void {
    this.#stopNews?.();
    this.#stopNews = undefined;
  }

  #newsDue(): void {
    this.#stopNews = undefined;
    this.sendNews();
    this.flush();
  }

  #tell(peer: number): void {
    const m = this.#news.get(peer);
    if (m === undefined) return;
    this.#forgetNews(peer);
    this.#send(m);
  }

  #send(m: Message): void {
    const isAppend = m.type === 'app' || m.type === 'app-resp';
    const peer = this.#peer(m.to);
    const frame = endFrame(encodeMessage(m, beginFrame(frameKind.message, messageSize(m))));
    const sent = (isAppend ? peer.append : peer.control).send(frame);
    // Not at once: the core must not be stepped while its messages are being sent.
    if (!sent && m.type === 'app') queueMicrotask(() => this.#env.events.unreachable(m.to));
  }

  flush(): void {
    for (const { control, append } of this.#peers.values()) {
      control.flush();
      append.flush();
    }
  }

  tick(): void {
    this.#now++;
    for (const { control, append } of this.#peers.values()) {
      control.tick();
      append.tick();
    }
    for (const [lane, until] of this.#leaving) {
      if (this.#now < until) continue;
      this.#leaving.delete(lane);
      lane.close();
    }
    for (const transfer of this.#transfers) {
      if (this.#now - transfer.movedAt > this.#ticks(15_000)) this.#abort(transfer, 'a snapshot transfer is stuck');
    }
  }

  /** Says something to a member that may have news for this one. */
  probe(peer: number): void {
    if (!this.#closed) this.#peer(peer).control.send(ping);
  }

  /** Ticks since anything came from the peer. */
  silence(peer: number): number {
    return this.#now - (this.#peers.get(peer)?.heardAt ?? Number.NEGATIVE_INFINITY);
  }

  accept(from: number, channel: Channel, stream: Duplex): void {
    if (this.#closed) {
      discard(stream);
    } else if (channel === 'snapshot') {
      const receiving = this.#receive(from, stream).finally(() => this.#receiving.delete(receiving));
      this.#receiving.add(receiving);
    } else {
      this.#peer(from)[channel].accept(stream);
    }
  }

  /** Tells a member that it was removed, and closes its streams. */
  dismiss(id: number): void {
    const { control, append } = this.#peer(id);
    this.#tell(id);
    this.#peers.delete(id);
    for (const lane of [control, append]) {
      lane.send(removed);
      lane.leave();
      this.#leaving.set(lane, this.#now + this.#ticks(4_000));
    }
  }

  /** Streams `reader`'s content after `m`, the core's message for it; the outcome comes as an event. */
  async sendSnapshot(m: Message, open: () => Promise<SnapshotFileReader>): Promise<void> {
    let outcome: 'finished' | 'failed' = 'failed';
    const transfer = this.#transfer();
    let reader: SnapshotFileReader | undefined;
    try {
      reader = await open();
      const address = this.#env.address(m.to);
      if (address === undefined) throw new Error('its address is not known');
      const stream = await this.#env.dial({ id: m.to, address }, 'snapshot', transfer.abort.signal);
      this.#attach(transfer, stream);
      const progress = () => this.#moved(transfer);
      const { header } = reader;
      await sendSnapshot(stream, {
        ...this.#introduction,
        peer: m.to,
        message: m,
        header,
        chunks: reader.chunks(),
        progress,
      });
      outcome = 'finished';
    } catch (error) {
      this.#env.log('warn', { peer: m.to, reason: reasonOf(error) }, 'a snapshot could not be sent');
      await reader?.close().catch(() => {});
    } finally {
      this.#detach(transfer);
    }
    if (!this.#closed) this.#env.events.snapshotSent(m.to, outcome);
  }

  /** Resolves once no received snapshot is being written any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopTimer();
    this.#news.clear();
    for (const { control, append } of this.#peers.values()) {
      control.close();
      append.close();
    }
    this.#peers.clear();
    for (const lane of this.#leaving.keys()) lane.close();
    this.#leaving.clear();
    for (const transfer of this.#transfers) this.#abort(transfer, 'the member stops');
    await Promise.allSettled(this.#receiving);
  }

  async #receive(from: number, stream: Duplex): Promise<void> {
    const transfer = this.#transfer();
    this.#attach(transfer, stream);
    try {
      if (this.#env.isRemoved(from)) throw new Error('the sender is not a member any more');
      await receiveSnapshot(stream, {
        ...this.#introduction,
        peer: from,
        begin: this.#env.receive,
        deliver: (m, snapshot) => this.#deliver(m, snapshot),
        progress: () => this.#moved(transfer),
      });
    } catch (error) {
      this.#env.log('warn', { peer: from, reason: reasonOf(error) }, 'a snapshot could not be received');
      stream.destroy();
    } finally {
      this.#detach(transfer);
    }
  }

  #deliver(m: Message, snapshot: UnnamedSnapshot): void {
    if (this.#closed) void snapshot.discard().catch(() => {});
    else this.#env.events.snapshotReceived(m, snapshot);
  }

  #peer(id: number): Peer {
    const known = this.#peers.get(id);
    if (known !== undefined) return known;
    const peer: Peer = {
      control: this.#lane(id, 'control', { maxFrameBytes: 64 << 10, maxBacklogBytes: 256 << 10, maxQueued: 32 }),
      append: this.#lane(id, 'append', { maxFrameBytes: 16 << 20, maxBacklogBytes: 24 << 20, maxQueued: 128 }),
      heardAt: Number.NEGATIVE_INFINITY,
    };
    this.#peers.set(id, peer);
    return peer;
  }

  #lane(
    peer: number,
    channel: 'control' | 'append',
    sizes: Pick<LaneLimits, 'maxFrameBytes' | 'maxBacklogBytes' | 'maxQueued'>,
  ): Lane {
    const { random, dial, address, isRemoved, log, events } = this.#env;
    const limits: LaneLimits = {
      ...sizes,
      pingTicks: this.#ticks(500),
      deadTicks: this.#ticks(3_000),
      dialTicks: this.#ticks(4_000),
      maxBackoffTicks: this.#ticks(1_000),
    };
    return new Lane({
      ...this.#introduction,
      peer,
      channel,
      limits,
      isRemoved,
      now: () => this.#now,
      random,
      dial: (signal) => {
        const to = address(peer);
        return to === undefined ? undefined : dial({ id: peer, address: to }, channel, signal);
      },
      frame: (frame, connection) => this.#frame(peer, frame, connection),
      lost: () => {
        if (channel === 'append') events.unreachable(peer);
      },
      log: (fields, message) => log('debug', fields, message),
    });
  }

  /** A former member is to be told so, whichever log it has. */
  get #introduction(): Introduction {
    const { self, logId, identify, known, isRemoved } = this.#env;
    return { self, logId, known, identify: (peer, theirs) => isRemoved(peer) || identify(peer, theirs) };
  }

  #ticks(ms: number): number {
    return Math.max(2, Math.ceil(ms / this.#env.tickMs));
  }

  /** What it throws closes the connection. */
  #frame(from: number, { kind, body }: Frame, connection: Connection): void {
    if (this.#env.isRemoved(from)) {
      connection.send(removed);
      connection.finish();
      return;
    }
    const peer = this.#peers.get(from);
    if (peer !== undefined) peer.heardAt = this.#now;
    switch (kind) {
      case frameKind.message: {
        const m = decodeMessage(body);
        if (m.from !== from || m.to !== this.#env.self) throw new Error('a message of or for someone else');
        if (m.type === 'snap') throw new Error('a snapshot without its content');
        this.#env.events.message(m);
        return;
      }
      case frameKind.ping:
        return;
      case frameKind.removed:
        this.#env.events.removed();
        return;
      case frameKind.otherLog:
        this.#env.events.otherLog(from);
        return;
      default:
        throw new Error(`unexpected frame of kind ${kind}`);
    }
  }

  #transfer(): Transfer {
    const transfer = { abort: new AbortController(), stream: undefined, movedAt: this.#now };
    this.#transfers.add(transfer);
    return transfer;
  }

  #attach(transfer: Transfer, stream: Duplex): void {
    stream.on('error', () => {});
    transfer.stream = stream;
    if (transfer.abort.signal.aborted) stream.destroy();
  }

  #moved(transfer: Transfer): void {
    transfer.movedAt = this.#now;
  }

  #abort(transfer: Transfer, reason: string): void {
    transfer.abort.abort(new Error(reason));
    transfer.stream?.destroy(new Error(reason));
  }

  #detach(transfer: Transfer): void {
    this.#transfers.delete(transfer);
    const { stream } = transfer;
    // The other side may still have to read what was sent last.
    if (stream !== undefined && !stream.destroyed) stream.end(() => stream.destroy());
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function discard(stream: Duplex): void {
  stream.on('error', () => {});
  stream.destroy();
}
