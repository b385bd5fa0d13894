import { ClusterError, ManualClock, settle, silentLogger } from '@swarmctl/shared/kit';
import {
  maxBatchBytes,
  maxBatchChanges,
  type StoreChange,
  type TaskState,
  type TaskStatus,
} from '@swarmctl/shared/model';
import { afterEach, describe, expect, test } from 'vitest';
import { aService, aStore, aTask, tasksOf } from '../../../../test/kit/builders.ts';
import { mayReport, Writer } from './writer.ts';

const statusOf = (State: TaskState, more: Partial<TaskStatus> = {}): TaskStatus => ({ Timestamp: 'T', State, ...more });

describe('what a node may report', () => {
  test.each<[TaskState, TaskState, boolean]>([
    ['assigned', 'accepted', true],
    ['assigned', 'running', true],
    ['running', 'starting', false],
    ['running', 'failed', true],
    ['failed', 'rejected', false],
    ['complete', 'shutdown', false],
    ['orphaned', 'failed', false],
    ['pending', 'accepted', false],
    ['new', 'running', false],
  ])('%s -> %s: %s', (from, to, may) => {
    expect(mayReport(aTask({ node: 'n1', state: from }), 'n1', statusOf(to))).toBe(may);
  });

  test.each<[string, Partial<TaskStatus>, boolean]>([
    ['the same', {}, false],
    ['the same at another time', { Timestamp: 'later' }, false],
    ['more of it', { Endpoints: [] }, true],
    ['another message', { Err: 'hm' }, true],
  ])('in the same state: %s', (_, more, may) => {
    expect(mayReport(aTask({ node: 'n1' }), 'n1', statusOf('running', more))).toBe(may);
  });

  test('of its own tasks only', () => {
    expect(mayReport(aTask({ node: 'n1', state: 'assigned' }), 'n2', statusOf('running'))).toBe(false);
  });
});

let stop = new AbortController();
afterEach(() => {
  stop.abort();
  stop = new AbortController();
});

function writerOver(tasks: number, propose: (changes: readonly StoreChange[]) => Promise<{ index: number }>) {
  const service = aService({ id: 's' });
  const store = aStore({ services: [service], tasks: tasksOf(service, tasks, { node: 'n1', state: 'assigned' }) });
  const clock = new ManualClock();
  const proposer = { propose };
  const writer = new Writer({ store, proposer, clock, log: silentLogger, nodeChange: () => undefined });
  void writer.run(stop.signal);
  const updates = (more: Partial<TaskStatus> = {}) =>
    store
      .view()
      .list('tasks')
      .map(({ ID }) => ({ taskId: ID, status: statusOf('running', more) }));
  const pass = async (ms: number) => {
    await settle();
    await clock.advance(ms);
  };
  return { writer, pass, updates };
}

test('batches keep to their limits', async () => {
  const sizes: number[] = [];
  const { writer, pass, updates } = writerOver(2_500, async (changes) => {
    sizes.push(changes.length);
    return { index: 2 };
  });
  let done = 0;
  writer.addStatuses('n1', updates(), () => done++);
  await pass(10);
  expect(sizes).toEqual([maxBatchChanges, 500]);
  expect(done).toBe(1);
  writer.addStatuses('n1', updates({ Err: 'x'.repeat(2_000) }));
  await pass(10);
  expect(sizes.length).toBeGreaterThan(4);
  expect(Math.max(...sizes.slice(2)) * 2_000).toBeLessThan(maxBatchBytes);
});

test.each(['no-leader', 'unavailable'] as const)(
  '%s: tried again until it is in, and acknowledged then',
  async (code) => {
    let attempts = 0;
    const { writer, pass, updates } = writerOver(1, async () => {
      if (++attempts < 3) throw new ClusterError(code, 'not now');
      return { index: 2 };
    });
    let done = 0;
    writer.addStatuses('n1', updates(), () => done++);
    await pass(150);
    expect([attempts, done]).toEqual([2, 0]);
    await pass(150);
    expect([attempts, done]).toEqual([3, 1]);
  },
);

test('a report that is refused for good takes no other with it', async () => {
  const taken: string[] = [];
  const { writer, pass, updates } = writerOver(3, async (changes) => {
    const ids = changes.map((change) => ('id' in change ? change.id : ''));
    if (ids.includes('s.00002')) throw new ClusterError('invalid-argument', 'no');
    taken.push(...ids);
    return { index: 2 };
  });
  writer.addStatuses('n1', updates());
  await pass(10);
  expect(taken).toEqual(['s.00001', 's.00003']);
});

test('what another node says of a task does not displace what its own says', async () => {
  const proposed: StoreChange[] = [];
  const { writer, pass, updates } = writerOver(1, async (changes) => {
    proposed.push(...changes);
    return { index: 2 };
  });
  writer.addStatuses('n1', updates());
  writer.addStatuses('n2', updates({ Err: 'lies' }));
  await pass(10);
  expect(proposed).toHaveLength(1);
  expect(proposed[0]).toMatchObject({ set: { Status: { State: 'running' } } });
  expect(proposed[0]).not.toMatchObject({ set: { Status: { Err: 'lies' } } });
});
