import { constants, X509Certificate } from 'node:crypto';
import { connect, type SecureContextOptions, type TLSSocket } from 'node:tls';
import type { NodeRole } from '../model/index.ts';
import { alpn, type Protocol2377 } from '../wire/index.ts';
import { formatAddress } from './address.ts';
import type { Clock } from './clock.ts';
import { ClusterError } from './errors.ts';
import { caDigest, type Identity, type PeerCertificate, verifyNodeCertificate } from './pki-verify.ts';

// TLS 1.3 both ways between nodes. Every connection is a full handshake: a resumed session would show no certificate.

const versions = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;

/**
 * Shows the whole chain, so that a joiner, who has no CA yet, can hold the root against its token. What leads to the cluster's root comes first: the chain
 * that others make of it follows names, which both roots may share, and takes what it finds first.
 */
export const contextOf = (identity: Identity): SecureContextOptions => ({
  ...versions,
  cert: `${identity.certificate.trimEnd()}\n${identity.ca}`,
  key: identity.key,
  ca: identity.ca,
  secureOptions: constants.SSL_OP_NO_TICKET,
});

interface Target {
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface DialOptions extends Target {
  readonly protocol: Protocol2377;
  readonly identity: Identity;
  readonly expect?: { readonly role?: NodeRole; readonly nodeId?: string };
}

const defaultTimeoutMs = 5_000;

/** A stream to a node of this cluster that has shown to be whom we expect. That it lets us in is seen only when it answers. */
export async function dial(options: DialOptions): Promise<TLSSocket> {
  const { identity, expect } = options;
  return connectTo(options, options.protocol, identity, (socket) => {
    const peer = verifyNodeCertificate(shown(socket), identity.ca, options.clock.now());
    if (peer.clusterId !== identity.clusterId) throw mismatch('it is of another cluster');
    if (expect?.role && peer.role !== expect.role) throw mismatch(`it is a ${peer.role}, not a ${expect.role}`);
    if (expect?.nodeId && peer.nodeId !== expect.nodeId)
      throw mismatch(`it is node ${peer.nodeId}, not ${expect.nodeId}`);
    return socket;
  });
}

export interface JoinDial {
  readonly socket: TLSSocket;
  /** The root that the token's digest pins, PEM. */
  readonly ca: string;
  readonly peer: PeerCertificate;
}

/** A stream to a manager by someone who knows only the digest of the cluster's root. */
export async function dialForJoin(options: Target & { readonly digest: string }): Promise<JoinDial> {
  return connectTo(options, 'join', undefined, (socket) => {
    const chain = shown(socket);
    const root = chain.find(({ raw }) => caDigest(raw) === options.digest);
    if (!root) {
      throw new ClusterError('unknown', `remote CA does not match fingerprint. Expected: ${options.digest}`);
    }
    const ca = root.toString();
    const peer = verifyNodeCertificate(chain, ca, options.clock.now());
    if (peer.role !== 'manager') throw mismatch('it is not a manager');
    return { socket, ca, peer };
  });
}

function connectTo<T>(
  target: Target,
  protocol: Protocol2377,
  identity: Identity | undefined,
  check: (socket: TLSSocket) => T,
): Promise<T> {
  const { host, port, clock, signal } = target;
  const address = formatAddress(host, port);
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const socket = connect({
      ...versions,
      ...(identity && contextOf(identity)),
      host,
      port,
      ALPNProtocols: [alpn[protocol]],
      // Verified by `check`, which knows of clusters and roles; host names say nothing here.
      rejectUnauthorized: false,
    });
    const finish = (act: () => void) => {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
      socket.off('close', onClose);
      act();
    };
    const fail = (error: unknown) =>
      finish(() => {
        socket.destroy();
        reject(error);
      });
    const unreachable = (why: string, cause?: unknown) =>
      new ClusterError('unavailable', `cannot reach ${address}: ${why}`, { address }, cause);
    const onAbort = () => fail(signal?.reason);
    const onClose = () => fail(unreachable('it closed the connection'));
    const timer = clock.after(target.timeoutMs ?? defaultTimeoutMs, () => fail(unreachable('no answer in time')));
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.on('error', (error: NodeJS.ErrnoException) => fail(unreachable(reasonOf(error), error)));
    socket.once('close', onClose);
    socket.once('secureConnect', () => {
      try {
        if (socket.alpnProtocol !== alpn[protocol]) throw mismatch(`it does not speak ${alpn[protocol]}`);
        const result = check(socket);
        socket.setNoDelay(true);
        socket.setKeepAlive(true, 15_000);
        finish(() => resolve(result));
      } catch (error) {
        fail(at(address, error));
      }
    });
  });
}

const reasonOf = (error: NodeJS.ErrnoException): string =>
  ({
    ECONNREFUSED: 'connection refused',
    ECONNRESET: 'it closed the connection',
    EHOSTUNREACH: 'no route to it',
    ENETUNREACH: 'no route to it',
    ETIMEDOUT: 'no answer in time',
    ENOTFOUND: 'no such host',
    EPROTO: 'it does not speak TLS 1.3',
  })[error.code ?? ''] ?? error.message;

function shown(socket: TLSSocket): X509Certificate[] {
  const chain = chainShownBy(socket);
  if (!chain) throw mismatch('it shows no certificate');
  return chain;
}

const maxChain = 8;

/**
 * What the peer sent, its own certificate first, then by the names of who signed; undefined when it sent none. Not by `getPeerX509Certificate`, which takes
 * the certificate out of the connection's chain each time that it is called.
 */
export function chainShownBy(socket: TLSSocket): X509Certificate[] | undefined {
  const chain: X509Certificate[] = [];
  let last: string | undefined;
  // An empty object when there is none; the last may name itself as the next.
  for (
    let next = socket.getPeerCertificate(true);
    next?.raw && chain.length < maxChain;
    next = next.issuerCertificate
  ) {
    if (next.fingerprint256 === last) break;
    last = next.fingerprint256;
    chain.push(new X509Certificate(next.raw));
  }
  return chain.length > 0 ? chain : undefined;
}

const mismatch = (what: string) => new ClusterError('unauthenticated', `this is not whom we expect: ${what}`);

const at = (address: string, error: unknown): unknown =>
  error instanceof ClusterError && error.code === 'unauthenticated'
    ? new ClusterError(error.code, `${address}: ${error.message}`, { address }, error)
    : error;
