import { ManualClock } from '@swarmctl/shared/kit';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNode, aStore, aTask } from '../../../../test/kit/index.ts';
import { apply, settleState } from '../../../../test/sim/control/decide.ts';
import { endpointAllocator } from '../control/allocator/endpoints.ts';
import { networkAllocator } from '../control/allocator/networks.ts';
import { taskAllocator } from '../control/allocator/tasks.ts';
import type { Store } from '../store/store.ts';

let store: Store;
let api: TestApi;
let withManager: boolean;
let clock: ManualClock;

async function start(): Promise<void> {
  withManager = true;
  store = aStore({ cluster: aCluster(), nodes: [aNode({ id: 'n1', hostname: 'alpha', addr: '192.168.1.1' })] });
  clock = new ManualClock();
  api = await testApi({ store, clock, hasManager: () => withManager });
}
beforeEach(() => start());

async function call(method: Method, url: string, body?: unknown) {
  const { status, json } = await api.call(method, url, body);
  return { status, json };
}

/** A removal that has come to wait for something. */
async function waiting(url: string) {
  let answered = false;
  const answer = call('DELETE', url).finally(() => {
    answered = true;
  });
  while (clock.untilNext() === undefined) await new Promise((resolve) => setImmediate(resolve));
  return { answer, isAnswered: () => answered };
}

/** As `docker network create -d overlay` sends it. */
const mtu = 'com.docker.network.driver.mtu';
const wanted = (Name: string, more: object = {}) => ({
  CheckDuplicate: true,
  Name,
  Driver: 'overlay',
  Scope: '',
  Internal: false,
  Attachable: false,
  Ingress: false,
  ConfigOnly: false,
  ConfigFrom: null,
  EnableIPv6: false,
  IPAM: { Driver: 'default', Options: {}, Config: [] },
  Options: {},
  Labels: {},
  ...more,
});
const create = async (name: string, more: object = {}): Promise<string> => {
  const { status, json } = await call('POST', '/v1.41/networks/create', wanted(name, more));

  expect([status, json]).toEqual([201, { Id: expect.any(String), Warning: '' }]);
  return json.Id;
};
const service = (Name: string, Networks: object[], more: object = {}) => ({
  Name,
  TaskTemplate: { ContainerSpec: { Image: 'web:1' }, Networks },
  ...more,
});
const settle = () => settleState(store, [networkAllocator(), endpointAllocator(), taskAllocator()]);
const names = async (filters: object = {}) =>
  (await call('GET', `/networks?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json.map(
    (one: { Name: string }) => one.Name,
  );

test('a network is made, shown and removed as Docker does', async () => {
  const id = await create('net1', { Attachable: true });
  settle();
  const shown = {
    Name: 'net1',
    Id: id,
    Created: expect.stringMatching(/^20.*Z$/),
    Scope: 'swarm',
    Driver: 'overlay',
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.0.0.0/24', Gateway: '10.0.0.1' }] },
    Internal: false,
    Attachable: true,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4096' },
    Labels: null,
    Status: { IPAM: { Subnets: { '10.0.0.0/24': { IPsInUse: 1, DynamicIPsAvailable: 253 } } } },
  };
  for (const reference of [id, 'net1', id.slice(0, 6), `${id}?scope=swarm`]) {
    expect(await call('GET', `/networks/${reference}`)).toEqual({ status: 200, json: shown });
  }
  expect(await call('DELETE', '/networks/net1')).toEqual({ status: 204, json: undefined });
  expect(await call('GET', `/networks/${id}`)).toEqual({ status: 404, json: { message: `network ${id} not found` } });
});

test('containers made by hand are shown, and keep the network', async () => {
  const id = await create('open', { Attachable: true });
  settle();
  const [node] = store.view().list('nodes');
  if (!node?.Description) throw new Error('no node');
  const guest = { NetworkID: id, ContainerID: 'c1', Name: 'palm', Names: ['palm'], MAC: '02:42:0a:00:00:81' };
  const Guests = [{ ...guest, Addresses: ['10.0.0.129'] }];
  const say = (description: object) =>
    apply(store, [
      { op: 'update', table: 'networks', id, set: { Blocks: { [node.ID]: ['10.0.0.128/28'] } } },
      { op: 'update', table: 'nodes', id: node.ID, set: { Description: { ...node.Description!, ...description } } },
    ]);
  say({ Guests, Hostname: 'beach' });
  const { json } = await call('GET', '/networks/open');
  const shown = { Name: 'palm', EndpointID: '', MacAddress: guest.MAC, IPv4Address: '10.0.0.129/24', IPv6Address: '' };
  expect(json.Containers).toEqual({ c1: shown });
  expect(json.Status.IPAM.Subnets['10.0.0.0/24'].IPsInUse).toBe(2);
  const refused = await call('DELETE', '/networks/open');
  expect([refused.status, refused.json.message]).toEqual([
    400,
    expect.stringContaining('is in use by container palm on node beach (network open)'),
  ]);
  say({ Hostname: 'beach' });
  expect((await call('DELETE', '/networks/open')).status).toBe(204);
});

test('a node that no block of an attachable network is left for says so', async () => {
  const Config = [{ Subnet: '10.9.0.0/29' }];
  const id = await create('narrow', { Attachable: true, IPAM: { Driver: 'default', Config } });
  settle();
  const problems = async () => (await call('GET', '/nodes/n1')).json.Description.NetworkProblems;
  const describe = (Kind: 'nftables' | 'proxy') => {
    const { Description } = store.view().get('nodes', 'n1')!;
    const set = { Description: { ...Description!, Ingress: { Kind } } };
    apply(store, [{ op: 'update', table: 'nodes', id: 'n1', set }]);
  };
  describe('nftables');
  expect(await problems()).toBeUndefined();
  apply(store, [{ op: 'update', table: 'networks', id, set: { Blocks: { n2: ['10.9.0.4/30'] } } }]);
  expect(await problems()).toEqual([
    'network narrow: 10.9.0.0/29 has no block left for this node, so it does not have the network for containers made by hand; a larger --subnet has more',
  ]);
  describe('proxy');
  expect(await problems()).toBeUndefined();
});

test('what a network asks for is kept and shown', async () => {
  await create('big', {
    EnableIPv6: true,
    Internal: true,
    Labels: { team: 'red' },
    IPAM: {
      Driver: 'default',
      Config: [
        { Subnet: '10.9.0.0/16', IPRange: '10.9.4.0/24', Gateway: '10.9.0.77' },
        { Subnet: 'FD00:9::/64', AuxiliaryAddresses: { Router: 'FD00:9::9' } },
      ],
    },
    Options: { 'com.docker.network.driver.overlay.vxlanid_list': '5000' },
  });
  settle();
  expect((await call('GET', '/networks/big')).json).toMatchObject({
    EnableIPv6: true,
    Internal: true,
    Labels: { team: 'red' },
    IPAM: {
      Config: [
        { Subnet: '10.9.0.0/16', IPRange: '10.9.4.0/24', Gateway: '10.9.0.77' },
        // As it was written: clients compare.
        { Subnet: 'FD00:9::/64', Gateway: 'fd00:9::1', AuxiliaryAddresses: { Router: 'FD00:9::9' } },
      ],
    },
    Options: { 'com.docker.network.driver.overlay.vxlanid_list': '5000' },
  });
});

test('a network may be encrypted', async () => {
  await create('secret', { Options: { encrypted: '' } });
  settle();
  expect((await call('GET', '/networks/secret')).json.Options).toEqual({
    encrypted: '',
    'com.docker.network.driver.overlay.vxlanid_list': '4096',
  });
});

/** As `docker network create -d macvlan --scope swarm --config-from lan-here` sends it. */
const local = { Driver: 'macvlan', Scope: 'swarm', ConfigFrom: { Network: 'lan-here' } };

test('a network that engines make is kept and shown; it has no addresses of the managers', async () => {
  await create('lan', local);
  await create('wire', { ...local, Driver: 'ipvlan', ConfigFrom: null, Options: { parent: 'eth0' } });
  await create('own', {
    Driver: 'bridge',
    Scope: 'swarm',
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.0.0.0/24', Gateway: '10.0.0.1' }] },
  });
  await create('back');
  settle();
  const shown = async (name: string) => (await call('GET', `/networks/${name}`)).json;
  expect(await shown('lan')).toMatchObject({
    Scope: 'swarm',
    Driver: 'macvlan',
    ConfigFrom: { Network: 'lan-here' },
    Options: {},
    IPAM: { Config: [] },
  });
  expect(await shown('wire')).toMatchObject({ Driver: 'ipvlan', Options: { parent: 'eth0' } });
  expect((await shown('own')).IPAM.Config).toEqual([{ Subnet: '10.0.0.0/24', Gateway: '10.0.0.1' }]);
  expect((await shown('back')).IPAM.Config).toEqual([{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }]);
  expect(await names({ driver: ['macvlan'], scope: ['swarm'] })).toEqual(['lan']);
});

test.each(['', null, 'bridge'])(
  'a network of no driver, or of the one that command lines fill in (%j), is for containers of all nodes, and shown as asked for',
  async (Driver) => {
    await create('plain', { Driver });
    await create('back');
    settle();
    const shown = { Driver: 'bridge', Scope: 'swarm', Attachable: true };
    expect((await call('GET', '/networks/plain')).json).toMatchObject({
      ...shown,
      Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4096' },
    });
    expect((await call('GET', '/networks/plain?scope=swarm')).json).toMatchObject(shown);
    expect(await names({ driver: ['bridge'], scope: ['swarm'] })).toEqual(['plain']);
    expect(store.view().networkByName('plain')?.Spec.DriverConfiguration).toEqual({ Name: 'overlay' });
    await create('sized', { Driver, Options: { [mtu]: '1400' } });
    expect((await call('GET', '/networks/sized')).json).toMatchObject({ ...shown, Options: { [mtu]: '1400' } });
  },
);

test('no service is on the network of published ports', async () => {
  expect(await call('GET', '/v1.50/networks/ingress?scope=swarm')).toMatchObject({
    status: 200,
    json: { Name: 'ingress', Scope: 'swarm', Driver: 'overlay', Ingress: true },
  });
  const asked = await call('POST', '/services/create', service('web', [{ Target: 'ingress' }]));
  const message =
    'rpc error: code = InvalidArgument desc = Service cannot be explicitly attached to the ingress network "ingress"';
  expect(asked).toEqual({ status: 400, json: { message } });
  withManager = false;
  expect((await call('GET', '/networks/ingress')).status).toBe(404);
});

test('the network of published ports can be taken away while no service needs it, and made again', async () => {
  const published = (name: string, PublishMode: string) => ({
    ...service(name, []),
    EndpointSpec: { Ports: [{ TargetPort: 80, PublishMode }] },
  });
  const { json: web } = await call('POST', '/services/create', published('web', 'ingress'));
  expect(await call('DELETE', '/networks/ingress')).toEqual({
    status: 400,
    json: {
      message: `rpc error: code = FailedPrecondition desc = ingress network cannot be removed because service ${web.ID} depends on it`,
    },
  });
  expect(await names()).toContain('ingress');
  await call('DELETE', `/services/${web.ID}`);
  expect((await call('DELETE', '/networks/ingress')).status).toBe(204);
  expect((await call('DELETE', '/networks/ingress')).status).toBe(404);
  expect((await call('GET', '/networks/ingress')).status).toBe(404);
  expect(await names()).not.toContain('ingress');
  const message =
    'rpc error: code = FailedPrecondition desc = service needs ingress network, but no ingress network is present';
  expect(await call('POST', '/services/create', published('web', 'ingress'))).toEqual({
    status: 400,
    json: { message },
  });
  expect((await call('POST', '/services/create', published('host', 'host'))).status).toBe(201);
  const again = { Name: 'ingress', Driver: 'overlay', Ingress: true, IPAM: { Driver: 'default', Config: [] } };
  for (const [said, what] of [
    [{ Name: 'other' }, "is called 'ingress', not 'other'"],
    [{ Driver: 'macvlan' }, "is of the driver overlay, not 'macvlan'"],
    [{ Attachable: true }, 'is neither attachable nor internal'],
    [{ IPAM: { Config: [{ Subnet: '10.9.0.0/16' }] } }, 'has no subnets'],
  ] as const) {
    const { status, json } = await call('POST', '/networks/create', { ...again, ...said });
    expect([status, json.message]).toEqual([400, expect.stringContaining(what)]);
  }
  expect(await call('POST', '/networks/create', again)).toEqual({ status: 201, json: { Id: 'ingress', Warning: '' } });
  expect((await call('POST', '/services/create', published('web', 'ingress'))).status).toBe(201);
});

describe('what is refused', () => {
  const ipam = (...Config: object[]) => ({ IPAM: { Driver: 'default', Config } });
  test.each<[string, object, number, string]>([
    ['a name that is taken', wanted('taken'), 409, 'network with name taken already exists'],
    ['no name', wanted(''), 400, 'name must be provided'],
    ['a bad name', wanted('x y'), 400, 'name must be valid as a DNS name component'],
    [
      'the name of the ingress network',
      wanted('ingress'),
      409,
      'network with name ingress already exists: it is the cluster',
    ],
    ['a predefined name', wanted('host'), 403, 'operation is not permitted on predefined host network'],
    [
      "an engine's own network",
      wanted('x', { Driver: 'bridge', Options: { 'com.docker.network.bridge.name': 'br7' } }),
      501,
      'add --scope swarm',
    ],
    [
      'no driver, but one engine',
      wanted('x', { Driver: '', Scope: 'local' }),
      501,
      "of the driver 'bridge' belongs to",
    ],
    ['an unknown driver', wanted('x', { Driver: 'weave' }), 404, 'plugin "weave" not found'],
    ['a second host', wanted('x', { Driver: 'host' }), 403, 'only one instance of "host" network is allowed'],
    [
      'addresses for all',
      wanted('x', { ...local, ConfigFrom: null, ...ipam({ Subnet: '10.1.0.0/16' }) }),
      400,
      '--ip-range',
    ],
    [
      'addresses and a config',
      wanted('x', { ...local, ...ipam({ Subnet: '10.1.0.0/16' }) }),
      403,
      'user specified configurations are not supported if the network depends on a configuration network',
    ],
    ['options and a config', wanted('x', { ...local, Options: { parent: 'eth0' } }), 403, 'network driver options are'],
    ['a config for overlays', wanted('x', { ConfigFrom: { Network: 'c' } }), 400, 'depends on no config-only network'],
    ['attaching by hand', wanted('x', { ...local, Attachable: true }), 400, 'is not attachable'],
    [
      'no answer to whether it is encrypted',
      wanted('x', { Options: { encrypted: 'maybe' } }),
      400,
      "'maybe' is neither",
    ],
    [
      'an MTU of no size',
      wanted('x', { Options: { [mtu]: '9k' } }),
      400,
      "'9k' is not a number of bytes from 68 to 65535",
    ],
    [
      'an MTU that IPv6 cannot have',
      wanted('x', { Options: { [mtu]: '1000' }, EnableIPv6: true }),
      400,
      'a number of bytes from 1280',
    ],
    ['an unknown option', wanted('x', { Options: { mtu: '9000' } }), 400, "unknown option 'mtu'"],
    [
      'config-only',
      wanted('x', { ConfigOnly: true }),
      501,
      'a config-only network belongs to one engine: make it with',
    ],
    ['a second ingress', wanted('x', { Ingress: true }), 409, 'ingress network (ingress) is already present'],
    ['a local scope', wanted('x', { Scope: 'local' }), 400, "an overlay network's scope is swarm, not 'local'"],
    ['a label of ours', wanted('x', { Labels: { 'swarmctl.x': 'y' } }), 400, "unknown label 'swarmctl.x'"],
    [
      'an overlap',
      wanted('x', ipam({ Subnet: '10.7.0.0/16' })),
      400,
      'Pool overlaps with other one on this address space: 10.7.0.0/16 meets 10.7.7.0/24 of network taken',
    ],
    ['its own overlap', wanted('x', ipam({ Subnet: '10.1.0.0/16' }, { Subnet: '10.1.1.0/24' })), 400, 'overlap'],
    ['a subnet with a host', wanted('x', ipam({ Subnet: '10.1.0.5/16' })), 400, 'it should be 10.1.0.0/16'],
    ['no subnet', wanted('x', ipam({ Subnet: 'ten' })), 400, 'invalid subnet ten'],
    ['a subnet too small', wanted('x', ipam({ Subnet: '10.1.0.0/30' })), 400, 'the prefix must be from 8 to 29'],
    ['IPv6 without it', wanted('x', ipam({ Subnet: 'fd00::/64' })), 400, 'the network has no IPv6'],
    ['a stray gateway', wanted('x', ipam({ Subnet: '10.1.0.0/16', Gateway: '10.2.0.1' })), 400, 'gateway 10.2.0.1'],
    ['a gateway alone', wanted('x', ipam({ Gateway: '10.2.0.1' })), 400, 'needs its subnet'],
    [
      'a number that is none',
      wanted('x', { Options: { 'com.docker.network.driver.overlay.vxlanid_list': '16777216' } }),
      400,
      "'16777216' is not a number from 1 to 16777215",
    ],
    [
      'a stray auxiliary address',
      wanted('x', ipam({ Subnet: '10.1.0.0/16', AuxiliaryAddresses: { a: '10.2.0.1' } })),
      400,
      'auxiliary address a: 10.2.0.1 is not an address of the subnet 10.1.0.0/16',
    ],
    [
      'an auxiliary address of the gateway',
      wanted('x', ipam({ Subnet: '10.1.0.0/16', AuxiliaryAddresses: { a: '10.1.0.1' } })),
      400,
      'auxiliary address a: 10.1.0.1 is that of the gateway',
    ],
    [
      'auxiliary addresses alone',
      wanted('x', ipam({ AuxiliaryAddresses: { a: '10.2.0.1' } })),
      400,
      'need their subnet',
    ],
    ['a stray range', wanted('x', ipam({ Subnet: '10.1.0.0/16', IPRange: '10.2.0.0/24' })), 400, 'does not lie in'],
  ])('%s', async (_, body, status, message) => {
    await create('taken', ipam({ Subnet: '10.7.7.0/24' }));
    expect(await call('POST', '/networks/create', body)).toEqual({
      status,
      json: { message: expect.stringContaining(message) },
    });
    expect(store.view().list('networks')).toHaveLength(1);
  });

  test('on a worker', async () => {
    withManager = false;
    const { status, json } = await call('POST', '/networks/create', wanted('x'));
    expect([status, json.message]).toEqual([403, expect.stringMatching(/^This node is not a swarm manager\. Use/)]);
    expect(await names()).toEqual(['bridge', 'host', 'none']);
  });

  test('removing what every engine has', async () => {
    expect(await call('DELETE', '/networks/bridge')).toEqual({
      status: 403,
      json: { message: 'bridge is a pre-defined network and cannot be removed' },
    });
  });

  test('two of a name at once: one is made', async () => {
    const both = await Promise.all([1, 2].map(() => call('POST', '/networks/create', wanted('twin'))));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  });

  test('two of a subnet at once: one is made', async () => {
    const body = (name: string) => wanted(name, ipam({ Subnet: '10.5.0.0/24' }));
    const both = await Promise.all(['a', 'b'].map((name) => call('POST', '/networks/create', body(name))));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 400]);
  });
});

test('lists are filtered as Docker does', async () => {
  await create('front', { Labels: { 'com.docker.stack.namespace': 'st' } });
  await create('back');
  await call('POST', '/services/create', service('web', [{ Target: 'front' }]));
  expect((await names()).sort()).toEqual(['back', 'bridge', 'front', 'host', 'ingress', 'none']);
  expect(await names({ name: ['ron'] })).toEqual(['front']);
  expect(await names({ label: { 'com.docker.stack.namespace=st': true } })).toEqual(['front']);
  expect(await names({ scope: ['swarm'], dangling: ['true'] })).toEqual(['back']);
  expect(await names({ dangling: { false: true }, driver: ['overlay'] })).toEqual(['front', 'ingress']);
  expect(await names({ type: { builtin: true } })).toEqual(['bridge', 'host', 'none']);
  expect(await names({ driver: ['null'] })).toEqual(['none']);
  for (const wrong of [{ bogus: ['1'] }, { type: ['odd'] }, { dangling: ['maybe'] }]) {
    const url = `/networks?filters=${encodeURIComponent(JSON.stringify(wrong))}`;
    expect((await call('GET', url)).status).toBe(400);
  }
});

describe('services', () => {
  test('are put on networks by name, and keep the id; unknown ones are refused', async () => {
    const id = await create('front');
    const { json } = await call('POST', '/services/create', service('web', [{ Target: 'front', Aliases: ['w'] }]));
    const spec = (await call('GET', `/services/${json.ID}`)).json.Spec;
    expect(spec.TaskTemplate.Networks).toEqual([{ Target: id, Aliases: ['w'] }]);
    const host = await call('POST', '/services/create', service('h', [{ Target: 'host' }]));
    expect(host.status).toBe(201);
    const old = { Name: 'old', TaskTemplate: { ContainerSpec: { Image: 'web:1' } }, Networks: [{ Target: 'front' }] };
    const made = await call('POST', '/services/create', old);
    expect((await call('GET', `/services/${made.json.ID}`)).json.Spec).toMatchObject({
      TaskTemplate: { Networks: [{ Target: id }] },
      Networks: [{ Target: id }],
    });
    expect(await call('POST', '/services/create', service('x', [{ Target: 'nosuchnet' }]))).toEqual({
      status: 500,
      json: { message: 'network nosuchnet not found' },
    });
    const twice = await call('POST', '/services/create', service('x', [{ Target: id }, { Target: 'front' }]));
    expect([twice.status, twice.json.message]).toEqual([400, expect.stringContaining('front is given twice')]);
  });

  test('of a driver of engines publish no ports, and keep it as well', async () => {
    const id = await create('lan', local);
    const ports = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 80 }] } };
    const refused = await call('POST', '/services/create', service('web', [{ Target: 'lan' }], ports));
    expect([refused.status, refused.json.message]).toEqual([
      400,
      expect.stringContaining('network lan is of the driver macvlan'),
    ]);
    const { json } = await call('POST', '/services/create', service('web', [{ Target: 'lan' }]));
    const stored = store.view().get('services', json.ID);
    const object = aTask({ id: 't1', ...(stored && { service: stored }), state: 'new' });
    store.apply(store.index + 1, { now: 1, changes: [{ op: 'create', table: 'tasks', object }] });
    settle();
    const spec = { Name: 'lan', DriverConfiguration: { Name: 'macvlan' }, ConfigFrom: { Network: 'lan-here' } };
    expect(store.view().get('tasks', 't1')).toMatchObject({
      Status: { State: 'pending' },
      NetworksAttachments: [{ Network: { ID: id }, Addresses: [], Local: spec }],
    });
    expect((await call('GET', '/tasks')).json[0].NetworksAttachments).toMatchObject([
      { Network: { ID: id, Spec: spec }, Addresses: [] },
    ]);
    expect((await call('GET', `/services/${json.ID}`)).json.Endpoint.VirtualIPs).toBeUndefined();
    await call('DELETE', `/services/${json.ID}`);
    const removal = await waiting('/networks/lan');
    store.apply(store.index + 1, { now: 1, changes: [{ op: 'remove', table: 'tasks', id: 't1' }] });
    await clock.advance(100);
    expect((await removal.answer).status).toBe(204);
  });

  test('keep their networks from being removed, and their tasks do until they are gone', async () => {
    const id = await create('front');
    const { json } = await call('POST', '/services/create', service('web', [{ Target: 'front' }]));
    const inUse = (by: string, name: string) => ({
      status: 400,
      json: {
        message: `rpc error: code = FailedPrecondition desc = network ${id} is in use by ${by} (network front, ${name})`,
      },
    });
    expect(await call('DELETE', '/networks/front')).toEqual(inUse(`service ${json.ID}`, 'service web'));
    settle();
    const stored = store.view().get('services', json.ID);
    const object = aTask({ id: 't1', ...(stored && { service: stored }), state: 'new' });
    store.apply(store.index + 1, { now: 1, changes: [{ op: 'create', table: 'tasks', object }] });
    settle();
    expect((await call('GET', '/tasks')).json[0].NetworksAttachments).toMatchObject([
      {
        Network: {
          ID: id,
          Spec: { Name: 'front', DriverConfiguration: { Name: 'overlay' }, Scope: 'swarm' },
          DriverState: { Name: 'overlay', Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4096' } },
          IPAMOptions: { Configs: [{ Subnet: '10.0.0.0/24', Gateway: '10.0.0.1' }] },
        },
        Addresses: ['10.0.0.3/24'],
      },
    ]);
    expect((await call('GET', `/services/${json.ID}`)).json.Endpoint.VirtualIPs).toEqual([
      { NetworkID: id, Addr: '10.0.0.2/24' },
    ]);
    expect((await call('GET', '/networks/front?verbose=true')).json.Services).toMatchObject({
      web: { VIP: '10.0.0.2', Tasks: [{ Name: 'web.1.t1', EndpointIP: '10.0.0.3' }] },
    });
    await call('DELETE', `/services/${json.ID}`);
    // One that ends is waited for, but not for ever.
    const inVain = await waiting('/networks/front');
    await clock.advance(60_000);
    expect(await inVain.answer).toEqual(inUse('task t1', 'task web.1'));
    const removal = await waiting('/networks/front');
    await clock.advance(1_000);
    expect(removal.isAnswered()).toBe(false);
    store.apply(store.index + 1, { now: 1, changes: [{ op: 'remove', table: 'tasks', id: 't1' }] });
    await clock.advance(100);
    expect((await removal.answer).status).toBe(204);
  });

  test('that come while their network goes: one of the two is refused', async () => {
    const id = await create('front');
    const [made, removed] = await Promise.all([
      call('POST', '/services/create', service('web', [{ Target: id }])),
      call('DELETE', '/networks/front'),
    ]);
    expect([made.status, removed.status]).toEqual(made.status === 201 ? [201, 400] : [500, 204]);
  });
});

test('pruning removes what nobody uses', async () => {
  await create('used');
  await create('kept', { Labels: { keep: 'yes' } });
  await create('idle');
  await call('POST', '/services/create', service('web', [{ Target: 'used' }]));
  const filters = encodeURIComponent(JSON.stringify({ 'label!': ['keep=yes'] }));
  expect((await call('POST', `/networks/prune?filters=${filters}`)).json).toEqual({ NetworksDeleted: ['idle'] });
  const young = encodeURIComponent(JSON.stringify({ until: ['1h'] }));
  expect((await call('POST', `/networks/prune?filters=${young}`)).json).toEqual({ NetworksDeleted: null });
  expect((await call('POST', '/networks/prune')).json).toEqual({ NetworksDeleted: ['kept'] });
});
