import { below, seededRandom } from '@swarmctl/shared/kit';
import type { StoreChange, Task, TaskState } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { expect, test } from 'vitest';
import { aNetwork, aStore, aTask, builtAt } from '../../../../test/kit/builders.ts';
import { gateways, net, nodes, on, shownTo, task, web } from '../../../../test/kit/overlay-network.ts';
import type { Store } from '../store/store.ts';
import { NetworkTracker } from './network-tracker.ts';

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
