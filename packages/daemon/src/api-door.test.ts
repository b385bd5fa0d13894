import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttp, type IncomingMessage } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import { connect, createServer, type Socket } from 'node:net';
import {
  type Clock,
  createCsr,
  createRootCa,
  crossSign,
  type KeyPair,
  ManualClock,
  realClock,
  signApiCertificate,
  signClientCertificate,
  signNodeCertificate,
  silentLogger,
} from '@swarmctl/shared/kit';
import type { Cluster } from '@swarmctl/shared/model';
import { afterEach, describe, expect, test } from 'vitest';
import { aCluster } from '../../../test/kit/index.ts';
import { ApiDoor } from './api-door.ts';

const port = 23_760;
const now = realClock.now();
const root = await createRootCa(now);
const other = await createRootCa(now);
const clusterOf = (pair: KeyPair): Cluster => {
  const cluster = aCluster();
  return { ...cluster, RootCA: { ...cluster.RootCA, Certificate: pair.certificate, Key: pair.key } };
};
const cluster = clusterOf(root);
const http = createHttp((_request, response) => response.end('hello'));
const doors: ApiDoor[] = [];

async function open(clock: Clock = realClock): Promise<ApiDoor> {
  const door = await ApiDoor.open(
    { host: '127.0.0.1', port },
    {
      nodeId: 'm1',
      names: ['manager.example'],
      serveApi: (socket) => void http.emit('connection', socket),
      clock,
      log: silentLogger,
    },
  );
  doors.push(door);
  return door;
}

afterEach(async () => {
  for (const door of doors.splice(0)) await door.close();
});

const certified = async (sign: (csr: string) => Promise<string>) => {
  const { csr, key } = await createCsr();
  return { cert: await sign(csr), key };
};
const client = (pair = root, clusterId = cluster.ID, at = now, lifeMs?: number) =>
  certified((csr) => signClientCertificate(pair, csr, { clusterId, name: 'ada' }, at, lifeMs));

function ask(options: RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, ca: root.certificate, agent: false, ...options }, (response) =>
      response.once('data', (data) => resolve(`${data}`)),
    );
    asked.once('error', reject);
    asked.end();
  });
}

describe('the port of the API', () => {
  test('answers clients of the cluster, who can tell that it is the manager', async () => {
    await (await open()).serve(cluster);
    expect(await ask(await client())).toBe('hello');
    expect(await ask({ ...(await client()), servername: 'manager.example' })).toBe('hello');
    await expect(ask({ ...(await client()), servername: 'else.example' })).rejects.toThrow(/does not match/);
    await expect(ask({ ...(await client()), ca: other.certificate })).rejects.toThrow();
  });

  test.each<[string, () => Promise<object>]>([
    ['without a certificate', async () => ({})],
    ['of another authority', () => client(other)],
    ['of another cluster', () => client(root, 'other1')],
    ['whose certificate is over', () => client(root, cluster.ID, now - 100 * 24 * 3_600_000)],
    [
      'that is a node',
      () =>
        certified((csr) =>
          signNodeCertificate(root, csr, { nodeId: 'm2', role: 'manager', clusterId: cluster.ID }, now),
        ),
    ],
    [
      'that shows what a port of the API shows',
      () =>
        certified((csr) => signApiCertificate(root, csr, { nodeId: 'm2', hosts: ['x'], clusterId: cluster.ID }, now)),
    ],
  ])('refuses one %s', async (_, credentials) => {
    await (await open()).serve(cluster);
    await expect(ask(await credentials())).rejects.toThrow();
  });

  test('lets nobody in before there is a cluster', async () => {
    await open();
    await expect(ask(await client())).rejects.toThrow();
  });

  test('follows the root of the cluster, and cuts those off who came by the old one', async () => {
    const door = await open();
    await door.serve(cluster);
    const kept = request({ host: '127.0.0.1', port, ca: root.certificate, ...(await client()) });
    kept.end();
    const [answer] = await once(kept, 'response');
    const cut = once(answer.socket, 'close');
    await door.serve(clusterOf(other));
    await cut;
    await expect(ask(await client())).rejects.toThrow();
    expect(await ask({ ...(await client(other)), ca: other.certificate })).toBe('hello');
  });

  test('refuses a client whose certificate was taken back, cuts off what it has open, and nobody else', async () => {
    const door = await open();
    const [ada, bob] = [await client(), await client()];
    const Serial = new X509Certificate(ada.cert).serialNumber;
    const listed = { Serial, Name: 'ada', IssuedAt: now, ExpiresAt: now + 1_000_000 };
    await door.serve({ ...cluster, Clients: [listed] });
    const agents = [ada, bob].map((identity) => new Agent({ ...identity, ca: root.certificate, keepAlive: true }));
    for (const agent of agents) expect(await ask({ agent })).toBe('hello');
    const sockets = agents.map((agent) => Object.values(agent.freeSockets)[0]?.[0] as Socket);
    const cut = once(sockets[0] as Socket, 'close');
    await door.serve({ ...cluster, Clients: [{ ...listed, Revoked: true }] });
    await cut;
    await expect(ask(ada)).rejects.toThrow();
    expect(sockets[1]?.destroyed).toBe(false);
    expect(await ask(bob)).toBe('hello');
    for (const agent of agents) agent.destroy();
  });

  test('while the root is rotated, takes and is taken by clients of either; cuts off those of the old one in the end', async () => {
    const door = await open();
    await door.serve(cluster);
    const keep = async (pair: KeyPair) => {
      const kept = request({ host: '127.0.0.1', port, ca: pair.certificate, ...(await client(pair)) });
      kept.end();
      return ((await once(kept, 'response')) as [IncomingMessage])[0].socket;
    };
    const early = await keep(root);
    const Rotation = {
      Certificate: other.certificate,
      Key: other.key,
      CrossSigned: await crossSign(root, other.certificate),
    };
    await door.serve({ ...cluster, RootCA: { ...cluster.RootCA, Rotation } });
    expect(await ask(await client())).toBe('hello');
    expect(await ask({ ...(await client(other)), ca: other.certificate })).toBe('hello');
    const late = await keep(other);
    expect(early.destroyed).toBe(false);
    const cut = once(early, 'close');
    await door.serve(clusterOf(other));
    await cut;
    expect(late.destroyed).toBe(false);
    await expect(ask({ ...(await client()), ca: other.certificate })).rejects.toThrow();
    late.destroy();
  });

  const connected = async () => {
    const socket = connect({ host: '127.0.0.1', port });
    await once(socket, 'connect');
    return socket;
  };
  const saidTo = async (socket: Socket) => {
    let text = '';
    for await (const chunk of socket.setEncoding('utf8')) text += chunk;
    return text;
  };

  test.each(['GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n', 'DELETE /x HTTP/1.1\r\n', 'P'])(
    'tells %j that it speaks TLS',
    async (text) => {
      await (await open()).serve(cluster);
      const socket = await connected();
      socket.write(text);
      expect(await saidTo(socket)).toBe(
        'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n',
      );
    },
  );

  test.each(['', '\x16', '\x16\x03\x01', 'GET'])('gives who only says %j 10 s', async (text) => {
    const clock = new ManualClock(now);
    const door = await open(clock);
    await door.serve(cluster);
    const socket = await connected();
    const closed = once(socket, 'close');
    socket.pause().write(text);
    // It is one that came later that is answered: the other has been seen by then.
    expect(await ask(await client())).toBe('hello');
    await clock.advance(9_999);
    expect(socket.closed).toBe(false);
    await clock.advance(1);
    socket.resume();
    await closed;
    expect(clock.untilNext()).toBe(7 * 24 * 3_600_000 - 10_000);
  });

  test('is done at once with who says what is no handshake', async () => {
    const clock = new ManualClock(now);
    await (await open(clock)).serve(cluster);
    const socket = await connected();
    socket.write(Buffer.from('16030100060100000201ff', 'hex'));
    await once(socket.resume(), 'close');
    expect(clock.untilNext()).toBe(7 * 24 * 3_600_000);
  });

  test('is closed without waiting for handshakes, and lets go of the oldest of too many', async () => {
    const door = await open();
    await door.serve(cluster);
    const sockets: Socket[] = [];
    for (let count = 0; count <= 512; count++) sockets.push(await connected());
    await once(sockets[0]?.resume() as Socket, 'close');
    expect(await ask(await client())).toBe('hello');
    expect(sockets[2]?.closed).toBe(false);
    const closed = sockets.slice(2).map((socket) => once(socket.resume(), 'close'));
    await door.close();
    await Promise.all(closed);
  });

  test('says whose port is taken', async () => {
    const taker = createServer().listen(port, '127.0.0.1');
    await once(taker, 'listening');
    await expect(open()).rejects.toThrow(`cannot listen on 127.0.0.1:${port} for the API`);
    taker.close();
  });
});
