import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { Timer } from '@swarmctl/shared/kit';
import type { Backend } from './balancer.ts';
import { clientName, type PortModules, type ProxyPort } from './port.ts';
import type { Endpoint } from './streams/types.ts';

// One published UDP port on one address: each client keeps its backend, until it has been quiet for a while or the backend leaves.

interface Flow {
  readonly clientName: string;
  readonly backend: Backend;
  readonly upstream: Socket;
  /** Until the socket is there; datagrams beyond are lost, as datagrams may be. */
  waiting: Buffer[] | undefined;
  timer: Timer;
}

const mostWaiting = 16;
/** Nobody is there. Other errors are of the datagram, or of this machine. */
const absent: readonly string[] = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN'];

export class UdpPort implements ProxyPort {
  readonly #modules: PortModules;
  readonly #socket: Socket;
  readonly #flows = new Map<string, Flow>();
  #isClosed = false;

  private constructor({ addr, ipv6Only = false }: UdpAddress, modules: PortModules) {
    this.#modules = modules;
    this.#socket = createSocket({ type: isIPv6(addr) ? 'udp6' : 'udp4', ipv6Only });
    this.#socket.on('message', (data, client) => this.#onMessage(data, client));
  }

  static listen(at: UdpAddress, modules: PortModules): Promise<UdpPort> {
    const { addr, port } = at;
    const made = new UdpPort(at, modules);
    return new Promise((resolve, reject) => {
      made.#socket.once('error', reject);
      made.#socket.bind({ address: addr, port, exclusive: true }, () => {
        made.#socket.off('error', reject);
        made.#socket.on('error', (error) => modules.log.warn({ host: addr, port, error: error.message }, 'proxy port'));
        resolve(made);
      });
    });
  }

  get isDone(): boolean {
    return this.#flows.size === 0;
  }

  changed(): void {
    for (const [key, flow] of this.#flows) if (!flow.backend.isHere) this.#end(key);
  }

  stop(): void {
    this.destroy();
  }

  destroy(): void {
    for (const key of [...this.#flows.keys()]) this.#end(key);
    if (!this.#isClosed) this.#socket.close();
    this.#isClosed = true;
  }

  #onMessage(data: Buffer, client: RemoteInfo): void {
    const key = `${client.address} ${client.port}`;
    const flow = this.#flows.get(key) ?? this.#begin(key, client);
    if (!flow) return;
    this.#touch(key, flow);
    this.#modules.shared.counters.bytesIn += data.length;
    if (!flow.waiting) flow.upstream.send(data, (error) => this.#sent(key, flow, error));
    else if (flow.waiting.length < mostWaiting) flow.waiting.push(data);
  }

  #begin(key: string, client: RemoteInfo): Flow | undefined {
    const { shared } = this.#modules;
    const name = clientName(client.address);
    if (!shared.enter(name, false)) return undefined;
    const backend = shared.balancer.take(shared.options.balance);
    if (!backend) {
      shared.leave(name);
      return undefined;
    }
    const upstream = createSocket({ type: isIPv6(backend.addr) ? 'udp6' : 'udp4' });
    upstream.on('error', (error) => this.#sent(key, flow, error));
    upstream.on('message', (answer) => {
      this.#touch(key, flow);
      if (backend.failures > 0) shared.balancer.succeeded(backend);
      shared.counters.bytesOut += answer.length;
      this.#socket.send(answer, client.port, client.address, () => {});
    });
    const flow: Flow = { clientName: name, backend, upstream, waiting: [], timer: this.#expiry(key) };
    this.#flows.set(key, flow);
    // Connected, it hears that nobody is there, and nobody else is heard.
    upstream.connect(backend.port, backend.addr, (error?: Error) => {
      const { waiting = [] } = flow;
      flow.waiting = undefined;
      if (this.#flows.get(key) !== flow) return;
      for (const data of error ? [] : waiting) upstream.send(data, (failed) => this.#sent(key, flow, failed));
      if (!error) return;
      this.#sent(key, flow, error);
      this.#end(key);
    });
    return flow;
  }

  /** When the backend cannot be reached, what the client sends from now on goes to another. */
  #sent(key: string, flow: Flow, error: NodeJS.ErrnoException | null | undefined): void {
    if (!absent.includes(error?.code ?? '') || this.#flows.get(key) !== flow) return;
    this.#modules.shared.balancer.failed(flow.backend);
    this.#modules.shared.counters.failed++;
    this.#end(key);
  }

  #touch(key: string, flow: Flow): void {
    flow.timer.cancel();
    if (this.#flows.get(key) === flow) flow.timer = this.#expiry(key);
  }

  #expiry(key: string): Timer {
    const { clock, shared } = this.#modules;
    return clock.after(
      shared.options.idleMs,
      () => {
        shared.counters.idle++;
        this.#end(key);
      },
      { unref: true },
    );
  }

  #end(key: string): void {
    const flow = this.#flows.get(key);
    if (!flow) return;
    this.#flows.delete(key);
    flow.timer.cancel();
    flow.upstream.close();
    const { shared } = this.#modules;
    shared.balancer.release(flow.backend);
    shared.leave(flow.clientName);
  }
}

type UdpAddress = Endpoint & { readonly ipv6Only?: boolean };
