import { constants } from 'node:crypto';
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
import type { Cluster } from '@swarmctl/shared/model';

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

export class ApiDoor {
  readonly #server: Server;
  readonly #modules: ApiDoorModules;
  readonly #open = new Set<TLSSocket>();
  #cluster: Cluster | undefined;
  #timer: { cancel(): void } | undefined;
  #closed = false;

  private constructor(modules: ApiDoorModules) {
    this.#modules = modules;
    this.#server = createServer({ requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' });
    this.#server.on('secureConnection', (socket) => this.#accept(socket));
    this.#server.on('tlsClientError', (error) =>
      modules.log.debug({ error: messageOf(error) }, 'a client was refused'),
    );
  }

  /** Opens the port; until `serve`, nobody gets in. Rejects with a message that names the address. */
  static async open(address: Address, modules: ApiDoorModules): Promise<ApiDoor> {
    const door = new ApiDoor(modules);
    await new Promise<void>((resolve, reject) => {
      door.#server.once('error', (error) =>
        reject(
          new ClusterError(
            'unavailable',
            `cannot listen on ${formatAddress(address.host, address.port)} for the API: ${messageOf(error)}`,
          ),
        ),
      );
      door.#server.listen({ host: address.host || '0.0.0.0', port: address.port }, resolve);
    });
    return door;
  }

  /** Lets clients of this cluster in. To be called again when its root changes; what was let in by another is cut off. */
  async serve(cluster: Cluster): Promise<void> {
    const sameRoot = this.#cluster?.RootCA.Certificate === cluster.RootCA.Certificate;
    this.#cluster = cluster;
    if (sameRoot) return;
    for (const socket of this.#open) socket.destroy();
    await this.#renew();
  }

  async #renew(): Promise<void> {
    const { clock, log, nodeId, names } = this.#modules;
    const cluster = this.#cluster;
    this.#timer?.cancel();
    let nextMs = renewMs;
    if (!cluster) return;
    try {
      const { csr, key } = await createCsr();
      const root = { certificate: cluster.RootCA.Certificate, key: cluster.RootCA.Key };
      const hosts = [...new Set(['localhost', ...names, ...ownAddresses()])];
      const certificate = await signApiCertificate(root, csr, { clusterId: cluster.ID, nodeId, hosts }, clock.now());
      this.#server.setSecureContext({
        cert: certificate,
        key,
        ca: root.certificate,
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
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }

  #accept(socket: TLSSocket): void {
    const { clock, log, serveApi } = this.#modules;
    socket.on('error', () => socket.destroy());
    const shown = chainShownBy(socket);
    try {
      if (!this.#cluster || !shown) throw new ClusterError('unauthenticated', 'no certificate');
      const { ID: clusterId, RootCA } = this.#cluster;
      const name = verifyClientCertificate(shown, { roots: RootCA.Certificate, clusterId }, clock.now());
      log.debug({ client: name, from: socket.remoteAddress }, 'client');
    } catch (error) {
      log.warn({ error: messageOf(error), from: socket.remoteAddress }, 'a client was refused');
      socket.destroy();
      return;
    }
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    serveApi(socket);
  }
}

/** Without those of links, which need a zone. */
const ownAddresses = (): string[] =>
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .map(({ address }) => address)
    .filter((address) => !address.startsWith('fe80:'));
