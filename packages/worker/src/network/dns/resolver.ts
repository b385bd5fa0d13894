import { isIP } from 'node:net';
import { type Clock, ClusterError, type Logger, messageOf, type Random } from '@swarmctl/shared/kit';
import { isWithinRange, parseIpRange } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import type { Resolver } from '../types.ts';
import {
  type Answer,
  encodeAnswer,
  fitted,
  parseQuery,
  type Query,
  type Question,
  rcodes,
  reverseAddress,
  types,
} from './codec.ts';
import { forward, type Upstream } from './forward.ts';
import { addressesOf, canonical, isOfFamily, nameOf, shuffled } from './names.ts';
import { DnsServer } from './server.ts';
import { HostResolvers } from './upstreams.ts';

// The names of the cluster's networks on one node. Who asks is known by the network whose address was asked and the address that asks; they see
// the names of the networks that they are on, and no others. The rest is the machine's resolvers' business, but for those who have no way out.

export interface Client {
  /** Its address on each of its networks. */
  readonly addrs: readonly { readonly networkId: string; readonly addr: string }[];
  /** Names of others by what it alone calls them, in lower case. */
  readonly links?: ReadonlyMap<string, string>;
  /** Resolvers of its own choice, for names that are not the cluster's. */
  readonly nameservers?: readonly string[];
}

/** A resolver that is told who its clients are. */
export interface NodeResolver extends Resolver {
  attached(taskId: string, client: Client): void;
  detached(taskId: string): void;
  /** The machine's resolvers that the engine has its containers ask: none that only the machine itself can ask. */
  machines(): Promise<readonly string[]>;
}

export interface ResolverModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: Random;
  readonly upstreams?: () => Promise<readonly Upstream[]>;
  /** 53, but for tests. */
  readonly port?: number;
}

/** Questions passed on at a time, of all clients and of one. */
const mostForwarded = 1_024;
const mostForwardedOfOne = 128;
const longest = 65_535;
const stub = '127.0.0.53';

export class NameResolver implements NodeResolver {
  readonly #log: Logger;
  readonly #modules: ResolverModules;
  readonly #upstreams: () => Promise<readonly Upstream[]>;
  readonly #behindStub: HostResolvers;
  readonly #servers = new Map<string, Map<string, Promise<DnsServer>>>();
  readonly #tasks = new Map<string, Client>();
  /** By `network address`. */
  readonly #clients = new Map<string, Client>();
  readonly #forwarded = new Map<string, number>();
  #forwarding = 0;
  #views: ReadonlyMap<string, NetworkView> = new Map();
  #closed = false;

  constructor(modules: ResolverModules) {
    this.#modules = modules;
    this.#log = modules.log;
    const host = new HostResolvers(modules.clock);
    this.#behindStub = new HostResolvers(modules.clock, '/run/systemd/resolve/resolv.conf');
    this.#upstreams = modules.upstreams ?? (() => host.list());
  }

  set(views: ReadonlyMap<string, NetworkView>): void {
    const gone = [...this.#views.keys()].filter((id) => !views.has(id));
    this.#views = views;
    for (const id of gone) void this.#stop(id);
  }

  async listen(networkId: string, addr: string): Promise<void> {
    if (this.#closed) throw new ClusterError('unavailable', 'the resolver is closed');
    const servers = this.#servers.get(networkId) ?? new Map<string, Promise<DnsServer>>();
    this.#servers.set(networkId, servers);
    const { port = 53 } = this.#modules;
    const server =
      servers.get(addr) ??
      DnsServer.open(addr, port, (packet, client, transport) => this.#answer(networkId, packet, client, transport));
    servers.set(addr, server);
    try {
      await server;
    } catch (error) {
      if (servers.get(addr) === server) servers.delete(addr);
      throw error;
    }
  }

  /** Where a network is answered; undefined when it is not. */
  async portOf(networkId: string, addr: string): Promise<number | undefined> {
    return (await this.#servers.get(networkId)?.get(addr))?.port;
  }

  attached(taskId: string, client: Client): void {
    this.detached(taskId);
    this.#tasks.set(taskId, client);
    for (const { networkId, addr } of client.addrs) this.#clients.set(clientKey(networkId, addr), client);
  }

  detached(taskId: string): void {
    const client = this.#tasks.get(taskId);
    this.#tasks.delete(taskId);
    for (const { networkId, addr } of client?.addrs ?? []) {
      const key = clientKey(networkId, addr);
      if (this.#clients.get(key) === client) this.#clients.delete(key);
    }
  }

  async machines(): Promise<readonly string[]> {
    const addrs = (await this.#upstreams()).map(({ addr }) => addr);
    // Of systemd's stub, the engine takes what is behind it.
    const all =
      addrs.length === 1 && addrs[0] === stub ? await this.#behindStub.list() : addrs.map((addr) => ({ addr }));
    return all.map(({ addr }) => addr).filter((addr) => isIP(addr) !== 0 && !/^(127\.|::1$)/.test(addr));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#servers.keys()].map((id) => this.#stop(id)));
  }

  async #stop(networkId: string): Promise<void> {
    const servers = [...(this.#servers.get(networkId)?.values() ?? [])];
    this.#servers.delete(networkId);
    await Promise.all(servers.map((server) => server.then((one) => one.close()).catch(() => {})));
  }

  async #answer(networkId: string, packet: Buffer, client: string, transport: 'udp' | 'tcp') {
    try {
      const query = parseQuery(packet);
      if (!query) return undefined;
      const limit = transport === 'tcp' ? longest : query.limit;
      const answer = query.question ? await this.#resolve(networkId, packet, query, client) : error(query);
      return Buffer.isBuffer(answer) ? fitted(answer, query, limit) : encodeAnswer(query, answer, limit);
    } catch (error) {
      this.#log.warn({ network: networkId, client, error: messageOf(error) }, 'a question could not be answered');
      return undefined;
    }
  }

  async #resolve(networkId: string, packet: Buffer, query: Query, from: string): Promise<Answer | Buffer> {
    const { question } = query;
    if (!question || query.error !== undefined) return error(query);
    const asked = this.#views.get(networkId);
    if (!asked || !isOn(asked, from)) return { rcode: rcodes.refused };
    const client = this.#clients.get(clientKey(networkId, from));
    const views = this.#viewsOf(asked, client);
    const linked = client?.links?.get(question.name);
    const own =
      (linked !== undefined && answerOf(views, { ...question, name: linked }, this.#modules.random)) ||
      answerOf(views, question, this.#modules.random);
    if (own) return own;
    // A resolver passes on whatever it is asked, so it would be a way out.
    if (views.every(({ internal }) => internal)) return { rcode: rcodes.noName };
    // A resolver of the machine's that asks here again would be asked for ever.
    if (this.#ownAddresses().has(canonical(from))) return { rcode: rcodes.refused };
    return (await this.#forward(packet, question, from, client)) ?? { rcode: rcodes.failed };
  }

  /** Those of the client; the one that was asked goes first. */
  #viewsOf(asked: NetworkView, client: Client | undefined): NetworkView[] {
    const others = (client?.addrs ?? []).map(({ networkId }) => this.#views.get(networkId));
    return [...new Set([asked, ...others.filter((view) => view !== undefined)])];
  }

  async #forward(packet: Buffer, question: Question, from: string, client: Client | undefined) {
    const open = this.#forwarded.get(from) ?? 0;
    if (this.#forwarding >= mostForwarded || open >= mostForwardedOfOne) return undefined;
    this.#forwarding++;
    this.#forwarded.set(from, open + 1);
    try {
      return await forward(packet, question, await this.#upstreamsOf(client), this.#modules);
    } finally {
      this.#forwarding--;
      const left = (this.#forwarded.get(from) ?? 1) - 1;
      if (left > 0) this.#forwarded.set(from, left);
      else this.#forwarded.delete(from);
    }
  }

  /** Where questions are answered. */
  #ownAddresses(): ReadonlySet<string> {
    return new Set([...this.#servers.values()].flatMap((servers) => [...servers.keys()]).map(canonical));
  }

  /** Never this one itself. */
  async #upstreamsOf(client: Client | undefined): Promise<readonly Upstream[]> {
    const chosen = (client?.nameservers ?? []).filter((addr) => isIP(addr) !== 0).map((addr) => ({ addr, port: 53 }));
    const own = this.#ownAddresses();
    const { port = 53 } = this.#modules;
    const all = chosen.length > 0 ? chosen : await this.#upstreams();
    return all.filter((upstream) => upstream.port !== port || !own.has(canonical(upstream.addr)));
  }
}

const error = (query: Query): Answer => ({ rcode: query.error ?? rcodes.malformed });

const clientKey = (networkId: string, addr: string): string => `${networkId} ${canonical(addr)}`;

const isOn = (view: NetworkView, addr: string): boolean => {
  const one = parseIpRange(addr);
  return view.subnets.some(({ subnet }) => {
    const range = parseIpRange(subnet);
    return one !== undefined && range !== undefined && isWithinRange(one, range);
  });
};

/** From what the networks know; undefined: it is none of theirs. A name of theirs has no other kind of record. */
function answerOf(views: readonly NetworkView[], { name, type }: Question, random: Random): Answer | undefined {
  const reversed = reverseAddress(name);
  if (reversed !== undefined) {
    const target = nameOf(views, canonical(reversed));
    if (target === undefined) return views.some((view) => isOn(view, reversed)) ? { rcode: rcodes.noName } : undefined;
    return { rcode: rcodes.ok, records: type === types.PTR ? [target] : [] };
  }
  const addrs = addressesOf(views, name);
  if (!addrs) return undefined;
  if (addrs === 'absent') return { rcode: rcodes.noName };
  if (type !== types.A && type !== types.AAAA) return { rcode: rcodes.ok };
  return { rcode: rcodes.ok, records: shuffled(addrs.filter(isOfFamily(type === types.A ? 4 : 6)), random) };
}
