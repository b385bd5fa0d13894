import { BlockList, isIPv4 } from 'node:net';
import type { Clock, Logger } from '@swarmctl/shared/kit';
import { Balancer } from './balancer.ts';
import { plainAddress } from './header.ts';
import type { ProxyPortOptions } from './options.ts';
import type { Streams } from './streams/types.ts';

// What a published port of the proxy is, whatever its protocol: listeners, and what they share.

export interface ProxyPort {
  /** The backends have changed. */
  changed(): void;
  /** Takes no new ones; those there go on to their end. */
  stop(): void;
  /** Ends them too. */
  destroy(): void;
  /** Nothing is left of what it had. */
  readonly isDone: boolean;
}

export interface PortModules {
  readonly shared: PortShared;
  readonly streams: Streams;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Counted since the port was first published here. For UDP, connections are clients and bytes are those of datagrams. */
export interface PortCounters {
  connections: number;
  open: number;
  /** Those of `open` that wait for a backend. */
  pending: number;
  /** At once, since they were beyond a limit or not allowed in. */
  refused: number;
  /** No backend took them. */
  failed: number;
  /** Attempts at another backend, after one had refused or not answered. */
  retried: number;
  /** Ended because nothing came for long. */
  idle: number;
  bytesIn: number;
  bytesOut: number;
}

/** What the listeners of one published port have in common. */
export class PortShared {
  readonly balancer: Balancer;
  readonly counters: PortCounters = {
    ...{ connections: 0, open: 0, pending: 0, refused: 0, failed: 0, retried: 0, idle: 0, bytesIn: 0, bytesOut: 0 },
  };
  options: ProxyPortOptions;
  readonly #clients = new Map<string, number>();
  #allowed: BlockList | undefined;

  constructor(options: ProxyPortOptions, clock: Clock) {
    this.options = options;
    this.balancer = new Balancer(clock);
  }

  /** Clients in `ranges` alone are let in; undefined: everybody is. */
  allow(ranges: readonly string[] | undefined): void {
    this.#allowed = ranges && listOf(ranges);
  }

  /** Whether it matters who a client is. */
  get asksWho(): boolean {
    return this.#allowed !== undefined || this.options.mostPerClient !== Number.POSITIVE_INFINITY;
  }

  /** Lets one in, to be given back by `leave`, or counts it as refused. `client` is empty where nobody asks. */
  enter(client: string, pending: boolean): boolean {
    const { counters, options } = this;
    const mine = client === '' ? 0 : (this.#clients.get(client) ?? 0);
    if (
      counters.open >= options.mostConnections ||
      (pending && counters.pending >= options.mostPending) ||
      mine >= options.mostPerClient ||
      (this.#allowed && !this.#allowed.check(client, isIPv4(client) ? 'ipv4' : 'ipv6'))
    ) {
      counters.refused++;
      return false;
    }
    if (client !== '') this.#clients.set(client, mine + 1);
    counters.connections++;
    counters.open++;
    return true;
  }

  leave(client: string): void {
    this.counters.open--;
    if (client === '') return;
    const left = (this.#clients.get(client) ?? 1) - 1;
    if (left === 0) this.#clients.delete(client);
    else this.#clients.set(client, left);
  }
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [addr = '', length] = range.split('/');
    const family = isIPv4(addr) ? 'ipv4' : 'ipv6';
    list.addSubnet(addr, Number(length ?? (family === 'ipv4' ? 32 : 128)), family);
  }
  return list;
}

/** How a client is known by. */
export const clientName = (addr: string | undefined): string => (addr === undefined ? '' : plainAddress(addr));
