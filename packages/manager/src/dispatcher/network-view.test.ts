import type { Guest, Node, Service } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { aCluster, aNode, aStore, builtAt, type ServiceWords, type TaskWords } from '../../../../test/kit/builders.ts';
import { gateways, net, nodes, on, shownTo, task, web } from '../../../../test/kit/overlay-network.ts';
import { NetworkTracker } from './network-tracker.ts';

test('a node sees its own address, who is elsewhere, and the names', () => {
  const store = aStore({
    nodes,
    networks: [net()],
    services: [web],
    tasks: [task('t1', 2, { slot: 1 }), task('t2', 3, { slot: 2, node: 'n2' })],
  });
  const names = [
    {
      name: 'web',
      vip: '10.0.1.50',
      tasks: [
        { taskId: 't1', slot: 1, addr: '10.0.1.2' },
        { taskId: 't1', slot: 1, addr: 'fd00:1::2' },
        { taskId: 't2', slot: 2, addr: '10.0.1.3' },
        { taskId: 't2', slot: 2, addr: 'fd00:1::3' },
      ],
    },
  ];
  expect(shownTo('n1', store)).toEqual({
    id: 'net',
    name: 'front',
    vni: 4100,
    port: 4789,
    encrypted: false,
    internal: false,
    subnets: [
      { subnet: '10.0.1.0/24', gateway: '10.0.1.11' },
      { subnet: 'fd00:1::/64', gateway: 'fd00:1::11' },
    ],
    far: [
      { addr: '10.0.1.12', mac: '02:42:0a:00:01:0c', nodeAddr: '192.168.0.2' },
      { addr: '10.0.1.3', mac: '02:42:0a:00:01:03', nodeAddr: '192.168.0.2' },
      { addr: 'fd00:1::12', mac: '02:42:0a:00:01:0c', nodeAddr: '192.168.0.2' },
      { addr: 'fd00:1::3', mac: '02:42:0a:00:01:03', nodeAddr: '192.168.0.2' },
    ],
    names,
  });
  expect(shownTo('n2', store)?.far.map(({ addr }) => addr)).toEqual([
    '10.0.1.11',
    '10.0.1.2',
    'fd00:1::11',
    'fd00:1::2',
  ]);
  // Without a task there, whatever address it still has.
  expect(shownTo('n3', store)).toBeUndefined();
});

describe('an attachable network', () => {
  const Blocks = { n1: ['10.0.1.128/28', 'fd00:1::8000:0/120'], n2: ['10.0.1.144/28', 'fd00:1::8000:100/120'] };
  const Gateways = { n1: ['10.0.1.128', 'fd00:1::8000:0'], n2: ['10.0.1.144', 'fd00:1::8000:100'] };
  const open = net({ Gateways, Blocks, Spec: { ...net().Spec, Attachable: true } });
  const guest = (name: string, addr: string, more: Partial<Guest> = {}): Guest => ({
    ...{ NetworkID: 'net', ContainerID: `c-${name}`, Name: name, Names: [name], Addresses: [addr] },
    MAC: `0a:00:00:00:00:${addr.split('.')[3]?.slice(-2)}`,
    ...more,
  });
  const hosting = (index: number, ...Guests: Guest[]): Node => {
    const node = nodes[index] as Node;
    return { ...node, Description: { ...node.Description!, Guests } };
  };
  const storeOf = (own: readonly Node[]) =>
    aStore({ nodes: own, networks: [open], services: [web], tasks: [task('t1', 2, { slot: 1 })] });

  test('is shown to all that have a block, whether they have tasks or not', () => {
    const store = storeOf(nodes);
    expect(shownTo('n2', store)).toMatchObject({
      attachable: true,
      subnets: [
        { subnet: '10.0.1.0/24', gateway: '10.0.1.144', block: '10.0.1.144/28' },
        { subnet: 'fd00:1::/64', gateway: 'fd00:1::8000:100', block: 'fd00:1::8000:100/120' },
      ],
    });
    expect(shownTo('n3', store)).toBeUndefined();
  });

  test('has guests as neighbours, and by name', () => {
    const store = storeOf([
      nodes[0] as Node,
      hosting(1, guest('palm', '10.0.1.145', { Names: ['palm', 'Tree', 'web'] })),
    ]);
    const shown = shownTo('n1', store);
    expect(shown?.far).toContainEqual({ addr: '10.0.1.145', mac: '0a:00:00:00:00:45', nodeAddr: '192.168.0.2' });
    const tasks = [{ taskId: 'c-palm', addr: '10.0.1.145' }];
    // A service's name stays its own.
    expect(shown?.names.slice(1)).toEqual([
      { name: 'palm', tasks },
      { name: 'tree', tasks },
    ]);
    expect(shownTo('n2', store)?.far.map(({ addr }) => addr)).not.toContain('10.0.1.145');
  });

  test('has no guest of another network, of another’s block, of another’s hardware, or of a node that is down', () => {
    const good = guest('palm', '10.0.1.145');
    const bad = [
      guest('other', '10.0.1.146', { NetworkID: 'another' }),
      guest('thief', '10.0.1.130'),
      guest('task', '10.0.1.2'),
      guest('double', '10.0.1.147', { MAC: good.MAC }),
    ];
    const names = (own: readonly Node[]) => shownTo('n1', storeOf(own))?.names.map(({ name }) => name);
    expect(names([nodes[0] as Node, hosting(1, good, ...bad)])).toEqual(['web', 'palm']);
    const down = { ...hosting(1, good), Status: { ...(nodes[1] as Node).Status, State: 'down' as const } };
    expect(names([nodes[0] as Node, down])).toEqual(['web']);
  });

  test('follows its guests', () => {
    const store = storeOf(nodes);
    const tracker = new NetworkTracker();
    tracker.touchAll(store.view());
    tracker.refresh(store.view());
    const { Description } = hosting(1, guest('palm', '10.0.1.145'));
    const before = store.view().get('nodes', 'n2') as Node;
    store.apply(7, {
      now: builtAt,
      changes: [{ op: 'update', table: 'nodes', id: 'n2', set: { Description: Description! } }],
    });
    const after = store.view().get('nodes', 'n2') as Node;
    tracker.touch({ table: 'nodes', op: 'update', id: 'n2', index: 7, before, after }, store.view());
    tracker.refresh(store.view());
    expect(tracker.views('n1')[0]?.names.map(({ name }) => name)).toEqual(['web', 'palm']);
  });
});

test('of a network whose user said how large packets may be, that is said to the nodes', () => {
  const Options = { 'com.docker.network.driver.mtu': '1400' };
  const sized = net({ Spec: { ...net().Spec, DriverConfiguration: { Name: 'overlay', Options } } });
  const shown = shownTo('n1', aStore({ nodes, networks: [sized], services: [web], tasks: [task('t1', 2)] }));
  expect(shown?.mtu).toBe(1_400);
});

test('of an encrypted network, packets go inside the tunnels, and to nobody who has no end of them', () => {
  const spec = { DriverConfiguration: { Name: 'overlay', Options: { encrypted: '' } } };
  const secret = net({ Spec: { ...net().Spec, ...spec } });
  const Tunnel = { key: '', generation: 1, dataPathAddr: '192.168.0.2' };
  const [n1, n2, n3] = nodes as [Node, Node, Node];
  const able: Node = { ...n2, MeshID: 300, Description: { ...n2.Description!, Tunnel } };
  const tasks = [task('t1', 2), task('t2', 3, { node: 'n2' }), task('t3', 4, { node: 'n3' })];
  const shown = shownTo('n1', aStore({ nodes: [n1, able, n3], networks: [secret], services: [web], tasks }));
  expect(shown?.encrypted).toBe(true);
  expect(shown?.far.map(({ addr, nodeAddr }) => [addr, nodeAddr])).toEqual(
    ['10.0.1.12', '10.0.1.3', 'fd00:1::12', 'fd00:1::3'].map((addr) => [addr, '198.19.1.44']),
  );
});

test('the packets have the port of the cluster', () => {
  const cluster = aCluster({ DataPathPort: 5_789 });
  const store = aStore({ cluster, nodes, networks: [net()], services: [web], tasks: [task('t1', 2)] });
  expect(shownTo('n1', store)?.port).toBe(5_789);
});

describe('who is a neighbour, and who has a name', () => {
  const published = { ports: [{ Protocol: 'tcp' as const, TargetPort: 80, PublishedPort: 8080 }] };
  test.each<[string, TaskWords, ServiceWords, [boolean, boolean]]>([
    ['running', {}, {}, [true, true]],
    ['given up', { set: { Status: { Timestamp: '', State: 'running', Withdrawn: true } } }, {}, [true, false]],
    [
      'given up, where readiness does not matter',
      { set: { Status: { Timestamp: '', State: 'running', Withdrawn: true } } },
      { labels: { 'swarmctl.publish-not-ready': 'true' } },
      [true, false],
    ],
    ['assigned', { state: 'assigned' }, {}, [true, false]],
    ['starting, or not healthy yet', { state: 'starting' }, {}, [true, false]],
    [
      'starting, where that does not matter',
      { state: 'starting' },
      { labels: { 'swarmctl.publish-not-ready': 'true' } },
      [true, true],
    ],
    [
      'being prepared, where that does not matter',
      { state: 'preparing' },
      { labels: { 'swarmctl.publish-not-ready': 'true' } },
      [true, false],
    ],
    ['to stop', { desired: 'shutdown' }, {}, [true, false]],
    ['ended', { state: 'failed' }, {}, [false, false]],
    ['on a node that is down', { node: 'lost' }, {}, [false, false]],
    ['pending', { node: 'n2', state: 'pending' }, {}, [false, false]],
    ['running with a published port that does not answer yet', {}, published, [true, false]],
  ])('%s', (_, words, service, [neighbour, named]) => {
    const own = on('web', 50, service);
    const store = aStore({
      nodes: [...nodes, aNode({ id: 'lost', state: 'down' })],
      networks: [net({ Gateways: { ...gateways, lost: ['10.0.1.14', 'fd00:1::14'] } })],
      services: [own, on('other', undefined)],
      tasks: [
        task('t1', 2, { service: own, node: 'n2', ...words }),
        task('t9', 9, { service: on('other', undefined), node: 'n1' }),
      ],
    });
    const view = shownTo('n1', store);
    expect(view?.far.some(({ addr }) => addr === '10.0.1.2')).toBe(neighbour);
    expect(view?.names.find(({ name }) => name === 'web')?.tasks.length).toBe(named ? 2 : 0);
    expect(view?.names.find(({ name }) => name === 'web')?.vip).toBe('10.0.1.50');
  });
});

test('an address that a lost node came back with is the one of the task that is to live', () => {
  const store = aStore({
    nodes,
    networks: [net()],
    services: [web],
    tasks: [
      task('old', 2, { node: 'n3', desired: 'shutdown' }),
      task('new', 2, { node: 'n2' }),
      task('own', 4, { node: 'n1' }),
    ],
  });
  expect(shownTo('n1', store)?.far.find(({ addr }) => addr === '10.0.1.2')?.nodeAddr).toBe('192.168.0.2');
});

test('aliases come after the names of services, and services without a virtual address have none', () => {
  const db = on('db', undefined, {
    set: {},
  });
  const Networks = [{ Target: 'net', Aliases: ['database', 'db'] }];
  const service: Service = {
    ...db,
    Spec: {
      ...db.Spec,
      EndpointSpec: { Mode: 'dnsrr' },
      TaskTemplate: { ...db.Spec.TaskTemplate, Networks },
    },
  };
  const store = aStore({
    nodes,
    networks: [net()],
    services: [service, web],
    tasks: [task('t1', 2, { service })],
  });
  const tasks = [
    { taskId: 't1', slot: 1, addr: '10.0.1.2' },
    { taskId: 't1', slot: 1, addr: 'fd00:1::2' },
  ];
  expect(shownTo('n1', store)?.names).toEqual([
    { name: 'db', tasks },
    { name: 'web', vip: '10.0.1.50', tasks: [] },
    { name: 'database', tasks },
  ]);
});

test('a service with a virtual address of each family is named with each, and its tasks by family', () => {
  const service = {
    ...web,
    Endpoint: {
      Spec: {},
      VirtualIPs: [
        { NetworkID: 'net', Addr: '10.0.1.50/24' },
        { NetworkID: 'other', Addr: '10.0.2.50/24' },
        { NetworkID: 'net', Addr: 'fd00:1::50/64' },
      ],
    },
  };
  const store = aStore({ nodes, networks: [net()], services: [service], tasks: [task('t1', 2, { slot: 1 })] });
  expect(shownTo('n1', store)?.names).toEqual([
    { name: 'web', vip: '10.0.1.50', tasks: [{ taskId: 't1', slot: 1, addr: '10.0.1.2' }] },
    { name: 'web', vip: 'fd00:1::50', tasks: [{ taskId: 't1', slot: 1, addr: 'fd00:1::2' }] },
  ]);
});

test('neighbours are reached at their data path addresses', () => {
  const described = aNode({ id: 'n2', addr: '192.168.0.2' });
  const Description = described.Description && {
    ...described.Description,
    Mesh: { up: true, dataPathAddr: '172.20.0.2' },
  };
  const second = { ...described, ...(Description && { Description }) };
  const store = aStore({
    nodes: [aNode({ id: 'n1' }), second],
    networks: [net()],
    services: [web],
    tasks: [task('t1', 2), task('t2', 3, { node: 'n2' })],
  });
  expect(new Set(shownTo('n1', store)?.far.map(({ nodeAddr }) => nodeAddr))).toEqual(new Set(['172.20.0.2']));
});
