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
  timer: Timer;
}

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
    flow.upstream.send(data, flow.backend.port, flow.backend.addr, () => {});
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
    upstream.on('error', () => this.#end(key));
    upstream.on('message', (answer, from) => {
      if (from.port !== backend.port) return;
      this.#touch(key, flow);
      shared.counters.bytesOut += answer.length;
      this.#socket.send(answer, client.port, client.address, () => {});
    });
    const flow: Flow = { clientName: name, backend, upstream, timer: this.#expiry(key) };
    this.#flows.set(key, flow);
    return flow;
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
