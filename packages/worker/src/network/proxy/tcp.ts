import type { Backend } from './balancer.ts';
import { Deadlines } from './deadlines.ts';
import { proxyHeader } from './header.ts';
import { clientName, type PortModules, type ProxyPort } from './port.ts';
import type { Endpoint, Listening, Opening, Passage, Stream } from './streams/types.ts';

// One published TCP port on one address: each connection is joined with one to the backend whose turn it is.

const backlog = 4_096;
const keepAliveMs = 60_000;
/** This machine is at its end, not the backend: another would fare no better. */
const ownFaults: readonly string[] = ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'EAGAIN'];
/** Errors of accepting come in floods. */
const quietMs = 10_000;
/** A client waits for so many backends that do not answer, before it is refused. */
const mostTimeouts = 3;
/** Looks at all connections in each time that they may be idle; and how often where they may be for ever. */
const idleLooks = 4;
const lookMs = 15_000;

export class TcpPort implements ProxyPort {
  readonly modules: PortModules;
  readonly connections = new Set<Connection>();
  readonly deadlines: Deadlines<Connection>;
  /** Counts looks. */
  tick = 0;
  #warnedAt = Number.NEGATIVE_INFINITY;
  #listening: Listening | undefined;
  #look: { cancel(): void } | undefined;

  private constructor(modules: PortModules) {
    this.modules = modules;
    this.deadlines = new Deadlines(modules.clock, (connection) => connection.timedOut());
  }

  static async listen(at: Endpoint & { readonly ipv6Only?: boolean }, modules: PortModules): Promise<TcpPort> {
    const made = new TcpPort(modules);
    const options = { ipv6Only: at.ipv6Only ?? false, backlog, keepAliveMs };
    made.#listening = await modules.streams.listen(at, options, {
      client: (client) => made.#onClient(client),
      error: (error) => {
        modules.shared.counters.refused++;
        made.#warn({ host: at.addr, port: at.port, error });
      },
    });
    return made;
  }

  get isDone(): boolean {
    return this.connections.size === 0;
  }

  changed(): void {}

  stop(): void {
    this.#listening?.close();
  }

  destroy(): void {
    this.stop();
    for (const connection of [...this.connections]) connection.destroy();
    this.#settle();
  }

  left(connection: Connection): void {
    this.connections.delete(connection);
    if (this.connections.size === 0) this.#settle();
  }

  /** No timers without connections. */
  #settle(): void {
    this.#look?.cancel();
    this.#look = undefined;
    this.deadlines.clear();
  }

  #onClient(client: Stream): void {
    const { shared } = this.modules;
    const name = shared.asksWho ? clientName(client.remote()?.addr) : '';
    if (!shared.enter(name, true)) {
      client.reset();
      return;
    }
    const connection = new Connection(this, client, name);
    this.connections.add(connection);
    connection.next();
    this.#watch();
  }

  #warn(fields: Record<string, unknown>): void {
    const { clock, log } = this.modules;
    const now = clock.monotonic();
    if (now - this.#warnedAt < quietMs) return;
    this.#warnedAt = now;
    log.warn(fields, 'proxy port');
  }

  #watch(): void {
    const { clock, shared } = this.modules;
    const { idleMs } = shared.options;
    if (this.#look || this.connections.size === 0) return;
    this.#look = clock.after(
      idleMs === 0 ? lookMs : idleMs / idleLooks,
      () => {
        this.#look = undefined;
        this.tick++;
        for (const connection of [...this.connections])
          connection.look(idleMs === 0 ? undefined : this.tick - idleLooks);
        this.#watch();
      },
      { unref: true },
    );
  }
}

class Connection implements Passage {
  readonly #port: TcpPort;
  readonly #client: Stream;
  readonly #clientName: string;
  #backend: Backend | undefined;
  #opening: Opening | undefined;
  #tried: Backend[] | undefined;
  #timeouts = 0;
  #isOver = false;
  #server: Stream | undefined;
  #isLasting = false;
  /** When data came last. */
  #tick: number;

  constructor(port: TcpPort, client: Stream, name: string) {
    this.#port = port;
    this.#client = client;
    this.#clientName = name;
    this.#tick = port.tick;
    port.modules.shared.counters.pending++;
  }

  /** Tries the backend whose turn it is. Nothing was read from the client so far, so nothing is lost. */
  next(): void {
    const { streams, shared } = this.#port.modules;
    const isTired = this.#timeouts >= mostTimeouts;
    const backend = isTired ? undefined : shared.balancer.take(shared.options.balance, this.#tried);
    if (!backend) {
      this.#refuse();
      return;
    }
    if (this.#tried) shared.counters.retried++;
    this.#backend = backend;
    this.#port.deadlines.add(this, shared.options.connectMs);
    this.#opening = streams.connect(backend, (server, code) => {
      this.#port.deadlines.delete(this);
      this.#opening = undefined;
      // It may have left in the meantime; others are there for the client, or its drain waits for this one too.
      if (server && (backend.isHere || shared.balancer.backends.length === 0)) this.#join(server, backend);
      else if (ownFaults.includes(code)) this.#refuse();
      else {
        server?.close();
        this.#passOver(backend, !server);
      }
    });
  }

  timedOut(): void {
    this.#opening?.abort();
    this.#opening = undefined;
    this.#timeouts++;
    if (this.#backend) this.#passOver(this.#backend, true);
  }

  moved(fromClient: boolean, bytes: number): void {
    const { counters } = this.#port.modules.shared;
    this.#tick = this.#port.tick;
    if (fromClient) counters.bytesIn += bytes;
    else counters.bytesOut += bytes;
  }

  ended(): void {
    this.#finish();
  }

  /** Ends it when nothing came since `idleSince`. Most connections end before anybody looks. */
  look(idleSince: number | undefined): void {
    if (!this.#server) return;
    if (idleSince !== undefined && this.#tick < idleSince) {
      this.#port.modules.shared.counters.idle++;
      this.destroy();
      return;
    }
    if (!this.#isLasting) this.#server.keepAlive(keepAliveMs);
    this.#isLasting = true;
    if (this.#tick >= this.#port.tick - 1) return;
    this.#client.relax();
    this.#server.relax();
  }

  destroy(): void {
    this.#opening?.abort();
    this.#client.close();
    this.#finish();
  }

  #refuse(): void {
    this.#port.modules.shared.counters.failed++;
    this.#client.reset();
    this.#finish();
  }

  #join(server: Stream, backend: Backend): void {
    const { shared, streams } = this.#port.modules;
    shared.balancer.succeeded(backend);
    shared.counters.pending--;
    this.#server = server;
    this.#tick = this.#port.tick;
    streams.join(this.#client, server, this.#header(), this);
  }

  #header(): Buffer | undefined {
    const { clientAddress } = this.#port.modules.shared.options;
    const version = clientAddress === 'proxy-v1' ? 1 : clientAddress === 'proxy-v2' ? 2 : undefined;
    return version && proxyHeader(version, this.#client.remote(), this.#client.local());
  }

  #passOver(backend: Backend, failed: boolean): void {
    const { balancer } = this.#port.modules.shared;
    this.#backend = undefined;
    if (failed) balancer.failed(backend);
    balancer.release(backend);
    this.#tried = [...(this.#tried ?? []), backend];
    this.next();
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { shared } = this.#port.modules;
    if (!this.#server) shared.counters.pending--;
    this.#port.deadlines.delete(this);
    if (this.#backend) shared.balancer.release(this.#backend);
    shared.leave(this.#clientName);
    this.#port.left(this);
  }
}
