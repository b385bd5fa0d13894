import { below, seededRandom } from '@swarmctl/shared/kit';
import type {
  Guest,
  Network,
  NetworkAttachment,
  Node,
  Service,
  StoreChange,
  Task,
  TaskState,
} from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { describe, expect, test } from 'vitest';
import {
  aCluster,
  aNetwork,
  aNode,
  aService,
  aStore,
  aTask,
  builtAt,
  type ServiceWords,
  type TaskWords,
} from '../../../../test/kit/builders.ts';
import type { Store } from '../store/store.ts';
import { NetworkTracker, viewOf, wholeNetwork } from './network-view.ts';

const subnets = ['10.0.1.0/24', 'fd00:1::/64'];
const gateways = { n1: ['10.0.1.11', 'fd00:1::11'], n2: ['10.0.1.12', 'fd00:1::12'], n3: ['10.0.1.13', 'fd00:1::13'] };
const net = (set: Partial<Network> = {}): Network =>
  aNetwork({ id: 'net', name: 'front', subnets, vni: 4100, set: { Gateways: gateways, ...set } });

const at = (host: number): readonly NetworkAttachment[] => [
  { Network: { ID: 'net' }, Addresses: [`10.0.1.${host}/24`, `fd00:1::${host}/64`] },
];
const on = (id: string, vip: number | undefined, words: ServiceWords = {}): Service => {
  const service = aService({ id, name: id, networks: ['net'], ...words });
  const VirtualIPs = [{ NetworkID: 'net', Addr: `10.0.1.${vip}/24` }];
  return { ...service, Endpoint: { ...service.Endpoint, ...(vip !== undefined && { VirtualIPs }) } };
};
const web = on('web', 50);
const task = (id: string, host: number, words: TaskWords = {}): Task =>
  aTask({ id, service: web, node: 'n1', ...words, set: { NetworksAttachments: at(host), ...words.set } });

const nodes = [
  aNode({ id: 'n1', addr: '192.168.0.1' }),
  aNode({ id: 'n2', addr: '192.168.0.2' }),
  aNode({ id: 'n3', addr: '192.168.0.3' }),
];

const shownTo = (nodeId: string, store: Store): NetworkView | undefined => {
  const network = store.view().get('networks', 'net');
  const whole = network && wholeNetwork(store.view(), network);
  return whole && viewOf(whole, nodeId);
};

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

describe('the tracker', () => {
  const start = (tasks: readonly Task[] = [task('t1', 2), task('t2', 3, { node: 'n2' })]) => {
    const store = aStore({ nodes, networks: [net()], services: [web], tasks });
    const tracker = new NetworkTracker();
    store.watch((events, view) => {
      if (events !== 'reset') for (const event of events) tracker.touch(event, view);
    });
    tracker.touchAll(store.view());
    tracker.refresh(store.view());
    return { store, tracker };
  };
  const apply = (store: Store, ...changes: StoreChange[]) => store.apply(store.index + 1, { now: builtAt, changes });
  const status = (id: string, State: TaskState, more: Partial<Task> = {}): StoreChange => ({
    op: 'update',
    table: 'tasks',
    id,
    set: { Status: { Timestamp: '', State }, ...more },
  });

  test('tells a session of what it has not seen, once', () => {
    const { store, tracker } = start();
    const session = {};
    expect(tracker.unshown(session, 'n1')?.networks?.map(({ id }) => id)).toEqual(['net']);
    tracker.shown(session, 'n1');
    expect(tracker.unshown(session, 'n1')).toBeUndefined();
    expect(tracker.unshown({}, 'n3')).toBeUndefined();
    apply(store, { op: 'update', table: 'tasks', id: 't2', set: { DesiredState: 'shutdown' } });
    expect(tracker.has(store.view().get('tasks', 't2') as Task)).toBe(true);
    tracker.refresh(store.view());
    expect(tracker.has(store.view().get('tasks', 't2') as Task)).toBe(false);
    expect(tracker.unshown(session, 'n1')?.networks?.[0]?.names[0]?.tasks).toHaveLength(2);
    tracker.shown(session, 'n1');
    apply(store, status('t1', 'shutdown'));
    tracker.refresh(store.view());
    expect(tracker.unshown(session, 'n1')).toEqual({ removedNetworks: ['net'] });
    tracker.shown(session, 'n1');
    expect(tracker.unshown(session, 'n1')).toBeUndefined();
  });

  test('says nothing to nodes that a change does not concern', () => {
    const { store, tracker } = start();
    const sessions = ['n1', 'n2'].map((id) => ({ id }));
    for (const session of sessions) tracker.shown(session, session.id);
    const told = () => {
      tracker.refresh(store.view());
      const ids = sessions.filter((session) => tracker.unshown(session, session.id)).map(({ id }) => id);
      for (const session of sessions) tracker.shown(session, session.id);
      return ids;
    };
    apply(store, status('t1', 'running'));
    expect(told()).toEqual([]);
    apply(store, { op: 'create', table: 'tasks', object: task('t3', 4, { state: 'assigned' }) });
    expect(told()).toEqual(['n2']);
    apply(store, status('t3', 'running'));
    expect(told()).toEqual(['n1', 'n2']);
  });

  test('warns once when addresses run low, and again after there was room', () => {
    const small = aNetwork({ id: 'net', name: 'small', subnets: ['10.0.1.0/28'] });
    const store = aStore({ nodes, networks: [small], services: [on('web', undefined)] });
    const tracker = new NetworkTracker();
    store.watch((events, view) => {
      if (events !== 'reset') for (const event of events) tracker.touch(event, view);
    });
    const add = (from: number, count: number) =>
      apply(
        store,
        ...Array.from({ length: count }, (_, i): StoreChange => {
          const NetworksAttachments = [{ Network: { ID: 'net' }, Addresses: [`10.0.1.${from + i}/28`] }];
          return {
            op: 'create',
            table: 'tasks',
            object: aTask({ id: `t${from + i}`, service: web, set: { NetworksAttachments } }),
          };
        }),
      );
    const remove = (from: number, count: number) =>
      apply(
        store,
        ...Array.from({ length: count }, (_, i): StoreChange => ({ op: 'remove', table: 'tasks', id: `t${from + i}` })),
      );
    add(2, 10);
    expect(tracker.refresh(store.view())).toEqual([]);
    add(12, 1);
    expect(tracker.refresh(store.view())).toEqual([{ network: 'small', used: 12, of: 14 }]);
    add(13, 1);
    expect(tracker.refresh(store.view())).toEqual([]);
    remove(8, 6);
    tracker.refresh(store.view());
    add(8, 6);
    expect(tracker.refresh(store.view())).toEqual([{ network: 'small', used: 13, of: 14 }]);
  });

  test.each([1, 2, 3, 4, 5, 6])('what sessions were told adds up to what is (seed %i)', (seed) => {
    const random = seededRandom(seed);
    const { store, tracker } = start([]);
    const sessions = nodes.map(({ ID }) => ({ id: ID, has: new Map<string, NetworkView>() }));
    const states: TaskState[] = ['assigned', 'starting', 'running', 'failed'];
    for (let step = 0; step < 200; step++) {
      const id = `t${below(random, 8)}`;
      const known = store.view().get('tasks', id);
      const state = states[below(random, states.length)] as TaskState;
      const dice = below(random, 10);
      const node = store.view().get('nodes', `n${1 + below(random, 3)}`);
      if (dice === 0 && node) {
        const Status = { ...node.Status, State: node.Status.State === 'down' ? ('ready' as const) : ('down' as const) };
        apply(store, { op: 'update', table: 'nodes', id: node.ID, set: { Status } });
      } else if (dice === 1) {
        const removed = below(random, 2) === 0;
        const Gateways = removed ? { n1: gateways.n1 } : gateways;
        apply(store, { op: 'update', table: 'networks', id: 'net', set: { Gateways } });
      } else if (!known) {
        const words = { node: `n${1 + below(random, 3)}`, state } as const;
        apply(store, { op: 'create', table: 'tasks', object: task(id, 20 + step, words) });
      } else if (dice < 4) apply(store, { op: 'remove', table: 'tasks', id });
      else if (dice < 6) apply(store, { op: 'update', table: 'tasks', id, set: { DesiredState: 'shutdown' } });
      else apply(store, status(id, state));
      if (below(random, 3) > 0) continue;
      tracker.refresh(store.view());
      for (const session of sessions) {
        const delta = tracker.unshown(session, session.id);
        tracker.shown(session, session.id);
        for (const view of delta?.networks ?? []) session.has.set(view.id, view);
        for (const gone of delta?.removedNetworks ?? []) session.has.delete(gone);
        const right = shownTo(session.id, store);
        expect([...session.has.values()]).toEqual(right ? [right] : []);
      }
    }
  });
});
