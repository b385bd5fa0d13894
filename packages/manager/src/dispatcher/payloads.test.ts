import type { ContainerSpec, StoreChange, Task, TaskState } from '@swarmctl/shared/model';
import { beforeEach, expect, test } from 'vitest';
import { aNode, aPayload, aService, aStore, aTask } from '../../../../test/kit/index.ts';
import type { Store } from '../store/store.ts';
import { inMessages, messageBytes, PayloadTracker } from './payloads.ts';

const file = { Name: 'f', UID: '0', GID: '0', Mode: 0o444 };
const container: ContainerSpec = {
  Secrets: [{ SecretID: 's1', SecretName: 'pass', File: file }],
  Configs: [{ ConfigID: 'c1', ConfigName: 'conf', File: file }],
};

let store: Store;
let tracker: PayloadTracker;

beforeEach(() => {
  const service = aService({ id: 'web', container });
  store = aStore({
    nodes: [aNode({ id: 'n1' }), aNode({ id: 'n2' })],
    secrets: [
      aPayload({ id: 's1', name: 'pass', data: 'hidden' }),
      aPayload({ id: 's2', name: 'pass.v2', labels: { 'swarmctl.version.of': 'pass' } }),
    ],
    configs: [aPayload({ id: 'c1', name: 'conf', templated: true })],
    services: [service],
    tasks: [aTask({ id: 't1', service, node: 'n1' }), aTask({ id: 't2', service, node: 'n1', slot: 2 })],
  });
  tracker = new PayloadTracker();
});

const view = () => store.view();
const apply = (...changes: StoreChange[]) => {
  const outcome = store.apply(store.index + 1, { now: 0, changes });
  if (!outcome.ok) throw new Error(outcome.message);
  for (const event of outcome.events) tracker.touch(event);
};
const session = (nodeId: string, ...ids: string[]) => ({
  nodeId,
  shown: new Map(ids.flatMap((id): [string, Task][] => [[id, view().get('tasks', id) as Task]])),
});
const become = (id: string, State: TaskState) =>
  apply({ op: 'update', table: 'tasks', id, set: { Status: { State, Timestamp: '' } } });

test('a node gets what its tasks name, whole and once', () => {
  const n1 = session('n1', 't1', 't2');
  const first = tracker.whole(n1, view());
  expect(first.ids).toEqual(['s1', 'c1']);
  expect(first.added).toEqual([
    {
      kind: 'secret',
      id: 's1',
      name: 'pass',
      version: { base: 'pass', number: 1 },
      data: Buffer.from('hidden'),
      templated: false,
    },
    {
      kind: 'config',
      id: 'c1',
      name: 'conf',
      version: { base: 'conf', number: 1 },
      data: Buffer.from('abc'),
      templated: true,
    },
  ]);
  tracker.shown(n1, first);
  expect(tracker.unshown(n1, view(), true)).toBeUndefined();
  expect(tracker.whole(n1, view())).toEqual({ added: [], ids: ['s1', 'c1'] });
});

test('other nodes get nothing', () => {
  expect(tracker.whole(session('n2'), view())).toEqual({ added: [], ids: [] });
  expect(tracker.unshown(session('n2'), view(), true)).toBeUndefined();
});

test('it goes with the last task that lives, not before', () => {
  const n1 = session('n1', 't1', 't2');
  tracker.shown(n1, tracker.whole(n1, view()));
  become('t1', 'failed');
  expect(tracker.unshown(n1, view(), true)).toBeUndefined();
  become('t2', 'shutdown');
  expect(tracker.unshown(n1, view(), false)).toBeUndefined();
  expect(tracker.unshown(n1, view(), true)).toEqual({ added: [], ids: [] });
});

test('a task that is to stop needs it no more, once the agent may know', () => {
  const n1 = session('n1', 't1');
  tracker.shown(n1, tracker.whole(n1, view()));
  apply({ op: 'update', table: 'tasks', id: 't1', set: { DesiredState: 'shutdown' } });
  expect(tracker.unshown(n1, view(), true)).toBeUndefined();
  n1.shown.set('t1', view().get('tasks', 't1') as Task);
  expect(tracker.unshown(n1, view(), true)).toEqual({ added: [], ids: [] });
});

test('what is removed from the cluster is taken from the nodes', () => {
  const n1 = session('n1', 't1');
  tracker.shown(n1, tracker.whole(n1, view()));
  apply({ op: 'remove', table: 'secrets', id: 's1' });
  expect(tracker.unshown(n1, view(), false)).toEqual({ added: [], ids: ['c1'] });
  tracker.settle();
  expect(tracker.unshown(n1, view(), false)).toBeUndefined();
});

test('a node gets what something else on it needs', () => {
  tracker = new PayloadTracker((state, nodeId) =>
    nodeId === 'n2' && state.get('services', 'web')?.Spec.Labels['tls'] ? ['s2', 'gone'] : [],
  );
  const [n1, n2] = [session('n1', 't1'), session('n2')];
  for (const one of [n1, n2]) tracker.shown(one, tracker.whole(one, view()));
  const { Spec } = aService({ container, labels: { tls: 'pass' } });
  apply({ op: 'update', table: 'services', id: 'web', set: { Spec } });
  expect(tracker.unshown(n1, view(), false)).toBeUndefined();
  expect(tracker.unshown(n2, view(), false)).toMatchObject({
    added: [{ id: 's2', version: { base: 'pass', number: 2 } }],
    ids: ['s2'],
  });
});

test('messages are of a bounded size: small payloads share one, large ones come in pieces', () => {
  const payload = (id: string, parts: number) => ({ id, data: Buffer.alloc(parts * messageBytes, id) }) as never;
  const messages = [...inMessages([payload('a', 0.25), payload('b', 0.5), payload('c', 2.5), payload('d', 0.125)])];
  const shown = messages.map((parts) =>
    parts.map(({ id, at, size, data }) =>
      [id, at, data.length, size].map((n) => (typeof n === 'number' ? n / messageBytes : n)),
    ),
  );
  expect(shown).toEqual([
    [
      ['a', 0, 0.25, 0.25],
      ['b', 0, 0.5, 0.5],
      ['c', 0, 0.25, 2.5],
    ],
    [['c', 0.25, 1, 2.5]],
    [['c', 1.25, 1, 2.5]],
    [
      ['c', 2.25, 0.25, 2.5],
      ['d', 0, 0.125, 0.125],
    ],
  ]);
  expect([...inMessages([])]).toEqual([]);
});

test('credentials for a registry go to the nodes that run the service, and anew when they change', () => {
  const keyed = (ID: string) =>
    apply({
      op: 'update',
      table: 'services',
      id: 'web',
      set: { PullAuth: { Spec: { ID, Data: `{"username":"${ID}"}` } } },
    });
  keyed('k1');
  const n1 = session('n1', 't1');
  const first = tracker.whole(n1, view());
  expect(first.ids).toEqual(['s1', 'c1', 'k1']);
  expect(first.added[2]).toMatchObject({ kind: 'registry-auth', name: 'web', data: Buffer.from('{"username":"k1"}') });
  expect(tracker.whole(session('n2'), view()).ids).toEqual([]);
  tracker.shown(n1, first);
  tracker.settle();
  expect(tracker.unshown(n1, view(), false)).toBeUndefined();
  keyed('k2');
  expect(tracker.unshown(n1, view(), false)).toMatchObject({ added: [{ id: 'k2' }], ids: ['s1', 'c1', 'k2'] });
  become('t1', 'failed');
  expect(tracker.unshown(n1, view(), true)?.ids).toEqual([]);
});
