import { once } from 'node:events';
import { type AddressInfo, createServer, connect as tcpConnect } from 'node:net';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NodeRole } from '../model/index.ts';
import { alpn, type Protocol2377 } from '../wire/index.ts';
import type { KnownNode } from './authorise.ts';
import { realClock } from './clock.ts';
import { silentLogger } from './log.ts';
import { createCsr, signNodeCertificate } from './pki.ts';
import { createRootCa, crossSign } from './pki-root.ts';
import { caDigest, type Identity, type KeyPair } from './pki-verify.ts';
import { PortServer, type PortServerOptions } from './port-server.ts';
import { contextOf, dial, dialForJoin } from './tls.ts';

const host = '127.0.0.1';
const day = 24 * 3_600_000;
const now = () => realClock.now();

async function identityOf(
  root: KeyPair,
  nodeId: string,
  role: NodeRole,
  at = now(),
  clusterId = 'c',
): Promise<Identity> {
  const { csr, key } = await createCsr();
  const certificate = await signNodeCertificate(root, csr, { nodeId, role, clusterId }, at);
  return { nodeId, role, clusterId, certificate, key, ca: root.certificate };
}

let root: KeyPair;
let manager: Identity;
let worker: Identity;

beforeAll(async () => {
  root = await createRootCa(now() - 400 * day);
  manager = await identityOf(root, 'manager', 'manager');
  worker = await identityOf(root, 'worker', 'worker');
});

const open: PortServer[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
});

/** A port that greets whom it lets in with `protocol nodeId`. */
async function listen(options: Partial<PortServerOptions> = {}, identity = manager) {
  const nodes = new Map<string, KnownNode>([
    ['manager', { role: 'manager', member: true }],
    ['worker', { role: 'worker', member: false }],
  ]);
  const server = await PortServer.listen(
    { host, port: 0, ...options },
    {
      identity,
      state: () => ({ clusterId: 'c', node: (id) => nodes.get(id), behind: false }),
      accept: (protocol, socket, peer) => socket.write(`${protocol} ${peer?.nodeId ?? 'nobody'}`),
      farewell: (_protocol, socket, _peer, refusal) => {
        socket.end(`no: ${refusal.code}`);
        return true;
      },
      clock: realClock,
      log: silentLogger,
    },
  );
  open.push(server);
  return { server, nodes };
}

const call = (server: PortServer, protocol: Protocol2377, identity: Identity) =>
  dial({ host, port: server.port, protocol, identity, clock: realClock, expect: { role: 'manager' } });

/** What the port says first; empty when it closes without a word. */
const firstWords = (socket: TLSSocket): Promise<string> =>
  new Promise((resolve) => {
    socket.once('data', (data) => resolve(String(data)));
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(''));
  });

const closed = (socket: { destroyed: boolean } & NodeJS.EventEmitter) =>
  socket.destroyed ? Promise.resolve() : once(socket, 'close');

/** A TLS client that chooses its own settings. */
function client(server: PortServer, options: ConnectionOptions): TLSSocket {
  const socket = tlsConnect({ host, port: server.port, rejectUnauthorized: false, ...options });
  socket.on('error', () => undefined);
  return socket;
}

describe('who comes in', () => {
  test.each([
    ['a manager to raft', () => manager, 'raft', 'raft manager'],
    ['a manager to the API', () => manager, 'api', 'api manager'],
    ['a worker to dispatch', () => worker, 'dispatch', 'dispatch worker'],
    ['a worker to join', () => worker, 'join', 'join worker'],
    ['a worker to raft', () => worker, 'raft', 'no: role'],
    ['a worker to the API', () => worker, 'api', 'no: role'],
  ] as const)('%s', async (_, who, protocol, words) => {
    const { server } = await listen();
    const socket = await call(server, protocol, who());
    expect(await firstWords(socket)).toBe(words);
    socket.destroy();
  });

  test.each([
    [
      'of a stranger with an authority of the same name',
      async () => identityOf(await createRootCa(now()), 'manager', 'manager'),
    ],
    ['of another cluster', async () => identityOf(root, 'manager', 'manager', now(), 'other')],
    ['that has expired', async () => identityOf(root, 'manager', 'manager', now() - 91 * day)],
    ['of a node that is not in the state', async () => identityOf(root, 'gone', 'manager')],
  ])('nobody with a certificate %s', async (_, make) => {
    const { server } = await listen();
    const stranger = await make();
    for (const protocol of ['raft', 'dispatch', 'api'] as const) {
      const socket = client(server, { ...contextOf(stranger), ALPNProtocols: [alpn[protocol]] });
      expect(await firstWords(socket)).toMatch(/^(no: .*)?$/);
      await closed(socket);
    }
  });

  test('an expired certificate is good for asking for a new one', async () => {
    const { server } = await listen();
    const expired = await identityOf(root, 'worker', 'worker', now() - 91 * day);
    expect(await firstWords(client(server, { ...contextOf(expired), ALPNProtocols: [alpn.join] }))).toBe('join worker');
    const ancient = await identityOf(root, 'worker', 'worker', now() - 300 * day);
    expect(await firstWords(client(server, { ...contextOf(ancient), ALPNProtocols: [alpn.join] }))).toBe('');
  });

  test('without a certificate only to join', async () => {
    const { server } = await listen();
    const joiner = await dialForJoin({ host, port: server.port, clock: realClock, digest: caDigest(root.certificate) });
    expect(await firstWords(joiner.socket)).toBe('join nobody');
    expect(joiner).toMatchObject({ peer: { nodeId: 'manager', clusterId: 'c' } });
    expect(caDigest(joiner.ca)).toBe(caDigest(root.certificate));
    joiner.socket.destroy();
    for (const protocol of ['raft', 'dispatch', 'api'] as const) {
      const socket = client(server, { ALPNProtocols: [alpn[protocol]] });
      expect(await firstWords(socket)).toBe('');
    }
  });

  test.each([
    ['no protocol', {}],
    ['an unknown protocol', { ALPNProtocols: ['h2'] }],
    ['TLS 1.2', { ALPNProtocols: [alpn.join], maxVersion: 'TLSv1.2' as const }],
  ])('nobody with %s', async (_, options) => {
    const { server } = await listen();
    expect(
      await firstWords(client(server, { ...contextOf(manager), minVersion: 'TLSv1.2' as const, ...options })),
    ).toBe('');
  });

  test('strangers only so many at once and in a time', async () => {
    const { server } = await listen({ maxStrangers: 2, strangerRate: { perSecond: 0, burst: 3 } });
    const join = () => client(server, { ALPNProtocols: [alpn.join] });
    const [first, second, third] = [join(), join(), join()];
    const words = await Promise.all([first, second, third].map(firstWords));
    expect(words.filter((one) => one !== '')).toHaveLength(2);
    for (const socket of [first, second, third]) socket.destroy();
    await Promise.all([first, second, third].map(closed));
    // The third that the rate allows, then none; nodes are not held up.
    expect(await firstWords(join())).toBe('join nobody');
    expect(await firstWords(join())).toBe('');
    expect(await firstWords(await call(server, 'dispatch', worker))).toBe('dispatch worker');
  });
});

describe('what harms it not', () => {
  test.each([
    ['random bytes', Buffer.from(Array.from({ length: 4_096 }, (_, i) => (i * 131) % 256))],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['half a hello', Buffer.from('160301020001000', 'hex')],
    ['an oversized record', Buffer.from('16030370ff', 'hex')],
  ])('%s', async (_, bytes) => {
    const { server } = await listen({ handshakeTimeoutMs: 300 });
    const socket = tcpConnect(server.port, host);
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(bytes);
    await closed(socket);
    expect(await firstWords(await call(server, 'dispatch', worker))).toBe('dispatch worker');
  });

  test('a silent connection is closed in time', async () => {
    const { server } = await listen({ handshakeTimeoutMs: 100 });
    const socket = tcpConnect(server.port, host);
    socket.resume();
    await closed(socket);
  });

  test('too many handshakes at once: the oldest make way', async () => {
    const { server } = await listen({ maxHandshakes: 2 });
    const silent = [0, 1, 2].map(() =>
      tcpConnect(server.port, host)
        .on('error', () => undefined)
        .resume(),
    );
    await Promise.race(silent.map(closed));
    expect(await firstWords(await call(server, 'dispatch', worker))).toBe('dispatch worker');
    expect(silent.filter((socket) => !socket.destroyed).length).toBeLessThan(2);
    for (const socket of silent) socket.destroy();
  });
});

describe('open connections', () => {
  test('of a node are cut', async () => {
    const { server } = await listen();
    const [cut, stays] = await Promise.all([call(server, 'dispatch', worker), call(server, 'raft', manager)]);
    await Promise.all([firstWords(cut), firstWords(stays)]);
    server.disconnect('worker');
    await closed(cut);
    expect(stays.destroyed).toBe(false);
    stays.destroy();
  });

  test('are cut when the state no longer allows them', async () => {
    const { server, nodes } = await listen();
    const sockets = await Promise.all([
      call(server, 'dispatch', worker),
      call(server, 'dispatch', manager),
      call(server, 'api', manager),
    ]);
    await Promise.all(sockets.map(firstWords));
    nodes.delete('worker');
    nodes.set('manager', { role: 'worker', member: false });
    server.recheck();
    await Promise.all([closed(sockets[0]), closed(sockets[2])]);
    expect(sockets[1].destroyed).toBe(false);
    sockets[1].destroy();
  });

  test('outlive a renewal, which new ones see', async () => {
    const { server } = await listen();
    const before = await call(server, 'dispatch', worker);
    await firstWords(before);
    const renewed = await identityOf(root, 'manager', 'manager');
    server.renew(renewed);
    const after = await call(server, 'dispatch', worker);
    const shown = (socket: TLSSocket) => socket.getPeerCertificate().fingerprint256;
    expect(shown(before)).toMatch(/^[0-9A-F:]+$/);
    expect(shown(after)).not.toBe(shown(before));
    expect(before.destroyed).toBe(false);
    before.destroy();
    after.destroy();
  });

  test('are never resumed', async () => {
    const { server } = await listen();
    const first = client(server, { ...contextOf(worker), ALPNProtocols: [alpn.dispatch] });
    let session: Buffer | undefined;
    first.on('session', (one) => {
      session = one;
    });
    expect(await firstWords(first)).toBe('dispatch worker');
    first.destroy();
    const second = client(server, {
      ...contextOf(worker),
      ALPNProtocols: [alpn.dispatch],
      ...(session && { session }),
    });
    expect(await firstWords(second)).toBe('dispatch worker');
    expect(second.isSessionReused()).toBe(false);
    second.destroy();
  });
});

describe('whom a dialler believes', () => {
  test.each([
    [
      'a worker where a manager is expected',
      () => worker,
      { role: 'manager' as const },
      'it is a worker, not a manager',
    ],
    ['another node', () => manager, { nodeId: 'somebody' }, 'it is node manager, not somebody'],
  ])('not %s', async (_, served, expected, message) => {
    const { server } = await listen({}, served());
    const refused = dial({
      host,
      port: server.port,
      protocol: 'dispatch',
      identity: worker,
      clock: realClock,
      expect: expected,
    });
    await expect(refused).rejects.toThrow(message);
  });

  test('not a port with the certificate of a stranger', async () => {
    const impostor = await identityOf(await createRootCa(now()), 'manager', 'manager');
    const { server } = await listen({}, impostor);
    await expect(call(server, 'dispatch', worker)).rejects.toThrow('signed by an unknown authority');
    const joining = dialForJoin({ host, port: server.port, clock: realClock, digest: caDigest(root.certificate) });
    await expect(joining).rejects.toThrow(
      `remote CA does not match fingerprint. Expected: ${caDigest(root.certificate)}`,
    );
  });

  test('not one that shows our root but was not signed by it', async () => {
    const impostor = await identityOf(await createRootCa(now()), 'manager', 'manager');
    const { server } = await listen({}, { ...impostor, ca: root.certificate });
    const joining = dialForJoin({ host, port: server.port, clock: realClock, digest: caDigest(root.certificate) });
    await expect(joining).rejects.toThrow(/does not match fingerprint|unknown authority/);
  });

  test('all along the way to another root, by old tokens until its end and by new ones then', async () => {
    const next = await createRootCa(now());
    const cross = await crossSign(root, next.certificate);
    const roots = root.certificate + next.certificate;
    const renewed = async (nodeId: string, role: NodeRole) => {
      const { certificate, ...identity } = await identityOf(next, nodeId, role);
      return { ...identity, certificate: certificate + cross, ca: roots };
    };
    const join = async ({ port }: PortServer, { certificate }: KeyPair) => {
      const { socket, ca } = await dialForJoin({ host, port, clock: realClock, digest: caDigest(certificate) });
      socket.destroy();
      return ca;
    };
    const greeting = async (server: PortServer, identity: Identity) => {
      const socket = await call(server, 'dispatch', identity);
      const words = await firstWords(socket);
      socket.destroy();
      return words;
    };
    const [manager2, worker2] = [await renewed('manager', 'manager'), await renewed('worker', 'worker')];
    // Either has its new certificate while the other has heard of nothing.
    const { server } = await listen();
    expect(await greeting(server, worker2)).toBe('dispatch worker');
    expect(await join(server, root)).toBe(root.certificate);
    const early = await call(server, 'dispatch', worker);
    server.renew(manager2);
    expect(await greeting(server, worker)).toBe('dispatch worker');
    expect(await greeting(server, worker2)).toBe('dispatch worker');
    expect(await join(server, root)).toBe(root.certificate);

    server.renew({ ...manager2, certificate: manager2.certificate.slice(0, -cross.length), ca: next.certificate });
    expect(await greeting(server, worker2)).toBe('dispatch worker');
    expect(await join(server, next)).toBe(next.certificate);
    await expect(join(server, root)).rejects.toThrow('remote CA does not match fingerprint');
    await expect(call(server, 'dispatch', worker)).rejects.toThrow('signed by an unknown authority');
    // Nor is an old certificate let in by one who would believe the manager.
    expect(await greeting(server, { ...worker, ca: next.certificate })).toBe('');
    expect(early.destroyed).toBe(false);
    early.destroy();
  });

  test('a closed port is named', async () => {
    const { server } = await listen();
    const port = server.port;
    await server.close();
    const refused = dial({ host, port, protocol: 'raft', identity: manager, clock: realClock });
    await expect(refused).rejects.toThrow(`cannot reach 127.0.0.1:${port}: connection refused`);
  });

  test('a port that says nothing is given up, also by who asked', async () => {
    const silent = createServer((socket) => socket.on('error', () => undefined)).listen(0, host);
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const target = { host, port, protocol: 'raft', identity: manager, clock: realClock } as const;
    await expect(dial({ ...target, timeoutMs: 50 })).rejects.toThrow(
      `cannot reach 127.0.0.1:${port}: no answer in time`,
    );
    const abort = new AbortController();
    const calling = dial({ ...target, signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(calling).rejects.toThrow('enough');
    silent.close();
  });
});

test('a port that is taken is named', async () => {
  const { server } = await listen();
  await expect(listen({ port: server.port })).rejects.toThrow(
    `cannot listen on 127.0.0.1:${server.port}: another program listens there already`,
  );
});
