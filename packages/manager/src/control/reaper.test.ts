import { describe, expect, it } from 'vitest';
import { aCluster, aNode, aService, aStore, aTask, type TaskWords } from '../../../../test/kit/index.ts';
import { decide, settleState } from '../../../../test/sim/control/decide.ts';
import { orphanedAfterMs, orphanSupervisor } from './orphans.ts';
import { taskReaper } from './reaper.ts';
import { serviceRemoval } from './removal.ts';

const nodes = [aNode({ id: 'n1' }), aNode({ id: 'down', state: 'down' })];
const limited = (TaskHistoryRetentionLimit: number) =>
  aCluster({ Spec: { Name: 'default', Labels: {}, Orchestration: { TaskHistoryRetentionLimit } } });

function reaped(tasks: readonly TaskWords[], cluster = aCluster()): string[] {
  const service = aService({ id: 's' });
  const made = tasks.map((task, i) => aTask({ id: `t${i + 1}`, service, node: 'n1', ...task }));
  const store = aStore({ cluster, nodes, services: [service], tasks: made });
  const { changes } = decide(taskReaper(), store, 's/1');
  return changes.map((change) => (change.op === 'remove' ? change.id : 'something else')).sort();
}

describe('the reaper', () => {
  it.each<[string, TaskWords, boolean]>([
    ['to be removed, still running', { desired: 'remove' }, false],
    ['to be removed, stopped', { desired: 'remove', state: 'shutdown' }, true],
    ['to be removed, never assigned', { desired: 'remove', state: 'pending' }, true],
    ['to be removed, on a node that is down', { desired: 'remove', node: 'down' }, true],
    ['to be removed, on a node that was removed', { desired: 'remove', node: 'nowhere' }, true],
    ['given up before it was assigned', { desired: 'shutdown', state: 'new' }, true],
    ['stopping', { desired: 'shutdown' }, false],
    ['stopping on a node that is down: it may come back', { desired: 'shutdown', node: 'down' }, false],
    ['stopping on a node that was removed', { desired: 'shutdown', node: 'nowhere' }, true],
    ['wanted on a node that was removed', { node: 'nowhere' }, false],
    ['wanted', { state: 'pending' }, false],
    ['history', { desired: 'shutdown', state: 'failed' }, false],
  ])('%s', (_, task, expected) => expect(reaped([task])).toEqual(expected ? ['t1'] : []));

  const past: TaskWords = { desired: 'shutdown', state: 'failed' };
  const final: TaskWords = { desired: 'shutdown', state: 'complete', set: { Final: true } };
  it.each<[string, TaskWords[], number | undefined, string[]]>([
    ['five of a slot by default', [past, past, past, past, past, past, past, {}], undefined, ['t1', 't2']],
    ['as many as the cluster says', [past, past, past, {}], 1, ['t1', 't2']],
    ['none', [past, past, {}], 0, ['t1', 't2']],
    ['all for a negative number', [past, past, past, past, past, past, past], -1, []],
    ['the one that keeps its slot from another copy', [past, past, final], 0, ['t1', 't2']],
    ['and counts it', [past, past, final], 2, ['t1']],
  ])('keeps %s', (_, tasks, limit, expected) => {
    expect(reaped(tasks, limit === undefined ? aCluster() : limited(limit))).toEqual(expected);
  });
});

describe('a service that was removed', () => {
  it('takes its tasks along, once they have stopped', () => {
    const service = aService({ id: 's' });
    const running = aTask({ id: 'a', service, node: 'n1' });
    const past = aTask({ id: 'b', service, node: 'n1', state: 'failed', desired: 'shutdown' });
    const store = aStore({ nodes, tasks: [running, past] });
    settleState(store, [serviceRemoval(), taskReaper()]);
    expect(store.view().list('tasks')).toMatchObject([{ ID: 'a', DesiredState: 'remove' }]);
  });

  it('goes in several decisions when there is much of it', () => {
    const service = aService({ id: 's' });
    const tasks = Array.from({ length: 1_200 }, (_, i) => aTask({ service, slot: i + 1 }));
    const { changes, wakeAt } = decide(serviceRemoval(), aStore({ tasks }), 's', 7);
    expect([changes.length, wakeAt]).toEqual([1_000, 7]);
  });

  it('leaves others alone', () => {
    const service = aService({ id: 's' });
    const store = aStore({ services: [service], tasks: [aTask({ service })] });
    expect(serviceRemoval().all(store.view())).toEqual([]);
    expect(decide(serviceRemoval(), store, 's').changes).toEqual([]);
  });
});

describe('tasks that nobody reports on', () => {
  const since = 1_000;
  const service = aService({ id: 's' });
  const lost = aNode({ id: 'n', state: 'down', set: { DownSince: since } });
  const state = (at: number, nodesThere = [lost]) => {
    const tasks = [
      aTask({ id: 'a', service, node: 'n' }),
      aTask({ id: 'b', service, node: 'n', state: 'failed', desired: 'shutdown' }),
    ];
    const store = aStore({ nodes: nodesThere, services: [service], tasks });
    const wakeAt = settleState(store, [orphanSupervisor()], at);
    return {
      states: store
        .view()
        .list('tasks')
        .map((task) => task.Status.State),
      wakeAt,
    };
  };

  it.each([
    [
      'a node that is down for less than a day',
      since + orphanedAfterMs - 1,
      [lost],
      ['running', 'failed'],
      since + orphanedAfterMs,
    ],
    ['a node that is down for a day', since + orphanedAfterMs, [lost], ['orphaned', 'failed'], undefined],
    ['a node that was removed', 0, [], ['orphaned', 'failed'], undefined],
    ['a node that is there', 0, [aNode({ id: 'n' })], ['running', 'failed'], undefined],
  ])('%s', (_, at, there, states, wakeAt) => expect(state(at, there)).toEqual({ states, wakeAt }));
});
