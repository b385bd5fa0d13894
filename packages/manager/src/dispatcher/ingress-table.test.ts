import { seededRandom } from '@swarmctl/shared/kit';
import type { PortConfig, StoreChange, TaskEndpoint, TaskStatus } from '@swarmctl/shared/model';
import type { IngressEntry } from '@swarmctl/shared/wire';
import { describe, expect, test } from 'vitest';
import { aNode, aService, aStore, aTask, builtAt, type TaskWords } from '../../../../test/kit/builders.ts';
import { IngressTracker, ingressTable } from './ingress-table.ts';

const port: PortConfig = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' };
const web = aService({ id: 'web', name: 'web', ports: [port] });

const endpoint = (targetPort: number, nodePort = 32_000): TaskEndpoint => ({
  protocol: 'tcp',
  targetPort,
  localAddr: '172.17.0.2',
  localPort: targetPort,
  nodeAddr: '10.0.0.1',
  nodePort,
});

const up = (id: string, words: TaskWords = {}) =>
  aTask({ id, service: web, node: 'n1', status: { Endpoints: [endpoint(80)] }, ...words });

const backendsOf = (table: readonly IngressEntry[], key = 'tcp/8080') =>
  table.find((entry) => entry.key === key)?.backends.map(({ taskId }) => taskId);

describe('who is in the table', () => {
  test.each<[string, TaskWords, string[]]>([
    ['running and reachable', {}, ['t1']],
    ['running, not reachable yet', { status: {} }, []],
    ['starting', { state: 'starting' }, []],
    ['failed', { state: 'failed' }, []],
    ['to stop', { desired: 'shutdown' }, []],
    ['to be removed', { desired: 'remove' }, []],
    ['on a node that is down', { node: 'lost' }, []],
    ['on a node that was removed', { node: 'nobody' }, []],
    ['on a drained node, until it is told to stop', { node: 'drained' }, ['t1']],
    ['at another port', { status: { Endpoints: [endpoint(81)] } }, []],
  ])('%s', (_, words, ids) => {
    const store = aStore({
      nodes: [
        aNode({ id: 'n1' }),
        aNode({ id: 'lost', state: 'down' }),
        aNode({ id: 'drained', availability: 'drain' }),
      ],
      services: [web],
      tasks: [up('t1', words)],
    });
    expect(backendsOf(ingressTable(store.view()))).toEqual(ids);
  });
});

test('a task that is to stop is listed apart for UDP until it has ended', () => {
  const service = aService({ id: 's', name: 'dns', ports: [port, { ...port, Protocol: 'udp' }] });
  const status = { Endpoints: [endpoint(80), { ...endpoint(80), protocol: 'udp' as const }] };
  const store = aStore({
    nodes: [aNode({ id: 'n1' }), aNode({ id: 'lost', state: 'down' })],
    services: [service],
    tasks: [
      ...[up('t1', { service, status }), up('t2', { service, status, desired: 'shutdown' })],
      up('t3', { service, status, desired: 'shutdown', node: 'lost' }),
    ],
  });
  const tracker = new IngressTracker();
  tracker.touchAll(store.view());
  const shown = () =>
    tracker
      .refresh(store.view())
      .entries.map((entry) => [
        entry.key,
        ...[entry.backends, entry.draining].map((list) => list?.map((one) => one.taskId)),
      ]);
  expect(shown()).toEqual([
    ['tcp/8080', ['t1'], undefined],
    ['udp/8080', ['t1'], ['t2']],
  ]);
  store.apply(2, {
    now: builtAt,
    changes: [
      {
        op: 'update',
        table: 'tasks',
        id: 't2',
        set: { Status: { ...store.view().get('tasks', 't2')!.Status, State: 'shutdown' } },
      },
    ],
  });
  tracker.touch('s');
  expect(shown()).toEqual([['udp/8080', ['t1'], undefined]]);
});

test('labels bind a port to addresses and say who is let in and what of the client is kept, port by port', () => {
  const service = aService({
    id: 's',
    name: 'shop',
    ports: [port, { ...port, PublishedPort: 9000 }],
    labels: {
      'swarmctl.ingress.address.8080/tcp': '10.0.0.5,fd00::5',
      'swarmctl.ingress.allow': '10.0.0.0/8',
      'swarmctl.ingress.client-address.9000/tcp': 'masquerade',
      'swarmctl.ingress.idle-timeout.9000/tcp': '1m',
    },
  });
  const store = aStore({ nodes: [aNode({ id: 'n1' })], services: [service], tasks: [up('t1', { service })] });
  const allow = ['10.0.0.0/8'];
  expect(ingressTable(store.view())).toMatchObject([
    { key: 'tcp/8080@10.0.0.5', address: '10.0.0.5', allow, backends: [{ taskId: 't1' }] },
    { key: 'tcp/8080@fd00::5', address: 'fd00::5', allow, backends: [{ taskId: 't1' }] },
    { key: 'tcp/9000', allow, clientAddress: 'masquerade', proxy: { idleMs: 60_000 }, backends: [{ taskId: 't1' }] },
  ]);
});

test('services that share a port of HTTP have an entry each', () => {
  const ports = [{ ...port, PublishedPort: 443 }];
  const service = (id: string, labels: Record<string, string>) => aService({ id, name: id, ports, labels });
  const a = service('a', { 'swarmctl.http.route': 'A.example.com/api/,*', 'swarmctl.http.tls': 'cert,key' });
  const b = service('b', {
    'swarmctl.http.route.443/tcp': '*.example.com',
    'swarmctl.http.sticky': 'cookie',
    'swarmctl.http.trust': '10.0.0.0/8',
    'swarmctl.http.protocol': 'h2',
    'swarmctl.http.timeout': '1h',
  });
  const store = aStore({
    nodes: [aNode({ id: 'n1' })],
    services: [a, b],
    tasks: [up('t1', { service: a }), up('t2', { service: b })],
  });
  const routes = [
    { host: 'a.example.com', path: '/api' },
    { host: '*', path: '' },
  ];
  const all = { routes: [{ host: '*.example.com', path: '' }], sticky: true, trust: ['10.0.0.0/8'], h2: true };
  expect(ingressTable(store.view())).toMatchObject([
    { key: 'tcp/443#a', http: { routes, tls: ['cert', 'key'], timeoutMs: 60_000 }, backends: [{ taskId: 't1' }] },
    { key: 'tcp/443#b', http: { ...all, timeoutMs: 3_600_000 }, backends: [{ taskId: 't2' }] },
  ]);
});

test('an entry says all that a node needs to route; host-mode ports have none', () => {
  const service = aService({
    id: 's',
    name: 'shop',
    ports: [port, { ...port, PublishMode: 'host', PublishedPort: 9000 }],
  });
  const store = aStore({ nodes: [aNode({ id: 'n1' })], services: [service], tasks: [up('t1', { service })] });
  expect(ingressTable(store.view())).toEqual([
    {
      key: 'tcp/8080',
      serviceId: 's',
      serviceName: 'shop',
      protocol: 'tcp',
      publishedPort: 8080,
      targetPort: 80,
      backends: [{ ...endpoint(80), taskId: 't1', nodeId: 'n1' }],
    },
  ]);
});

test('the tracker tells only of what has changed', () => {
  const store = aStore({ nodes: [aNode({ id: 'n1' })], services: [web], tasks: [up('t1')] });
  const tracker = new IngressTracker();
  tracker.touchAll(store.view());
  expect(backendsOf(tracker.refresh(store.view()).entries)).toEqual(['t1']);
  expect(tracker.has({ ID: 't1', ServiceID: 'web' })).toBe(true);
  tracker.touch('web');
  expect(tracker.refresh(store.view())).toEqual({ entries: [], removed: [] });
  store.apply(2, { now: builtAt, changes: [{ op: 'remove', table: 'services', id: 'web' }] });
  tracker.touch('web');
  expect(tracker.refresh(store.view())).toEqual({ entries: [], removed: ['tcp/8080'] });
  expect(tracker.table.size).toBe(0);
});

test('a port that moves from one service to another is one changed entry', () => {
  const shop = aService({ id: 'shop', ports: [port] });
  const store = aStore({ nodes: [aNode({ id: 'n1' })], services: [web] });
  const tracker = new IngressTracker();
  tracker.touchAll(store.view());
  tracker.refresh(store.view());
  store.apply(2, {
    now: builtAt,
    changes: [
      { op: 'remove', table: 'services', id: 'web' },
      { op: 'create', table: 'services', object: shop },
    ],
  });
  tracker.touch('shop');
  tracker.touch('web');
  const delta = tracker.refresh(store.view());
  expect(delta.removed).toEqual([]);
  expect(delta.entries.map(({ serviceId }) => serviceId)).toEqual(['shop']);
});

test.each([1, 2, 3, 4, 5])('deltas add up to the table of the state (seed %i)', (seed) => {
  const random = seededRandom(seed);
  const below = (n: number) => Math.floor(random() * n);
  const services = [0, 1, 2].map((i) => aService({ id: `s${i}`, ports: [{ ...port, PublishedPort: 8000 + i }] }));
  const store = aStore({
    nodes: [aNode({ id: 'n0' }), aNode({ id: 'n1' })],
    services,
    tasks: services.flatMap((service, i) => [0, 1, 2].map((j) => up(`t${i}${j}`, { service, node: `n${j % 2}` }))),
  });
  const tracker = new IngressTracker();
  store.watch((events, view) => {
    if (events === 'reset') return;
    for (const event of events) {
      if (event.table === 'services') tracker.touch(event.id);
      else if (event.table === 'tasks') tracker.touch((event.after ?? event.before)?.ServiceID ?? '');
      else for (const task of view.tasksOfNode(event.id)) tracker.touch(task.ServiceID);
    }
  });
  const table = new Map<string, IngressEntry>();
  tracker.touchAll(store.view());
  for (let index = 2; index < 200; index++) {
    store.apply(index, { now: builtAt, changes: [randomChange()] });
    if (below(3) === 0) continue;
    const { entries, removed } = tracker.refresh(store.view());
    for (const key of removed) table.delete(key);
    for (const entry of entries) table.set(entry.key, entry);
    const wanted = ingressTable(store.view());
    expect([...table.values()].sort((a, b) => (a.key < b.key ? -1 : 1))).toEqual(wanted);
  }

  function randomChange(): StoreChange {
    const id = `t${below(3)}${below(3)}`;
    const at = `n${below(2)}`;
    const status: TaskStatus = { Timestamp: '', State: 'running', Endpoints: [endpoint(80, 32_000 + below(4))] };
    const kind = below(12);
    if (kind < 6) return { op: 'update', table: 'tasks', id, ifExists: true, set: { Status: status } };
    if (kind < 7) return { op: 'update', table: 'tasks', id, ifExists: true, set: { DesiredState: 'shutdown' } };
    if (kind < 8) return { op: 'remove', table: 'tasks', id, ifExists: true };
    if (kind < 9) return { op: 'remove', table: 'services', id: `s${below(3)}`, ifExists: true };
    const State = below(2) ? ('down' as const) : ('ready' as const);
    return { op: 'update', table: 'nodes', id: at, set: { Status: { State, Addr: '127.0.0.1' } } };
  }
});
