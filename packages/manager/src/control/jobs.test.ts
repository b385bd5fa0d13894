import type { Node, Task } from '@swarmctl/shared/model';
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
import { apply, decide, describeTasks, report, settleState } from '../../../../test/sim/control/decide.ts';
import type { Store } from '../store/store.ts';
import { globalOrchestrator } from './global.ts';
import { jobOrchestrator } from './jobs.ts';
import { taskReaper } from './reaper.ts';
import { replicatedOrchestrator } from './replicated.ts';
import { restartSupervisor } from './supervisor.ts';
import { updater } from './updater.ts';

const controller = jobOrchestrator();
/** All that might take a job's tasks for a service's. */
const all = [replicatedOrchestrator(), globalOrchestrator(), controller, updater(), restartSupervisor(), taskReaper()];
const second = 1_000;

function world(words: ServiceWords, tasks: readonly TaskWords[] = [], nodes: readonly Node[] = [aNode({ id: 'n' })]) {
  const service = aService({ id: 's', ...words });
  return aStore({ nodes, services: [service], tasks: tasks.map((task) => aTask({ service, ...task })) });
}

const tasksIn = (store: Store): readonly Task[] => store.view().tasksOfService('s');
const seen = (store: Store) => describeTasks(tasksIn(store));
const job = (completions: number, concurrent = completions) => ({ job: { completions, concurrent } });
/** Ends a task that lives. */
function end(store: Store, state: 'complete' | 'failed', slot?: number, now = builtAt): void {
  const task = tasksIn(store).find(
    (one) => one.Slot === slot && one.DesiredState === 'complete' && one.Status.State === 'new',
  );
  if (!task) throw new Error(`nothing lives in slot ${slot}`);
  apply(store, [{ op: 'update', table: 'tasks', id: task.ID, set: { NodeID: 'n' } }]);
  report(store, task.ID, { State: state }, now);
}

describe('a replicated job', () => {
  it('has a task for each completion, numbered from 0, and no more than may be at work at once', () => {
    const store = world(job(3, 2));
    settleState(store, all);
    expect(seen(store)).toEqual(['0 - web:1 new/complete', '1 - web:1 new/complete']);
    end(store, 'complete', 0);
    settleState(store, all);
    expect(seen(store)).toEqual(['0 n web:1 complete/complete', '1 - web:1 new/complete', '2 - web:1 new/complete']);
    end(store, 'complete', 1);
    end(store, 'complete', 2);
    expect(settleState(store, all)).toBeUndefined();
    expect(tasksIn(store)).toHaveLength(3);
  });

  it('keeps every completion, whatever the limit of history', () => {
    const store = world(
      job(8),
      Array.from({ length: 8 }, (_, slot) => ({ slot, node: 'n', state: 'complete' as const })),
    );
    settleState(store, all);
    expect(tasksIn(store)).toHaveLength(8);
  });

  it('is split over decisions when it is large, and told to go on', () => {
    const store = world(job(1_000));
    expect(decide(controller, store, 's').wakeAt).toBe(builtAt);
    for (let round = 0; round < 10; round++) settleState(store, all);
    expect(tasksIn(store)).toHaveLength(1_000);
  });

  it('may want more than can be made, and then makes what can be on its way', () => {
    const begun = Array.from({ length: 4_999 }, (_, slot) => ({ slot, state: 'new' as const }));
    const store = world(job(2 ** 53 - 1), begun);
    const { changes, wakeAt } = decide(controller, store, 's');
    expect(changes).toMatchObject([{ op: 'create', object: { Slot: 4_999 } }]);
    expect(wakeAt).toBe(builtAt + second);
    apply(store, changes);
    expect(decide(controller, store, 's')).toEqual({ changes: [], wakeAt: builtAt + second });
    report(store, store.view().tasksOfSlot('s', 7)[0]?.ID ?? '', { State: 'running' });
    expect(decide(controller, store, 's').changes).toMatchObject([{ object: { Slot: 5_000 } }]);
  });

  it('goes on with the slots that have tasks, wherever they are', () => {
    const store = world({ ...job(1_000, 2), restart: { Delay: 0 } }, [{ slot: 900, node: 'n', state: 'failed' }]);
    settleState(store, all);
    expect(seen(store)).toContain('900 - web:1 new/complete');
    expect(tasksIn(store).filter(({ DesiredState }) => DesiredState === 'complete')).toHaveLength(2);
  });

  it('tries a failed task again after the delay, in its slot', () => {
    const store = world({ ...job(1), restart: { Delay: 3e9 } }, [{ slot: 0, node: 'n', state: 'failed' }]);
    expect(settleState(store, all)).toBe(builtAt + 3 * second);
    expect(seen(store)).toEqual(['0 - web:1 new/ready', '0 n web:1 failed/shutdown']);
    settleState(store, all, builtAt + 3 * second);
    expect(seen(store)).toEqual(['0 - web:1 new/complete', '0 n web:1 failed/shutdown']);
  });

  it.each([
    ['none', { Condition: 'none' }, 0],
    ['on-failure', { Condition: 'on-failure', Delay: 0 }, 1],
    ['any', { Condition: 'any', Delay: 0 }, 1],
  ] as const)('with the condition %s', (_, restart, again) => {
    const store = world({ ...job(2), restart }, [
      { slot: 0, node: 'n', state: 'failed' },
      { slot: 1, node: 'n', state: 'complete' },
    ]);
    settleState(store, all);
    expect(tasksIn(store).filter((task) => task.Status.State === 'new')).toHaveLength(again);
  });

  it('follows one that failed while it only got ready when it would have started, not before', () => {
    const waits = {
      slot: 0,
      node: 'n',
      id: 'waits',
      desired: 'ready',
      set: { StartAt: builtAt + 3 * second },
    } as const;
    const store = world({ ...job(1), restart: { Delay: 2e9 } }, [{ ...waits, state: 'failed' }]);
    expect(settleState(store, all)).toBe(builtAt + 3 * second);
    expect(tasksIn(store)).toHaveLength(1);
    expect(settleState(store, all, builtAt + 3 * second)).toBe(builtAt + 5 * second);
    expect(seen(store)).toEqual(['0 - web:1 new/ready', '0 n web:1 failed/shutdown']);
  });

  it('gives a slot up after as many attempts as it has, and goes on with the others', () => {
    const store = world({ ...job(2, 1), restart: { Delay: 0, MaxAttempts: 1 } });
    settleState(store, all);
    end(store, 'failed', 0);
    settleState(store, all);
    end(store, 'failed', 0);
    settleState(store, all);
    expect(seen(store)).toEqual(['0 n web:1 failed/shutdown', '0 n web:1 failed/shutdown', '1 - web:1 new/complete']);
  });

  it('moves away from a node that is down, and from a drained one when the task there has stopped', () => {
    const nodes = [aNode({ id: 'down', state: 'down' }), aNode({ id: 'drained', availability: 'drain' })];
    const store = world(
      job(2),
      [
        { slot: 0, node: 'down' },
        { slot: 1, node: 'drained', id: 'leaving' },
      ],
      nodes,
    );
    settleState(store, all);
    expect(seen(store)).toEqual([
      '0 - web:1 new/complete',
      '0 down web:1 running/shutdown',
      '1 - web:1 new/ready',
      '1 drained web:1 running/shutdown',
    ]);
    report(store, 'leaving', { State: 'shutdown' });
    settleState(store, all);
    expect(seen(store)).toContain('1 - web:1 new/complete');
  });

  it('started anew, replaces the tasks of the time before when they have stopped', () => {
    const before = aService({ id: 's', ...job(2) });
    const store = world({ ...job(2), iteration: 1 }, [
      { service: before, slot: 0, node: 'n', state: 'complete' },
      { service: before, slot: 1, node: 'n', id: 'old' },
    ]);
    settleState(store, all);
    expect(seen(store)).toEqual(['0 - web:1 new/complete', '1 - web:1 new/ready', '1 n web:1 running/remove']);
    report(store, 'old', { State: 'shutdown' });
    settleState(store, all);
    expect(seen(store)).toEqual(['0 - web:1 new/complete', '1 - web:1 new/complete']);
    expect(tasksIn(store).map((task) => task.JobIteration)).toEqual([{ Index: 1 }, { Index: 1 }]);
  });
});

describe('a global job', () => {
  it('has a task on each node that was there when it was started and suits it', () => {
    const nodes = [aNode({ id: 'a' }), aNode({ id: 'b' }), aNode({ id: 'drained', availability: 'drain' })];
    const store = world({ job: 'global' }, [], nodes);
    apply(store, [{ op: 'create', table: 'nodes', object: aNode({ id: 'late' }) }], builtAt + second);
    settleState(store, all);
    expect(seen(store)).toEqual(['global a web:1 new/complete', 'global b web:1 new/complete']);
  });

  it('does not run again where it completed, also after the node was away', () => {
    const store = world({ job: 'global' }, [{ node: 'n', state: 'complete' }]);
    settleState(store, all);
    expect(seen(store)).toEqual(['global n web:1 complete/complete']);
  });

  it('waits for a node that is down, and is tried again there', () => {
    const down = aNode({ id: 'n', state: 'down' });
    const store = world({ job: 'global', restart: { Delay: 0 } }, [{ node: 'n', state: 'failed' }], [down]);
    settleState(store, all);
    expect(seen(store)).toEqual(['global n web:1 failed/complete']);
    apply(store, [{ op: 'update', table: 'nodes', id: 'n', set: { Status: { State: 'ready', Addr: '127.0.0.1' } } }]);
    settleState(store, all);
    expect(seen(store)).toEqual(['global n web:1 failed/shutdown', 'global n web:1 new/complete']);
  });

  it('leaves a drained node', () => {
    const store = world({ job: 'global' }, [{ node: 'n' }], [aNode({ id: 'n', availability: 'drain' })]);
    settleState(store, all);
    expect(seen(store)).toEqual(['global n web:1 running/shutdown']);
  });
});
