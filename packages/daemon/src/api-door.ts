import { constants, type X509Certificate } from 'node:crypto';
import { createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import {
  type Address,
  type Clock,
  ClusterError,
  chainShownBy,
  createCsr,
  formatAddress,
  type Logger,
  messageOf,
  signApiCertificate,
  verifyClientCertificate,
} from '@swarmctl/shared/kit';
import { type Cluster, signerOf, trustedRoots, withCrossSigned } from '@swarmctl/shared/model';

// The API over TCP, for clients with a certificate of the cluster's (`swarmctl context export`). It lets a client do everything, so nobody else gets
// as far as the first byte; a node's certificate is not enough. What it shows itself is certified by the cluster's root for all addresses
// of this machine, made anew long before it ends.

export interface ApiDoorModules {
  readonly nodeId: string;
  /** More names and addresses that clients use for this machine. */
  readonly names: readonly string[];
  /** Takes over an authorised stream of HTTP. */
  readonly serveApi: (socket: TLSSocket) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Well within its life of 90 days. */
const renewMs = 7 * 24 * 3_600_000;
const retryMs = 10_000;
/** Until a client has shown its certificate. */
const handshakeMs = 10_000;
/** Connections at once that have not. */
const maxHandshakes = 512;

/** As Go's servers say it, which clients recognise. */
const plainHttp = 'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n';

interface Handshake {
  readonly socket: Socket;
  readonly timer: { cancel(): void };
}

export class ApiDoor {
  /** What listens; it sees of each connection the first byte. */
  readonly #front: NetServer;
  readonly #server: Server;
  readonly #handshakes = new Map<string, Handshake>();
  readonly #modules: ApiDoorModules;
  /** With what each showed. */
  readonly #open = new Map<TLSSocket, readonly X509Certificate[]>();
  #cluster: Cluster | undefined;
  #timer: { cancel(): void } | undefined;
  #closed = false;

  private constructor(modules: ApiDoorModules) {
    this.#modules = modules;
    this.#server = createServer({ requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' });
    this.#front = createNetServer((socket) => this.#greet(socket));
    this.#server.on('secureConnection', (socket) => this.#accept(socket));
    this.#server.on('tlsClientError', (error) =>
      modules.log.debug({ error: messageOf(error) }, 'a client was refused'),
    );
  }

  /** Opens the port; until `serve`, nobody gets in. Rejects with a message that names the address. */
  static async open(address: Address, modules: ApiDoorModules): Promise<ApiDoor> {
    const door = new ApiDoor(modules);
    await new Promise<void>((resolve, reject) => {
      door.#front.once('error', (error) =>
        reject(
          new ClusterError(
            'unavailable',
            `cannot listen on ${formatAddress(address.host, address.port)} for the API: ${messageOf(error)}`,
          ),
        ),
      );
      door.#front.listen({ host: address.host || '0.0.0.0', port: address.port }, resolve);
    });
    return door;
  }

  /** Lets clients of this cluster in. To be called again when it changes; who was let in and may not come in any more is cut off. */
  async serve(cluster: Cluster): Promise<void> {
    const before = this.#cluster;
    this.#cluster = cluster;
    const areRootsSame = before && trustedRoots(before.RootCA) === trustedRoots(cluster.RootCA);
    if (areRootsSame && before.Clients === cluster.Clients) return;
    for (const [socket, shown] of this.#open) if (!this.#nameOf(socket, shown)) socket.destroy();
    if (!areRootsSame) await this.#renew();
  }

  async #renew(): Promise<void> {
    const { clock, log, nodeId, names } = this.#modules;
    const cluster = this.#cluster;
    this.#timer?.cancel();
    let nextMs = renewMs;
    if (!cluster) return;
    try {
      const { csr, key } = await createCsr();
      const { ID: clusterId, RootCA } = cluster;
      const hosts = [...new Set(['localhost', ...names, ...ownAddresses()])];
      const leaf = await signApiCertificate(signerOf(RootCA), csr, { clusterId, nodeId, hosts }, clock.now());
      // The roots have changed meanwhile: another call certifies.
      if (this.#cluster && trustedRoots(this.#cluster.RootCA) !== trustedRoots(RootCA)) return;
      this.#server.setSecureContext({
        cert: withCrossSigned(leaf, RootCA),
        key,
        ca: trustedRoots(RootCA),
        minVersion: 'TLSv1.2',
        secureOptions: constants.SSL_OP_NO_TICKET,
      });
    } catch (error) {
      log.error({ error: messageOf(error) }, 'cannot certify the port of the API');
      nextMs = retryMs;
    }
    if (!this.#closed) this.#timer = clock.after(nextMs, () => void this.#renew(), { unref: true });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    const closed = new Promise<void>((resolve) => this.#front.close(() => resolve()));
    for (const socket of this.#open.keys()) socket.destroy();
    for (const { socket } of this.#handshakes.values()) socket.destroy();
    await closed;
  }

  #greet(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    if (this.#handshakes.size >= maxHandshakes) {
      // The oldest goes: an honest one is over in a moment.
      const [oldest] = this.#handshakes.values();
      oldest?.socket.destroy();
    }
    const key = endpointOf(socket);
    const timer = this.#modules.clock.after(handshakeMs, () => socket.destroy());
    this.#handshakes.set(key, { socket, timer });
    socket.once('close', () => this.#greeted(key));
    socket.once('data', (bytes: Buffer) => {
      socket.pause();
      // A method begins with a letter, a handshake of TLS with 22.
      if (/^[A-Z]/.test(bytes.toString('latin1', 0, 1))) return void socket.resume().end(plainHttp);
      socket.unshift(bytes);
      this.#server.emit('connection', socket);
    });
  }

  #greeted(key: string): void {
    this.#handshakes.get(key)?.timer.cancel();
    this.#handshakes.delete(key);
  }

  /** Whom the certificate names; undefined for one that may not come in. */
  #nameOf(socket: TLSSocket, shown: readonly X509Certificate[]): string | undefined {
    const { clock, log } = this.#modules;
    try {
      if (!this.#cluster) throw new ClusterError('unauthenticated', 'no cluster');
      const { ID: clusterId, RootCA, Clients = [] } = this.#cluster;
      const name = verifyClientCertificate(shown, { roots: trustedRoots(RootCA), clusterId }, clock.now());
      const serial = shown[0]?.serialNumber;
      if (Clients.some(({ Serial, Revoked }) => Revoked && Serial === serial))
        throw new ClusterError('unauthenticated', `the certificate of ${name} was taken back`);
      return name;
    } catch (error) {
      log.warn({ error: messageOf(error), from: socket.remoteAddress }, 'a client was refused');
      return undefined;
    }
  }

  #accept(socket: TLSSocket): void {
    const { log, serveApi } = this.#modules;
    this.#greeted(endpointOf(socket));
    socket.on('error', () => socket.destroy());
    const shown = chainShownBy(socket);
    const name = shown && this.#nameOf(socket, shown);
    if (!name) return void socket.destroy();
    log.debug({ client: name, from: socket.remoteAddress }, 'client');
    this.#open.set(socket, shown);
    socket.once('close', () => this.#open.delete(socket));
    serveApi(socket);
  }
}

const endpointOf = (socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): string =>
  `${socket.remoteAddress} ${socket.remotePort}`;

/** Without those of links, which need a zone. */
const ownAddresses = (): string[] =>
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ address }) => address)
    .filter((address) => !address.startsWith('fe80:'));
