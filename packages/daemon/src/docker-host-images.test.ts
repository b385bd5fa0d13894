import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TestApi } from '../../../test/kit/api.ts';
import { container, DockerHostWorld, type FakeEngine, idOf, Raw } from '../../../test/kit/docker-host.ts';

// Images that are loaded, built, imported and committed by the API of a manager, before engines that are not real: who is asked for what, and what the client hears.

describe('images that come to the cluster', () => {
  let world: DockerHostWorld;
  beforeEach(() => {
    world = new DockerHostWorld();
  });
  afterEach(() => world.close());
  const host: DockerHostWorld['host'] = (...given) => world.host(...given);
  const engine: DockerHostWorld['engine'] = (...given) => world.engine(...given);

  const loaded = Raw.lines({ id: 'layer', status: 'Loading layer' }, { stream: 'Loaded image: r:t\n' });
  const archive = { 'GET /images/get': new Raw('archive'), 'POST /images/load': loaded };
  const said = (text: string) =>
    text
      .trim()
      .split('\r\n')
      .map((line) => JSON.parse(line));
  const tar = { 'content-type': 'application/x-tar' };
  const post = (api: TestApi, url: string) => api.call('POST', url, 'the tar', tar);
  const askedOf = ({ asked }: FakeEngine) =>
    asked.filter(({ url }) => !url.endsWith('/info')).map(({ method, url, body }) => `${method} ${url} ${body}`.trim());

  test('by load, on all nodes; what all say is said once', async () => {
    const [a, b] = [engine('A', [], archive), engine('B', [], archive)];
    const api = await host({ n1: a, n2: b, n3: undefined });
    const { status, text } = await post(api, '/v1.41/images/load?quiet=0');
    expect(status).toBe(200);
    expect(said(text)).toHaveLength(4);
    expect(said(text).at(-1)).toEqual({ status: 'host-n3: left out, the node is away' });
    expect(said(text)).toEqual(
      expect.arrayContaining([
        { id: 'host-n1: layer', status: 'Loading layer' },
        { id: 'host-n2: layer', status: 'Loading layer' },
        { stream: 'Loaded image: r:t\n' },
      ]),
    );
    for (const one of [a, b]) expect(askedOf(one)).toEqual(['POST /v1.41/images/load?quiet=0 the tar']);
  });

  test('by load, of any size', async () => {
    const a = engine('A', [], archive);
    const api = await host({ n1: a });
    const much = 'x'.repeat(9_000_000);
    expect((await api.call('POST', '/images/load', much, tar)).status).toBe(200);
    expect(a.asked.at(-1)?.body === much).toBe(true);
  });

  test('by load, and fail, naming the node, when one could not', async () => {
    const bad = engine('B', [], { 'POST /images/load': Raw.lines({ error: 'disk full', errorDetail: {} }) });
    const api = await host({ n1: engine('A', [], archive), n2: bad });
    expect(said((await post(api, '/images/load')).text).at(-1)).toMatchObject({ error: 'host-n2: disk full' });
    const none = await host({ n1: engine('C', []) });
    expect(await post(none, '/images/load')).toMatchObject({
      status: 404,
      json: { message: 'host-n1: nothing at /images/load' },
    });
  });

  test('by commit, made where the container is and copied to the others', async () => {
    const id = idOf('b');
    const [a, b] = [
      engine('A', [], archive),
      engine('B', [container('b', 'two')], { ...archive, 'POST /commit': { Id: 'sha256:1' } }),
    ];
    const api = await host({ n1: a, n2: b });
    const commit = (query: string) => api.call('POST', `/commit?container=two&${query}`, { Cmd: ['x'] });
    expect(await commit('repo=r&tag=t')).toMatchObject({ status: 200, json: { Id: 'sha256:1' } });
    expect(askedOf(b).slice(-2)).toEqual([
      `POST /v1.45/commit?container=${id}&repo=r&tag=t {"Cmd":["x"]}`,
      'GET /v1.45/images/get?names=r%3At',
    ]);
    expect(askedOf(a).at(-1)).toBe('POST /v1.45/images/load archive');
    await commit('repo=r');
    expect(askedOf(b).at(-1)).toContain('names=r%3Alatest');
    await commit('');
    expect(askedOf(b).at(-1)).toContain('names=sha256%3A1');
    expect((await api.call('POST', '/commit?container=nosuch', {})).status).toBe(404);
  });

  test('by build, made by one node and copied to the others', async () => {
    const built = { 'POST /build': Raw.lines({ stream: 'Step 1' }, { aux: { ID: 'sha256:1' } }, { stream: 'done' }) };
    const [a, b] = [engine('A', [], { ...archive, ...built }), engine('B', [], { ...archive, ...built })];
    const api = await host({ n1: a, n2: b });
    const labels = encodeURIComponent('{"swarmctl.constraints":"node.hostname==host-n2","x":"y"}');
    const { text } = await post(api, `/build?t=r:t&t=reg:5000/s&labels=${labels}`);
    expect(said(text)).toEqual([
      { stream: 'Step 1' },
      { aux: { ID: 'sha256:1' } },
      { stream: 'done' },
      { id: 'layer', status: 'Loading layer' },
    ]);
    expect(askedOf(b).map((one) => decodeURIComponent(one))).toEqual([
      'POST /v1.45/build?t=r:t&t=reg:5000/s&labels={"x":"y"} the tar',
      'GET /v1.45/images/get?names=r:t&names=reg:5000/s:latest',
    ]);
    expect(askedOf(a)).toEqual(['POST /v1.45/images/load archive']);
    await post(api, '/build');
    expect([...askedOf(a), ...askedOf(b)].some((one) => one.endsWith('names=sha256%3A1'))).toBe(true);
  });

  test('not by a build that fails', async () => {
    const failing = Raw.lines({ error: 'exit 3', errorDetail: { code: 3, message: 'exit 3' } });
    const a = engine('A', [], { ...archive, 'POST /build': failing });
    const api = await host({ n1: a, n2: engine('B', [], archive) });
    const where = encodeURIComponent('{"swarmctl.constraints":"node.hostname==host-n1"}');
    const message = 'host-n1: exit 3';
    expect(said((await post(api, `/build?t=r&labels=${where}`)).text)).toEqual([
      { errorDetail: { code: 3, message }, error: message },
    ]);
    expect(askedOf(a)).toHaveLength(1);
    const nowhere = encodeURIComponent('{"swarmctl.constraints":"node.hostname==x"}');
    expect((await post(api, `/build?labels=${nowhere}`)).status).toBe(503);
    const noText = encodeURIComponent('{"swarmctl.constraints":5}');
    expect((await post(api, `/build?labels=${noText}`)).status).toBe(400);
  });

  test('by import, made by one node and copied to the others', async () => {
    const id = `sha256:${'1'.repeat(64)}`;
    const made = { 'POST /images/create': Raw.lines({ status: id }) };
    const [a, b] = [engine('A', [], { ...archive, ...made }), engine('B', [], archive)];
    const api = await host({ n1: a, n2: b });
    expect(said((await post(api, '/images/create?fromSrc=-&repo=r')).text)[0]).toEqual({ status: id });
    expect(askedOf(a)).toEqual([
      'POST /v1.45/images/create?fromSrc=-&repo=r the tar',
      'GET /v1.45/images/get?names=r%3Alatest',
    ]);
    expect(askedOf(b)).toEqual(['POST /v1.45/images/load archive']);
    await post(api, '/images/create?fromSrc=-');
    expect(askedOf(a).at(-1)).toBe(`GET /v1.45/images/get?names=${encodeURIComponent(id)}`);
  });

  test('search is any engine’s', async () => {
    const a = engine('A', [], { 'GET /images/search': [{ name: 'x' }] });
    const api = await host({ n1: a });
    expect((await api.call('GET', '/images/search?term=x&limit=3')).json).toEqual([{ name: 'x' }]);
    expect(askedOf(a)).toEqual(['GET /v1.45/images/search?term=x&limit=3']);
  });
});
