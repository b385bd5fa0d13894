import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TestApi } from '../../../test/kit/api.ts';
import { DockerHostWorld, type FakeEngine, Raw } from '../../../test/kit/docker-host.ts';

// Builds with BuildKit by the API of a manager, before engines that are not real: which of them is spoken with, and where images go.

describe('BuildKit', () => {
  let world: DockerHostWorld;
  beforeEach(() => {
    world = new DockerHostWorld();
  });
  afterEach(() => world.close());
  const host: DockerHostWorld['host'] = (...given) => world.host(...given);
  const engine: DockerHostWorld['engine'] = (...given) => world.engine(...given);

  const loaded = Raw.lines({ stream: 'Loaded image: r:t\n' });
  const archive = { 'GET /images/get': new Raw('archive'), 'POST /images/load': loaded };
  const post = (api: TestApi, url: string) => api.call('POST', url, 'the tar', { 'content-type': 'application/x-tar' });
  const askedOf = ({ asked }: FakeEngine) =>
    asked
      .filter(({ url }) => !url.endsWith('/info'))
      .map(({ method, url, body }) => decodeURIComponent(`${method} ${url} ${body}`.trim()));

  /** A conversation that has begun; it says where to. */
  async function begun(api: TestApi, path: string): Promise<{ client: Socket; to: string }> {
    if (!api.app.server.listening) await api.app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = api.app.server.address() as AddressInfo;
    const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    client.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`);
    let out = '';
    client.setEncoding('utf8');
    while (!out.includes(`${path} `)) out += (await once(client, 'data'))[0];
    return { client, to: out };
  }
  async function ended(client: Socket): Promise<void> {
    client.end();
    if (!client.closed) await once(client.resume(), 'close');
  }

  /** Which of them were in conversations, and how often. */
  const hearing = (...engines: readonly FakeEngine[]) =>
    engines.map(({ asked }) => asked.filter(({ url }) => /session|grpc/.test(url)).length);

  test('is spoken with at one node, whose image goes to the others', async () => {
    const id = `sha256:${'1'.repeat(64)}`;
    const said = [
      { id: 'moby.buildkit.trace', aux: 'CgA=' },
      { id: 'moby.image.id', aux: { ID: id } },
    ];
    const [a, b] = [engine('A', [], { ...archive, 'POST /build': Raw.lines(...said) }), engine('B', [], archive)];
    const api = await host({ n1: a, n2: b });
    const { client, to } = await begun(api, '/v1.41/session');
    expect(to).toMatch(/^HTTP\/1\.1 101 /);
    const { text } = await post(api, '/v1.41/build?version=2&session=s&t=r:t&remote=client-session');
    expect(
      text
        .trim()
        .split('\r\n')
        .slice(0, 2)
        .map((line) => JSON.parse(line)),
    ).toEqual(said);
    await ended(client);
    expect(askedOf(a)).toEqual([
      'POST /v1.41/session',
      'POST /v1.41/build?version=2&session=s&t=r:t&remote=client-session the tar',
      'GET /v1.45/images/get?names=r:t',
    ]);
    expect(askedOf(b)).toEqual(['POST /v1.45/images/load archive']);
    expect((await api.call('POST', '/v1.41/build/cancel?id=x')).status).toBe(404);
    expect(askedOf(a).at(-1)).toBe('POST /v1.41/build/cancel?id=x');
  });

  test('makes no image where it is to make files', async () => {
    const a = engine('A', [], { ...archive, 'POST /build': Raw.lines({ id: 'moby.buildkit.trace', aux: 'CgA=' }) });
    const api = await host({ n1: a, n2: engine('B', [], archive) });
    await post(api, '/build?version=2&session=s&t=r');
    expect(askedOf(a)).toHaveLength(1);
  });

  test.each(['version=2&', ''])('?%s makes its image known by its id alone where it is quiet', async (version) => {
    const id = `sha256:${'1'.repeat(64)}`;
    const a = engine('A', [], { ...archive, 'POST /build': Raw.lines({ stream: `${id}\n` }) });
    const api = await host({ n1: a, n2: engine('B', [], archive) });
    await post(api, `/build?${version}q=1`);
    expect(askedOf(a).at(-1)).toBe(`GET /v1.45/images/get?names=${id}`);
  });

  test('stays where it is while it is spoken with, and goes on at the next node', async () => {
    const [a, b] = [engine('A', []), engine('B', [])];
    const api = await host({ n1: a, n2: b });
    const { client } = await begun(api, '/session');
    const pause = (id: string) =>
      api.apply([
        { op: 'update', table: 'nodes', id, set: { Spec: { Role: 'worker', Availability: 'pause', Labels: {} } } },
      ]);
    pause('n1');
    await ended((await begun(api, '/session')).client);
    expect(hearing(a, b)).toEqual([2, 0]);
    await ended(client);
    await ended((await begun(api, '/session')).client);
    expect(hearing(a, b)).toEqual([2, 1]);
    pause('n2');
    expect(await post(api, '/build?version=2')).toMatchObject({
      status: 503,
      json: { message: expect.stringMatching(/^no node that could build \(.*2 nodes/) },
    });
  });

  test('speaks gRPC, and what that has made goes to the others, once', async () => {
    let rows = [{ Id: '1', RepoTags: ['old:1'] }];
    const list = (response: ServerResponse) => response.end(JSON.stringify(rows));
    const loads = new EventEmitter();
    const a = engine('A', [], { ...archive, 'GET /images/json': list });
    const b = engine('B', [], { 'POST /images/load': (response: ServerResponse) => loads.emit('load', response) });
    const api = await host({ n1: a, n2: b });
    /** Another image is there at its end. */
    const endedWith = async (client: Socket, image: string) => {
      rows = [...rows, { Id: image, RepoTags: [image] }];
      const [[response]] = await Promise.all([once(loads, 'load'), ended(client)]);
      response.end(loaded.text);
    };
    const [first, second, third] = [await begun(api, '/grpc'), await begun(api, '/grpc'), await begun(api, '/grpc')];
    await endedWith(first.client, 'new:1');
    await ended(second.client);
    await endedWith(third.client, 'new:2');
    expect(askedOf(a).filter((one) => one.includes('/images/get'))).toEqual([
      'GET /v1.45/images/get?names=new:1',
      'GET /v1.45/images/get?names=new:2',
    ]);
  });

  test('is not placed by a label, which its session could not follow', async () => {
    const api = await host({ n1: engine('A', []) });
    const labels = encodeURIComponent('{"swarmctl.constraints":"node.hostname==host-n1"}');
    expect(await post(api, `/build?version=2&labels=${labels}`)).toMatchObject({
      status: 400,
      json: { message: expect.stringContaining('DOCKER_BUILDKIT=0') },
    });
  });

  test('needs an upgrade, as the engine says', async () => {
    const refuse = new Raw('{"message":"no upgrade proto in request"}', 400);
    const api = await host({ n1: engine('A', [], { 'POST /session': refuse }) });
    expect(await api.call('POST', '/session')).toMatchObject({
      status: 400,
      json: { message: 'no upgrade proto in request' },
    });
  });
});
