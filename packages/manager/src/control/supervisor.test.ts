import type { Node, Service, Task } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import {
  aNode,
  aService,
  aStore,
  aTask,
  builtAt,
  type ServiceWords,
  type TaskWords,
} from '../../../../test/kit/index.ts';
import { decide, describeTasks, envAt, report, settleState } from '../../../../test/sim/control/decide.ts';
import { restartAllowed, restartDelayMs, restartsAfter } from './restart-policy.ts';
import { restartSupervisor } from './supervisor.ts';
import { unitKey } from './unit.ts';

const controller = restartSupervisor();
const second = 1_000_000_000;
const up = { Endpoints: [] };

function unit(words: ServiceWords, tasks: readonly TaskWords[], nodes: readonly Node[] = []) {
  const service = aService({ id: 's', ...words });
  const made = tasks.map((task, i) => aTask({ id: `t${i + 1}`, service, node: 'n1', ...task }));
  const known = ['n1', 'n2'].filter((id) => !nodes.some((node) => node.ID === id)).map((id) => aNode({ id }));
  const store = aStore({ nodes: [...known, ...nodes], services: [service], tasks: made });
  return { service, store, first: made[0] as Task };
}

/** What the decision says of each task, and of the ones that it makes. */
function outcome({ store, first }: ReturnType<typeof unit>, now = builtAt) {
  const { changes, wakeAt } = decide(controller, store, unitKey(first), now);
  const said = changes.map((change) => {
    if (change.table !== 'tasks') return change;
    if (change.op === 'create') {
      const { Spec, DesiredState, StartAt, Restarts, SpecVersion } = change.object;
      const start = StartAt === undefined ? 'now' : `+${StartAt - now}`;
      return `new ${Spec.ContainerSpec?.Image} ${SpecVersion} ${DesiredState} ${start} restarts ${Restarts?.count ?? 0}`;
    }
    return change.op === 'update' ? `${change.id} ${JSON.stringify(change.set)}` : change;
  });
  return { said, wakeAt };
}

const shut = (id: string) => `${id} {"DesiredState":"shutdown"}`;
const ended = (id: string) => `${id} {"DesiredState":"shutdown","Final":true}`;

describe('a copy that ended', () => {
  it('is followed by another after the delay', () => {
    const failed = unit({}, [{ state: 'failed' }]);
    expect(outcome(failed)).toEqual({
      said: [shut('t1'), 'new web:1 s-v1 ready +5000 restarts 1'],
      wakeAt: builtAt + 5000,
    });
  });

  it.each<[string, ServiceWords, Partial<TaskWords>, string[]]>([
    ['any, complete', {}, { state: 'complete' }, [shut('t1'), 'new web:1 s-v1 ready +5000 restarts 1']],
    [
      'on-failure, failed',
      { restart: { Condition: 'on-failure', Delay: second } },
      { state: 'failed' },
      [shut('t1'), 'new web:1 s-v1 ready +1000 restarts 1'],
    ],
    ['on-failure, complete', { restart: { Condition: 'on-failure' } }, { state: 'complete' }, [ended('t1')]],
    ['none', { restart: { Condition: 'none' } }, { state: 'failed' }, [ended('t1')]],
    ['no delay', { restart: { Delay: 0 } }, { state: 'failed' }, [shut('t1'), 'new web:1 s-v1 running now restarts 1']],
    [
      'attempts left',
      { restart: { MaxAttempts: 2 } },
      { state: 'failed', set: { Restarts: { count: 1, times: [] } } },
      [shut('t1'), 'new web:1 s-v1 ready +5000 restarts 2'],
    ],
    [
      'no attempts left',
      { restart: { MaxAttempts: 2 } },
      { state: 'failed', set: { Restarts: { count: 2, times: [] } } },
      [ended('t1')],
    ],
    ['rejected', {}, { state: 'rejected' }, [shut('t1'), 'new web:1 s-v1 ready +5000 restarts 1']],
    [
      'rejected again',
      { restart: { Delay: 0 } },
      { state: 'rejected', set: { Restarts: { count: 3, times: [], rejected: 2 } } },
      [shut('t1'), 'new web:1 s-v1 ready +20000 restarts 4'],
    ],
    [
      'no delay on a drained node',
      {},
      { state: 'failed', node: 'drained' },
      [shut('t1'), 'new web:1 s-v1 running now restarts 1'],
    ],
  ])('condition %s', (_, words, task, said) => {
    expect(outcome(unit(words, [task], [aNode({ id: 'drained', availability: 'drain' })])).said).toEqual(said);
  });

  it('is followed no sooner than it would have started itself', () => {
    const early = unit({}, [{ state: 'rejected', desired: 'ready', set: { StartAt: builtAt + 3000 } }]);
    expect(outcome(early)).toEqual({ said: [], wakeAt: builtAt + 3000 });
    expect(outcome(early, builtAt + 3000).said).toEqual([shut('t1'), 'new web:1 s-v1 ready +5000 restarts 1']);
  });

  it('waits longer the more often in a row it was rejected, and carries on how often', () => {
    const service = aService({});
    const waits: number[] = [];
    let task = aTask({ service, node: 'n1', state: 'rejected' });
    for (let i = 0; i < 7; i++) {
      waits.push(restartDelayMs(task));
      task = { ...task, Restarts: restartsAfter(task, builtAt) };
    }
    expect(waits).toEqual([5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
    // One that ran has cleared the way.
    const failed: Task = { ...task, Status: { ...task.Status, State: 'failed' } };
    expect(restartDelayMs(failed)).toBe(5_000);
    expect(restartsAfter(failed, builtAt)).toEqual({ count: 8, times: [] });
  });

  it('does not wait less than its policy says', () => {
    const words = { restart: { Delay: 90 * second } };
    const set = { Restarts: { count: 2, times: [], rejected: 2 } };
    expect(outcome(unit(words, [{ state: 'rejected', set }])).said).toEqual([
      shut('t1'),
      'new web:1 s-v1 ready +90000 restarts 3',
    ]);
  });

  it('starts as soon as its policy says when it got ready, however long it was to wait after rejections', () => {
    const set = { StartAt: builtAt + 20_000, Restarts: { count: 3, times: [], rejected: 3 } };
    const waiting = (state: 'preparing' | 'ready', more = {}) =>
      outcome(
        unit({ restart: { Delay: second } }, [{ state, desired: 'ready', set: { ...set, ...more } }]),
        builtAt + 500,
      );
    expect(waiting('preparing')).toEqual({ said: [], wakeAt: builtAt + 20_000 });
    expect(waiting('ready')).toEqual({ said: [], wakeAt: builtAt + 1_000 });
    expect(waiting('ready', { Restarts: { count: 3, times: [] } })).toEqual({ said: [], wakeAt: builtAt + 20_000 });
    const before = aTask({ service: aService({}), node: 'n1', state: 'preparing', desired: 'ready', set });
    const after: Task = { ...before, Status: { ...before.Status, State: 'ready' } };
    const { store } = unit({}, []);
    const event = { table: 'tasks', op: 'update', id: before.ID, index: 2, before } as const;
    const marks = (task: Task) => controller.marks({ ...event, after: task }, store.view());
    expect([...marks(after)]).toHaveLength(1);
    expect([...marks({ ...after, Restarts: { count: 3, times: [] } })]).toEqual([]);
  });

  it('counts attempts within the window alone', () => {
    const policy = { MaxAttempts: 2, Window: 60 * second };
    const service = aService({ restart: policy });
    const times = [builtAt - 70_000, builtAt - 10_000];
    const task = aTask({ service, node: 'n1', state: 'failed', set: { Restarts: { count: 9, times } } });
    expect(restartAllowed(task, builtAt - 11_000)).toBe(false);
    expect(restartAllowed(task, builtAt)).toBe(true);
  });

  it('leaves nothing behind on the node of a global service that is down', () => {
    const down = aNode({ id: 'n1', state: 'down' });
    expect(outcome(unit({ global: true }, [{ state: 'orphaned', node: down }], [down])).said).toEqual([shut('t1')]);
  });

  it('is replaced in place by a global service', () => {
    const store = unit({ global: true }, [{ state: 'failed' }]);
    const { changes } = decide(controller, store.store, 's@n1');
    expect(changes[1]).toMatchObject({ object: { NodeID: 'n1', DesiredState: 'ready' } });
  });
});

describe('a copy whose node is lost to it', () => {
  const node = (words: Parameters<typeof aNode>[0]) => aNode({ id: 'gone', ...words });
  it.each<[string, Node[], ServiceWords, Partial<TaskWords>, string[]]>([
    [
      'down: elsewhere at once',
      [node({ state: 'down' })],
      {},
      {},
      [shut('t1'), 'new web:1 s-v1 running now restarts 0'],
    ],
    ['removed', [], {}, {}, [shut('t1'), 'new web:1 s-v1 running now restarts 0']],
    [
      'drained: when the old one has stopped',
      [node({ availability: 'drain' })],
      {},
      {},
      [shut('t1'), 'new web:1 s-v1 ready now restarts 0'],
    ],
    [
      'drained, start-first',
      [node({ availability: 'drain' })],
      { update: { Order: 'start-first' } },
      {},
      ['new web:1 s-v1 running now restarts 0', 't1 {"ReplacedBy":"new001"}'],
    ],
    [
      'drained, start-first, but not up anyway',
      [node({ availability: 'drain' })],
      { update: { Order: 'start-first' } },
      { state: 'preparing' },
      [shut('t1'), 'new web:1 s-v1 ready now restarts 0'],
    ],
    [
      'constraints no longer met',
      [node({ labels: { a: 'no' } })],
      { constraints: ['node.labels.a==yes'] },
      {},
      [shut('t1'), 'new web:1 s-v1 ready now restarts 0'],
    ],
    ['paused: stays', [node({ availability: 'pause' })], {}, {}, []],
    ['not heard of: stays', [node({ state: 'unknown' })], {}, {}, []],
    [
      'down, but never to be restarted',
      [node({ state: 'down' })],
      { restart: { Condition: 'none' } },
      {},
      [ended('t1')],
    ],
    ['down, global: waits for its node', [node({ state: 'down' })], { global: true }, {}, []],
    [
      'keeps its count of restarts',
      [node({ state: 'down' })],
      {},
      { set: { Restarts: { count: 4, times: [] } } },
      [shut('t1'), 'new web:1 s-v1 running now restarts 4'],
    ],
  ])('%s', (_, nodes, words, task, said) => {
    expect(outcome(unit(words, [{ node: 'gone', ...task }], nodes)).said).toEqual(said);
  });

  it('keeps its start-first pair until that is up, and ten minutes at most', () => {
    const nodes = [node({ availability: 'drain' })];
    const pair = unit(
      { update: { Order: 'start-first' } },
      [{ node: 'gone' }, { node: 'n2', state: 'preparing' }],
      nodes,
    );
    expect(outcome(pair)).toEqual({ said: [], wakeAt: builtAt + 600_000 });
    expect(outcome(pair, builtAt + 600_000).said).toEqual([shut('t1')]);
    report(pair.store, 't2', { State: 'running' });
    expect(outcome(pair).said).toEqual([shut('t1')]);
  });
});

describe('a copy that waits', () => {
  it.each<[string, TaskWords[], number, string[], number | undefined]>([
    ['for its time', [{ state: 'ready', desired: 'ready', set: { StartAt: builtAt + 100 } }], 0, [], builtAt + 100],
    [
      'until now',
      [{ state: 'ready', desired: 'ready', set: { StartAt: builtAt + 100 } }],
      100,
      ['t1 {"DesiredState":"running"}'],
      undefined,
    ],
    ['for nothing', [{ state: 'preparing', desired: 'ready' }], 0, ['t1 {"DesiredState":"running"}'], undefined],
    ['for the one before it', [{ desired: 'shutdown' }, { state: 'ready', desired: 'ready' }], 0, [], undefined],
    [
      'no longer: that one stopped',
      [
        { desired: 'shutdown', state: 'shutdown' },
        { state: 'ready', desired: 'ready' },
      ],
      0,
      ['t2 {"DesiredState":"running"}'],
      undefined,
    ],
    [
      'not for one that never got to a node',
      [
        { desired: 'shutdown', state: 'pending' },
        { state: 'ready', desired: 'ready' },
      ],
      0,
      ['t2 {"DesiredState":"running"}'],
      undefined,
    ],
    [
      'not for one on a node that is down',
      [
        { desired: 'shutdown', node: 'down' },
        { state: 'ready', desired: 'ready' },
      ],
      0,
      ['t2 {"DesiredState":"running"}'],
      undefined,
    ],
  ])('%s', (_, tasks, later, said, wakeAt) => {
    const down = aNode({ id: 'down', state: 'down' });
    expect(outcome(unit({}, tasks, [down]), builtAt + later)).toEqual({ said, wakeAt });
  });
});

describe('two copies in one slot', () => {
  it.each<[string, TaskWords[], string[]]>([
    ['the one that is up stays', [{ state: 'preparing' }, { state: 'running' }], [shut('t1')]],
    ['the older one stays', [{ state: 'new' }, { state: 'new' }], [shut('t2')]],
    ['the old spec goes when the new one is up', [{ set: { SpecVersion: 'v0', Spec: {} } }, {}], [shut('t1')]],
    ['and not before', [{ set: { SpecVersion: 'v0', Spec: {} } }, { state: 'starting' }], []],
  ])('%s', (_, tasks, said) => expect(outcome(unit({}, tasks)).said).toEqual(said));
});

describe('during an update', () => {
  const old = { set: { SpecVersion: 'v0', Spec: { ContainerSpec: { Image: 'web:0' } } } };
  const updating = (State: 'updating' | 'paused' | 'completed'): ServiceWords => ({
    set: { UpdateStatus: { State, StartedAt: '2020-01-01T00:00:00.000Z' } },
  });
  const withState = (task: TaskWords, state: TaskWords['state']): TaskWords => ({ ...task, ...(state && { state }) });

  it.each<[string, ServiceWords, TaskWords[], string[]]>([
    [
      'one that is not reached yet comes back as it was',
      updating('updating'),
      [withState(old, 'failed')],
      [shut('t1'), 'new web:0 v0 ready +5000 restarts 1'],
    ],
    [
      'when it is paused, too',
      updating('paused'),
      [withState(old, 'failed')],
      [shut('t1'), 'new web:0 v0 ready +5000 restarts 1'],
    ],
    [
      'one that the update gave up takes the new spec when it is over',
      updating('completed'),
      [withState(old, 'failed')],
      [shut('t1'), 'new web:1 s-v1 ready +5000 restarts 0'],
    ],
    [
      'a failed start-first replacement is tried again',
      updating('updating'),
      [old, { state: 'failed' }],
      [shut('t2'), 'new web:1 s-v1 ready +5000 restarts 1', 't1 {"ReplacedBy":"new001"}'],
    ],
    ['unless the update is paused', updating('paused'), [old, { state: 'failed' }], [shut('t2')]],
    [
      'an old one that ends beside its replacement is just over',
      updating('updating'),
      [withState(old, 'failed'), { state: 'preparing' }],
      [shut('t1')],
    ],
  ])('%s', (_, words, tasks, said) => expect(outcome(unit(words, tasks)).said).toEqual(said));
});

it('moves a drained copy step by step and never lets two run', () => {
  const drained = aNode({ id: 'n1', availability: 'drain' });
  const { store } = unit({ ports: [] }, [{ status: up }], [drained]);
  settleState(store, [controller]);
  const tasks = () => describeTasks(store.view().tasksOfService('s'));
  expect(tasks()).toEqual(['1 - web:1 new/ready', '1 n1 web:1 running/shutdown']);
  report(store, 't1', { State: 'shutdown' });
  settleState(store, [controller]);
  expect(tasks()).toEqual(['1 - web:1 new/running', '1 n1 web:1 shutdown/shutdown']);
});

it('says nothing of a service that is gone', () => {
  const { store } = unit({}, [{ state: 'failed' }]);
  expect(controller.decide(store.view(), 'other/1', envAt())).toEqual({ changes: [] });
});

it('is asked about all units of a service when its spec changes', () => {
  const { store, service } = unit({}, [{ slot: 1 }, { slot: 2 }]);
  const event = { table: 'services', op: 'update', id: 's', index: 2, before: service } as const;
  const after: Service = { ...service, SpecVersion: 'v2' };
  expect(controller.marks({ ...event, after }, store.view())).toEqual(['s/1', 's/2']);
  expect(controller.marks({ ...event, after: service }, store.view())).toEqual([]);
});
