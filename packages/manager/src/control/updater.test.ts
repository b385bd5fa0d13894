import { type Service, type Task, toTimestamp } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import {
  aNode,
  aService,
  aStore,
  aTask,
  aTaskSpec,
  builtAt,
  type ServiceWords,
  type TaskWords,
} from '../../../../test/kit/index.ts';
import { apply, decide, describeTasks, report } from '../../../../test/sim/control/decide.ts';
import type { Store } from '../store/store.ts';
import { updater } from './updater.ts';

const controller = updater();
const second = 1_000_000_000;
const old = { SpecVersion: 'v0', Spec: aTaskSpec({ image: 'web:0' }) };
const startedAt = toTimestamp(builtAt);

/** Three slots; `tasks` says what is in them, by default copies of the old spec. */
function cluster(words: ServiceWords, tasks?: readonly TaskWords[]): Store {
  const service = aService({ id: 's', replicas: 3, ...words });
  const copies = (tasks ?? [{ slot: 1 }, { slot: 2 }, { slot: 3 }].map((task) => ({ ...task, set: old }))).map(
    (task, i) => aTask({ id: `t${i + 1}`, service, node: `n${(i % 3) + 1}`, ...task }),
  );
  return aStore({ nodes: ['n1', 'n2', 'n3'].map((id) => aNode({ id })), services: [service], tasks: copies });
}

let made = 0;

/** Decides and applies until there is nothing to do now; returns when to look again. */
function go(store: Store, now = builtAt): number | undefined {
  for (let round = 0; round < 10; round++) {
    const env = { now, newId: () => `made${++made}`, random: () => 0 };
    const { changes, wakeAt } = controller.decide(store.view(), 's', env);
    if (changes.length === 0) return wakeAt;
    apply(store, changes, now);
  }
  throw new Error('the updater does not come to rest');
}

/** The one new task of the slot. */
const newIn = (store: Store, slot: number): string =>
  store
    .view()
    .tasksOfSlot('s', slot)
    .find((task) => task.ID.startsWith('made'))?.ID ?? '';

const service = (store: Store): Service => store.view().get('services', 's') as Service;
const tasks = (store: Store) => describeTasks(store.view().tasksOfService('s'));
const running = (name: string, more: Partial<Task> = {}): Partial<Task> => ({ UpdateID: name, ...more });

/** A run that is going on since `builtAt`. */
const run = (
  Failed: NonNullable<Service['Update']>['Failed'] = {},
  State: 'updating' | 'rollback_started' = 'updating',
) => ({
  Update: { ID: 'run', SpecVersion: 's-v1', StartedAt: startedAt, Total: 3, Failed },
  UpdateStatus: { State, StartedAt: startedAt, Message: 'update in progress' },
});

describe('beginning', () => {
  it('says so, and replaces the first copy: the old one stops, the new one gets ready', () => {
    const store = cluster({});
    go(store);
    expect(service(store).UpdateStatus).toEqual({
      State: 'updating',
      StartedAt: startedAt,
      Message: 'update in progress',
    });
    expect(service(store).Update).toMatchObject({ SpecVersion: 's-v1', Total: 3, Failed: {} });
    expect(tasks(store)).toEqual([
      '1 - web:1 new/ready',
      '1 n1 web:0 running/shutdown',
      '2 n2 web:0 running/running',
      '3 n3 web:0 running/running',
    ]);
  });

  it.each<[string, ServiceWords, number]>([
    ['one at a time when nothing is said', {}, 1],
    ['two', { update: { Parallelism: 2 } }, 2],
    ['all for 0', { update: { Parallelism: 0 } }, 3],
    ['all for a config that leaves it out', { update: { Delay: 0 } }, 3],
  ])('replaces %s', (_, words, count) => {
    const store = cluster(words);
    go(store);
    expect(tasks(store).filter((line) => line.includes('web:1'))).toHaveLength(count);
  });

  it('starts the new one first when asked to', () => {
    const store = cluster({ update: { Parallelism: 1, Order: 'start-first' } });
    go(store);
    expect(tasks(store).slice(0, 2)).toEqual(['1 - web:1 new/running', '1 n1 web:0 running/running']);
    expect(store.view().get('tasks', 't1')?.ReplacedBy).toBe(newIn(store, 1));
  });

  it('takes what serves nobody first, and has nothing to keep for it', () => {
    const store = cluster({ update: { Parallelism: 1, Order: 'start-first' } }, [
      { slot: 1, set: old },
      { slot: 2, set: old, state: 'preparing' },
    ]);
    go(store);
    expect(tasks(store)).toEqual([
      '1 n1 web:0 running/running',
      '2 - web:1 new/ready',
      '2 n2 web:0 preparing/shutdown',
    ]);
  });

  it('replaces a copy that had ended for good', () => {
    const spent: TaskWords = { slot: 1, state: 'complete', desired: 'shutdown', set: { ...old, Final: true } };
    const store = cluster({}, [spent]);
    go(store);
    expect(tasks(store)).toEqual(['1 - web:1 new/running', '1 n1 web:0 complete/shutdown']);
  });

  it.each<[string, ServiceWords, TaskWords[] | undefined]>([
    ['nothing is out of date', {}, [{ slot: 1 }]],
    ['only the number of copies changed', { image: 'web:0' }, undefined],
    ['the update is paused', { set: { UpdateStatus: { State: 'paused' } } }, undefined],
    ['the rollback is paused', { set: { UpdateStatus: { State: 'rollback_paused' } } }, undefined],
  ])('does nothing when %s', (_, words, made) => {
    expect(decide(controller, cluster(words, made), 's').changes).toEqual([]);
  });

  it('ends a rollback at once that has nothing to do', () => {
    const store = cluster({ set: { UpdateStatus: { State: 'rollback_started', StartedAt: startedAt } } }, [
      { slot: 1 },
    ]);
    go(store);
    expect(service(store).UpdateStatus).toMatchObject({ State: 'rollback_completed', Message: 'rollback completed' });
  });

  it('never writes over a newer spec', () => {
    const store = cluster({});
    const { changes } = decide(controller, store, 's');
    apply(store, [{ op: 'update', table: 'services', id: 's', set: { SpecVersion: 'v9' } }]);
    expect(() => apply(store, changes)).toThrow('update out of sequence');
  });
});

describe('going on', () => {
  const mine = (slot: number, more: TaskWords = {}, set: Partial<Task> = {}): TaskWords => ({
    slot,
    ...more,
    set: running('run', set),
  });
  const update = { Parallelism: 1, Monitor: 5 * second };

  it('waits for the new copy to be up, then for the delay', () => {
    const store = cluster({ update: { ...update, Delay: 2 * second }, set: run() }, [
      mine(1, { state: 'starting' }),
      { slot: 2, set: old },
    ]);
    go(store);
    expect(tasks(store)).toHaveLength(2);
    report(store, 't1', { State: 'running' });
    expect(go(store, builtAt + 1_000)).toBe(builtAt + 3_000);
    expect(store.view().get('tasks', 't1')?.UpSince).toBe(builtAt + 1_000);
    expect(tasks(store)).toHaveLength(2);
    go(store, builtAt + 3_000);
    expect(tasks(store)).toContain('2 n2 web:0 running/shutdown');
  });

  it('counts a copy on a published port as up when it answers there', () => {
    const ports = [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress' } as const];
    const store = cluster({ ports, update, set: run() }, [mine(1), { slot: 2, set: old }]);
    go(store);
    expect(store.view().get('tasks', 't1')?.UpSince).toBeUndefined();
    report(store, 't1', { Endpoints: [] });
    go(store);
    expect(store.view().get('tasks', 't1')?.UpSince).toBe(builtAt);
  });

  it('ends when every copy was monitored', () => {
    const store = cluster({ update, set: run() }, [mine(1, {}, { UpSince: builtAt }), mine(2)]);
    expect(go(store, builtAt + 1_000)).toBe(builtAt + 5_000);
    expect(go(store, builtAt + 5_000)).toBe(builtAt + 6_000);
    expect(service(store).UpdateStatus?.State).toBe('updating');
    go(store, builtAt + 6_000);
    expect(service(store).UpdateStatus).toEqual({
      State: 'completed',
      StartedAt: startedAt,
      CompletedAt: toTimestamp(builtAt + 6_000),
      Message: 'update completed',
    });
  });

  it('does not monitor copies that were there before', () => {
    const store = cluster({ update, set: run() }, [{ slot: 1 }, { slot: 2 }]);
    go(store);
    expect(service(store).UpdateStatus?.State).toBe('completed');
  });

  it('begins anew when another spec overtakes it', () => {
    const { Update, UpdateStatus: _ } = run({ 1: { TaskID: 't1', At: builtAt } });
    const store = cluster({ specVersion: 'v2', set: { Update } }, [{ slot: 1, set: old }]);
    go(store, builtAt + 50);
    expect(service(store).Update).toMatchObject({ SpecVersion: 'v2', Failed: {} });
    expect(tasks(store)).toContain('1 n1 web:0 running/shutdown');
  });

  it('mends what a finished update had to leave, without reporting it', () => {
    const done = { ...run(), UpdateStatus: { ...run().UpdateStatus, State: 'completed' as const } };
    const store = cluster({ set: done }, [{ slot: 1 }, { slot: 2, set: old }]);
    go(store);
    expect(service(store).UpdateStatus?.State).toBe('completed');
    expect(tasks(store)).toContain('2 n2 web:0 running/shutdown');
  });
});

describe('a new copy that fails', () => {
  const failedAt = (slot: number, more: Partial<Task> = {}): TaskWords => ({
    slot,
    state: 'failed',
    set: running('run', more),
  });
  const words = (FailureAction: 'pause' | 'continue' | 'rollback', more: object = {}, set = run()): ServiceWords => ({
    update: { Parallelism: 1, Monitor: 5 * second, FailureAction, ...more },
    set,
  });
  const message = (what: string) => `${what} due to failure or early termination of task t1`;

  it.each<[string, ServiceWords, TaskWords, string, string | undefined]>([
    ['never up', words('pause'), failedAt(1), 'paused', message('update paused')],
    ['while monitored', words('pause'), failedAt(1, { UpSince: builtAt - 4_000 }), 'paused', message('update paused')],
    ['after it was monitored', words('pause'), failedAt(1, { UpSince: builtAt - 6_000 }), 'updating', undefined],
    ['ended early', words('pause'), { ...failedAt(1), state: 'complete' }, 'paused', message('update paused')],
    ['within the ratio', words('pause', { MaxFailureRatio: 0.34 }), failedAt(1), 'updating', undefined],
    ['above the ratio', words('pause', { MaxFailureRatio: 0.33 }), failedAt(1), 'paused', message('update paused')],
    ['told to continue', words('continue'), failedAt(1), 'updating', undefined],
    ['nothing to roll back to', words('rollback'), failedAt(1), 'paused', message('update paused')],
    ['a copy that the update did not make', words('pause'), { slot: 1, state: 'failed' }, 'updating', undefined],
  ])('%s', (_, service_, task, state, text) => {
    const store = cluster(service_, [task, { slot: 2, set: old }, { slot: 3, set: old }]);
    go(store);
    expect(service(store).UpdateStatus?.State).toBe(state);
    if (text) expect(service(store).UpdateStatus?.Message).toBe(text);
  });

  it('is remembered when its task is no longer known', () => {
    const store = cluster(words('pause', { MaxFailureRatio: 0.5 }), [failedAt(1), { slot: 2, set: old }]);
    go(store);
    expect(service(store).Update?.Failed).toEqual({ 1: { TaskID: 't1', At: builtAt } });
    apply(store, [{ op: 'remove', table: 'tasks', id: 't1' }]);
    apply(store, [
      {
        op: 'update',
        table: 'tasks',
        id: newIn(store, 2),
        set: { Status: { Timestamp: startedAt, State: 'rejected' } },
      },
    ]);
    go(store);
    expect(service(store).UpdateStatus?.State).toBe('paused');
  });

  it('brings the previous spec back', () => {
    const previous = aService({ id: 's', replicas: 3, image: 'web:0' }).Spec;
    const store = cluster(
      words('rollback', {}, { ...run(), PreviousSpec: previous, PreviousSpecVersion: 'v0' } as never),
      [failedAt(1), { slot: 2, set: old }, { slot: 3, set: old }],
    );
    go(store);
    expect(service(store)).toMatchObject({ SpecVersion: 'v0', PreviousSpecVersion: 's-v1' });
    expect(service(store).Spec).toEqual(previous);
    expect(service(store).UpdateStatus).toMatchObject({
      State: 'rollback_started',
      Message: message('update rolled back'),
    });
    expect(tasks(store)).toEqual([
      '1 - web:0 new/running',
      '1 n1 web:1 failed/shutdown',
      '2 n2 web:0 running/running',
      '3 n3 web:0 running/running',
    ]);
  });

  it('pauses a rollback', () => {
    const rollback = { rollback: { FailureAction: 'rollback' as const }, set: run({}, 'rollback_started') };
    const store = cluster(rollback, [failedAt(1)]);
    go(store);
    expect(service(store).UpdateStatus).toMatchObject({
      State: 'rollback_paused',
      Message: message('rollback paused'),
    });
  });

  it('holds back the next one for the delay', () => {
    const store = cluster(words('continue', { Delay: second }), [failedAt(1), { slot: 2, set: old }]);
    expect(go(store)).toBe(builtAt + 1_000);
    expect(tasks(store)).toHaveLength(2);
  });

  it.each<[string, TaskWords, number | undefined]>([
    ['pending', { state: 'pending' }, builtAt + 600_000],
    ['preparing', { state: 'preparing' }, builtAt + 600_000],
    ['running without answering', { state: 'running' }, builtAt + 600_000],
    ['waiting for the one before it', { state: 'ready', desired: 'ready' }, undefined],
  ])('counts as such after ten minutes of %s', (_, words_, wakeAt) => {
    const ports = [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress' } as const];
    const store = cluster({ ...words('pause'), ports }, [{ slot: 1, ...words_, set: running('run') }]);
    expect(go(store)).toBe(wakeAt);
    go(store, builtAt + 600_000);
    expect(service(store).UpdateStatus?.State).toBe(wakeAt === undefined ? 'updating' : 'paused');
  });
});

describe('a global service', () => {
  const global = (nodes: ReturnType<typeof aNode>[], words: ServiceWords = {}) => {
    const made = aService({ id: 's', global: true, update: { Parallelism: 0 }, ...words });
    const copies = nodes.map((node) => aTask({ id: `t-${node.ID}`, service: made, node, set: old }));
    return aStore({ nodes, services: [made], tasks: copies });
  };

  it('leaves nodes for later that cannot take a new copy now', () => {
    const store = global([
      aNode({ id: 'a' }),
      aNode({ id: 'b', state: 'down' }),
      aNode({ id: 'c', availability: 'pause' }),
    ]);
    go(store);
    expect(tasks(store)).toEqual([
      'global a web:0 running/shutdown',
      'global a web:1 new/ready',
      'global b web:0 running/running',
      'global c web:0 running/running',
    ]);
    expect(service(store).Update?.Total).toBe(1);
  });

  it('stops first where the new copy needs the same host port', () => {
    const ports = [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80, PublishMode: 'host' } as const];
    const store = global([aNode({ id: 'a' })], { ports, update: { Order: 'start-first' } });
    go(store);
    expect(tasks(store)).toEqual(['global a web:0 running/shutdown', 'global a web:1 new/ready']);
  });
});
