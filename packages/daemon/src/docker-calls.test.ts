import { EventEmitter, once } from 'node:events';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Method, TestApi } from '../../../test/kit/api.ts';
import { container, DockerHostWorld, type FakeEngine, idOf, Raw } from '../../../test/kit/docker-host.ts';
import { serveSocket } from './socket-server.ts';

// What the command line docker 28.2.2 was seen to ask of containers, images and volumes, call by call, against engines that are not real. What it asks of the
// swarm: cli-calls.test.ts of the API.

const id = idOf('b');
const exec = idOf('e');
const image = { Id: 'sha256:1', Created: 1, RepoTags: ['bb:1'], RepoDigests: [], Containers: 0 };
const volume = { Name: 'data', Driver: 'local' };
const none = new Raw('', 204);
const pulled = Raw.lines({ status: 'Pulling from library/x', id: '1' });
const answers: Record<string, unknown> = {
  ...Object.fromEntries(
    ['start', 'stop', 'kill', 'pause', 'unpause', 'restart'].map((verb) => [`POST /containers/${id}/${verb}`, none]),
  ),
  [`POST /containers/${id}/resize`]: new Raw(''),
  [`POST /containers/${id}/exec`]: new Raw(`{"Id":"${exec}"}`, 201),
  [`DELETE /containers/${id}`]: none,
  [`GET /containers/${id}/logs`]: new Raw('logs'),
  [`GET /exec/${exec}/json`]: { ID: exec, Running: false, ExitCode: 3 },
  [`POST /exec/${exec}/resize`]: new Raw(''),
  'POST /containers/create': new Raw(`{"Id":"${idOf('c')}","Warnings":[]}`, 201),
  'GET /images/json': [image],
  'GET /images/bb:1/json': image,
  'POST /images/create': pulled,
  'POST /images/prune': { ImagesDeleted: null, SpaceReclaimed: 1 },
  'POST /build/prune': { CachesDeleted: null, SpaceReclaimed: 2 },
  'GET /volumes': { Volumes: [volume], Warnings: null },
  'GET /volumes/data': volume,
  'POST /volumes/create': new Raw(JSON.stringify(volume), 201),
  'DELETE /volumes/data': none,
  'POST /volumes/prune': { VolumesDeleted: ['data'], SpaceReclaimed: 3 },
  'GET /system/df': { LayersSize: 5, Images: [image], Containers: [], Volumes: [volume], BuildCache: [] },
};

let world: DockerHostWorld;
let engine: FakeEngine;
let api: TestApi;
beforeEach(() => {
  world = new DockerHostWorld();
});
afterEach(() => world.close());

/** `more`: other answers of the engine's. */
async function start(more: Readonly<Record<string, unknown>> = {}): Promise<void> {
  engine = world.engine('A', [container('b', 'two')], { ...answers, ...more });
  api = await world.host({ n1: engine });
}

const agent = { 'user-agent': 'Docker-Client/28.2.2 (linux)', 'accept-encoding': 'gzip' };
const call = (line: string, body?: unknown, headers = {}) => {
  const [method, url] = line.split(' ') as [Method, string];
  return api.call(method, `/v1.41${url}`, body, { ...agent, ...headers });
};
const asked = () => engine.asked.filter(({ url }) => !url.endsWith('/info') && !url.includes('/containers/json?'));
const dangling = `filters=${encodeURIComponent('{"dangling":{"true":true}}')}`;
const creating = { Image: 'bb:1', Cmd: ['true'], HostConfig: {}, NetworkingConfig: { EndpointsConfig: {} } };

type Row = readonly [command: string, line: string, body: unknown, status: number, answer: unknown];
const rows: readonly Row[] = [
  ['ps', 'GET /containers/json', undefined, 200, [{ Id: id, Labels: { 'swarmctl.node': 'host-n1' } }]],
  ['ps -a', 'GET /containers/json?all=1', undefined, 200, [{ Names: ['/two'] }]],
  ['inspect two', 'GET /containers/two/json', undefined, 200, { Id: id }],
  ['run bb:1 true', 'POST /containers/create', creating, 201, { Id: idOf('c'), Warnings: [] }],
  ['exec', 'POST /containers/two/exec', { Cmd: ['true'], Container: 'two' }, 201, { Id: exec }],
  ['exec: status', `GET /exec/${exec}/json`, undefined, 200, { ExitCode: 3 }],
  ['container prune', 'POST /containers/prune', undefined, 200, { ContainersDeleted: [id], SpaceReclaimed: 0 }],
  ['images', 'GET /images/json', undefined, 200, [image]],
  ['image inspect bb:1', 'GET /images/bb:1/json', undefined, 200, image],
  ['volume ls', 'GET /volumes', undefined, 200, { Volumes: [volume], Warnings: null }],
  ['volume create', 'POST /volumes/create', { Name: 'data', Driver: 'local', Labels: {} }, 201, volume],
  ['volume rm', 'DELETE /volumes/data', undefined, 204, undefined],
  ['volume prune', 'POST /volumes/prune', undefined, 200, { VolumesDeleted: ['data'], SpaceReclaimed: 3 }],
  ['system df', 'GET /system/df', undefined, 200, { LayersSize: 5, Images: [image], Volumes: [volume] }],
  ['system prune: networks', 'POST /networks/prune', undefined, 200, { NetworksDeleted: null }],
  ['system prune: images', `POST /images/prune?${dangling}`, undefined, 200, { SpaceReclaimed: 1 }],
  ['system prune: builds', 'POST /build/prune?filters=', undefined, 200, { SpaceReclaimed: 2 }],
];

test.each(rows)('%s: %s', async (_, line, body, status, answer) => {
  await start();
  const { json, ...rest } = await call(line, body);
  expect([rest.status, answer === undefined ? rest.text : '']).toEqual([status, '']);
  if (answer !== undefined) expect(json).toMatchObject(answer as object);
});

test.each([
  ['run: start', `POST /containers/${id}/start`, 204],
  ['run -t: size', `POST /containers/${id}/resize?h=24&w=80`, 200],
  ['exec -t: size', `POST /exec/${exec}/resize?h=24&w=80`, 200],
  ['logs', `GET /containers/${id}/logs?stderr=1&stdout=1&tail=all`, 200],
  ['stop -t 1', 'POST /containers/two/stop?t=1', 204],
  ['restart', 'POST /containers/two/restart', 204],
  ['kill', 'POST /containers/two/kill?signal=HUP', 204],
  ['pause', 'POST /containers/two/pause', 204],
  ['unpause', 'POST /containers/two/unpause', 204],
  ['rm -f', 'DELETE /containers/two?force=1', 204],
])('%s: %s, as the engine answers it', async (_, line, status) => {
  await start();
  const answer = await call(line);
  expect([answer.status, answer.text]).toEqual([status, line.includes('/logs') ? 'logs' : '']);
  const passed = line.replace(' ', ' /v1.41').replace('/two', `/${id}`);
  expect(asked().map(({ method, url }) => `${method} ${url}`)).toContain(passed);
});

test('run of an image that is missing: create, pull with credentials, create', async () => {
  let isThere = false;
  const create = (response: ServerResponse) => {
    response.statusCode = isThere ? 201 : 404;
    response.end(JSON.stringify(isThere ? { Id: idOf('c'), Warnings: [] } : { message: 'No such image: x:1' }));
  };
  await start({ 'POST /containers/create': create });
  const config = { ...creating, Image: 'x:1' };
  expect(await call('POST /containers/create?name=made', config)).toMatchObject({
    status: 404,
    json: { message: 'No such image: x:1' },
  });
  const pull = 'POST /images/create?fromImage=docker.io%2Flibrary%2Fx&tag=1';
  const answer = await call(pull, undefined, { 'x-registry-auth': 'e30=' });
  expect([answer.status, answer.json]).toEqual([200, { status: 'Pulling from library/x', id: '1' }]);
  const { url, headers } = asked().at(-1) ?? {};
  expect(url).toContain('fromImage=docker.io%2Flibrary%2Fx&tag=1');
  expect(headers?.['x-registry-auth']).toBe('e30=');
  isThere = true;
  expect((await call('POST /containers/create?name=made', config)).status).toBe(201);
});

test('run of an image that only some nodes have goes where it is', async () => {
  const missing = new Raw('{"message":"No such image: x:1"}', 404);
  const made = new Raw(`{"Id":"${idOf('c')}","Warnings":[]}`, 201);
  const [without, having] = [
    world.engine('A', [], { 'POST /containers/create': missing }),
    world.engine('B', [container('b', 'two')], { 'POST /containers/create': made, 'GET /images/x:1/json': image }),
  ];
  api = await world.host({ n1: without, n2: having });
  expect(await call('POST /containers/create', { Image: 'x:1' })).toMatchObject({
    status: 201,
    json: { Id: idOf('c') },
  });
  expect(without.asked.some(({ method, body }) => method === 'POST' && body.includes('x:1'))).toBe(true);
  const onFirst = { Image: 'x:1', Labels: { 'swarmctl.constraints': 'node.hostname==host-n1' } };
  expect(await call('POST /containers/create', onFirst)).toMatchObject({
    status: 404,
    json: { message: 'No such image: x:1' },
  });
});

test('run of an image at a node that lacks it: a manager that has it gives it', async () => {
  let isThere = false;
  const create = (response: ServerResponse) => {
    response.statusCode = isThere ? 201 : 404;
    response.end(JSON.stringify(isThere ? { Id: idOf('c'), Warnings: [] } : { message: 'No such image: x:1' }));
  };
  const loads = new EventEmitter();
  const load = (response: ServerResponse) => loads.emit('load', response);
  const look = (response: ServerResponse) => {
    response.statusCode = isThere ? 200 : 404;
    response.end(JSON.stringify(image));
  };
  const lacks = { 'POST /containers/create': create, 'POST /images/load': load, 'GET /images/x:1/json': look };
  const made = { 'POST /containers/create': new Raw(`{"Id":"${idOf('d')}"}`, 201) };
  const has = { 'GET /images/x:1/json': image, 'GET /images/get': new Raw('archive'), ...made };
  api = await world.host({ n1: world.engine('A', [], lacks), n2: world.engine('B', [], has) });
  const on = (node: string) => ({ Image: 'x:1', Labels: { 'swarmctl.constraints': `node.hostname==${node}` } });
  const onFirst = on('host-n1');
  expect((await call('POST /containers/create', onFirst)).status).toBe(404);
  api.apply([{ op: 'update', table: 'nodes', id: 'n2', set: { ManagerStatus: { RaftID: 1, Addr: 'n2:2377' } } }]);
  const coming = once(loads, 'load');
  const created = call('POST /containers/create', onFirst);
  const [response] = (await coming) as [ServerResponse];
  // However long that takes, others are created.
  expect(await call('POST /containers/create', on('host-n2'))).toMatchObject({ json: { Id: idOf('d') } });
  isThere = true;
  response.end('{"stream":"Loaded"}');
  expect(await created).toMatchObject({ status: 201, json: { Id: idOf('c') } });
});

describe('wait', () => {
  const events = new EventEmitter();
  /** Answers with the head alone. */
  const wait = (response: ServerResponse) => {
    response.setHeader('content-type', 'application/json').flushHeaders();
    response.once('close', () => events.emit('closed'));
    events.emit('asked', response);
  };

  /** The head of the answer, as it comes over a socket. */
  async function answerTo(condition: string) {
    await start({ [`POST /containers/${id}/wait`]: wait });
    const path = join(world.folder, 'api.sock');
    const served = await serveSocket(path, api.app.server);
    world.closes(() => served.close());
    const atEngine = once(events, 'asked') as Promise<[ServerResponse]>;
    const asking = request({
      socketPath: path,
      method: 'POST',
      path: `/v1.41/containers/${id}/wait?condition=${condition}`,
    });
    asking.on('error', () => {}).end();
    const [answer] = (await once(asking, 'response')) as [IncomingMessage];
    const [engineAnswer] = await atEngine;
    return { asking, answer, engineAnswer };
  }

  test.each(['removed', 'next-exit'])(
    'for %s is answered before the start, and ended by the exit',
    async (condition) => {
      const { answer, engineAnswer } = await answerTo(condition);
      expect(answer.statusCode).toBe(200);
      const waited = `POST /v1.41/containers/${id}/wait?condition=${condition}`;
      expect(asked().map(({ method, url }) => `${method} ${url}`)).toEqual([waited]);
      expect((await call(`POST /containers/${id}/start`)).status).toBe(204);
      engineAnswer.end('{"StatusCode":3}\n');
      let text = '';
      for await (const chunk of answer) text += chunk;
      expect(JSON.parse(text)).toEqual({ StatusCode: 3 });
    },
  );

  test('ends at the engine when the client hangs up, as run -d does', async () => {
    const { asking } = await answerTo('next-exit');
    const closed = once(events, 'closed');
    asking.destroy();
    await closed;
  });
});
