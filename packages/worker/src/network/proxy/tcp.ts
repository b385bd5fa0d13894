import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '@swarmctl/shared/kit';
import { increment, type PortModules, type ProxyPort } from './port.ts';
import type { ProxyBackend } from './rotation.ts';

// One published TCP port on one address: each connection is joined with one to the backend whose turn it is.

/** A backend that does not answer within it is passed over. */
const connectMs = 3_000;
/** So that a peer that vanished is noticed some day. */
const keepAliveMs = 60_000;

export class TcpPort implements ProxyPort {
  readonly #modules: PortModules;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #counts = new Map<string, number>();

  private constructor(modules: PortModules) {
    this.#modules = modules;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    this.#server.on('connection', (client) => this.#onConnection(client));
  }

  static listen(host: string, port: number, modules: PortModules): Promise<TcpPort> {
    const made = new TcpPort(modules);
    return new Promise((resolve, reject) => {
      made.#server.once('error', reject);
      made.#server.listen({ host, port, exclusive: true }, () => {
        made.#server.off('error', reject);
        made.#server.on('error', (error) => modules.log.warn({ host, port, error: error.message }, 'proxy port'));
        resolve(made);
      });
    });
  }

  changed(): void {}

  counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  stop(): void {
    this.#server.close();
  }

  destroy(): void {
    this.#server.close();
    for (const client of this.#clients) client.destroy();
  }

  #onConnection(client: Socket): void {
    this.#clients.add(client);
    client.setKeepAlive(true, keepAliveMs);
    client.once('close', () => this.#clients.delete(client));
    client.on('error', () => client.destroy());
    this.#serve(client).catch((error) => {
      this.#modules.log.warn({ error: String(error) }, 'proxied connection failed');
      client.destroy();
    });
  }

  async #serve(client: Socket): Promise<void> {
    const { rotation, clock } = this.#modules;
    for (const backend of rotation.turn()) {
      // It may have left since this connection began.
      if (!rotation.has(backend.taskId)) continue;
      const server = await open(backend, clock);
      if (client.destroyed) {
        server?.destroy();
        return;
      }
      if (server) return this.#join(client, server, backend);
      rotation.failed(backend);
    }
    client.resetAndDestroy();
  }

  #join(client: Socket, server: Socket, { taskId }: ProxyBackend): void {
    increment(this.#counts, taskId, 1);
    server.once('close', () => increment(this.#counts, taskId, -1));
    server.setKeepAlive(true, keepAliveMs);
    tie(client, server);
    tie(server, client);
    // Data, its end and back pressure go through; either direction may end before the other.
    client.pipe(server);
    server.pipe(client);
  }
}

/** When `from` is gone before its time, `to` hears of it as it was: a reset stays a reset. */
function tie(from: Socket, to: Socket): void {
  let isBroken = false;
  from.on('error', () => {
    isBroken = true;
  });
  from.once('close', () => {
    if (isBroken) to.resetAndDestroy();
    else if (!from.readableEnded || !from.writableFinished) to.destroy();
  });
}

/** Undefined when it cannot be reached. */
function open(backend: ProxyBackend, clock: Clock): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: backend.addr, port: backend.port, allowHalfOpen: true, noDelay: true });
    const timer = clock.after(connectMs, () => fail());
    const fail = () => {
      timer.cancel();
      socket.destroy();
      resolve(undefined);
    };
    socket.on('error', fail);
    socket.once('connect', () => {
      timer.cancel();
      socket.off('error', fail);
      socket.on('error', () => socket.destroy());
      resolve(socket);
    });
  });
}
