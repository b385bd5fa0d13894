import { type AddressInfo, connect } from 'node:net';
import type { Network } from '@swarmctl/shared/model';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aNetwork, aNode, aService, aTask } from '../../../test/kit/builders.ts';
import { cluster, container, DockerHostWorld, idOf, Raw } from '../../../test/kit/docker-host.ts';

// The API of the manager, the door of the nodes and engines that are not real: what is looked up, merged, passed on and refused.

describe('the cluster as one Docker host', () => {
  let world: DockerHostWorld;
  beforeEach(() => {
    world = new DockerHostWorld();
  });
  afterEach(() => world.close());

  const host: DockerHostWorld['host'] = (...given) => world.host(...given);
  const engine: DockerHostWorld['engine'] = (...given) => world.engine(...given);

  describe('containers', () => {
    test('of all engines, the newest first, each with its node; one of a shared engine shows once', async () => {
      const shared = engine('A', [
        container('a1', 'one', { Created: 5 }),
        container('a2', 'task', { Created: 9, Labels: { 'com.docker.swarm.node.id': 'n2' } }),
        container('a3', 'stranger', { Labels: { 'swarmctl.cluster.id': 'another' } }),
      ]);
      const api = await host({ n1: shared, n3: engine('B', [container('b1', 'two', { Created: 7 })]) });
      const { json, headers } = await api.call('GET', '/containers/json?all=1');
      expect(json.map((one: { Names: string[]; Node: object }) => [one.Names[0], one.Node])).toEqual([
        ['/task', expect.objectContaining({ ID: 'n1' })],
        ['/two', expect.objectContaining({ ID: 'n3', Name: 'host-n3' })],
        ['/one', expect.objectContaining({ ID: 'n1' })],
      ]);
      expect(headers['warning']).toBeUndefined();
      expect((await api.call('GET', '/containers/json?limit=1')).json).toHaveLength(1);
      expect(await api.call('GET', '/containers/json?limit=x')).toMatchObject({
        status: 500,
        json: { message: 'strconv.Atoi: parsing "x": invalid syntax' },
      });
    });

    test('of a node that is away are left out, and that is said', async () => {
      const api = await host({ n1: engine('A', [container('a1', 'one')]), n2: undefined });
      const { json, headers } = await api.call('GET', '/containers/json');
      expect(json).toHaveLength(1);
      expect(headers['warning']).toBe('199 swarmd "host-n2: the node is away"');
      expect((await api.call('GET', '/containers/x/json')).json.message).toBe(
        'No such container: x (not asked: host-n2: the node is away)',
      );
    });

    test('are not none when no engine can be asked, or all refuse: neither are images, volumes, nor what a prune would remove', async () => {
      const away = await host({ n1: undefined, n2: undefined });
      const refused = { message: "invalid filter 'status=x'" };
      const paths = ['/containers/json', '/images/json', '/volumes', '/system/df'];
      const prunes = ['/containers/prune', '/images/prune', '/volumes/prune', '/build/prune'];
      const answers = paths.map((path) => [`GET ${path}`, new Raw(JSON.stringify(refused), 400)]);
      const refusing = await host({ n1: engine('A', [], Object.fromEntries(answers)), n2: undefined });
      for (const path of paths) {
        const message = 'no engine answers: host-n1: the node is away; host-n2: the node is away';
        expect([path, await away.call('GET', path)]).toMatchObject([path, { status: 503, json: { message } }]);
        expect([path, await refusing.call('GET', path)]).toMatchObject([path, { status: 400, json: refused }]);
      }
      const puzzled = { 'GET /containers/json': new Raw('{"message":"strconv.Atoi: …"}', 500) };
      expect(await (await host({ n1: engine('B', [], puzzled) })).call('GET', '/containers/json')).toMatchObject({
        status: 500,
        json: { message: 'strconv.Atoi: …' },
      });
      for (const path of prunes) expect([path, (await away.call('POST', path)).status]).toEqual([path, 503]);
    });

    test('are none where no node has an engine', async () => {
      const api = await host({});
      expect(await api.call('GET', '/containers/json')).toMatchObject({ status: 200, json: [] });
    });

    test('of a node that is on its way to a new leader are waited for, not for ever', async () => {
      let isOnItsWay = true;
      const isAwaited = (nodeId: string) => nodeId === 'n2' && isOnItsWay;
      const [a, b] = [engine('A', [container('a1', 'one')]), engine('B', [container('b1', 'two')])];
      const api = await host({ n1: a, n2: b }, { isAwaited });
      const listed = async (comesAfterMs: number) => {
        const since = api.clock.monotonic();
        const passedMs = () => api.clock.monotonic() - since;
        isOnItsWay = true;
        let isDone = false;
        const answer = api.call('GET', '/containers/json').finally(() => {
          isDone = true;
        });
        while (!isDone) {
          await api.clock.advance(50);
          isOnItsWay = passedMs() < comesAfterMs;
        }
        return { count: (await answer).json.length, passedMs: passedMs() };
      };
      const inTime = await listed(3_000);
      expect(inTime.count).toBe(2);
      expect(inTime.passedMs).toBeGreaterThanOrEqual(3_000);
      expect((await listed(60_000)).passedMs).toBeLessThan(30_000);
    });

    test('of one node, by the filter of that name', async () => {
      const [a, b] = [engine('A', [container('a1', 'one')]), engine('B', [container('b1', 'two')])];
      const api = await host({ n1: a, n2: b });
      const filters = encodeURIComponent('{"node":["host-n2"],"status":["running"]}');
      const { json } = await api.call('GET', `/containers/json?filters=${filters}`);
      expect(json).toHaveLength(1);
      expect(a.asked).toEqual([]);
      expect(decodeURIComponent(b.asked.at(-1)?.url ?? '')).toContain('filters={"status":["running"]}');
    });

    test.each([
      ['one', 'a1'],
      ['/one', 'a1'],
      [idOf('b1'), 'b1'],
      ['b1', 'b1'],
    ])('are found by %s', async (reference, id) => {
      const api = await host({
        n1: engine('A', [container('a1', 'one')]),
        n2: engine('B', [container('b1', 'two'), container('c1', 'a')]),
      });
      expect((await api.call('GET', `/containers/${encodeURIComponent(reference)}/json`)).json.Id).toBe(idOf(id));
    });

    test.each([
      ['host-n2/one', 'b1'],
      ['/host-n2/one', 'b1'],
      ['n1/one', 'a1'],
      ['host-n2/b2', 'b2'],
      ['web/db', 'a2'],
    ])('are found by %s: node and name, or a link', async (reference, id) => {
      const linked = container('a2', 'two', { Names: ['/two', '/web/db'] });
      const [a, b] = [
        engine('A', [container('a1', 'one'), linked]),
        engine('B', [container('b1', 'one'), container('b2', 'x')]),
      ];
      const api = await host({ n1: a, n2: b });
      for (const path of [encodeURIComponent(reference), reference]) {
        expect((await api.call('GET', `/v1.41/containers/${path}/json`)).json.Id).toBe(idOf(id));
      }
      await api.call('DELETE', `/containers/${reference}?force=1`);
      const last = [a, b].map(({ asked }) => asked.at(-1)).find((one) => one?.method === 'DELETE');
      expect(last?.url).toBe(`/v1.45/containers/${idOf(id)}?force=1`);
    });

    test('lose a link by its name, which stays the other’s', async () => {
      const linked = container('a2', 'two', { Names: ['/two', '/web/db'] });
      const a = engine('A', [container('a1', 'web'), linked], { 'DELETE /containers/web/db': new Raw('', 204) });
      const api = await host({ n1: a });
      expect((await api.call('DELETE', '/containers/web/db?link=1')).status).toBe(204);
    });

    test('of one name on several nodes are shown with their node, so that each can be asked for', async () => {
      const api = await host({
        n1: engine('A', [container('a1', 'one'), container('a2', 'two')]),
        n2: engine('B', [container('b1', 'one')]),
      });
      const { json } = await api.call('GET', '/containers/json');
      expect(json.map(({ Names }: { Names: string[] }) => Names)).toEqual([
        ['/host-n1/one'],
        ['/two'],
        ['/host-n2/one'],
      ]);
    });

    test.each([
      ['nosuch', 404, 'No such container: nosuch'],
      ['host-n2/x', 404, 'No such container: host-n2/x'],
      ['nowhere/x', 404, 'No such container: nowhere/x'],
      ['ab', 400, 'Multiple IDs found with provided prefix: ab'],
      ['twice', 400, expect.stringContaining('several containers are called twice')],
    ])('are not found by %s', async (reference, status, message) => {
      const api = await host({
        n1: engine('A', [container('ab1', 'x'), container('d', 'twice')]),
        n2: engine('B', [container('ab2', 'y'), container('e', 'twice')]),
      });
      expect(await api.call('GET', `/containers/${reference}/json`)).toMatchObject({ status, json: { message } });
    });

    test('are made where there are fewer, without what only says where', async () => {
      const made = { 'POST /containers/create': { Id: idOf('f'), Warnings: [] } };
      const [a, b] = [engine('A', [container('a1', 'one')], made), engine('B', [], made)];
      const api = await host({ n1: a, n2: b });
      const create = (body: object, query = '') => api.call('POST', `/containers/create${query}`, body);
      expect((await create({ Image: 'i', Env: ['A=b'] })).status).toBe(200);
      expect(JSON.parse(b.asked.at(-1)?.body ?? '')).toEqual({
        ...{ Image: 'i', Env: ['A=b'] },
        Labels: { 'swarmctl.cluster.id': cluster.ID },
      });
      await create({ Env: ['constraint:node.hostname==host-n1', 'A=b'] });
      expect(JSON.parse(a.asked.at(-1)?.body ?? '').Env).toEqual(['A=b']);
      await create({ Image: 'i', HostConfig: { NetworkMode: 'container:one' } });
      expect(a.asked.at(-1)?.method).toBe('POST');
      expect(await create({ Labels: { 'swarmctl.constraints': 'node.hostname==x' } })).toMatchObject({
        status: 503,
        json: { message: expect.stringContaining('node.hostname==x on 2 nodes') },
      });
      expect((await create({ Image: 'i' }, '?name=one')).status).toBe(409);
      for (const nothing of [{}, { HostConfig: {} }]) {
        expect(await create(nothing)).toMatchObject({
          status: 400,
          json: { message: 'config cannot be empty in order to create a container' },
        });
      }
    });

    test('where there are fewer, those counted that have been made and do not run yet', async () => {
      const made = { 'POST /containers/create': { Id: idOf('f'), Warnings: [] } };
      const [a, b] = [
        engine('A', [container('a1', 'one', { State: 'created' })], made),
        engine('B', [container('b1', 'two', { State: 'exited' })], made),
      ];
      const api = await host({ n1: a, n2: b });
      await api.call('POST', '/containers/create', { Image: 'i' });
      expect([a, b].map(({ asked }) => asked.at(-1)?.method)).toEqual(['GET', 'POST']);
    });

    test('beside another, or apart from it, when its environment says so', async () => {
      const answers = { 'POST /containers/create': { Id: idOf('f') } };
      const [a, b] = [engine('A', [container('a1', 'db')], answers), engine('B', [], answers)];
      const api = await host({ n1: a, n2: b });
      const create = (...Env: string[]) => api.call('POST', '/containers/create', { Image: 'i', Env });
      const made = ({ asked }: typeof a) => asked.filter(({ method }) => method === 'POST').length;
      await create('affinity:container==db', 'A=b');
      expect([made(a), made(b)]).toEqual([1, 0]);
      expect(JSON.parse(a.asked.at(-1)?.body ?? '').Env).toEqual(['A=b']);
      await create('affinity:container!=db');
      expect([made(a), made(b)]).toEqual([1, 1]);
      expect(await create('affinity:container!=db', 'constraint:node==host-n1')).toMatchObject({
        status: 503,
        json: { message: expect.stringContaining('it wants container!=db: /db on host-n1') },
      });
      expect(await create('affinity:container==nobody')).toMatchObject({
        status: 400,
        json: { message: 'No such container: container==nobody' },
      });
      expect((await create('affinity:image==i')).status).toBe(400);
    });

    test('on a node that has only just come, which is waited for, not for ever', async () => {
      const api = await host({ n1: engine('A', [], { 'POST /containers/create': { Id: idOf('f') } }) });
      const says = (State: 'unknown' | 'ready') =>
        api.apply([{ op: 'update', table: 'nodes', id: 'n1', set: { Status: { State, Addr: '10.0.0.1' } } }]);
      const create = async (meanwhile: () => unknown) => {
        let isDone = false;
        const answer = api.call('POST', '/containers/create', { Image: 'i' }).finally(() => {
          isDone = true;
        });
        while (!isDone) await meanwhile();
        return (await answer).status;
      };
      says('unknown');
      const since = api.clock.monotonic();
      expect(await create(() => api.clock.advance(50))).toBe(503);
      expect(api.clock.monotonic() - since).toBeGreaterThanOrEqual(10_000);
      const coming = create(async () => {
        await api.clock.advance(50);
        if (api.clock.monotonic() - since > 11_000) says('ready');
      });
      expect(await coming).toBe(200);
    });

    test('by version of the client, as engines do much by that', async () => {
      const answers = { 'POST /containers/create': { Id: idOf('f') }, [`POST /containers/${idOf('a1')}/exec`]: {} };
      const a = engine('A', [container('a1', 'one')], answers);
      const api = await host({ n1: a });
      const asked = async (method: 'GET' | 'POST', path: string) => {
        await api.call(method, path, method === 'POST' ? { Image: 'i' } : undefined);
        return a.asked.at(-1)?.url;
      };
      expect(await asked('POST', '/v1.39/containers/create')).toBe('/v1.39/containers/create');
      expect(await asked('POST', '/containers/create')).toBe('/v1.45/containers/create');
      expect(await asked('GET', '/v1.40/containers/one/json')).toBe(`/v1.40/containers/${idOf('a1')}/json`);
      expect(await asked('POST', '/v1.30/containers/one/exec')).toBe(`/v1.30/containers/${idOf('a1')}/exec`);
    });

    test('are renamed, also by clients that send the name as a body, too', async () => {
      const a = engine('A', [container('a1', 'one'), container('a2', 'other')], {
        [`POST /containers/${idOf('a1')}/rename`]: new Raw('', 204),
      });
      const api = await host({ n1: a });
      expect((await api.call('POST', '/containers/one/rename?name=two', { name: 'two' })).status).toBe(204);
      expect(a.asked.at(-1)).toMatchObject({ url: `/v1.45/containers/${idOf('a1')}/rename?name=two`, body: '' });
      expect((await api.call('POST', '/containers/one/rename?name=one')).status).toBe(204);
      expect(await api.call('POST', '/containers/one/rename?name=other')).toMatchObject({
        status: 409,
        json: { message: expect.stringMatching(/^Error when allocating new name: Conflict\. .* "\/other" is already/) },
      });
      expect((await api.call('POST', '/containers/no/rename?name=two')).status).toBe(404);
    });

    test('that are made are refused when what they name is missing, or when what is sent is no JSON', async () => {
      const api = await host({ n1: engine('A', [container('a1', 'one')]) });
      const refusal = async (HostConfig: object) => {
        const { status, json } = await api.call('POST', '/containers/create', { Image: 'i', HostConfig });
        return `${status} ${json.message}`;
      };
      expect(await refusal({ Links: ['no:alias'] })).toBe('400 could not get container for no: No such container: no');
      expect(await refusal({ VolumesFrom: ['no:ro'] })).toBe('400 No such container: no');
      expect(await refusal({ NetworkMode: 'container:no' })).toBe('400 No such container: no');
      for (const verb of ['exec', 'update']) {
        const { statusCode, payload } = await api.app.inject({
          ...{ method: 'POST', url: `/containers/nosuch/${verb}`, payload: '{invalid' },
          headers: { 'content-type': 'application/json' },
        });
        expect([statusCode, payload]).toEqual([
          400,
          expect.stringContaining('looking for beginning of object key string'),
        ]);
      }
    });

    test('made before or since another are told apart within a second, on whichever node', async () => {
      const at = (id: string, fraction: string) => ({
        [`GET /containers/${idOf(id)}/json`]: { Id: idOf(id), Created: `2026-01-01T00:00:07${fraction}Z` },
      });
      const made = (id: string, Created = 7) => container(id, id, { Created });
      const api = await host({
        n1: engine('A', [made('a1'), made('a2', 9), made('a3', 5)], at('a1', '.12')),
        n2: engine('B', [made('b1'), made('b2')], { ...at('b1', '.119999999'), ...at('b2', '.120000001') }),
      });
      const names = async (filters: object) =>
        (await api.call('GET', `/containers/json?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json.map(
          ({ Names: [name] }: { Names: string[] }) => name,
        );
      expect(await names({ since: ['a1'] })).toEqual(['/a2', '/b2']);
      expect(await names({ before: ['a1'] })).toEqual(['/b1', '/a3']);
      expect(await names({ before: ['b2'], since: ['b1'] })).toEqual(['/a1']);
    });
  });

  describe('prunes of volumes', () => {
    const anonymous = idOf('d');
    const volumes = ['data', anonymous, idOf('e')].map((Name) => ({
      Name,
      Labels: { keep: Name === idOf('e') ? 'yes' : 'no' },
    }));
    const answers = {
      'GET /volumes': { Volumes: volumes },
      'GET /system/df': { Volumes: [{ Name: anonymous, UsageData: { Size: 7 } }] },
      [`DELETE /volumes/${anonymous}`]: new Raw('', 204),
      'POST /volumes/prune': { VolumesDeleted: ['all'], SpaceReclaimed: 3 },
    };
    let engines = 0;
    const pruned = async (engineVersion: string, path: string) => {
      const a = engine(`${engines++}`, [], answers);
      const api = await host({ n1: a }, { engineVersion });
      const { json } = await api.call('POST', path);
      return [json, a.asked.filter(({ method }) => method !== 'GET').map(({ method, url }) => `${method} ${url}`)];
    };
    const filters = (given: object) => `?filters=${encodeURIComponent(JSON.stringify(given))}`;

    test('are the engine’s, where it knows what is anonymous', async () => {
      const asked = `/v1.45/volumes/prune${filters({ all: ['1'] })}`;
      expect(await pruned('28.2.2', `/v1.50/volumes/prune${filters({ all: ['1'] })}`)).toEqual([
        { VolumesDeleted: ['all'], SpaceReclaimed: 3 },
        [`POST ${asked}`],
      ]);
    });

    test('take anonymous ones alone of an older engine, too, unless all are asked for, or by an older client', async () => {
      const all = [{ VolumesDeleted: ['all'], SpaceReclaimed: 3 }, [expect.stringContaining('/volumes/prune')]];
      expect(await pruned('20.10.24', `/v1.42/volumes/prune${filters({ 'label!': ['keep=yes'] })}`)).toEqual([
        { VolumesDeleted: [anonymous], SpaceReclaimed: 7 },
        [`DELETE /v1.45/volumes/${anonymous}`],
      ]);
      expect(await pruned('20.10.24', `/v1.42/volumes/prune${filters({ all: ['true'] })}`)).toEqual(all);
      expect(await pruned('20.10.24', '/v1.41/volumes/prune')).toEqual(all);
    });
  });

  test('the door lets through what is on its list alone, in a version that the engine speaks', async () => {
    const a = engine('A', [container('a1', 'one')], { 'GET /images/x/json': { Id: 'x' } });
    const api = await host({ n1: a });
    expect((await api.call('GET', '/v1.50/images/x/json')).status).toBe(200);
    expect(a.asked.at(-1)?.url).toBe('/v1.45/images/x/json');
    expect((await api.call('GET', '/v1.50/images/..%2fswarm/json')).status).toBe(404);
    expect(a.asked.some(({ url }) => url.includes('swarm'))).toBe(false);
  });

  test('a tag is pushed by a node that has it, all by the one that has the most; some clients send a body that says nothing', async () => {
    const pushed = { 'POST /images/r/a/push': Raw.lines({ status: 'pushed' }) };
    const a = engine('A', [], { ...pushed, 'GET /images/json': [{ RepoTags: ['r/a:2'] }] });
    const all = [{ RepoTags: ['r/a:1'] }, { RepoTags: ['r/a:3'] }];
    const b = engine('B', [], { ...pushed, 'GET /images/r/a:1/json': { Id: 'x' }, 'GET /images/json': all });
    const api = await host({ n1: a, n2: b });
    expect((await api.call('POST', '/images/r/a/push?tag=1', {})).json).toEqual({ status: 'pushed' });
    expect(b.asked.at(-1)).toMatchObject({ url: '/v1.45/images/r/a/push?tag=1', body: '{}' });
    expect((await api.call('POST', '/images/r/a/push')).status).toBe(200);
    expect(b.asked.at(-1)?.url).toBe('/v1.45/images/r/a/push');
    expect(await api.call('POST', '/images/docker.io/library/no/push?tag=9')).toMatchObject({
      ...{ status: 404, json: { message: 'An image does not exist locally with the tag: no:9' } },
    });
  });

  test('a node without an engine is not one that fails without a word', async () => {
    const api = await host({ n1: engine('A', []) }, { hasEngine: false });
    expect((await api.call('GET', '/containers/json')).json.message).toContain('no container engine');
  });

  test('images and volumes of several engines are one list', async () => {
    const image = (tags: string[]) => ({
      Id: 'sha256:1',
      Created: 1,
      RepoTags: tags,
      RepoDigests: null,
      Containers: 1,
    });
    const volumes = { Volumes: [{ Name: 'data', Driver: 'local' }], Warnings: null };
    const api = await host({
      n1: engine('A', [], { 'GET /images/json': [image(['a:1'])], 'GET /volumes': volumes }),
      n2: engine('B', [], { 'GET /images/json': [image(['a:1', 'a:2'])], 'GET /volumes': volumes }),
    });
    expect((await api.call('GET', '/images/json')).json).toEqual([
      { ...image(['a:1', 'a:2']), RepoDigests: [], Containers: 2 },
    ]);
    expect((await api.call('GET', '/volumes')).json.Volumes).toEqual([
      { Name: 'data', Driver: 'local', Status: { Nodes: ['host-n1', 'host-n2'] } },
    ]);
  });

  describe('a container joins and leaves networks where it is', () => {
    const ours = { Labels: { 'swarmctl.cluster.id': cluster.ID } };
    const joined = {
      'GET /networks/back': ours,
      'POST /containers/create': { Id: idOf('f') },
      ...Object.fromEntries(
        ['back/connect', 'back/disconnect', 'bridge/connect'].map((path) => [`POST /networks/${path}`, '']),
      ),
    };
    async function networked(answers: Record<string, unknown> = joined, set: Partial<Network> = {}) {
      const [a, b] = [engine('A', []), engine('B', [container('b1', 'two')], answers)];
      const api = await host({ n1: a, n2: b });
      const back = aNetwork({ id: 'net1', name: 'back' });
      const spec = { ...back.Spec, Attachable: true };
      api.apply([
        { op: 'create', table: 'networks', object: { ...back, ...set, Spec: spec } },
        { op: 'create', table: 'networks', object: aNetwork({ id: 'net2', name: 'closed' }) },
      ]);
      return { api, b };
    }

    test.each([
      ['net1', 'connect', 'back'],
      ['back', 'disconnect', 'back'],
      ['bridge', 'connect', 'bridge'],
    ])('%s: %s', async (network, verb, name) => {
      const { api, b } = await networked();
      const body = { Container: 'two', EndpointConfig: { Aliases: ['palm'] } };
      const asked = { ...body, EndpointConfig: { ...body.EndpointConfig, NetworkID: 'net1' } };
      expect(await api.call('POST', `/networks/${network}/${verb}`, asked)).toMatchObject({ status: 200, text: '' });
      const { url, body: sent } = b.asked.at(-1) ?? {};
      expect(url).toBe(`/v1.45/networks/${name}/${verb}`);
      expect(JSON.parse(sent ?? '')).toEqual({ ...body, Container: idOf('b1') });
    });

    test.each([
      ['closed', { Container: 'two' }, 403, /network closed not manually attachable/],
      ['swarmd_net2', { Container: 'two' }, 403, /network closed not manually attachable/],
      ['back', { Container: 'nosuch' }, 404, /No such container: nosuch/],
      ['nosuch', { Container: 'two' }, 404, /nothing at .networks.nosuch.connect/],
      ['back', {}, 400, /Container: the name or id/],
      ['back', 'null', 400, /Container: the name or id/],
    ])('not %s with %j', async (network, body, status, message) => {
      const { api } = await networked();
      const answer = await api.call('POST', `/networks/${network}/connect`, body);
      expect(answer).toMatchObject({ status, json: { message: expect.stringMatching(message) } });
    });

    test('one that is made names them as the engine does, on a node that can have them', async () => {
      const { api, b } = await networked(joined, { Blocks: { n2: ['10.1.0.128/28'] } });
      const body = {
        Image: 'i',
        HostConfig: { NetworkMode: 'net1' },
        NetworkingConfig: { EndpointsConfig: { net1: { Aliases: ['palm'], NetworkID: 'net1' } } },
      };
      expect((await api.call('POST', '/containers/create', body)).status).toBe(200);
      expect(JSON.parse(b.asked.at(-1)?.body ?? '')).toMatchObject({
        HostConfig: { NetworkMode: 'back' },
        NetworkingConfig: { EndpointsConfig: { back: { Aliases: ['palm'] } } },
      });
      const nowhere = { ...body, Labels: { 'swarmctl.constraints': 'node.hostname==host-n1' } };
      expect(await api.call('POST', '/containers/create', nowhere)).toMatchObject({
        status: 503,
        json: {
          message: expect.stringMatching(/^no suitable node.*; network back: .* has no block left for host-n1$/),
        },
      });
      const closed = { Image: 'i', HostConfig: { NetworkMode: 'closed' } };
      expect((await api.call('POST', '/containers/create', closed)).status).toBe(403);
    });

    test('they are shown as the cluster knows them, and found by that', async () => {
      const on = (...names: string[]) => ({
        HostConfig: { NetworkMode: names[0] },
        NetworkSettings: {
          Networks: Object.fromEntries(names.map((name) => [name, { NetworkID: 'e', Gateway: 'g' }])),
        },
      });
      const row = { ...container('b1', 'two'), ...on('swarmd_net2', 'back', 'own') };
      const { api, b } = await networked({
        ...{ 'GET /containers/json': [row], [`GET /containers/${idOf('b1')}/json`]: row },
      });
      const Networks = {
        closed: { NetworkID: 'net2', Gateway: 'g' },
        back: { NetworkID: 'net1', Gateway: 'g' },
        own: { NetworkID: 'e', Gateway: 'g' },
      };
      const shown = { HostConfig: { NetworkMode: 'closed' }, NetworkSettings: { Networks } };
      expect((await api.call('GET', '/containers/two/json')).json).toMatchObject(shown);
      const filters = encodeURIComponent('{"network":["closed","net1","own"]}');
      expect((await api.call('GET', `/containers/json?filters=${filters}`)).json).toMatchObject([shown]);
      const asked = JSON.parse(new URLSearchParams(b.asked.at(-1)?.url.split('?')[1]).get('filters') ?? '');
      expect(asked.network).toEqual(['swarmd_net2', 'swarmd_net1', 'back', 'own']);
    });

    test('waits for a network that comes, not for ever, and takes no other for it', async () => {
      const answers: Record<string, unknown> = { ...joined, 'GET /networks/back': undefined };
      const { api } = await networked(answers);
      const connect = async (meanwhile: () => unknown) => {
        let isDone = false;
        const answer = api.call('POST', '/networks/back/connect', { Container: 'two' }).finally(() => {
          isDone = true;
        });
        while (!isDone) await meanwhile();
        return await answer;
      };
      const passing = () => api.clock.advance(50);
      expect(await connect(passing)).toMatchObject({
        status: 503,
        json: { message: expect.stringContaining('host-n2') },
      });
      const since = api.clock.monotonic();
      const coming = await connect(async () => {
        await passing();
        if (api.clock.monotonic() - since > 300) answers['GET /networks/back'] = ours;
      });
      expect(coming.status).toBe(200);
      answers['GET /networks/back'] = { Labels: {} };
      expect((await connect(passing)).status).toBe(409);
    });
  });

  describe('who is on an attachable network', () => {
    const on = (Name: string, address: string) => ({
      ...{ Name, EndpointID: 'e', MacAddress: '02:42:0a:01:00:82', IPv4Address: address, IPv6Address: '' },
    });
    const answer = (Containers: object) => ({ Labels: { 'swarmctl.cluster.id': cluster.ID }, Containers });
    const told = { NetworkID: 'net1', MAC: '02:42:0a:01:00:92', Names: [], ContainerID: idOf('c'), Name: 'told' };

    /** `n3` is away, and has told of one. */
    async function networked(containers: object) {
      const answers: Record<string, unknown> = { 'GET /networks/back': answer(containers) };
      const api = await host({ n1: engine('A', [], answers), n2: engine('B', []), n3: undefined });
      const back = aNetwork({ id: 'net1', name: 'back' });
      const Blocks = { n1: ['10.0.1.128/28'], n2: ['10.0.1.144/28'], n3: ['10.0.1.160/28'] };
      const Guests = [{ ...told, Addresses: ['10.0.1.161'] }];
      const { Description } = aNode({ id: 'n3', hostname: 'host-n3' });
      const describe = (guests: object) => ({ ...Description, ...guests }) as NonNullable<typeof Description>;
      const say = (guests: object) =>
        api.apply([{ op: 'update', table: 'nodes', id: 'n3', set: { Description: describe(guests) } }]);
      api.apply([
        { op: 'create', table: 'networks', object: { ...back, Blocks, Spec: { ...back.Spec, Attachable: true } } },
      ]);
      say({ Guests });
      return { api, answers, leave: () => say({}) };
    }
    const shown = async ({ api }: Awaited<ReturnType<typeof networked>>) =>
      Object.values((await api.call('GET', '/networks/back')).json.Containers ?? {}).map(
        (one) => (one as { Name: string }).Name,
      );

    test('is what the engines say, and of a node that is away what it has told', async () => {
      const world = await networked({ [idOf('a')]: on('new', '10.0.1.130/24') });
      expect(await shown(world)).toEqual(['new', 'told']);
      expect((await world.api.call('GET', '/networks/back')).json.Containers[idOf('a')]).toEqual(
        on('new', '10.0.1.130/24'),
      );
      world.answers['GET /networks/back'] = answer({});
      expect(await shown(world)).toEqual(['told']);
      // Another network of that name is none of the cluster's.
      world.answers['GET /networks/back'] = { Labels: {}, Containers: { [idOf('a')]: on('x', '') } };
      expect(await shown(world)).toEqual(['told']);
    });

    test('keeps it from being removed as long as it is there, not longer', async () => {
      const world = await networked({ [idOf('a')]: on('new', '10.0.1.130/24') });
      const remove = async () => (await world.api.call('DELETE', '/networks/back')).json?.message;
      expect(await remove()).toContain('is in use by container new on node host-n1');
      expect((await world.api.call('POST', '/networks/prune')).json.NetworksDeleted).toBe(null);
      world.answers['GET /networks/back'] = answer({});
      expect(await remove()).toContain('is in use by container told on node host-n3');
      world.leave();
      // A task's container is its service's matter.
      const task = aTask({ id: 'abc', service: aService({ id: 'web' }), node: 'n1', state: 'complete' });
      world.api.apply([{ op: 'create', table: 'tasks', object: task }]);
      world.answers['GET /networks/back'] = answer({ [idOf('d')]: on('web.1.abc', '10.0.1.131/24') });
      expect(await shown(world)).toEqual(['web.1.abc']);
      expect(await remove()).toBeUndefined();
    });
  });

  test.each(['nosuch', 'a/b:1', 'UPPER%20case', 'abc'])(
    'inspect without a type: nothing at all is %s',
    async (name) => {
      const api = await host({ n1: engine('A', []), n2: undefined });
      const kinds = [
        'containers/%/json',
        'images/%/json',
        'networks/%',
        'volumes/%',
        'services/%',
        'tasks/%',
        'nodes/%',
      ];
      for (const kind of [...kinds, 'plugins/%/json', 'secrets/%', 'configs/%']) {
        const { status } = await api.call('GET', `/v1.50/${kind.replace('%', name)}`);
        expect([kind, status]).toEqual([kind, 404]);
      }
    },
  );

  test('prunes of one node leave the networks of the cluster', async () => {
    const a = engine('A', [], { 'POST /images/prune': { ImagesDeleted: null, SpaceReclaimed: 0 } });
    const api = await host({ n1: a });
    api.apply([{ op: 'create', table: 'networks', object: aNetwork({ id: 'net1', name: 'back' }) }]);
    const query = `filters=${encodeURIComponent('{"node":["n1"]}')}`;
    for (const kind of ['containers', 'images', 'networks']) {
      expect((await api.call('POST', `/${kind}/prune?${query}`)).status).toBe(200);
    }
    expect((await api.call('GET', '/networks/back')).status).toBe(200);
  });

  describe('info', () => {
    const numbers = (Containers: number, Images: number) => ({
      ...{ Containers, ContainersRunning: 1, ContainersPaused: 0, ContainersStopped: Containers - 1, Images },
    });
    const counts = async (api: Awaited<ReturnType<typeof host>>) => {
      const { json } = await api.call('GET', '/info');
      return [json.Containers, json.ContainersRunning, json.ContainersPaused, json.ContainersStopped, json.Images];
    };

    test('counts what the nodes have, without those that are away, and does not ask each time', async () => {
      const shared = engine('A', [], { 'GET /info': { ID: 'A', ...numbers(3, 2) } });
      const b = engine('B', [], { 'GET /info': { ID: 'B', ...numbers(2, 5) } });
      const api = await host({ n1: shared, n2: b, n3: undefined });
      expect(await counts(api)).toEqual([5, 2, 0, 3, 7]);
      expect(await counts(api)).toEqual([5, 2, 0, 3, 7]);
      expect(b.asked).toHaveLength(1);
      await api.clock.advance(5_000);
      await counts(api);
      expect(b.asked).toHaveLength(2);
    });

    test('does not wait for a node that does not answer', async () => {
      const api = await host({ n1: engine('A', [], { 'GET /info': { ID: 'A', ...numbers(3, 2) } }), n2: 'silent' });
      const counting = counts(api);
      let isDone = false;
      void counting.finally(() => {
        isDone = true;
      });
      while (!isDone) await api.clock.advance(50);
      expect(await counting).toEqual([3, 1, 0, 2, 2]);
    });
  });

  describe('an upgrade', () => {
    async function raw(api: Awaited<ReturnType<typeof host>>, ...pieces: readonly string[]): Promise<string> {
      await api.app.listen({ port: 0, host: '127.0.0.1' });
      const { port } = api.app.server.address() as AddressInfo;
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      let out = '';
      socket.setEncoding('utf8').on('data', (chunk) => {
        out += chunk;
      });
      const ended = new Promise((resolve) => socket.once('close', resolve));
      for (const piece of pieces) {
        await new Promise((resolve) => socket.write(piece, resolve));
        await new Promise(setImmediate);
      }
      socket.end();
      await ended;
      return out;
    }
    const head = (path: string, ...more: string[]) =>
      [`POST ${path} HTTP/1.1`, 'Host: x', 'Connection: Upgrade', 'Upgrade: tcp', ...more, '', ''].join('\r\n');

    test('leads to the container, and its input ends before its output', async () => {
      const api = await host({ n1: engine('A', [container('a1', 'one')]) });
      const out = await raw(api, head('/v1.41/containers/one/attach?stream=1'), 'some ', 'input');
      expect(out).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
      expect(out.split('\r\n\r\n')[1]).toBe(`/v1.41/containers/${idOf('a1')}/attach |some input|bye`);
    });

    test('by WebSocket as well, and by nothing else at that path', async () => {
      const api = await host({ n1: engine('A', [container('a1', 'one')]) });
      const asked = head('/containers/one/attach/ws?stream=1').replace('POST', 'GET').replace('tcp', 'websocket');
      expect(await raw(api, asked, 'input')).toContain(`/v1.45/containers/${idOf('a1')}/attach/ws |input|bye`);
      expect(await api.call('GET', '/containers/one/attach/ws')).toMatchObject({
        status: 400,
        json: { message: expect.stringContaining('Upgrade: websocket') },
      });
    });

    test('has its body, also when that comes later, before what follows', async () => {
      const exec = idOf('e');
      const api = await host({
        n1: engine('A', []),
        n2: engine('B', [], { [`GET /exec/${exec}/json`]: { ID: exec } }),
      });
      const out = await raw(api, head(`/exec/${exec}/start`, 'Content-Length: 7'), '{"a"', ':1}rest');
      expect(out.split('\r\n\r\n')[1]).toBe(`/v1.45/exec/${exec}/start {"a":1}|rest|bye`);
    });

    test('leads to the container of a node by its name there', async () => {
      const api = await host({ n1: engine('A', [container('a1', 'one')]), n2: engine('B', [container('b1', 'one')]) });
      const out = await raw(api, head('/v1.41/containers/host-n2/one/attach?stream=1'), 'input');
      expect(out.split('\r\n\r\n')[1]).toBe(`/v1.41/containers/${idOf('b1')}/attach |input|bye`);
    });

    test.each(['{invalid', '[]'])('with a body such as %s is refused before its exec is looked for', async (body) => {
      const api = await host({ n1: engine('A', []) });
      const out = await raw(api, head(`/exec/${idOf('0')}/start`, `Content-Length: ${body.length}`), body);
      expect(out).toMatch(/^HTTP\/1.1 400 .*"invalid JSON: /s);
    });

    test.each([
      ['/containers/nosuch/attach', 'HTTP/1.1 404', 'No such container: nosuch'],
      [`/exec/${idOf('0')}/start`, 'HTTP/1.1 404', 'No such exec instance'],
      ['/services/create', 'HTTP/1.1 400', '"message"'],
      ['/containers/%/attach', 'HTTP/1.1 400', 'is not a valid url component'],
    ])('of %s is answered as any request', async (path, status, message) => {
      const api = await host({ n1: engine('A', []) });
      const out = await raw(api, head(path));
      expect(out.startsWith(status)).toBe(true);
      expect(out).toContain(message);
    });
  });
});
