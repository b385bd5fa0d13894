import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { createCsr, createRootCa, realClock, settle, signClientCertificate, silentLogger } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TestApi } from '../../../test/kit/api.ts';
import { aCluster } from '../../../test/kit/builders.ts';
import { container, DockerHostWorld, type FakeEngine, idOf } from '../../../test/kit/docker-host.ts';
import { ApiDoor } from './api-door.ts';
import { serveSocket, serveStream } from './socket-server.ts';

// Attach and exec as older clients ask for them: without `Upgrade`, with raw bytes behind the request's body. By the unix socket and by the port of the
// API, at the leader and at a manager that follows it.

const port = 23_761;
const exec = idOf('e');

let world: DockerHostWorld;
let engine: FakeEngine;
let leader: TestApi;
let follower: TestApi;
beforeEach(async () => {
  world = new DockerHostWorld();
  engine = world.engine('A', [container('a1', 'one')], {
    [`GET /exec/${exec}/json`]: { ID: exec },
    [`POST /containers/${idOf('a1')}/wait`]: () => {},
  });
  leader = await world.host({ n1: engine });
  follower = await world.host(
    {},
    {
      isLeader: () => false,
      dialLeader: () => world.pair((far) => serveStream(leader.app.server, far)),
    },
  );
});
afterEach(() => world.close());

const doors = {
  'the unix socket': async (http: Server) => {
    const path = join(world.folder, 'api.sock');
    const served = await serveSocket(path, http);
    world.closes(() => served.close());
    return () => connect({ path, allowHalfOpen: true });
  },
  'the port of the API': async (http: Server) => {
    const root = await createRootCa(realClock.now());
    const made = aCluster();
    const cluster = { ...made, RootCA: { ...made.RootCA, Certificate: root.certificate, Key: root.key } };
    const serveApi = (socket: Socket) => serveStream(http, socket);
    const modules = { nodeId: 'm1', names: [], serveApi, clock: realClock, log: silentLogger };
    const door = await ApiDoor.open({ host: '127.0.0.1', port }, modules);
    world.closes(() => door.close());
    await door.serve(cluster);
    const { csr, key } = await createCsr();
    const cert = await signClientCertificate(root, csr, { clusterId: cluster.ID, name: 'ada' }, realClock.now());
    const options = { host: '127.0.0.1', port, ca: root.certificate, cert, key, allowHalfOpen: true };
    return () => connectTls(options);
  },
};

const head = (path: string, ...more: string[]) => [`POST ${path} HTTP/1.1`, 'Host: x', ...more, '', ''].join('\r\n');
/** Of one that was not asked to upgrade; what follows it. */
function behindHead(text: string): string {
  const [first = '', ...rest] = text.split('\r\n\r\n');
  expect(first).toMatch(/^HTTP\/1\.1 200 OK\r\n/s);
  expect(first).toMatch(/\r\ncontent-type: application\/vnd\.docker\.raw-stream(?:\r\n|$)/i);
  expect(first).not.toMatch(/\r\n(?:connection|upgrade):/i);
  return rest.join('\r\n\r\n');
}
const body = '{"Tty":true}';
const framings = {
  'by its length': head(`/v1.24/exec/${exec}/start`, `Content-Length: ${body.length}`) + body,
  'in chunks': `${head(`/v1.24/exec/${exec}/start`, 'Connection: keep-alive', 'Transfer-Encoding: chunked')}5;x=y\r\n{"Tty\r\n7\r\n":true}\r\n0\r\nA: b\r\n\r\n`,
};

async function textOf(client: Socket): Promise<string> {
  let text = '';
  for await (const chunk of client.setEncoding('utf8')) text += chunk;
  return text;
}

describe.each(Object.keys(doors) as (keyof typeof doors)[])('by %s', (door) => {
  describe.each(['leader', 'follower'] as const)('at the %s', (whose) => {
    let open: () => Socket;
    beforeEach(async () => {
      open = await doors[door]((whose === 'leader' ? leader : follower).app.server);
    });

    test.each(Object.entries(framings))('exec, whose body comes %s, in one piece or many', async (_, request) => {
      const sent = `${request}GET / HTTP/1.1\r\n\r\n`;
      const ways = [[sent], [request.slice(0, -3), request.slice(-3), 'GET / HTTP/1.1\r\n\r\n'], [...sent]];
      for (const pieces of ways) {
        const client = open();
        client.setNoDelay(true);
        for (const piece of pieces) await new Promise((resolve) => client.write(piece, resolve));
        // Its input ends, and what is said to that still comes.
        client.end();
        expect(behindHead(await textOf(client))).toBe(`/v1.24/exec/${exec}/start ${body}|GET / HTTP/1.1\r\n\r\n|bye`);
      }
    });

    test('attach, whose input is at its end at once', async () => {
      const client = open();
      client.end(head('/containers/one/attach?stream=1&stdin=1'));
      expect(behindHead(await textOf(client))).toBe(`/v1.45/containers/${idOf('a1')}/attach ||bye`);
    });

    test('attach, whose other end has said all first', async () => {
      const client = open();
      client.write(`${head('/containers/one/attach?stream=1&stdin=1')}raw, quit`);
      expect(behindHead(await textOf(client))).toBe(`/v1.45/containers/${idOf('a1')}/attach gone`);
      client.destroy();
    });

    test('exec in the background, and what cannot be, are answered as any request', async () => {
      const ask = (path: string, more: string, bytes: string) => {
        const client = open();
        client.write(head(path, more) + bytes);
        return textOf(client);
      };
      const detached = '{"Detach":true}';
      const length = `Content-Length: ${detached.length}`;
      expect(await ask(`/exec/${exec}/start`, length, detached)).toMatch(/^HTTP\/1\.1 200 OK\r\n.*content-length: 0/s);
      expect(engine.asked.at(-1)).toMatchObject({ url: `/v1.45/exec/${exec}/start`, body: detached });
      expect(await ask('/containers/nosuch/attach', 'A: b', 'raw')).toMatch(
        /^HTTP\/1\.1 404 Not Found\r\n.*api-version: 1\.50\r\n.*No such container: nosuch/is,
      );
      expect(await ask(`/v1.51/exec/${exec}/start`, length, detached)).toMatch(/^HTTP\/1\.1 400 .*is too new/s);
      expect(await ask(`/exec/${exec}/start`, 'Content-Length: 9999999', '')).toMatch(/^HTTP\/1\.1 400 .*at most/s);
      expect(await ask(`/exec/${exec}/start`, 'Transfer-Encoding: chunked', 'x\r\n')).toMatch(
        /^HTTP\/1\.1 400 .*should begin with its size, not with 'x'/s,
      );
    });

    test('on a connection that has served other requests', async () => {
      const client = open();
      client.write('GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(client, 'readable');
      client.read();
      client.end(`${framings['by its length']}raw`);
      expect(await textOf(client)).toMatch(/\{"Tty":true\}\|raw\|bye$/);
    });

    test('one sent ahead of the answer to another is cut off', async () => {
      const attach = head('/containers/one/attach', 'Connection: Upgrade', 'Upgrade: tcp');
      for (const second of [`${head('/containers/one/attach')}raw`, `${attach}raw`]) {
        const client = open();
        client.write(`GET /events HTTP/1.1\r\nHost: x\r\n\r\n${second}`);
        await textOf(client).catch(() => undefined);
        client.destroy();
      }
      expect(engine.asked.filter(({ url }) => url.includes('attach'))).toEqual([]);
    });

    test('a version before the version is no way to be taken for one behind the route', async () => {
      const client = open();
      client.end(head(`/v1.41/v1.41/exec/${exec}/start`, 'Content-Length: 0'));
      expect(await textOf(client)).toMatch(/^HTTP\/1\.1 404 .*page not found/s);
    });

    test('a client that waits with the body until it is asked to go on', async () => {
      const client = open();
      const [first = ''] = framings['by its length'].split('{');
      client.write(first.replace('Host', 'Expect: 100-continue\r\nHost'));
      const [asked] = await once(client.setEncoding('utf8'), 'data');
      expect(asked).toBe('HTTP/1.1 100 Continue\r\n\r\n');
      client.end(`${body}raw`);
      expect(await textOf(client)).toMatch(/\{"Tty":true\}\|raw\|bye$/);
    });
  });
});

const connectionsOf = ({ app }: TestApi) =>
  new Promise((resolve) => app.server.getConnections((_, number) => resolve(number)));

/** Some to the engine are kept for the next request. */
const kept = () => world.streams.filter(({ destroyed }) => !destroyed).length;

test('200 at once that break off in the midst of it leave nothing behind on either manager, nor at the engine', async () => {
  await follower.app.listen({ port: 0, host: '127.0.0.1' });
  const { port: tcp } = follower.app.server.address() as AddressInfo;
  const clients = Array.from({ length: 200 }, () => connect({ port: tcp, host: '127.0.0.1' }));
  for (const [i, client] of clients.entries()) {
    const upgrade = i % 2 ? [] : ['Connection: Upgrade', 'Upgrade: tcp'];
    client.write(`${head('/containers/one/attach', ...upgrade)}raw`);
  }
  await Promise.all(clients.map((client) => once(client, 'data')));
  for (const [i, client] of clients.entries()) {
    if (i % 3) client.destroy();
    else client.resetAndDestroy();
  }
  await expect.poll(() => connectionsOf(follower), { timeout: 10_000 }).toBe(0);
  await expect.poll(kept, { timeout: 10_000 }).toBeLessThanOrEqual(8);
  await expect.poll(() => engine.connections(), { timeout: 10_000 }).toBeLessThanOrEqual(8);
});

test('clients that go while their container is looked for take along what is opened for them then', async () => {
  let letIn = () => {};
  world.held = new Promise<void>((resolve) => {
    letIn = resolve;
  });
  await leader.app.listen({ port: 0, host: '127.0.0.1' });
  const { port: tcp } = leader.app.server.address() as AddressInfo;
  const clients = Array.from({ length: 40 }, () => connect({ port: tcp, host: '127.0.0.1' }));
  const sent = clients.map(
    (client, i) =>
      new Promise((resolve) =>
        client.write(head(`/containers/one/${i % 2 ? 'attach' : 'wait'}`, 'Content-Length: 0'), resolve),
      ),
  );
  await Promise.all(sent);
  await expect.poll(() => connectionsOf(leader)).toBe(40);
  await settle();
  for (const client of clients) client.resetAndDestroy();
  await expect.poll(() => connectionsOf(leader)).toBe(0);
  letIn();
  await expect.poll(() => engine.asked.length).toBeGreaterThan(0);
  await expect.poll(kept, { timeout: 10_000 }).toBeLessThanOrEqual(8);
  await expect.poll(() => engine.connections(), { timeout: 10_000 }).toBeLessThanOrEqual(8);
});

test('what was refused, broken off or ended leaves no connection behind', async () => {
  const count = () => connectionsOf(leader);
  await leader.app.listen({ port: 0, host: '127.0.0.1' });
  const { port: tcp } = leader.app.server.address() as AddressInfo;
  for (const request of [
    head('/containers/nosuch/attach', 'Connection: Upgrade', 'Upgrade: tcp'),
    head('/containers/nosuch/attach'),
    head('/services/create', 'Connection: Upgrade', 'Upgrade: h2c', 'Content-Length: 2'),
    head(`/exec/${exec}/start`, 'Content-Length: 9999999'),
    head(`/exec/${exec}/start`, 'Content-Length: 10'),
    framings['in chunks'],
  ]) {
    const client = connect({ port: tcp, host: '127.0.0.1' });
    client.end(`${request}{}`);
    await textOf(client);
    await once(client, 'close');
    await expect.poll(count, { timeout: 10_000 }).toBe(0);
  }
  const attached = connect({ port: tcp, host: '127.0.0.1' });
  attached.write(head('/containers/one/attach'));
  await once(attached, 'data');
  attached.destroy();
  await expect.poll(count, { timeout: 10_000 }).toBe(0);
});
