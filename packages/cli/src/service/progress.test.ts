import type { Node, Service, Task, TaskState } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { judge, type Seen } from './progress.ts';

const at = (ms: number) => new Date(ms).toISOString();
let made = 0;
const task = (slot: number, state: TaskState, more: Partial<Task> & { err?: string } = {}): Task =>
  ({
    ID: `t${++made}`,
    Slot: slot,
    NodeID: 'n1',
    CreatedAt: at(2000 + made),
    DesiredState: 'running',
    ...more,
    Status: { State: state, Timestamp: at(0), ...(more.err && { Err: more.err }) },
  }) as Task;

function seen(tasks: Task[], service: object = {}, more: Partial<Seen> = {}): Seen {
  return {
    service: {
      ID: 's',
      Spec: { Name: 'web', Labels: {}, TaskTemplate: {}, Mode: { Replicated: { Replicas: 2 } } },
      ...service,
    } as Service,
    tasks,
    current: new Set(tasks.map((one) => one.ID)),
    nodes: [{ ID: 'n1', Status: { State: 'ready' }, Description: { Hostname: 'one' } } as Node],
    nowMs: 3000,
    ...more,
  };
}
const verdict = (given: Seen) => judge(given, { startedMs: 2000, rollback: false }).verdict;

describe('judge', () => {
  test('goes on while a slot has no running task', () => {
    const progress = judge(seen([task(1, 'running'), task(2, 'preparing')]), { startedMs: 2000, rollback: false });
    expect(progress).toMatchObject({ done: 1, wanted: 2, verdict: { kind: 'going' } });
    expect(progress.lines.map((line) => line.state)).toEqual(['running', 'preparing']);
  });

  test('runs when every slot does', () => {
    expect(verdict(seen([task(1, 'running'), task(2, 'running')]))).toEqual({ kind: 'running' });
  });

  test('fails when a slot has used up its restarts', () => {
    const policy = { Spec: { TaskTemplate: { RestartPolicy: { Condition: 'any', MaxAttempts: 1 } } } };
    const failed = (slot: number) => task(slot, 'failed', { DesiredState: 'shutdown', err: 'exit 1' });
    expect(verdict(seen([failed(1), failed(2)], policy))).toEqual({ kind: 'going' });
    expect(verdict(seen([failed(1), failed(1)], policy))).toEqual({
      kind: 'failed',
      reason: '2 tasks failed: exit 1',
    });
  });

  test('a task on a node that is down does not count', () => {
    const nodes = [{ ID: 'n1', Status: { State: 'down' } } as Node];
    expect(verdict(seen([task(1, 'running'), task(2, 'running')], {}, { nodes }))).toEqual({ kind: 'going' });
  });

  test('surplus tasks of a scale-down are waited for', () => {
    const old = task(3, 'running', { DesiredState: 'running' });
    const current = [task(1, 'running'), task(2, 'running')];
    expect(verdict(seen([...current, old], {}, { current: new Set(current.map((one) => one.ID)) }))).toEqual({
      kind: 'going',
    });
  });

  test('whichever slots a scale-down has left are what is wanted', () => {
    const gone = [2, 4].map((slot) => task(slot, 'shutdown', { DesiredState: 'remove' }));
    const left = [task(1, 'running'), task(3, 'running')];
    const progress = judge(seen([...left, ...gone]), { startedMs: 2000, rollback: false });
    expect(progress).toMatchObject({ done: 2, wanted: 2, verdict: { kind: 'running' } });
    expect(progress.lines.map((line) => line.label)).toEqual(['1', '3']);
    // Before any has been told to go.
    expect(verdict(seen([...left, task(2, 'running'), task(4, 'running')]))).toEqual({ kind: 'going' });
    // One of them is being replaced.
    expect(verdict(seen([task(1, 'running'), task(3, 'failed', { DesiredState: 'shutdown' })]))).toEqual({
      kind: 'going',
    });
  });

  test('an update is over when the updater says so', () => {
    const tasks = [task(1, 'running'), task(2, 'running')];
    expect(verdict(seen(tasks, { UpdateStatus: { State: 'updating' } }))).toEqual({ kind: 'going' });
    expect(verdict(seen(tasks, { UpdateStatus: { State: 'completed' } }))).toEqual({ kind: 'converged' });
  });

  test.each([
    ['paused', 'service update paused: because'],
    ['rollback_paused', 'service rollback paused: because'],
    ['rollback_completed', 'service rolled back: because'],
  ])('%s fails with the message', (State, reason) => {
    expect(verdict(seen([], { UpdateStatus: { State, Message: 'because' } }))).toEqual({ kind: 'failed', reason });
  });

  test('a rollback that was asked for converges', () => {
    const given = seen([task(1, 'running'), task(2, 'running')], { UpdateStatus: { State: 'rollback_completed' } });
    expect(judge(given, { startedMs: 2000, rollback: true }).verdict).toEqual({ kind: 'converged' });
  });

  test('tasks that fail again and again end the wait with the last reason', () => {
    const broken = [1, 2, 3].map(() => task(1, 'failed', { DesiredState: 'shutdown', err: 'task: non-zero exit (3)' }));
    expect(verdict(seen(broken.slice(1)))).toEqual({ kind: 'going' });
    expect(verdict(seen(broken))).toEqual({ kind: 'failed', reason: '3 tasks failed: task: non-zero exit (3)' });
  });

  test('a task that fits nowhere ends the wait after ten seconds', () => {
    const tasks = [task(1, 'pending', { err: 'no suitable node (x)' })];
    expect(verdict(seen(tasks))).toEqual({ kind: 'going' });
    expect(verdict(seen(tasks, {}, { nowMs: 12_000 }))).toEqual({ kind: 'failed', reason: 'no suitable node (x)' });
  });
});

describe('a job', () => {
  // As the API shows it: without slot 0 and index 0.
  const mode = { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 2 } };
  const spec = { Name: 'job', Labels: {}, TaskTemplate: {}, Mode: mode };
  const JobStatus = { JobIteration: {}, LastExecution: at(0) };
  const run = (slot: number | undefined, state: TaskState, iteration = {}) =>
    task(slot as number, state, { DesiredState: 'complete', JobIteration: iteration as Task['JobIteration'] & object });

  test('is through when it has all its completions', () => {
    const half = seen([run(undefined, 'complete'), run(1, 'running')], { Spec: spec, JobStatus });
    expect(judge(half, { startedMs: 0, rollback: false })).toMatchObject({
      ...{ done: 1, wanted: 2, verdict: { kind: 'going' } },
      lines: [
        { label: '1', state: 'complete' },
        { label: '2', state: 'running' },
      ],
    });
    const both = seen([run(undefined, 'complete'), run(1, 'complete')], { Spec: spec, JobStatus });
    expect(verdict(both)).toEqual({ kind: 'converged' });
  });

  test('completions of the time before do not count', () => {
    const again = { Spec: spec, JobStatus: { ...JobStatus, JobIteration: { Index: 1 } } };
    const tasks = [run(undefined, 'complete'), run(1, 'complete'), run(undefined, 'new', { Index: 1 })];
    expect(judge(seen(tasks, again), { startedMs: 0, rollback: false })).toMatchObject({
      ...{ done: 0, wanted: 2, verdict: { kind: 'going' } },
    });
  });

  test('of all nodes waits for each that has a task', () => {
    const all = { Spec: { ...spec, Mode: { GlobalJob: {} } }, JobStatus };
    expect(verdict(seen([], all))).toEqual({ kind: 'going' });
    const on = (NodeID: string, state: TaskState) => ({ ...run(undefined, state), NodeID });
    expect(verdict(seen([on('n1', 'complete'), on('n2', 'running')], all))).toEqual({ kind: 'going' });
    expect(verdict(seen([on('n1', 'complete'), on('n2', 'complete')], all))).toEqual({ kind: 'converged' });
  });
});
