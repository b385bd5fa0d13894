import { ManualClock, silentLogger } from '@swarmctl/shared/kit';
import type { StoreChange, Task } from '@swarmctl/shared/model';
import type { ManagerMessage } from '@swarmctl/shared/wire';
import { beforeEach, expect, test } from 'vitest';
import { aNode, aService, aStore, aTask, builtAt } from '../../../../test/kit/index.ts';
import type { Store } from '../store/store.ts';
import { NodeUpdates } from './node-updates.ts';

type Update = Extract<ManagerMessage, { type: 'update' }>;

class FakeSession {
  readonly shown = new Map<string, Task>();
  sentRevision = 0;
  applied = 0;
  behind = true;
  congested = false;
  readonly nodeId: string;
  readonly sent: Update[] = [];

  constructor(nodeId: string) {
    this.nodeId = nodeId;
  }

  send(message: ManagerMessage): void {
    if (message.type === 'update') this.sent.push(message);
  }

  /** What came since the last call: whole or not, the tasks' wishes, and the ingress table's backends. */
  take() {
    return this.sent.splice(0).map(({ full, tasks, removedTasks, ingress }) => ({
      full,
      tasks: Object.fromEntries(tasks.map(({ ID, DesiredState }) => [ID, DesiredState])),
      removedTasks,
      ingress: ingress.map(({ backends }) => backends.map(({ taskId }) => taskId)),
    }));
  }
}

const port = { Protocol: 'tcp' as const, TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' as const };
const web = aService({ id: 'web', ports: [port] });
const endpoint = {
  protocol: 'tcp' as const,
  targetPort: 80,
  nodeAddr: '10.0.0.1',
  nodePort: 1,
  localAddr: '172.17.0.2',
  localPort: 80,
};
const serving = { State: 'running' as const, Timestamp: '', Endpoints: [endpoint] };

let clock: ManualClock;
let store: Store;
let updates: NodeUpdates;
let n1: FakeSession;
let n2: FakeSession;

beforeEach(() => {
  clock = new ManualClock(builtAt);
  store = aStore({
    nodes: [aNode({ id: 'n1' }), aNode({ id: 'n2' })],
    services: [web],
    tasks: [aTask({ id: 't1', service: web, node: 'n1', set: { Status: serving } })],
  });
  [n1, n2] = [new FakeSession('n1'), new FakeSession('n2')];
  const sessions = [n1, n2];
  updates = new NodeUpdates(
    { coalesceMs: 5, holdMs: 5_000, absentHoldMs: 2_000 },
    {
      view: () => store.view(),
      sessions: () => sessions,
      sessionOf: (id) => sessions.find(({ nodeId }) => nodeId === id),
      clock,
      log: silentLogger,
      guard: (act) => act(),
    },
  );
  updates.begin(store.view());
  for (const session of sessions) updates.showAll(session);
});

const write = async (...changes: StoreChange[]) => {
  const outcome = store.apply(store.index + 1, { now: 0, changes });
  if (!outcome.ok) throw new Error(outcome.message);
  for (const event of outcome.events) updates.changed(event, store.view());
  updates.flushSoon();
  await clock.advance(5);
};
const ofTask = (id: string, set: Partial<Task>): StoreChange => ({ op: 'update', table: 'tasks', id, set });
const applied = (...sessions: FakeSession[]) => {
  for (const session of sessions) session.applied = session.sentRevision;
  updates.release(store.view());
};

test('a node is shown its own tasks, and every node the ingress table', () => {
  expect(n1.take()).toEqual([{ full: true, tasks: { t1: 'running' }, removedTasks: [], ingress: [['t1']] }]);
  expect(n2.take()).toEqual([{ full: true, tasks: {}, removedTasks: [], ingress: [['t1']] }]);
});

test('a change goes to whom it concerns, and what the agents wrote themselves to nobody', async () => {
  n1.take();
  n2.take();
  await write({
    op: 'create',
    table: 'tasks',
    object: aTask({ id: 't2', service: web, node: 'n2', state: 'assigned' }),
  });
  expect(n1.take()).toEqual([]);
  expect(n2.take()).toEqual([{ full: false, tasks: { t2: 'running' }, removedTasks: [], ingress: [] }]);
  await write(ofTask('t2', { Status: { State: 'preparing', Timestamp: '' } }));
  expect([...n1.take(), ...n2.take()]).toEqual([]);
});

test('an agent is told to stop a task that served only when every node routes past it', async () => {
  n1.take();
  n2.take();
  await write(ofTask('t1', { DesiredState: 'shutdown' }));
  const past = { full: false, tasks: {}, removedTasks: [], ingress: [[]] };
  expect([n1.take(), n2.take()]).toEqual([[past], [past]]);
  applied(n1);
  expect(n1.take()).toEqual([]);
  applied(n2);
  expect(n1.take()).toEqual([{ full: false, tasks: { t1: 'shutdown' }, removedTasks: [], ingress: [] }]);
});

test('a new leader withholds the stops that an earlier one may have withheld', async () => {
  await write(ofTask('t1', { DesiredState: 'shutdown' }));
  updates.begin(store.view());
  n1.take();
  updates.showAll(n1);
  expect(n1.take().map(({ tasks }) => tasks)).toEqual([{ t1: 'running' }]);
});

test('a session whose queue is full gets nothing more until it is shown everything', async () => {
  n1.take();
  n1.congested = true;
  await write(ofTask('t1', { DesiredState: 'shutdown' }));
  expect([n1.take(), n1.behind]).toEqual([[], true]);
  n1.congested = false;
  await write({ op: 'remove', table: 'tasks', id: 't1' });
  expect(n1.take()).toEqual([]);
  applied(n2);
  updates.showAll(n1);
  expect(n1.take()).toEqual([{ full: true, tasks: { t1: 'running' }, removedTasks: [], ingress: [[]] }]);
  expect(n1.behind).toBe(false);
});
