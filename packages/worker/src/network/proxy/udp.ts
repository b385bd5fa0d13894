import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { Timer } from '@swarmctl/shared/kit';
import { increment, type PortModules, type ProxyPort } from './port.ts';
import type { ProxyBackend } from './rotation.ts';

// One published UDP port on one address: each client keeps its backend, until it has been quiet for a while or the backend leaves.

const idleMs = 30_000;
const mostClients = 4_096;

interface Flow {
  readonly backend: ProxyBackend;
  readonly upstream: Socket;
  timer: Timer;
}

export class UdpPort implements ProxyPort {
  readonly #modules: PortModules;
  readonly #socket: Socket;
  readonly #flows = new Map<string, Flow>();
  readonly #counts = new Map<string, number>();
  #isClosed = false;

  private constructor(host: string, modules: PortModules) {
    this.#modules = modules;
    this.#socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4' });
    this.#socket.on('message', (data, client) => this.#onMessage(data, client));
  }

  static listen(host: string, port: number, modules: PortModules): Promise<UdpPort> {
    const made = new UdpPort(host, modules);
    return new Promise((resolve, reject) => {
      made.#socket.once('error', reject);
      made.#socket.bind({ address: host, port, exclusive: true }, () => {
        made.#socket.off('error', reject);
        made.#socket.on('error', (error) => modules.log.warn({ host, port, error: error.message }, 'proxy port'));
        resolve(made);
      });
    });
  }

  changed(): void {
    for (const [key, flow] of this.#flows) if (!this.#modules.rotation.has(flow.backend.taskId)) this.#end(key);
  }

  counts(): ReadonlyMap<string, number> {
    return this.#counts;
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
    flow.upstream.send(data, flow.backend.port, flow.backend.addr, () => {});
  }

  #begin(key: string, client: RemoteInfo): Flow | undefined {
    const [backend] = this.#modules.rotation.turn();
    if (!backend || this.#flows.size >= mostClients) return undefined;
    const upstream = createSocket({ type: isIPv6(backend.addr) ? 'udp6' : 'udp4' });
    upstream.on('error', () => this.#end(key));
    upstream.on('message', (data, from) => {
      if (from.port !== backend.port) return;
      this.#touch(key, flow);
      this.#socket.send(data, client.port, client.address, () => {});
    });
    const flow: Flow = { backend, upstream, timer: this.#expiry(key) };
    this.#flows.set(key, flow);
    increment(this.#counts, backend.taskId, 1);
    return flow;
  }

  #touch(key: string, flow: Flow): void {
    flow.timer.cancel();
    if (this.#flows.get(key) === flow) flow.timer = this.#expiry(key);
  }

  #expiry(key: string): Timer {
    return this.#modules.clock.after(idleMs, () => this.#end(key), { unref: true });
  }

  #end(key: string): void {
    const flow = this.#flows.get(key);
    if (!flow) return;
    this.#flows.delete(key);
    flow.timer.cancel();
    flow.upstream.close();
    increment(this.#counts, flow.backend.taskId, -1);
  }
}
