import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aNetwork } from '../../../test/kit/builders.ts';
import { cluster, container, DockerHostWorld, idOf } from '../../../test/kit/docker-host.ts';

// Containers by hand that refer to others, or wish for nodes: where they go, and what the engine there is told.

describe('a container by hand', () => {
  let world: DockerHostWorld;
  beforeEach(() => {
    world = new DockerHostWorld();
  });
  afterEach(() => world.close());

  /** n1 has fewer. */
  async function placing() {
    const ours = { Labels: { 'swarmctl.cluster.id': cluster.ID } };
    const joined = Object.fromEntries(['back', 'mine'].map((name) => [`POST /networks/${name}/connect`, '']));
    const made = { 'POST /containers/create': { Id: idOf('f') }, 'GET /networks/back': ours, ...joined };
    const a = world.engine('A', [container('a1', 'web', { Labels: { tier: 'front' } })], made);
    const b = world.engine('B', [container('b1', 'db'), container('b2', 'busy')], made);
    const api = await world.host({ n1: a, n2: b });
    const create = async (body: object) => {
      const before = [a, b].map(({ asked }) => asked.length);
      const { status, json } = await api.call('POST', '/containers/create', { Image: 'i', ...body });
      const at = [a, b].findIndex(({ asked }, i) => asked.slice(before[i]).some(({ method }) => method === 'POST'));
      const sent = at < 0 ? undefined : JSON.parse([a, b][at]?.asked.at(-1)?.body ?? '');
      return { status, message: json?.message, node: at < 0 ? undefined : `n${at + 1}`, sent };
    };
    return { api, b, create, drain: (id: string) => drain(api, id) };
  }
  const drain = (api: Awaited<ReturnType<DockerHostWorld['host']>>, id: string) =>
    api.apply([
      {
        op: 'update',
        table: 'nodes',
        id,
        set: { Spec: { Role: 'worker', Availability: 'drain', Labels: {} } },
      } as never,
    ]);

  const spellings = ['db', 'host-n2/db', 'n2/db', idOf('b1').slice(0, 12), 'host-n2/b1'];
  const ways: [string, (name: string) => object][] = [
    ['VolumesFrom', (name) => ({ HostConfig: { VolumesFrom: [`${name}:ro`] } })],
    ['Links', (name) => ({ HostConfig: { Links: [`${name}:alias`] } })],
    ['NetworkMode', (name) => ({ HostConfig: { NetworkMode: `container:${name}` } })],
    ['PidMode', (name) => ({ HostConfig: { PidMode: `container:${name}` } })],
    ['IpcMode', (name) => ({ HostConfig: { IpcMode: `container:${name}` } })],
    [
      'Links of an endpoint',
      (name) => ({ NetworkingConfig: { EndpointsConfig: { mine: { Links: [`${name}:alias`], IPAMConfig: null } } } }),
    ],
  ];
  test.each(ways)('goes where the other is by %s, however that is called', async (_, config) => {
    const { create, drain } = await placing();
    for (const name of spellings) {
      const { node, sent } = await create(config(name));
      expect([name, node]).toEqual([name, 'n2']);
      expect(sent).toMatchObject(config(name.replace(/^.*\//, '')));
    }
    drain('n2');
    expect(await create(config('db'))).toMatchObject({
      status: 503,
      message: expect.stringMatching(/^no suitable node .*; it must be beside \/db on host-n2$/),
    });
  });

  test('does not when it may not be there', async () => {
    const { create } = await placing();
    const refused = await create({ HostConfig: { VolumesFrom: ['db'] }, Env: ['constraint:node==host-n1'] });
    expect(refused).toMatchObject({
      status: 503,
      message: expect.stringContaining('it must be beside /db on host-n2'),
    });
    const torn = await create({ HostConfig: { VolumesFrom: ['db'], PidMode: 'container:web' } });
    expect(torn).toMatchObject({ status: 409, message: expect.stringContaining('/db on host-n2, /web on host-n1') });
  });

  test('with links on a network of the cluster’s alone goes anywhere: they are names there', async () => {
    const { api, create } = await placing();
    const network = aNetwork({ id: 'net1', name: 'back' });
    api.apply([
      { op: 'create', table: 'networks', object: { ...network, Spec: { ...network.Spec, Attachable: true } } },
    ]);
    const linked = {
      HostConfig: { NetworkMode: 'back', Links: ['db:alias'] },
      NetworkingConfig: { EndpointsConfig: { back: { Links: ['db:alias'] } } },
    };
    const { node, sent } = await create(linked);
    expect(node).toBe('n1');
    expect(sent).toMatchObject(linked);
  });

  test('is linked on connecting by any name of the other, on an engine’s own network only to one that is there', async () => {
    const { api, b } = await placing();
    const network = aNetwork({ id: 'net1', name: 'back' });
    api.apply([
      { op: 'create', table: 'networks', object: { ...network, Spec: { ...network.Spec, Attachable: true } } },
    ]);
    const connect = (to: string, ...Links: string[]) =>
      api.call('POST', `/networks/${to}/connect`, { Container: 'busy', EndpointConfig: { Links } });
    const links = () => JSON.parse(b.asked.at(-1)?.body ?? '').EndpointConfig.Links;
    expect((await connect('mine', 'host-n2/db:alias', 'later')).status).toBe(200);
    expect(links()).toEqual(['db:alias', 'later']);
    expect(await connect('mine', 'web:alias')).toMatchObject({
      status: 409,
      json: { message: 'cannot be linked to web: that is on host-n1, and the container on host-n2' },
    });
    expect((await connect('back', 'host-n1/web:alias')).status).toBe(200);
    expect(links()).toEqual(['web:alias']);
  });

  test.each([
    ['constraint:node==*-n2', 'n2'],
    ['constraint:node!=*-n1', 'n2'],
    ['constraint:node==/n[2-9]$/', 'n2'],
    ['constraint:node==~host-n2', 'n2'],
    ['constraint:node==~nowhere', 'n1'],
    ['constraint:storage==~ssd', 'n1'],
    ['affinity:container==d*', 'n2'],
    ['affinity:container==~db', 'n2'],
    ['affinity:container==~nobody', 'n1'],
    ['affinity:container!=~/^(web|db)$/', 'n1'],
    ['affinity:tier==front', 'n1'],
    ['affinity:tier!=front', 'n2'],
  ])('with %s goes to %s', async (wish, node) => {
    const { create } = await placing();
    const placed = await create({ Env: [wish, 'A=b'] });
    expect([placed.status, placed.node, placed.sent?.Env]).toEqual([200, node, ['A=b']]);
  });

  test.each([
    ['constraint:node==east*', 503, 'it wants node==east*'],
    ['affinity:container==nobody*', 400, 'No such container: container==nobody*'],
    ['affinity:container!=/^(web|db)$/', 503, 'it wants container!=/^(web|db)$/: /web on host-n1, /db on host-n2'],
    ['affinity:image==i', 400, "'image==i' is neither"],
  ])('with %s is refused', async (wish, status, message) => {
    const { create } = await placing();
    expect(await create({ Env: [wish] })).toMatchObject({ status, message: expect.stringContaining(message) });
  });

  test('is not the only one that says where in its labels: a volume does, and what is no text is refused', async () => {
    const { api } = await placing();
    expect(await api.call('POST', '/volumes/create', { Labels: { 'swarmctl.constraints': 5 } })).toMatchObject({
      status: 400,
      json: { message: expect.stringContaining('expected text such as') },
    });
  });
});
