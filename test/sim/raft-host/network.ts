import { Duplex } from 'node:stream';
import { below, type Random } from '@swarmctl/shared/kit';
import type { Channel } from '../../../packages/raft-ts/src/host/types.ts';
import type { Life, Scheduler } from './scheduler.ts';

// A simulated network of streams: what is sent arrives in order and late, or the stream breaks. A cut direction holds
// back what is on its way, and nobody is told.

export interface NetworkPorts {
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** Who listens there now. */
  readonly listener: (
    id: number,
  ) => { readonly life: Life; accept(from: number, channel: Channel, stream: Duplex): void } | undefined;
  /** Called as bytes leave a member. */
  readonly sent: (from: number, to: number, stream: object, channel: Channel, bytes: Buffer) => void;
}

interface End {
  readonly life: Life;
  readonly stream: Duplex;
  /** To the other end; null ends the stream. */
  readonly queue: { readonly at: number; readonly bytes: Buffer | null }[];
  lastAt: number;
}

interface Link {
  readonly ends: readonly [End, End];
  broken: boolean;
}

export class Network {
  maxDelayMs = 4;
  readonly cut = new Set<string>();
  readonly #ports: NetworkPorts;
  #links: Link[] = [];

  constructor(ports: NetworkPorts) {
    this.#ports = ports;
  }

  blocked(from: number, to: number): boolean {
    return this.cut.has(`${from}>${to}`);
  }

  heal(): void {
    this.cut.clear();
    for (const link of this.#links) for (const side of [0, 1] as const) this.#flow(link, side, 0);
  }

  dial(life: Life, to: number, channel: Channel, signal: AbortSignal): Promise<Duplex> {
    const { scheduler } = this.#ports;
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('given up')), { once: true });
      scheduler.after(this.#delay(), undefined, 'dial', () => {
        if (this.blocked(life.member, to) || this.blocked(to, life.member)) return;
        const listener = this.#ports.listener(to);
        if (listener === undefined || listener.life.dead) {
          scheduler.after(this.#delay(), life, 'refused', () => reject(new Error('connection refused')));
          return;
        }
        const link = this.#link(life, listener.life, channel);
        scheduler.after(0, listener.life, 'accept', () => {
          if (!link.broken) listener.accept(life.member, channel, link.ends[1].stream);
        });
        scheduler.after(this.#delay(), life, 'dialed', () => resolve(link.ends[0].stream));
      });
    });
  }

  /** Breaks some streams, as loss does. */
  breakSome(share: number): void {
    for (const link of this.#links) if (this.#ports.random() < share) this.#break(link);
  }

  /** The end of a process closes its streams; when the power goes nobody says so. */
  died(life: Life, power: boolean): void {
    for (const link of this.#links.filter(({ ends }) => ends.some((end) => end.life === life))) {
      if (!power) this.#break(link);
    }
  }

  #delay(): number {
    return 1 + below(this.#ports.random, this.maxDelayMs);
  }

  #link(a: Life, b: Life, channel: Channel): Link {
    const link: Link = {
      ends: [this.#end(a, b, 0, channel, () => link), this.#end(b, a, 1, channel, () => link)],
      broken: false,
    };
    this.#links.push(link);
    return link;
  }

  #end(life: Life, other: Life, side: 0 | 1, channel: Channel, link: () => Link): End {
    const stream: Duplex = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        if (life.dead || link().broken) return done();
        this.#ports.sent(life.member, other.member, stream, channel, chunk);
        this.#send(link(), side, Buffer.from(chunk));
        done();
      },
      final: (done) => {
        if (!life.dead) this.#send(link(), side, null);
        done();
      },
      destroy: (error, done) => {
        if (!life.dead) this.#closing(link(), side);
        done(error);
      },
    });
    return { life, stream, queue: [], lastAt: 0 };
  }

  #send(link: Link, side: 0 | 1, bytes: Buffer | null): void {
    const end = link.ends[side];
    const other = link.ends[side === 0 ? 1 : 0];
    if (other.life.dead) {
      const answers =
        this.#ports.listener(other.life.member) !== undefined && !this.blocked(end.life.member, other.life.member);
      if (answers) this.#break(link);
      return;
    }
    const delay = Math.max(this.#delay(), end.lastAt - this.#ports.scheduler.now);
    end.lastAt = this.#ports.scheduler.now + delay;
    end.queue.push({ at: end.lastAt, bytes });
    this.#flow(link, side, delay);
  }

  #flow(link: Link, side: 0 | 1, delay: number): void {
    const end = link.ends[side];
    const other = link.ends[side === 0 ? 1 : 0];
    if (end.queue.length === 0) return;
    this.#ports.scheduler.after(delay, other.life, 'arrive', () => {
      if (link.broken || this.blocked(end.life.member, other.life.member)) return;
      while (end.queue.length > 0 && end.queue[0]!.at <= this.#ports.scheduler.now) {
        const { bytes } = end.queue.shift()!;
        if (!other.stream.destroyed && !other.stream.readableEnded) other.stream.push(bytes);
      }
    });
  }

  /** One side lets go; the other hears of it after what was sent before, unless it cannot be reached. */
  #closing(link: Link, side: 0 | 1): void {
    if (link.broken) return;
    const end = link.ends[side];
    const other = link.ends[side === 0 ? 1 : 0];
    const delay = Math.max(this.#delay(), end.lastAt - this.#ports.scheduler.now);
    this.#ports.scheduler.after(delay, undefined, 'close', () => {
      if (!this.blocked(end.life.member, other.life.member)) this.#break(link);
    });
  }

  #break(link: Link): void {
    if (link.broken) return;
    link.broken = true;
    this.#links = this.#links.filter((one) => one !== link);
    for (const { life, stream } of link.ends) {
      this.#ports.scheduler.after(this.#delay(), life, 'broken', () => stream.destroy());
    }
  }
}
