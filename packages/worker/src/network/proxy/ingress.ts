import { isIPv4, isIPv6 } from 'node:net';
import { Bell, type Clock, type Logger, type Timer } from '@swarmctl/shared/kit';
import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { answeredAddresses, canonical, isLoopback } from '../address.ts';
import type { Listener } from '../listeners.ts';
import { isPort, targetOf } from '../plan.ts';
import { bindProblem, ingressClosed, logProblems } from '../problems.ts';
import type { Ingress, IngressOptions } from '../types.ts';
import { Versions } from '../versions.ts';
import { HealthChecks } from './health.ts';
import { portOptionsOf } from './options.ts';
import { type PortCounters, type PortModules, PortShared, type ProxyPort } from './port.ts';
import { handleStreams } from './streams/handles.ts';
import { socketStreams } from './streams/sockets.ts';
import type { Streams } from './streams/types.ts';
import { TcpPort } from './tcp.ts';
import { UdpPort } from './udp.ts';

// The ingress without the kernel's help, for nodes without root: listens on the published ports and passes on what comes. A port that is
// not here any more takes no new connections; those it has go on to their end.

export interface ProxyModules {
  readonly log: Logger;
  readonly clock: Clock;
  /** The fastest that there are here. */
  readonly streams?: Streams;
}

export interface ProxyIngressOptions extends IngressOptions {
  /**
   * `ipv6`: a relay for what the kernel's ingress cannot do, which is clients of IPv6 (`::1`, and containers without IPv6). IPv4's are left to it.
   */
  readonly families?: 'all' | 'ipv6';
  /** It is one of so many that share ports; limits that no entry sets itself are shared as well. */
  readonly share?: number;
}

/** Sockets that are opened at a time. */
const slice = 50;
/** How soon a port that could not be had is tried again. */
const retryMs = 1_000;

/** IPv4's too, where there is IPv6 at all. */
const everyAddress = '::';

/** What bind says where there is no IPv6. */
const noFamily: readonly string[] = ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL'];

/** A published port with its listeners, by address. */
interface Port {
  readonly shared: PortShared;
  readonly listeners: Map<string, ProxyPort>;
  entry: IngressEntry | undefined;
  health: HealthChecks | undefined;
  /** It listens wherever it can, and nothing is to be tried again. */
  isSettled: boolean;
}

export class ProxyIngress implements Ingress {
  readonly kind = 'proxy';
  readonly #options: ProxyIngressOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #streams: Streams;
  readonly #addresses: readonly string[];
  readonly #ports = new Map<string, Port>();
  /** Listeners that have stopped, while connections of theirs go on. */
  readonly #stopped = new Map<ProxyPort, PortShared>();
  readonly #bell = new Bell();
  #wanted: ReadonlyMap<string, IngressEntry> = new Map();
  readonly #versions = new Versions();
  #problems: ReadonlyMap<string, string> = new Map();
  /** Why a port is not listened on somewhere, and what becomes of clients' addresses where it is not what was asked for; by key. */
  readonly #failures = new Map<string, string>();
  readonly #fallbacks = new Map<string, string>();
  #retry: Timer | undefined;
  /** For an address that this machine does not have, or not yet. */
  #isWaiting = false;
  #hasIpv6 = true;
  #isClosed = false;
  readonly #work: Promise<void>;

  constructor(options: ProxyIngressOptions, modules: ProxyModules) {
    this.#options = options;
    this.#log = modules.log;
    this.#clock = modules.clock;
    this.#streams = modules.streams ?? handleStreams() ?? socketStreams;
    const answered = answeredAddresses(options);
    this.#addresses = answered.length === 0 ? [everyAddress] : answered.filter((addr) => this.#isOurs(addr));
    this.#work = this.#loop();
  }

  apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void> {
    if (this.#isClosed) return Promise.reject(ingressClosed());
    this.#wanted = entries;
    const done = this.#versions.next();
    this.#bell.ring();
    return done;
  }

  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** Open connections by task. */
  connections(): ReadonlyMap<string, number> {
    const total = new Map<string, number>();
    const ports = new Set([...[...this.#ports.values()].map(({ shared }) => shared), ...this.#stopped.values()]);
    for (const shared of ports)
      for (const [taskId, count] of shared.balancer.counts()) total.set(taskId, (total.get(taskId) ?? 0) + count);
    return total;
  }

  /** Ports that it does not listen on everywhere where it is to. */
  get failed(): readonly string[] {
    return [...this.#failures.keys()];
  }

  /** Where it listens. */
  listening(): Listener[] {
    return [...this.#ports.values()].flatMap(({ entry, listeners }) =>
      entry && listeners.size > 0 && !this.#failures.has(entry.key) ? this.places(entry) : [],
    );
  }

  /** Where it is to listen for an entry. */
  places(entry: IngressEntry): Listener[] {
    const { protocol, publishedPort: port } = entry;
    const addresses = this.#addressesOf(entry).map(canonical);
    const isBoth = addresses.includes(everyAddress) && !this.#isRelay;
    return [...addresses, ...(isBoth ? ['0.0.0.0'] : [])].map((addr) => ({ protocol, addr, port }));
  }

  /** Of the ports that are published here now, by key. */
  counters(): ReadonlyMap<string, Readonly<PortCounters>> {
    return new Map([...this.#ports].map(([key, { shared }]) => [key, { ...shared.counters }]));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#retry?.cancel();
    this.#bell.ring();
    await this.#work;
    for (const { health, listeners } of this.#ports.values()) {
      health?.close();
      for (const listener of listeners.values()) listener.destroy();
    }
    for (const listener of this.#stopped.keys()) listener.destroy();
    this.#ports.clear();
    this.#stopped.clear();
  }

  get #isRelay(): boolean {
    return this.#options.families === 'ipv6';
  }

  #isOurs(addr: string): boolean {
    return !this.#isRelay || isIPv6(addr);
  }

  async #loop(): Promise<void> {
    for (;;) {
      await this.#bell.wait();
      if (this.#isClosed) break;
      const version = this.#versions.latest;
      await this.#converge(this.#wanted);
      this.#versions.settle(version);
    }
    this.#versions.rejectAll(ingressClosed());
  }

  #stop({ listeners, shared }: Port, addr: string): void {
    const listener = listeners.get(addr);
    if (!listener) return;
    listeners.delete(addr);
    listener.changed();
    listener.stop();
    if (!listener.isDone) this.#stopped.set(listener, shared);
  }

  async #converge(wanted: ReadonlyMap<string, IngressEntry>): Promise<void> {
    for (const listener of this.#stopped.keys()) if (listener.isDone) this.#stopped.delete(listener);
    for (const [key, port] of this.#ports) {
      if (isAnswered(wanted.get(key))) continue;
      // Nobody is behind it: a closed port refuses faster than anything.
      port.shared.balancer.set([]);
      port.health?.close();
      for (const addr of [...port.listeners.keys()]) this.#stop(port, addr);
      for (const known of [this.#ports, this.#failures, this.#fallbacks]) known.delete(key);
    }
    for (const key of this.#failures.keys()) if (!wanted.has(key)) this.#failures.delete(key);
    this.#isWaiting = false;
    const changed = [...wanted.values()].filter((entry) => !this.#isServed(entry));
    // Thousands of sockets are opened by and by.
    for (let i = 0; i < changed.length; i += slice) {
      if (i > 0) await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(changed.slice(i, i + slice).map((entry) => this.#serve(entry)));
    }
    this.#report();
    this.#retry?.cancel();
    if ((this.#failures.size === 0 && !this.#isWaiting) || this.#isClosed) return;
    this.#retry = this.#clock.after(retryMs, () => this.#bell.ring(), { unref: true });
  }

  #isServed(entry: IngressEntry): boolean {
    if (entry.protocol === 'sctp' ? this.#isRelay : !isAnswered(entry)) return true;
    const port = this.#ports.get(entry.key);
    return port !== undefined && port.entry === entry && port.isSettled;
  }

  async #serve(entry: IngressEntry): Promise<void> {
    const { key, protocol, publishedPort } = entry;
    if (protocol === 'sctp' || !isPort(publishedPort)) {
      this.#failures.set(key, `the proxy cannot answer on ${protocol} port ${publishedPort}`);
      return;
    }
    const port = this.#portOf(entry);
    if (port.entry !== entry) this.#change(port, entry);
    const addresses = this.#addressesOf(entry);
    for (const addr of [...port.listeners.keys()]) if (!addresses.includes(addr)) this.#stop(port, addr);
    const problems = await this.#open(port, protocol, publishedPort, addresses);
    port.isSettled = problems.length === 0;
    this.#failures.delete(key);
    this.#fallbacks.delete(key);
    const told: string[] = [];
    for (const { addr, error } of problems) {
      // An address of its own may well be another node's.
      if (error.code === 'EADDRNOTAVAIL' && entry.address !== undefined) this.#isWaiting = true;
      else told.push(bindProblem(addr, publishedPort, error));
    }
    if (told.length > 0) this.#failures.set(key, told.join('; '));
    const fallback = port.listeners.size > 0 ? this.#fallbackOf(entry) : undefined;
    if (fallback !== undefined) this.#fallbacks.set(key, fallback);
  }

  /** What becomes of clients' addresses, where it is not what was asked for. */
  #fallbackOf({ protocol, address, clientAddress = 'keep' }: IngressEntry): string | undefined {
    const addresses = address === undefined ? this.#addresses : [address];
    // Clients on this machine alone have no address that means anything to others.
    if (clientAddress !== 'keep' || this.#isRelay || addresses.every(isLoopback)) return undefined;
    const way = protocol === 'tcp' ? '; swarmctl.ingress.client-address=proxy-v2 tells tasks who they are' : '';
    return `clients are masqueraded: the proxy answers here${way}`;
  }

  #portOf(entry: IngressEntry): Port {
    const known = this.#ports.get(entry.key);
    if (known) return known;
    const shared = new PortShared(portOptionsOf(entry, this.#options.share), this.#clock);
    const port: Port = { shared, listeners: new Map(), entry: undefined, health: undefined, isSettled: false };
    this.#ports.set(entry.key, port);
    return port;
  }

  #change(port: Port, entry: IngressEntry): void {
    const { shared } = port;
    port.entry = entry;
    shared.options = portOptionsOf(entry, this.#options.share);
    shared.allow(entry.allow);
    const { nodeId } = this.#options;
    const placed = (backend: IngressBackend) => ({ ...targetOf(backend, nodeId), taskId: backend.taskId });
    shared.balancer.set(entry.backends.map(placed), entry.draining?.map(placed));
    for (const listener of port.listeners.values()) listener.changed();
    const { health } = shared.options;
    if (port.health?.follows(health)) return;
    port.health?.close();
    port.health =
      health && entry.protocol === 'tcp'
        ? new HealthChecks(health, {
            ...{ balancer: shared.balancer, streams: this.#streams, clock: this.#clock },
            changed: () => this.#report(),
          })
        : undefined;
  }

  #addressesOf({ address, allow }: IngressEntry): readonly string[] {
    // Nobody who could come is let in.
    if (this.#isRelay && allow?.every((range) => isIPv4(range.split('/')[0] ?? ''))) return [];
    return address === undefined ? this.#addresses : [address].filter((addr) => this.#isOurs(addr));
  }

  /** What stands in the way, by address. */
  async #open(
    { shared, listeners }: Port,
    protocol: 'tcp' | 'udp',
    port: number,
    addresses: readonly string[],
  ): Promise<{ readonly addr: string; readonly error: NodeJS.ErrnoException }[]> {
    const modules = { shared, streams: this.#streams, clock: this.#clock, log: this.#log };
    const problems: { readonly addr: string; readonly error: NodeJS.ErrnoException }[] = [];
    for (const addr of addresses) {
      if (listeners.has(addr)) continue;
      try {
        const listener = await this.#listen(protocol, addr, port, modules);
        if (listener) listeners.set(addr, listener);
      } catch (error) {
        problems.push({ addr, error: error as NodeJS.ErrnoException });
      }
    }
    return problems;
  }

  /** Undefined where there can be no clients. */
  async #listen(
    protocol: 'tcp' | 'udp',
    addr: string,
    port: number,
    modules: PortModules,
  ): Promise<ProxyPort | undefined> {
    const kind = protocol === 'tcp' ? TcpPort : UdpPort;
    if (this.#isRelay && !this.#hasIpv6) return undefined;
    try {
      return await kind.listen({ addr, port, ipv6Only: this.#isRelay }, modules);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (addr !== everyAddress || !noFamily.includes(code)) throw error;
      this.#hasIpv6 = false;
      return this.#isRelay ? undefined : kind.listen({ addr: '0.0.0.0', port }, modules);
    }
  }

  #report(): void {
    const problems = new Map([...this.#fallbacks, ...this.#failures]);
    for (const [key, { health }] of this.#ports) {
      if (!health || health.down.length === 0) continue;
      const down = `passed over, since they do not accept connections: ${health.down.join(', ')}`;
      problems.set(key, [problems.get(key), down].filter(Boolean).join('; '));
    }
    logProblems(this.#log, this.#problems, problems);
    this.#problems = problems;
  }
}

/** Somebody is behind it, if only for those who have come already. */
const isAnswered = (entry: IngressEntry | undefined): boolean =>
  entry !== undefined && entry.backends.length + (entry.draining?.length ?? 0) > 0;
