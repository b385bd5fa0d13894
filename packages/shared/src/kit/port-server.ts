import type { X509Certificate } from 'node:crypto';
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { alpn, type Protocol2377 } from '../wire/index.ts';
import { type AuthorityState, authorise, type Refusal } from './authorise.ts';
import type { Clock } from './clock.ts';
import { ClusterError, messageOf } from './errors.ts';
import type { Logger } from './log.ts';
import { type Identity, type PeerCertificate, verifyNodeCertificate } from './pki-verify.ts';
import { chainShownBy, contextOf } from './tls.ts';
import { TokenBucket } from './token-bucket.ts';

// The one port of a manager: TLS 1.3, protocols told apart by ALPN. Whoever comes in has been verified and authorised before anything of
// theirs is read; everything else is closed and harms nobody.

export interface PortServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly handshakeTimeoutMs?: number;
  readonly maxConnections?: number;
  /** Connections at once that have not finished their handshake. */
  readonly maxHandshakes?: number;
  /** Connections at once without a certificate. */
  readonly maxStrangers?: number;
  readonly strangerRate?: { readonly perSecond: number; readonly burst: number };
}

const defaults = {
  handshakeTimeoutMs: 5_000,
  maxConnections: 8_192,
  maxHandshakes: 512,
  maxStrangers: 64,
  strangerRate: { perSecond: 20, burst: 100 },
};

/** How long after its end a certificate is still good for asking for a new one. */
export const renewalGraceMs = 30 * 24 * 3_600_000;

export interface PortServerModules {
  readonly identity: Identity;
  /** Asked anew for each decision. */
  readonly state: () => AuthorityState;
  /** Takes over a stream of which nothing was read. `peer` is absent only for `join`. */
  readonly accept: (protocol: Protocol2377, socket: TLSSocket, peer: PeerCertificate | undefined) => void;
  /** May say a last word to a verified peer that is refused; it ends the socket then, and returns true. */
  readonly farewell?: (protocol: Protocol2377, socket: TLSSocket, peer: PeerCertificate, refusal: Refusal) => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Connection {
  readonly socket: TLSSocket;
  readonly protocol: Protocol2377;
  readonly peer: PeerCertificate | undefined;
}

const protocolOf = new Map(Object.entries(alpn).map(([name, text]) => [text as string, name as Protocol2377]));

export class PortServer {
  readonly #options: Required<PortServerOptions>;
  readonly #modules: PortServerModules;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #handshakes = new Map<string, Socket>();
  readonly #strangerRate: TokenBucket;
  #identity: Identity;

  private constructor(options: PortServerOptions, modules: PortServerModules) {
    this.#options = { ...defaults, ...options };
    this.#modules = modules;
    this.#identity = modules.identity;
    this.#strangerRate = new TokenBucket(this.#options.strangerRate, modules.clock);
    this.#server = createServer({
      ...contextOf(modules.identity),
      ALPNProtocols: [...protocolOf.keys()],
      requestCert: true,
      // Verified by `#peerOf`, which knows of clusters, roles and the grace for renewals.
      rejectUnauthorized: false,
      handshakeTimeout: this.#options.handshakeTimeoutMs,
    });
    this.#server.maxConnections = this.#options.maxConnections;
    this.#server.on('connection', (socket) => this.#onConnection(socket));
    this.#server.on('secureConnection', (socket) => this.#onSecure(socket));
    this.#server.on('tlsClientError', (error, socket) => {
      modules.log.debug({ remote: socket.remoteAddress, error: messageOf(error) }, 'handshake failed');
      socket.destroy();
    });
  }

  /** Rejects with a message that names the address and what is wrong with it. */
  static listen(options: PortServerOptions, modules: PortServerModules): Promise<PortServer> {
    const made = new PortServer(options, modules);
    const server = made.#server;
    return new Promise((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(bindError(options, error)));
      server.listen({ host: options.host, port: options.port, exclusive: true }, () => {
        server.removeAllListeners('error');
        server.on('error', (error) => modules.log.error({ error: messageOf(error) }, 'the cluster port has an error'));
        resolve(made);
      });
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** New handshakes show the new certificate; open connections go on. */
  renew(identity: Identity): void {
    this.#identity = identity;
    this.#server.setSecureContext(contextOf(identity));
  }

  /** Cuts a node's connections, or all. */
  disconnect(nodeId?: string): void {
    for (const { socket, peer } of this.#connections) {
      if (nodeId === undefined || peer?.nodeId === nodeId) socket.destroy();
    }
  }

  /** Cuts the open connections that the state no longer allows; of one node, or of all. */
  recheck(nodeId?: string): void {
    const state = this.#modules.state();
    for (const { socket, protocol, peer } of this.#connections) {
      if (!peer || (nodeId !== undefined && peer.nodeId !== nodeId)) continue;
      const refusal = authorise(protocol, peer, state);
      if (!refusal) continue;
      this.#modules.log.info({ protocol, peer: peer.nodeId, reason: refusal.reason }, 'connection cut');
      socket.destroy();
    }
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const { socket } of this.#connections) socket.destroy();
    for (const socket of this.#handshakes.values()) socket.destroy();
    await closed;
  }

  #onConnection(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    if (this.#handshakes.size >= this.#options.maxHandshakes) {
      // The oldest goes: an honest handshake is over in a moment, one that only holds its place is not.
      const [oldest] = this.#handshakes.values();
      this.#modules.log.debug({ remote: oldest?.remoteAddress }, 'too many handshakes at once');
      oldest?.destroy();
    }
    const key = endpointOf(socket);
    this.#handshakes.set(key, socket);
    socket.once('close', () => this.#handshakes.delete(key));
  }

  #onSecure(socket: TLSSocket): void {
    this.#handshakes.delete(endpointOf(socket));
    socket.on('error', () => socket.destroy());
    const protocol = protocolOf.get(String(socket.alpnProtocol));
    const admitted = protocol && this.#admit(protocol, socket);
    if (!admitted) {
      socket.destroy();
      return;
    }
    const { peer, refusal } = admitted;
    if (refusal) {
      const { farewell, log } = this.#modules;
      log.info({ protocol, peer: peer?.nodeId, remote: socket.remoteAddress, reason: refusal.reason }, 'peer refused');
      if (!peer || !farewell?.(protocol, socket, peer, refusal)) socket.destroy();
      return;
    }
    const connection = { socket, protocol, peer };
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 15_000);
    this.#modules.accept(protocol, socket, peer);
  }

  #admit(protocol: Protocol2377, socket: TLSSocket): { peer?: PeerCertificate; refusal?: Refusal } | undefined {
    const shown = chainShownBy(socket);
    if (!shown && protocol === 'join' && !this.#mayStrangerCome(socket)) return undefined;
    let peer: PeerCertificate | undefined;
    try {
      peer = shown && this.#peerOf(protocol, shown);
    } catch (error) {
      this.#modules.log.info({ protocol, remote: socket.remoteAddress, reason: messageOf(error) }, 'peer refused');
      return undefined;
    }
    const refusal = authorise(protocol, peer, this.#modules.state());
    return { ...(peer && { peer }), ...(refusal && { refusal }) };
  }

  #peerOf(protocol: Protocol2377, shown: readonly X509Certificate[]): PeerCertificate {
    const graceMs = protocol === 'join' ? renewalGraceMs : 0;
    return verifyNodeCertificate(shown, this.#identity.ca, this.#modules.clock.now(), graceMs);
  }

  #mayStrangerCome(socket: TLSSocket): boolean {
    let strangers = 0;
    for (const { peer } of this.#connections) if (!peer) strangers++;
    if (strangers < this.#options.maxStrangers && this.#strangerRate.take()) return true;
    this.#modules.log.warn({ remote: socket.remoteAddress }, 'too many joins at once');
    return false;
  }
}

const endpointOf = (socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): string =>
  `${socket.remoteAddress} ${socket.remotePort}`;

function bindError(options: PortServerOptions, error: NodeJS.ErrnoException): ClusterError {
  const where = `${options.host}:${options.port}`;
  const why =
    error.code === 'EADDRINUSE'
      ? 'another program listens there already'
      : error.code === 'EADDRNOTAVAIL'
        ? 'this machine has no such address'
        : error.code === 'EACCES'
          ? 'this user may not use that port'
          : error.message;
  return new ClusterError('unavailable', `cannot listen on ${where}: ${why}`, { code: error.code ?? '' }, error);
}
