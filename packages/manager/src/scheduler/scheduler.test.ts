import type { Node, Service, StoreChange, StoreEvent, Task } from '@swarmctl/shared/model';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  aNetwork,
  aNode,
  aService,
  aStore,
  aTask,
  builtAt,
  type NodeWords,
  type ServiceWords,
  type TaskWords,
  tasksOf,
} from '../../../../test/kit/index.ts';
import type { Controller } from '../control/types.ts';
import type { Store } from '../store/store.ts';
import { scheduler } from './index.ts';

const env = { now: builtAt + 60_000, newId: () => 'id', random: () => 0 };

/** Decides and applies until there is nothing left to decide. */
function run(store: Store, controller: Controller = scheduler()): { decisions: number } {
  for (let decisions = 1; decisions <= 500; decisions++) {
    const { changes, wakeAt } = controller.decide(store.view(), '*', env);
    if (changes.length > 0) {
      const outcome = store.apply(store.index + 1, { now: env.now, changes });
      if (!outcome.ok) throw new Error(outcome.message);
    }
    if (wakeAt === undefined) return { decisions };
  }
  throw new Error('the scheduler does not come to an end');
}

const placed = (store: Store, service: Service): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const task of store.view().tasksOfService(service.ID)) {
    if (task.Status.State === 'assigned') counts[task.NodeID ?? ''] = (counts[task.NodeID ?? ''] ?? 0) + 1;
  }
  return counts;
};

const words = (task: Task | undefined) =>
  task &&
  `${task.Status.State} ${task.NodeID ?? '-'}: ${task.Status.Message}${task.Status.Err ? ` [${task.Status.Err}]` : ''}`;

/** One task of one service on nodes n1, n2, … beside tasks that are there already. */
function schedule(
  service: ServiceWords,
  nodes: NodeWords[],
  others: { service?: ServiceWords; tasks: TaskWords[] }[] = [],
) {
  const made = aService({ id: 'web', ...service });
  const services: Service[] = [made];
  const tasks: Task[] = [aTask({ id: 'new', service: made, slot: 100 })];
  for (const [i, other] of others.entries()) {
    const theirs = other.service ? aService({ id: `other${i}`, ...other.service }) : made;
    if (other.service) services.push(theirs);
    for (const [j, task] of other.tasks.entries())
      tasks.push(aTask({ id: `old${i}.${j}`, service: theirs, slot: j + 1, ...task }));
  }
  const store = aStore({ nodes: nodes.map((node, i) => aNode({ id: `n${i + 1}`, ...node })), services, tasks });
  run(store);
  return store.view().get('tasks', 'new');
}

const assigned = (node: string) => `assigned ${node}: scheduler assigned task to node`;
const refused = (why: string, unmet = '') =>
  `pending -: pending task scheduling [no suitable node${why && ` (${why})`}${unmet && `: ${unmet}`}]`;

describe('where a task may go', () => {
  const hostPort = { ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' as const }] };
  const gpus = (Value: number) => [{ DiscreteResourceSpec: { Kind: 'gpu', Value } }];
  const named = (...values: string[]) => values.map((Value) => ({ NamedResourceSpec: { Kind: 'gpu', Value } }));
  const volume = { container: { Mounts: [{ Target: '/d', VolumeOptions: { DriverConfig: { Name: 'nfs' } } }] } };
  const cases: [string, ServiceWords, NodeWords[], string, Parameters<typeof schedule>[2]?][] = [
    ['any node', {}, [{}], assigned('n1')],
    ['no node', {}, [], refused('')],
    [
      'not ready',
      {},
      [{ state: 'down' }, { state: 'disconnected' }, { state: 'unknown' }],
      refused('3 nodes not available for new tasks'),
    ],
    [
      'not active',
      {},
      [{ availability: 'pause' }, { availability: 'drain' }],
      refused('2 nodes not available for new tasks'),
    ],
    ['the engine is away', {}, [{ runtimeReady: false }], refused('1 node not available for new tasks')],
    ['nothing known of it', {}, [{ described: false }], refused('1 node not available for new tasks')],
    ['CPUs', { cpus: 2 }, [{ cpus: 1 }, { cpus: 2 }], assigned('n2')],
    [
      'not enough CPUs',
      { cpus: 3 },
      [{ cpus: 1 }, { cpus: 2 }],
      refused('insufficient resources on 2 nodes', 'CPUs on 2 nodes'),
    ],
    ['memory', { memoryMb: 2048 }, [{ memoryMb: 1024 }, { memoryMb: 2048 }], assigned('n2')],
    [
      'CPUs that others have taken',
      { cpus: 2 },
      [{ cpus: 3 }],
      refused('insufficient resources on 1 node', 'CPUs on 1 node'),
      [{ service: { cpus: 2 }, tasks: [{ node: 'n1' }] }],
    ],
    [
      'CPUs of one that shall stop and has not',
      { cpus: 2 },
      [{ cpus: 3 }],
      refused('insufficient resources on 1 node', 'CPUs on 1 node'),
      [{ service: { cpus: 2 }, tasks: [{ node: 'n1', desired: 'shutdown' }] }],
    ],
    [
      'CPUs of one that has ended',
      { cpus: 2 },
      [{ cpus: 3 }],
      assigned('n1'),
      [{ service: { cpus: 2 }, tasks: [{ node: 'n1', state: 'failed' }] }],
    ],
    ['generic resources', { generic: gpus(2) }, [{ generic: gpus(1) }, { generic: gpus(2) }], assigned('n2')],
    [
      'named generic resources',
      { generic: gpus(2) },
      [{ generic: named('a') }, { generic: named('a', 'b') }],
      assigned('n2'),
    ],
    [
      'generic resources that others have taken',
      { generic: gpus(2) },
      [{ generic: gpus(3) }],
      refused('insufficient resources on 1 node', 'gpu on 1 node'),
      [{ service: { generic: gpus(2) }, tasks: [{ node: 'n1' }] }],
    ],
    ['a volume plugin', volume, [{}, { plugins: [{ Type: 'Volume', Name: 'nfs:latest' }] }], assigned('n2')],
    ['no volume plugin', volume, [{}], refused('missing plugin on 1 node', 'volume driver nfs on 1 node')],
    [
      'resources and plugins that some have, each by its name',
      { cpus: 2, memoryMb: 64, generic: gpus(1), logDriver: 'gelf', ...volume },
      [
        { cpus: 1, memoryMb: 32 },
        { cpus: 2, generic: gpus(1), plugins: [{ Type: 'Log', Name: 'json-file' }] },
        { cpus: 2 },
      ],
      refused(
        'insufficient resources on 2 nodes; missing plugin on 1 node',
        'gpu on 2 nodes, CPUs on 1 node, memory on 1 node, volume driver nfs on 1 node, log driver gelf on 1 node',
      ),
    ],
    [
      'the volume driver that is always there',
      { container: { Mounts: [{ Target: '/d', VolumeOptions: { DriverConfig: { Name: 'local' } } }] } },
      [{}],
      assigned('n1'),
    ],
    [
      'a log plugin',
      { logDriver: 'gelf' },
      [{ plugins: [{ Type: 'Log', Name: 'json-file' }] }, { plugins: [{ Type: 'Log', Name: 'gelf' }] }],
      assigned('n2'),
    ],
    ['an engine that does not report log drivers', { logDriver: 'gelf' }, [{}], assigned('n1')],
    ['no logs', { logDriver: 'none' }, [{ plugins: [{ Type: 'Log', Name: 'json-file' }] }], assigned('n1')],
    [
      'constraints',
      { constraints: ['node.labels.zone==b'] },
      [{ labels: { zone: 'a' } }, { labels: { zone: 'B' } }],
      assigned('n2'),
    ],
    [
      'constraints nobody meets',
      { constraints: ['node.bogus==1'] },
      [{}, {}, {}],
      refused('scheduling constraints not satisfied on 3 nodes', 'node.bogus==1 on 3 nodes'),
    ],
    [
      'constraints that some meet, and each node lacks one of',
      { constraints: ['node.labels.zone==b', 'node.labels.disk == ssd', 'node.role!=manager'] },
      [{ labels: { zone: 'a', disk: 'ssd' } }, { labels: { zone: 'b' } }, {}],
      refused(
        'scheduling constraints not satisfied on 3 nodes',
        'node.labels.zone==b on 2 nodes, node.labels.disk == ssd on 2 nodes',
      ),
    ],
    [
      'a platform',
      {
        platforms: [
          { OS: 'linux', Architecture: 'aarch64' },
          { OS: 'linux', Architecture: 's390x' },
        ],
      },
      [{}, { arch: 'arm64' }],
      assigned('n2'),
    ],
    ['no such platform', { platforms: [{ OS: 'windows' }] }, [{}], refused('unsupported platform on 1 node')],
    ['a host port', hostPort, [{}, {}], assigned('n2'), [{ service: hostPort, tasks: [{ node: 'n1' }] }]],
    [
      'a host port in use everywhere',
      hostPort,
      [{}],
      refused('host-mode port already in use on 1 node'),
      [{ service: hostPort, tasks: [{ node: 'n1' }] }],
    ],
    [
      'the same number of another protocol',
      { ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host', Protocol: 'udp' }] },
      [{}],
      assigned('n1'),
      [{ service: hostPort, tasks: [{ node: 'n1' }] }],
    ],
    ['replicas a node', { maxReplicas: 1 }, [{}, {}], assigned('n2'), [{ tasks: [{ node: 'n1' }] }]],
    [
      'no more replicas a node',
      { maxReplicas: 1 },
      [{}],
      refused('max replicas per node limit exceed'),
      [{ tasks: [{ node: 'n1' }] }],
    ],
    [
      'replicas a node, one is on its way out',
      { maxReplicas: 1 },
      [{}],
      assigned('n1'),
      [{ tasks: [{ node: 'n1', desired: 'shutdown' }] }],
    ],
    [
      'a runtime',
      { labels: { 'swarmctl.runtime': 'process' } },
      [{ runtimes: ['docker'] }, { runtimes: ['process'] }],
      assigned('n2'),
    ],
    ['no such runtime', {}, [{ runtimes: ['process'] }], refused('required runtime not offered on 1 node')],
    [
      'several reasons, the most frequent first, each node counted once',
      { cpus: 2, constraints: ['node.role==manager'] },
      [{ cpus: 1 }, {}, {}, { state: 'down' }],
      refused(
        'scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks; insufficient resources on 1 node',
        'node.role==manager on 2 nodes, CPUs on 1 node',
      ),
    ],
  ];
  it.each(cases)('%s', (_, service, nodes, expected, others = []) => {
    expect(words(schedule(service, nodes, others))).toBe(expected);
  });

  it('a task of a global service fits on its node, or says why not', () => {
    const service = aService({ id: 'agent', global: true, cpus: 2 });
    const nodes = [aNode({ id: 'n1' }), aNode({ id: 'n2', cpus: 1 })];
    const on = (node: string) => aTask({ id: `on-${node}`, service, node, state: 'pending' });
    const store = aStore({ nodes, services: [service], tasks: [on('n1'), on('n2'), on('n3')] });
    run(store);
    expect(['n1', 'n2', 'n3'].map((node) => words(store.view().get('tasks', `on-${node}`)))).toEqual([
      'assigned n1: scheduler confirmed task can run on preassigned node',
      'pending n2: pending task scheduling [insufficient resources on 1 node: CPUs on 1 node]',
      'pending n3: undefined',
    ]);
  });

  it.each([
    ['shall not live any more', { desired: 'shutdown' as const }],
    ['is not through the allocator', { state: 'new' as const }],
  ])('a task that %s is left alone', (_, task) => {
    const service = aService({ id: 'web' });
    const store = aStore({ nodes: [aNode()], services: [service], tasks: [aTask({ service, ...task })] });
    expect(scheduler().decide(store.view(), '*', env)).toEqual({ changes: [] });
  });

  it('a task that waits for its start gets its node beforehand', () => {
    const service = aService({ id: 'web' });
    const store = aStore({
      nodes: [aNode({ id: 'n1' })],
      services: [service],
      tasks: [aTask({ service, desired: 'ready' })],
    });
    run(store);
    expect(placed(store, service)).toEqual({ n1: 1 });
  });
});

it('a task on an encrypted network goes where there is WireGuard, and waits for that', () => {
  const service = aService({ id: 'web', networks: ['secret'] });
  const NetworksAttachments = [{ Network: { ID: 'secret' }, Addresses: ['10.0.1.2/24'] }];
  const spec = { DriverConfiguration: { Name: 'overlay', Options: { encrypted: '' } } };
  const [without, able] = [aNode({ id: 'n1' }), aNode({ id: 'n2' })];
  const store = aStore({
    ...{ nodes: [without, able], services: [service], networks: [aNetwork({ id: 'secret', spec })] },
    tasks: [aTask({ id: 'new', service, set: { NetworksAttachments } })],
  });
  const controller = scheduler();
  run(store, controller);
  expect(words(store.view().get('tasks', 'new'))).toContain('no WireGuard for an encrypted network on 2 nodes');
  const Tunnel = { key: '', generation: 0, dataPathAddr: '10.0.0.2' };
  const set = { Description: { ...able.Description!, Tunnel } };
  const told = store.apply(store.index + 1, {
    now: env.now,
    changes: [{ op: 'update', table: 'nodes', id: 'n2', set }],
  });
  if (!told.ok) throw new Error(told.message);
  expect(told.events.flatMap((event) => controller.marks(event, store.view()))).toEqual(['*']);
  run(store, controller);
  expect(words(store.view().get('tasks', 'new'))).toBe(assigned('n2'));
});

describe('where a task goes best', () => {
  const web = aService({ id: 'web' });
  const other = aService({ id: 'other' });
  const nodes = (count: number, each: (i: number) => NodeWords = () => ({})): Node[] =>
    Array.from({ length: count }, (_, i) => aNode({ id: `n${i + 1}`, ...each(i) }));
  const failed = (count: number, node: string, minutesAgo: number, service = web) =>
    Array.from({ length: count }, (_, i) =>
      aTask({
        id: `f.${node}.${i}`,
        service,
        node,
        state: 'failed',
        desired: 'shutdown',
        at: env.now - minutesAgo * 60_000,
      }),
    );
  const spread = (...descriptors: string[]) => aService({ id: 'web', spread: descriptors });
  const zones = (i: number): NodeWords => ({ labels: { zone: i < 3 ? 'a' : 'b', rack: `r${i % 3}` } });

  const cases: [string, { service?: Service; nodes: Node[]; there?: Task[]; tasks: number }, Record<string, number>][] =
    [
      ['evenly', { nodes: nodes(3), tasks: 6 }, { n1: 2, n2: 2, n3: 2 }],
      ['in the order of the ids', { nodes: nodes(3), tasks: 1 }, { n1: 1 }],
      [
        'fewest of this service first',
        {
          nodes: nodes(2),
          there: [...tasksOf(other, 3, { node: 'n2' }), aTask({ service: web, node: 'n1' })],
          tasks: 1,
        },
        { n2: 1 },
      ],
      ['then fewest of all', { nodes: nodes(2), there: tasksOf(other, 3, { node: 'n1' }), tasks: 1 }, { n2: 1 }],
      [
        'those on their way out do not count',
        { nodes: nodes(2), there: tasksOf(other, 3, { node: 'n1', desired: 'shutdown' }), tasks: 1 },
        { n1: 1 },
      ],
      [
        'not where many failed lately',
        { nodes: nodes(2), there: [...failed(5, 'n1', 1), ...tasksOf(web, 2, { node: 'n2' })], tasks: 2 },
        { n2: 2 },
      ],
      ['unless there is no other', { nodes: nodes(1), there: failed(9, 'n1', 1), tasks: 1 }, { n1: 1 }],
      [
        'where fewer failed, if many did everywhere',
        { nodes: nodes(2), there: [...failed(7, 'n1', 1), ...failed(6, 'n2', 1)], tasks: 1 },
        { n2: 1 },
      ],
      ['few failures do not count', { nodes: nodes(2), there: failed(4, 'n1', 1), tasks: 1 }, { n1: 1 }],
      ['old failures do not count', { nodes: nodes(2), there: failed(9, 'n1', 6), tasks: 1 }, { n1: 1 }],
      [
        "another service's failures do not count",
        { nodes: nodes(2), there: failed(9, 'n1', 1, other), tasks: 1 },
        { n1: 1 },
      ],
      [
        'as far as there is room',
        { service: aService({ id: 'web', cpus: 1 }), nodes: nodes(2, (i) => ({ cpus: i === 0 ? 1 : 4 })), tasks: 9 },
        { n1: 1, n2: 4 },
      ],
      [
        'spread over zones',
        { service: spread('node.labels.zone'), nodes: nodes(4, zones), tasks: 6 },
        { n1: 1, n2: 1, n3: 1, n4: 3 },
      ],
      [
        'spread over zones, counting what is there',
        {
          service: spread('node.labels.zone'),
          nodes: nodes(4, zones),
          there: [1, 2].map((i) => aTask({ id: `t${i}`, service: web, node: `n${i}` })),
          tasks: 2,
        },
        { n4: 2 },
      ],
      [
        'spread within zones',
        {
          service: spread('node.labels.zone', 'node.labels.rack'),
          nodes: nodes(6, (i) => ({ labels: { zone: i < 4 ? 'a' : 'b', rack: i < 3 ? 'x' : 'y' } })),
          tasks: 8,
        },
        { n1: 1, n2: 1, n4: 2, n5: 2, n6: 2 },
      ],
      [
        'nodes without the label are a zone',
        {
          service: spread('node.labels.zone'),
          nodes: nodes(3, (i) => (i === 0 ? { labels: { zone: 'a' } } : {})),
          tasks: 4,
        },
        { n1: 2, n2: 1, n3: 1 },
      ],
      [
        'a full zone leaves the rest to the others',
        {
          service: aService({ id: 'web', cpus: 1, spread: ['node.labels.zone'] }),
          nodes: nodes(4, (i) => ({ ...zones(i), cpus: i === 3 ? 1 : 4 })),
          tasks: 6,
        },
        { n1: 2, n2: 2, n3: 1, n4: 1 },
      ],
      [
        'a descriptor that nobody knows',
        { service: spread('node.bogus'), nodes: nodes(2), tasks: 2 },
        { n1: 1, n2: 1 },
      ],
    ];
  it.each(cases)('%s', (_, given, expected) => {
    const service = given.service ?? web;
    const store = aStore({
      nodes: given.nodes,
      services: [service, other],
      tasks: [
        ...(given.there ?? []),
        ...tasksOf(service, given.tasks, {}).map((task) => ({ ...task, ID: `new.${task.ID}` })),
      ],
    });
    run(store);
    expect(placed(store, service)).toEqual(expected);
  });

  it('several services of one decision see each other', () => {
    const services = ['a', 'b', 'c'].map((id) => aService({ id, cpus: 2 }));
    const store = aStore({
      nodes: nodes(2, () => ({ cpus: 2 })),
      services,
      tasks: services.flatMap((service) => tasksOf(service, 1)),
    });
    run(store);
    expect(services.map((service) => placed(store, service))).toEqual([{ n1: 1 }, { n2: 1 }, {}]);
  });
});

describe('the controller', () => {
  const web = aService({ id: 'web', cpus: 3 });
  let store: Store;
  let controller: Controller;

  /** What is marked by the changes, one list for each event. */
  const marks = (...changes: StoreChange[]): (readonly string[])[] => {
    const outcome = store.apply(store.index + 1, { now: env.now, changes });
    if (!outcome.ok) throw new Error(outcome.message);
    return outcome.events.map((event: StoreEvent) => controller.marks(event, store.view()));
  };
  const update = (id: string, set: Partial<Task>): StoreChange => ({ op: 'update', table: 'tasks', id, set });

  beforeEach(() => {
    store = aStore({
      nodes: [aNode({ id: 'n1' })],
      services: [web],
      tasks: [aTask({ id: 'old', service: web, slot: 1, node: 'n1' }), aTask({ id: 'new', service: web, slot: 2 })],
    });
    controller = scheduler();
    run(store, controller);
  });

  it('does not write the same reason twice', () => {
    expect(store.view().get('tasks', 'new')?.Status.Err).toBe(
      'no suitable node (insufficient resources on 1 node): CPUs on 1 node',
    );
    expect(controller.decide(store.view(), '*', { ...env, now: env.now + 5_000 })).toEqual({ changes: [] });
  });

  it('writes a new reason, and places the task when it can', () => {
    marks({ op: 'create', table: 'nodes', object: aNode({ id: 'n2', cpus: 1 }) });
    run(store, controller);
    expect(store.view().get('tasks', 'new')?.Status.Err).toBe(
      'no suitable node (insufficient resources on 2 nodes): CPUs on 2 nodes',
    );
    marks(update('old', { Status: { State: 'complete', Timestamp: 'x' } }));
    run(store, controller);
    expect(words(store.view().get('tasks', 'new'))).toBe(assigned('n1'));
  });

  const node = () => store.view().get('nodes', 'n1') as Node;
  it.each<[string, () => StoreChange, boolean]>([
    ['a new waiting task', () => ({ op: 'create', table: 'tasks', object: aTask({ service: web }) }), true],
    [
      'a new task that is not through the allocator',
      () => ({ op: 'create', table: 'tasks', object: aTask({ service: web, state: 'new' }) }),
      false,
    ],
    ['a task that has ended', () => update('old', { Status: { State: 'failed', Timestamp: 'x' } }), true],
    ['a task that is to stop', () => update('old', { DesiredState: 'shutdown' }), true],
    ['a task that is gone', () => ({ op: 'remove', table: 'tasks', id: 'old' }), true],
    ["a running task's status", () => update('old', { Status: { State: 'running', Timestamp: 'x' } }), false],
    ["a waiting task's reason", () => update('new', { Status: { State: 'pending', Timestamp: 'x', Err: 'y' } }), false],
    ['a waiting task that is given up', () => update('new', { DesiredState: 'remove' }), false],
    ['a new node', () => ({ op: 'create', table: 'nodes', object: aNode() }), true],
    [
      "a node's label",
      () => ({ op: 'update', table: 'nodes', id: 'n1', set: { Spec: { ...node().Spec, Labels: { a: 'b' } } } }),
      true,
    ],
    [
      "a node's state",
      () => ({ op: 'update', table: 'nodes', id: 'n1', set: { Status: { ...node().Status, State: 'down' } } }),
      true,
    ],
    ["a node's grace", () => ({ op: 'update', table: 'nodes', id: 'n1', set: { RestartGraceUntil: 5 } }), false],
    ['a service', () => ({ op: 'update', table: 'services', id: 'web', set: { SpecVersion: 'v2' } }), false],
  ])('with a task that waits: %s', (_, change, expected) => {
    expect(marks(change())).toEqual([expected ? ['*'] : []]);
  });

  it('without one, only new waiting tasks matter', () => {
    marks(update('new', { DesiredState: 'remove' }));
    run(store, controller);
    expect(marks(update('old', { DesiredState: 'remove' }), { op: 'create', table: 'nodes', object: aNode() })).toEqual(
      [[], []],
    );
    expect(marks({ op: 'create', table: 'tasks', object: aTask({ service: web }) })).toEqual([['*']]);
  });

  it('an event that the view is ahead of does not matter', () => {
    const task = aTask({ id: 't3', service: web });
    expect(marks({ op: 'create', table: 'tasks', object: task }, { op: 'remove', table: 'tasks', id: 't3' })).toEqual([
      [],
      [],
    ]);
  });
});

describe('much work', () => {
  const services = Array.from({ length: 7 }, (_, i) => aService({ id: `s${i}`, cpus: 1 }));
  const tasks = services.flatMap((service) => tasksOf(service, 10));
  const nodes = (cpus: number) => Array.from({ length: 10 }, (_, i) => aNode({ id: `n${i}`, cpus }));
  const waiting = (store: Store) =>
    store
      .view()
      .list('tasks')
      .filter((task) => task.Status.State === 'pending');

  it.each([
    ['changes', { changes: 8 }],
    ['work', { work: 30 }],
    ['both', { changes: 3, work: 15 }],
  ])('is cut by %s into decisions, which together do all of it', (_, budget) => {
    const store = aStore({ nodes: nodes(5), services, tasks });
    expect(run(store, scheduler({ budget })).decisions).toBeGreaterThan(3);
    expect(waiting(store).length).toBe(20);
    expect(new Set(waiting(store).map((task) => task.Status.Err))).toEqual(
      new Set(['no suitable node (insufficient resources on 10 nodes): CPUs on 10 nodes']),
    );
  });

  it('a decision whose proposal was lost is made again, also in the midst of others', () => {
    const store = aStore({ nodes: nodes(20), services, tasks });
    const controller: Controller = scheduler({ budget: { changes: 25 } });
    let lost = 0;
    for (let turn = 0; turn < 40; turn++) {
      const { changes, wakeAt } = controller.decide(store.view(), '*', env);
      const loses = turn % 3 === 1 && changes.length > 0;
      if (loses) lost++;
      else if (changes.length > 0) store.apply(store.index + 1, { now: env.now, changes });
      if (wakeAt === undefined && !loses) break;
    }
    expect([lost > 0, waiting(store).length]).toEqual([true, 0]);
  });

  it('groups at the end are not starved by marks that come all the time', () => {
    const store = aStore({ nodes: nodes(20), services, tasks });
    const controller: Controller = scheduler({ budget: { changes: 10 } });
    for (let turn = 0; turn < 7; turn++) {
      controller.all(store.view());
      const { changes } = controller.decide(store.view(), '*', env);
      store.apply(store.index + 1, { now: env.now, changes });
    }
    expect(waiting(store)).toEqual([]);
  });
});

describe('generic resources', () => {
  it('asked for by name are that very one, on the node that has it free', () => {
    const web = aService({ id: 'web', generic: [...named('c'), discrete('gpu', 1)] });
    const store = aStore({
      nodes: [aNode({ id: 'n1', generic: named('a', 'b') }), aNode({ id: 'n2', generic: named('a', 'b', 'c') })],
      services: [web],
      tasks: tasksOf(web, 2),
    });
    run(store);
    const [one, two] = store.view().tasksOfService('web');
    expect([one?.NodeID, one?.AssignedGenericResources]).toEqual(['n2', named('c', 'a')]);
    expect(two?.NodeID).toBeUndefined();
    expect(two?.Status.Err).toMatch(/insufficient resources.*gpu=c/);
  });

  const named = (...values: string[]) => values.map((Value) => ({ NamedResourceSpec: { Kind: 'gpu', Value } }));
  const discrete = (Kind: string, Value: number) => ({ DiscreteResourceSpec: { Kind, Value } });
  const got = (store: Store, service: Service) =>
    store
      .view()
      .tasksOfService(service.ID)
      .map(({ AssignedGenericResources }) => AssignedGenericResources);

  it.each([false, true])(
    'of a name are one task’s at a time, and free again when it has ended (global: %s)',
    (global) => {
      const offered = { id: 'n1', generic: [...named('a', 'b', 'c'), discrete('ssd', 9)] };
      const web = aService({ id: 'web', generic: [discrete('gpu', 1), discrete('ssd', 2)] });
      const other = aService({ id: 'other', generic: [discrete('gpu', 1)], global });
      const mine = { AssignedGenericResources: named('a') };
      const ended = { AssignedGenericResources: named('b') };
      const store = aStore({
        nodes: [aNode(offered)],
        services: [web, other],
        tasks: [
          aTask({ id: 'o1', service: other, node: 'n1', set: mine }),
          aTask({ id: 'o2', service: other, node: 'n1', state: 'failed', slot: 2, set: ended }),
          ...tasksOf(web, 2),
        ],
      });
      run(store);
      expect(got(store, web)).toEqual(['b', 'c'].map((value) => [...named(value), discrete('ssd', 2)]));
      const late = aTask({ id: 'o3', service: other, slot: 3, ...(global && { node: 'n1', state: 'pending' }) });
      store.apply(store.index + 1, { now: env.now, changes: [{ op: 'create', table: 'tasks', object: late }] });
      run(store);
      expect(store.view().get('tasks', 'o3')).not.toHaveProperty('AssignedGenericResources');
      store.apply(store.index + 1, { now: env.now, changes: [{ op: 'remove', table: 'tasks', id: 'o1' }] });
      run(store);
      expect(store.view().get('tasks', 'o3')?.AssignedGenericResources).toEqual(named('a'));
    },
  );

  it('are not spoken of where none are wanted', () => {
    const web = aService({ id: 'web' });
    const store = aStore({ nodes: [aNode({ generic: named('a') })], services: [web], tasks: tasksOf(web, 1) });
    run(store);
    expect(got(store, web)).toEqual([undefined]);
  });
});
