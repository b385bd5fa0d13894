import { once } from 'node:events';
import { createServer as createHttp, type IncomingMessage } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import { createServer } from 'node:net';
import {
  createCsr,
  createRootCa,
  crossSign,
  type KeyPair,
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

async function open(): Promise<ApiDoor> {
  const door = await ApiDoor.open(
    { host: '127.0.0.1', port },
    {
      nodeId: 'm1',
      names: ['manager.example'],
      serveApi: (socket) => void http.emit('connection', socket),
      clock: realClock,
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

  test('says whose port is taken', async () => {
    const taker = createServer().listen(port, '127.0.0.1');
    await once(taker, 'listening');
    await expect(open()).rejects.toThrow(`cannot listen on 127.0.0.1:${port} for the API`);
    taker.close();
  });
});
