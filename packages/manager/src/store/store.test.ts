import type { StoreChange, StoreEvent } from '@swarmctl/shared/model';
import { toTimestamp } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aCluster, aNode, aService, aStore, aTask, builtAt } from '../../../../test/kit/index.ts';
import { Store } from './store.ts';
import type { ApplyOutcome } from './types.ts';

const web = aService({ id: 'web', name: 'web' });
const node = aNode({ id: 'n1', hostname: 'alpha' });
const task = aTask({ id: 't1', service: web, slot: 1, node });
const holding = () => aStore({ cluster: aCluster(), nodes: [node], services: [web], tasks: [task] });

const apply = (store: Store, ...changes: StoreChange[]) =>
  store.apply(store.index + 1, { now: builtAt + 1_000, changes });
const refusal = (outcome: ApplyOutcome) => (outcome.ok ? 'accepted' : `${outcome.code}: ${outcome.message}`);

const create = (object: typeof web): StoreChange => ({ op: 'create', table: 'services', object });
const scale = (version?: number): StoreChange => ({
  op: 'update',
  table: 'services',
  id: 'web',
  ...(version !== undefined && { version }),
  set: { SpecVersion: 'web-v2' },
});
const status = (State: 'assigned' | 'running' | 'failed', id = 't1'): StoreChange => ({
  op: 'update',
  table: 'tasks',
  id,
  set: { Status: { Timestamp: toTimestamp(builtAt + 5), State } },
});

describe('what is refused', () => {
  const cases: [string, StoreChange[], string][] = [
    [
      'a second object with an id',
      [create(aService({ id: 'web', name: 'other' }))],
      'already-exists: service web already exists',
    ],
    [
      'a second service with a name',
      [create(aService({ id: 'w2', name: 'web' }))],
      'already-exists: name conflicts with an existing object: service web already exists',
    ],
    [
      'two services of one name in one batch',
      [create(aService({ id: 'a', name: 'x' })), create(aService({ id: 'b', name: 'x' }))],
      'already-exists: name conflicts with an existing object: service x already exists',
    ],
    [
      'a second cluster',
      [{ op: 'create', table: 'cluster', object: aCluster({ ID: 'c2' }) }],
      'already-exists: there is a cluster already, and a store holds one',
    ],
    ['an update of nothing', [{ ...scale(), id: 'nosuch' } as StoreChange], 'not-found: service nosuch not found'],
    ['a removal of nothing', [{ op: 'remove', table: 'nodes', id: 'nosuch' }], 'not-found: node nosuch not found'],
    ['a stale version', [scale(7)], 'out-of-sequence: update out of sequence'],
    [
      'a removal at a stale version',
      [{ op: 'remove', table: 'services', id: 'web', version: 7 }],
      'out-of-sequence: update out of sequence',
    ],
    [
      'a stale version, though absence would be fine',
      [{ ...scale(7), ifExists: true } as StoreChange],
      'out-of-sequence: update out of sequence',
    ],
    [
      'a state that is none',
      [{ op: 'update', table: 'tasks', id: 't1', set: { DesiredState: 'sleeping' as never } }],
      "invalid-argument: 'sleeping' is not a state of a task",
    ],
    [
      'the wrong one of many',
      [status('failed'), create(aService({ id: 'fine' })), scale(7)],
      'out-of-sequence: update out of sequence',
    ],
  ];
  it.each(cases)('%s, and nothing is half-applied', (_, changes, message) => {
    const store = holding();
    const hash = store.hash();
    let told = 0;
    store.watch(() => told++);
    expect(refusal(apply(store, ...changes))).toBe(message);
    expect([store.hash(), told, store.view().index]).toEqual([hash, 0, 2]);
  });

  const accepted: [string, StoreChange[]][] = [
    ['the version that is there', [scale(1)]],
    ['the version before the batch, for each of several changes', [scale(1), scale(1)]],
    [
      'absence, when it was expected',
      [
        { ...scale(), id: 'nosuch', ifExists: true } as StoreChange,
        { op: 'remove', table: 'tasks', id: 'nosuch', ifExists: true },
      ],
    ],
    [
      'a name that was freed in the same batch',
      [{ op: 'remove', table: 'services', id: 'web' }, create(aService({ id: 'w2', name: 'web' }))],
    ],
    [
      'a service that keeps its name',
      [{ op: 'update', table: 'services', id: 'web', set: { Spec: { ...web.Spec, Labels: { a: 'b' } } } }],
    ],
  ];
  it.each(accepted)('not: %s', (_, changes) => expect(refusal(apply(holding(), ...changes))).toBe('accepted'));
});

describe('an update', () => {
  it('replaces the fields it names, and keeps the books', () => {
    const store = holding();
    apply(store, { op: 'update', table: 'nodes', id: 'n1', set: { DownSince: 5 } });
    apply(store, {
      op: 'update',
      table: 'nodes',
      id: 'n1',
      set: { Status: { State: 'down', Addr: 'x' } },
      unset: ['DownSince'],
    });
    const { Version, UpdatedAt, Status, ...rest } = node;
    expect(store.view().get('nodes', 'n1')).toEqual({
      ...rest,
      Status: { State: 'down', Addr: 'x' },
      SpecIndex: 1,
      Version: { Index: 3 },
      UpdatedAt: toTimestamp(builtAt + 1_000),
    });
    expect(store.view().get('nodes', 'n1')).not.toHaveProperty('DownSince');
  });

  it('of a node’s spec goes by the version of the spec that was read, not by what was heard of the node since', () => {
    const store = holding();
    const label = (specReadAt: number, value: string): StoreChange => {
      const Spec = { ...node.Spec, Labels: { value } };
      return { op: 'update', table: 'nodes', id: 'n1', specReadAt, set: { Spec } };
    };
    const hear = () => apply(store, { op: 'update', table: 'nodes', id: 'n1', set: { DownSince: 5 } });
    hear();
    expect(refusal(apply(store, label(99, 'early')))).toBe('out-of-sequence: update out of sequence');
    expect(refusal(apply(store, label(1, 'a')))).toBe('accepted');
    hear();
    expect(refusal(apply(store, label(1, 'b')))).toBe('out-of-sequence: update out of sequence');
    const { Version, SpecIndex } = store.view().get('nodes', 'n1') ?? {};
    expect(Version?.Index).toBeGreaterThan(SpecIndex ?? 0);
    expect(refusal(apply(store, label(SpecIndex ?? 0, 'c')))).toBe('accepted');
  });

  it('of a service’s spec likewise, whatever the control loop wrote', () => {
    const store = holding();
    const Spec = { ...web.Spec, Labels: { a: 'b' } };
    const update = (specReadAt: number): StoreChange => ({
      ...{ op: 'update', table: 'services', id: 'web', specReadAt },
      set: { Spec },
    });
    apply(store, { op: 'update', table: 'services', id: 'web', set: { Endpoint: { Spec: { Mode: 'vip' } } } });
    expect(refusal(apply(store, update(1)))).toBe('accepted');
    expect(refusal(apply(store, update(1)))).toBe('out-of-sequence: update out of sequence');
  });

  it('never takes a task back', () => {
    const store = holding();
    apply(store, status('failed'), { op: 'update', table: 'tasks', id: 't1', set: { DesiredState: 'shutdown' } });
    const before = store.view().get('tasks', 't1');
    const outcome = apply(store, status('running'), {
      op: 'update',
      table: 'tasks',
      id: 't1',
      set: { DesiredState: 'running' },
    });
    expect(outcome).toEqual({ ok: true, index: 3, events: [] });
    expect(store.view().get('tasks', 't1')).toBe(before);
    apply(store, { op: 'update', table: 'tasks', id: 't1', set: { DesiredState: 'ready', Final: true } });
    expect(store.view().get('tasks', 't1')).toMatchObject({
      DesiredState: 'shutdown',
      Final: true,
      Version: { Index: 4 },
    });
  });

  it('writes a status of the same state', () => {
    const store = holding();
    apply(store, status('running'));
    expect(store.view().get('tasks', 't1')?.Status.Timestamp).toBe(toTimestamp(builtAt + 5));
  });

  it('moves objects between the lists that they are found by', () => {
    const store = holding();
    apply(
      store,
      { op: 'create', table: 'tasks', object: aTask({ id: 't0', service: web, slot: 1 }) },
      { op: 'update', table: 'tasks', id: 't1', set: { NodeID: 'n2', Slot: 2 } },
      { op: 'update', table: 'services', id: 'web', set: { Spec: { ...web.Spec, Name: 'shop' } } },
      { op: 'update', table: 'nodes', id: 'n1', set: { Description: { ...node.Description!, Hostname: 'beta' } } },
    );
    const view = store.view();
    const ids = (list: readonly { ID: string }[]) => list.map(({ ID }) => ID);
    expect({
      service: ids(view.tasksOfService('web')),
      slots: [1, 2].map((slot) => ids(view.tasksOfSlot('web', slot))),
      nodes: ['n1', 'n2'].map((id) => ids(view.tasksOfNode(id))),
      names: [view.serviceByName('web')?.ID, view.serviceByName('shop')?.ID],
      hosts: ['alpha', 'beta'].map((name) => ids(view.nodesByHostname(name))),
    }).toEqual({
      service: ['t0', 't1'],
      slots: [['t0'], ['t1']],
      nodes: [[], ['t1']],
      names: [undefined, 'web'],
      hosts: [[], ['n1']],
    });
  });
});

it('a view stays what it is, and shares its lists with later ones where nothing changed', () => {
  const store = holding();
  const before = store.view();
  const service = before.get('services', 'web');
  const tasks = before.tasksOfService('web');
  apply(
    store,
    { op: 'remove', table: 'services', id: 'web' },
    { op: 'create', table: 'nodes', object: aNode({ id: 'n2' }) },
  );
  expect([before.get('services', 'web'), before.list('nodes').length, before.index]).toEqual([service, 1, 1]);
  expect(service).toMatchObject(web);
  expect([store.view().get('services', 'web'), store.view().list('nodes').length]).toEqual([undefined, 2]);
  expect(store.view().tasksOfService('web')).toBe(tasks);
});

describe('watch', () => {
  it('tells each batch in order, after it is in the view', () => {
    const store = holding();
    const told: string[] = [];
    const { view, unwatch } = store.viewAndWatch((events, now) => {
      for (const event of events as readonly StoreEvent[])
        told.push(`${event.index} ${event.op} ${event.table} ${event.id} of ${now.index}`);
    });
    apply(store, status('failed'), { op: 'create', table: 'nodes', object: aNode({ id: 'n2' }) });
    apply(store, { op: 'remove', table: 'tasks', id: 't1' });
    unwatch();
    apply(store, { op: 'remove', table: 'nodes', id: 'n2' });
    expect(view.index).toBe(1);
    expect(told).toEqual(['2 update tasks t1 of 2', '2 create nodes n2 of 2', '3 remove tasks t1 of 3']);
  });

  it('carries what was before and what is now', () => {
    const store = holding();
    const outcome = apply(store, status('failed'), { op: 'remove', table: 'tasks', id: 't1' });
    const [update, remove] = outcome.ok ? outcome.events : [];
    expect([update?.before, remove?.before, remove?.after]).toEqual([task, update?.after, undefined]);
  });

  it('goes on for the others when a listener throws', () => {
    const errors: unknown[] = [];
    const store = new Store({ onListenerError: (error) => errors.push(error) });
    const told: number[] = [];
    store.watch(() => {
      throw new Error('listener');
    });
    store.watch((_, view) => told.push(view.index));
    expect(apply(store, create(web)).ok).toBe(true);
    expect([told, errors]).toEqual([[1], [new Error('listener')]]);
  });
});

describe('the overlay', () => {
  it('shows changes over the store, which does not have them', () => {
    const store = holding();
    const overlay = store.overlay();
    overlay.add([status('failed')]);
    overlay.add([{ op: 'create', table: 'tasks', object: aTask({ id: 't2', service: web, slot: 1 }) }]);
    expect(overlay.tasksOfSlot('web', 1).map((one) => `${one.ID} ${one.Status.State}`)).toEqual([
      't1 failed',
      't2 pending',
    ]);
    expect(overlay.get('tasks', 't1')?.Version.Index).toBe(1);
    expect((overlay.get('tasks', 't2')?.CreatedAt ?? '') > task.CreatedAt).toBe(true);
    expect(store.view().list('tasks')).toEqual([task]);
    expect(overlay.changes.length).toBe(2);
  });

  it('is not moved by what is applied meanwhile', () => {
    const store = holding();
    const overlay = store.overlay();
    apply(store, { op: 'remove', table: 'tasks', id: 't1' });
    overlay.add([status('failed')]);
    expect(overlay.list('tasks').map((one) => one.Status.State)).toEqual(['failed']);
  });

  it('refuses as the store would, and keeps nothing of what it refused', () => {
    const overlay = holding().overlay();
    expect(() => overlay.add([status('failed'), scale(7)])).toThrow('update out of sequence');
    expect([overlay.get('tasks', 't1')?.Status.State, overlay.changes]).toEqual(['running', []]);
  });
});
