import { Bell, type Clock, ClusterError, type Logger, type Timer } from '@swarmctl/shared/kit';
import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { answeredAddresses } from '../address.ts';
import { isPort } from '../plan.ts';
import type { Ingress, IngressOptions } from '../types.ts';
import type { PortModules, ProxyPort } from './port.ts';
import { Rotation } from './rotation.ts';
import { TcpPort } from './tcp.ts';
import { UdpPort } from './udp.ts';

// The ingress without the kernel's help, for nodes without root: listens on the published ports and passes on what comes. A port that is
// not here any more takes no new connections; those it has go on to their end.

export interface ProxyModules {
  readonly log: Logger;
  readonly clock: Clock;
}

/** How soon a port that could not be had is tried again. */
const retryMs = 1_000;

/** IPv4's too, where there is IPv6 at all. */
const everyAddress = '::';

/** A published port with its listeners, by address. */
interface Port {
  readonly rotation: Rotation;
  readonly listeners: Map<string, ProxyPort>;
  backends: readonly IngressBackend[];
}

export class ProxyIngress implements Ingress {
  readonly kind = 'proxy';
  readonly #options: IngressOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #addresses: readonly string[];
  readonly #ports = new Map<string, Port>();
  /** Listeners that have stopped, while connections of theirs go on. */
  readonly #stopped = new Set<ProxyPort>();
  readonly #bell = new Bell();
  #wanted: ReadonlyMap<string, IngressEntry> = new Map();
  #version = 0;
  #waiters: { readonly version: number; readonly settle: (error?: unknown) => void }[] = [];
  #problems: ReadonlyMap<string, string> = new Map();
  #retry: Timer | undefined;
  #isClosed = false;
  readonly #work: Promise<void>;

  constructor(options: IngressOptions, modules: ProxyModules) {
    this.#options = options;
    this.#log = modules.log;
    this.#clock = modules.clock;
    const answered = answeredAddresses(options);
    this.#addresses = answered.length === 0 ? [everyAddress] : answered;
    this.#work = this.#loop();
  }

  apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#wanted = entries;
    const version = ++this.#version;
    return new Promise((resolve, reject) => {
      this.#waiters.push({ version, settle: (error) => (error ? reject(error) : resolve()) });
      this.#bell.ring();
    });
  }

  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** Open connections by task. */
  connections(): ReadonlyMap<string, number> {
    const total = new Map<string, number>();
    const listeners = [...this.#ports.values()].flatMap((port) => [...port.listeners.values()]);
    for (const listener of [...listeners, ...this.#stopped])
      for (const [taskId, count] of listener.counts()) total.set(taskId, (total.get(taskId) ?? 0) + count);
    return total;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#retry?.cancel();
    this.#bell.ring();
    await this.#work;
    for (const port of this.#ports.values()) for (const listener of port.listeners.values()) listener.destroy();
    for (const listener of this.#stopped) listener.destroy();
    this.#ports.clear();
    this.#stopped.clear();
  }

  async #loop(): Promise<void> {
    for (;;) {
      await this.#bell.wait();
      if (this.#isClosed) break;
      const version = this.#version;
      await this.#converge(this.#wanted);
      for (const waiter of this.#waiters) if (waiter.version <= version) waiter.settle();
      this.#waiters = this.#waiters.filter((waiter) => waiter.version > version);
    }
    for (const { settle } of this.#waiters.splice(0)) settle(closedError());
  }

  async #converge(wanted: ReadonlyMap<string, IngressEntry>): Promise<void> {
    for (const listener of this.#stopped) if (listener.counts().size === 0) this.#stopped.delete(listener);
    for (const [key, port] of this.#ports) {
      if (wanted.get(key)?.backends.length) continue;
      // Nobody is behind it: a closed port refuses faster than anything.
      port.rotation.set([], this.#options.nodeId);
      for (const listener of port.listeners.values()) this.#stop(listener);
      this.#ports.delete(key);
    }
    const problems = new Map<string, string>();
    await Promise.all([...wanted.values()].map((entry) => this.#serve(entry, problems)));
    this.#report(problems);
  }

  #stop(listener: ProxyPort): void {
    listener.changed();
    listener.stop();
    this.#stopped.add(listener);
  }

  async #serve(entry: IngressEntry, problems: Map<string, string>): Promise<void> {
    const { key, protocol, publishedPort, backends } = entry;
    if (protocol === 'sctp' || !isPort(publishedPort)) {
      problems.set(key, `the proxy cannot answer on ${protocol} port ${publishedPort}`);
      return;
    }
    if (backends.length === 0) return;
    const port = this.#ports.get(key) ?? { rotation: new Rotation(this.#clock), listeners: new Map(), backends: [] };
    this.#ports.set(key, port);
    if (port.backends !== backends) {
      port.backends = backends;
      port.rotation.set(backends, this.#options.nodeId);
      for (const listener of port.listeners.values()) listener.changed();
    }
    const modules: PortModules = { rotation: port.rotation, clock: this.#clock, log: this.#log };
    for (const addr of this.#addresses) {
      if (port.listeners.has(addr)) continue;
      try {
        port.listeners.set(addr, await listen(protocol, addr, publishedPort, modules));
      } catch (error) {
        problems.set(key, bindProblem(addr, publishedPort, error as NodeJS.ErrnoException));
      }
    }
  }

  #report(problems: ReadonlyMap<string, string>): void {
    for (const [key, problem] of problems)
      if (this.#problems.get(key) !== problem)
        this.#log.warn({ port: key, problem }, 'published port has a problem here');
    for (const key of this.#problems.keys())
      if (!problems.has(key)) this.#log.info({ port: key }, 'published port is all right again');
    this.#problems = problems;
    this.#retry?.cancel();
    if (problems.size === 0 || this.#isClosed) return;
    this.#retry = this.#clock.after(retryMs, () => this.#bell.ring(), { unref: true });
  }
}

async function listen(protocol: 'tcp' | 'udp', addr: string, port: number, modules: PortModules): Promise<ProxyPort> {
  const kind = protocol === 'tcp' ? TcpPort : UdpPort;
  try {
    return await kind.listen(addr, port, modules);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (addr !== everyAddress || !['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL'].includes(code)) throw error;
    return kind.listen('0.0.0.0', port, modules);
  }
}

export function bindProblem(addr: string, port: number, error: NodeJS.ErrnoException): string {
  const where = `${addr}:${port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `another program has ${where}; it is tried again until that lets go`;
    case 'EACCES':
      return (
        `this user may not listen on ${where}: run swarmd as root, give it CAP_NET_BIND_SERVICE, ` +
        `or set sysctl net.ipv4.ip_unprivileged_port_start to ${port} or lower`
      );
    case 'EADDRNOTAVAIL':
      return `this machine has no address ${addr}`;
    default:
      return `cannot listen on ${where}: ${error.message}`;
  }
}

const closedError = () => new ClusterError('unavailable', 'the ingress is closed');
