import { readFile } from 'node:fs/promises';
import { settle } from '@swarmctl/shared/kit';
import type { PortConfig, Task } from '@swarmctl/shared/model';
import { afterEach, expect, test } from 'vitest';
import { writeJournal } from '../../../packages/worker/src/agent/journal.ts';
import { RuntimeError } from '../../../packages/worker/src/runtime/types.ts';
import { aCluster, aNode, aService, aTask, type StoreWords, type TaskWords, tasksOf } from '../../kit/builders.ts';
import { type Machine, World } from './world.ts';

// The dispatcher and real agents together: what managers want becomes containers, and what happens to containers becomes state.

const port: PortConfig = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' };
const web = aService({ id: 'web', ports: [port] });
const plain = aService({ id: 'plain' });
const n1 = aNode({ id: 'n1' });
const n2 = aNode({ id: 'n2' });

let world: World;
afterEach(() => world.end());

function cluster(words: StoreWords = {}): World {
  world = new World({ nodes: [n1, n2], services: [web, plain], ...words });
  world.lead();
  return world;
}

const assigned = (words: TaskWords): Task => aTask({ service: web, node: 'n1', state: 'assigned', ...words });

async function twoMachines(prepare: (first: Machine) => void = () => undefined) {
  const first = await world.machine('n1');
  prepare(first);
  first.start();
  const second = (await world.machine('n2')).start();
  await world.until(() => Boolean(first.agent?.connected && second.agent?.connected));
  return { first, second };
}

test('an assigned task runs, and is routed to once it accepts connections', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines((machine) => {
    machine.listening = new Set();
  });
  await world.until(() => world.task('t1').Status.State === 'running');
  expect(world.task('t1').Status).toMatchObject({
    Message: 'started',
    ContainerStatus: { ContainerID: 'c-t1', PID: 100, ExitCode: 0 },
  });
  await world.clock.advance(500);
  expect(world.task('t1').Status.Endpoints).toBeUndefined();
  expect(second.ingress.backends('tcp/8080')).toEqual([]);
  first.listening = undefined;
  await world.until(() => second.ingress.backends('tcp/8080').length > 0, 200);
  expect(world.task('t1').Status.Endpoints).toMatchObject([{ localAddr: '172.17.0.2', localPort: 80, targetPort: 80 }]);
  expect(first.runtime.calls).toEqual(['prepare t1', 'start t1']);
});

test('statuses of many tasks share proposals', async () => {
  cluster({ tasks: [...tasksOf(plain, 40, { node: 'n1', state: 'assigned' })] });
  await twoMachines();
  await world.until(() =>
    world.store
      .view()
      .tasksOfService('plain')
      .every((task) => task.Status.State === 'running'),
  );
  const written = world.proposals.flat().filter((change) => change.table === 'tasks').length;
  expect(written).toBeGreaterThanOrEqual(40);
  expect(world.proposals.length).toBeLessThan(30);
});

test('while a proposal is under way the reports gather, and only the latest of a task is proposed', async () => {
  cluster({ tasks: [...tasksOf(plain, 10, { node: 'n1', state: 'assigned' })] });
  let go: () => void = () => undefined;
  world.stalled = new Promise((resolve) => {
    go = resolve;
  });
  const { first } = await twoMachines();
  await world.until(() => first.runtime.running().length === 10);
  await world.clock.advance(200);
  expect(world.proposals).toEqual([]);
  world.stalled = undefined;
  go();
  await world.until(() =>
    world.store
      .view()
      .tasksOfService('plain')
      .every((task) => task.Status.State === 'running'),
  );
  expect(world.proposals.length).toBeLessThanOrEqual(3);
});

test('desired ready: prepared, and started when its time comes', async () => {
  cluster({ tasks: [assigned({ id: 't1', desired: 'ready' })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'ready');
  await world.clock.advance(1_000);
  expect(first.runtime.calls).toEqual(['prepare t1']);
  world.wish('t1', 'running');
  await world.until(() => world.task('t1').Status.State === 'running');
});

test.each([
  ['complete', 0, undefined, 'finished'],
  ['failed', 3, 'task: non-zero exit (3)', 'started'],
] as const)('a task that exits is %s', async (state, code, err, message) => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  first.runtime.exit('t1', code);
  await world.until(() => world.task('t1').Status.State === state);
  expect(world.task('t1').Status).toMatchObject({ Message: message, ContainerStatus: { PID: 0, ExitCode: code } });
  expect(world.task('t1').Status.Err).toBe(err);
});

test('an image that is not there: rejected', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const first = await world.machine('n1');
  first.runtime.images.set('web:1', { prepareError: new RuntimeError('No such image: web:1', { permanent: true }) });
  first.start();
  await world.until(() => world.task('t1').Status.State === 'rejected');
  expect(world.task('t1').Status).toMatchObject({ Message: 'preparing', Err: 'No such image: web:1' });
});

test('an engine that is away is asked again, and the node says so', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const first = await world.machine('n1');
  first.runtime.away = true;
  first.start();
  await world.until(() => world.node('n1').Description?.RuntimeReady === false);
  expect(world.node('n1').Status.State).toBe('ready');
  await world.clock.advance(3_000);
  expect(world.task('t1').Status).toMatchObject({ State: 'preparing', Err: expect.any(String) });
  first.runtime.away = false;
  await world.until(() => world.task('t1').Status.State === 'running', 30_000);
  await world.until(() => world.node('n1').Description?.RuntimeReady === true, 30_000);
});

test('a healthcheck decides when it runs, and when it has failed', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const first = await world.machine('n1');
  first.runtime.images.set('web:1', { health: 'starting' });
  first.listening = new Set();
  first.start();
  await world.until(() => world.task('t1').Status.State === 'starting');
  await world.clock.advance(1_000);
  expect(world.task('t1').Status.State).toBe('starting');
  first.runtime.setHealth('t1', 'healthy');
  await world.until(() => world.task('t1').Status.State === 'running', 100);
  expect(world.task('t1').Status.Endpoints).toHaveLength(1);
  first.runtime.setHealth('t1', 'unhealthy');
  await world.until(() => world.task('t1').Status.State === 'failed');
  expect(world.task('t1').Status).toMatchObject({
    Err: 'dockerexec: unhealthy container',
    Message: 'unhealthy: no longer routed to',
  });
  expect(first.runtime.calls).toContain('stop t1 10000');
});

test('a task is stopped only when every ready node routes past it', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines();
  await world.until(() => second.ingress.backends('tcp/8080').length === 1);
  second.ingress.block();
  world.wish('t1', 'shutdown');
  await world.until(() => first.ingress.backends('tcp/8080').length === 0, 100);
  await world.clock.advance(2_000);
  expect(first.runtime.running()).toEqual(['t1']);
  second.ingress.unblock();
  await world.until(() => world.task('t1').Status.State === 'shutdown', 300);
  expect(world.task('t1').Status).toMatchObject({ Message: 'shutdown', ContainerStatus: { ExitCode: 137 } });
});

test('a node that never answers delays a stop by five seconds', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines();
  await world.until(() => second.ingress.backends('tcp/8080').length === 1);
  second.ingress.block();
  world.wish('t1', 'shutdown');
  await world.clock.advance(4_900);
  expect(first.runtime.running()).toEqual(['t1']);
  await world.until(() => first.runtime.running().length === 0, 600);
});

test('a new leader withholds a stop anew until every node has come to it and routes past the task', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines();
  await world.until(() => second.ingress.backends('tcp/8080').length === 1);
  second.ingress.block();
  world.wish('t1', 'shutdown');
  await world.clock.advance(100);
  world.lead();
  await world.clock.advance(1_500);
  expect(first.runtime.running()).toEqual(['t1']);
  second.ingress.unblock();
  await world.until(() => first.runtime.running().length === 0, 400);
});

test('a task without published ports stops at once', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first, second } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  second.ingress.block();
  world.wish('t1', 'shutdown');
  await world.until(() => world.task('t1').Status.State === 'shutdown', 50);
  expect(first.runtime.calls.at(-1)).toBe('stop t1 10000');
});

test('connections may end before the stop, within the drain time-out', async () => {
  const slow = aService({
    id: 'slow',
    ports: [{ ...port, PublishedPort: 8081 }],
    labels: { 'swarmctl.drain-timeout': '3s' },
  });
  cluster({
    services: [slow],
    tasks: [assigned({ id: 't1', service: slow }), assigned({ id: 't2', service: slow, slot: 2 })],
  });
  const { first } = await twoMachines();
  await world.until(() => first.ingress.backends('tcp/8081').length === 2);
  first.runtime.open.set('t1', 2).set('t2', 1);
  world.wish('t1', 'shutdown');
  world.wish('t2', 'shutdown');
  await world.clock.advance(1_000);
  expect(first.runtime.running()).toEqual(['t1', 't2']);
  first.runtime.open.set('t1', 0);
  await world.until(() => first.runtime.running().join() === 't2', 300);
  await world.clock.advance(1_000);
  expect(first.runtime.running()).toEqual(['t2']);
  await world.until(() => first.runtime.running().length === 0, 1_500);
});

test('a task that was removed from the state is stopped and its container removed, after the gate', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines();
  await world.until(() => second.ingress.backends('tcp/8080').length === 1);
  second.ingress.block();
  world.write([{ op: 'remove', table: 'tasks', id: 't1' }]);
  await world.clock.advance(500);
  expect(first.runtime.running()).toEqual(['t1']);
  second.ingress.unblock();
  await world.until(() => first.runtime.containers.size === 0, 500);
  expect(first.runtime.calls.slice(-2)).toEqual(['stop t1 10000', 'remove t1']);
});

test('the ended task of the history keeps its container until the state forgets it', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  first.runtime.exit('t1', 1);
  await world.until(() => world.task('t1').Status.State === 'failed');
  await world.clock.advance(1_000);
  expect(first.runtime.containers.has('t1')).toBe(true);
  world.write([{ op: 'remove', table: 'tasks', id: 't1' }]);
  await world.until(() => !first.runtime.containers.has('t1'), 100);
});

test('a lost connection alone proves nothing; what happened meanwhile is told afterwards', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain }), assigned({ id: 't2', service: plain, slot: 2 })] });
  const { first } = await twoMachines();
  await world.until(() => first.runtime.running().length === 2 && world.task('t2').Status.State === 'running');
  first.isolate();
  await world.clock.advance(500);
  first.runtime.exit('t1', 9);
  await world.clock.advance(1_500);
  expect(world.node('n1').Status.State).toBe('ready');
  expect(first.runtime.running()).toEqual(['t2']);
  first.rejoin();
  await world.until(() => world.task('t1').Status.State === 'failed', 10_000);
  expect(first.runtime.calls).toEqual(['prepare t1', 'prepare t2', 'start t1', 'start t2']);
});

test('three missed heartbeats: down; back: ready, and told what to run before it acts', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines();
  await world.until(() => second.ingress.backends('tcp/8080').length === 1);
  await world.clock.advance(1_000);
  first.isolate();
  await world.clock.advance(2_100);
  expect(world.node('n1').Status.State).toBe('ready');
  await world.until(() => world.node('n1').Status.State === 'down', 1_600);
  expect(world.node('n1')).toMatchObject({ Status: { Message: 'heartbeat failure' }, DownSince: expect.any(Number) });
  await world.until(() => second.ingress.backends('tcp/8080').length === 0, 100);
  // Cut off, it goes on.
  expect(first.runtime.running()).toEqual(['t1']);
  expect(first.ingress.backends('tcp/8080')).toEqual(['t1']);
  world.wish('t1', 'shutdown');
  await world.clock.advance(1_000);
  expect(first.runtime.running()).toEqual(['t1']);
  first.rejoin();
  await world.until(() => world.task('t1').Status.State === 'shutdown', 20_000);
  expect(world.node('n1')).toMatchObject({ Status: { State: 'ready' } });
  expect(world.node('n1').DownSince).toBeUndefined();
});

test('a link that swallows everything: the manager calls the node down, the agent looks for another manager', async () => {
  cluster();
  const { first } = await twoMachines();
  first.freeze();
  await world.until(() => world.node('n1').Status.State === 'down', 4_500);
  first.rejoin();
  await world.until(() => world.node('n1').Status.State === 'ready', 15_000);
});

test('what a task was about to begin is not begun without a manager', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const first = await world.machine('n1');
  let pulled: () => void = () => undefined;
  first.runtime.images.set('web:1', {
    pulled: new Promise((resolve) => {
      pulled = resolve;
    }),
  });
  first.start();
  await world.until(() => first.runtime.calls.includes('prepare t1'));
  first.isolate();
  await world.clock.advance(200);
  pulled();
  await world.clock.advance(3_000);
  expect(first.runtime.calls).toEqual(['prepare t1']);
  first.rejoin();
  await world.until(() => world.task('t1').Status.State === 'running', 20_000);
});

test('a new leader: agents come to it, nothing is restarted, a silent node gets a whole grace and more', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines();
  await world.until(() => first.ingress.backends('tcp/8080').length === 1);
  world.depose();
  second.isolate();
  await world.clock.advance(2_000);
  world.lead();
  await world.until(() => first.agent?.connected === true, 1_000);
  await world.clock.advance(4_000);
  expect(world.node('n2').Status.State).toBe('ready');
  await world.until(() => world.node('n2').Status.State === 'down', 1_500);
  expect(world.node('n1').Status.State).toBe('ready');
  expect(first.runtime.calls).toEqual(['prepare t1', 'start t1']);
});

test('the leader dies with its host: agents take a while to notice and to find the next one, which gives none of them up', async () => {
  const beats = { Name: 'default', Labels: {}, Dispatcher: { HeartbeatPeriod: 0.5e9 } };
  cluster({ cluster: aCluster({ Spec: beats }), tasks: [assigned({ id: 't1' })] });
  const { first, second } = await twoMachines();
  await world.until(() => first.ingress.backends('tcp/8080').length === 1);
  const machines = [first, second];
  for (const machine of machines) machine.freeze();
  world.depose();
  await world.clock.advance(100);
  world.lead();
  let wasDown = false;
  world.store.watch(() => {
    wasDown ||= ['n1', 'n2'].some((id) => world.node(id).Status.State === 'down');
  });
  // They notice 1250 to 1750 ms after the death. In the 720 ms from then on three attempts fail; the fourth comes after 750 to 1500 ms,
  // whatever the back-off draws: later than the grace alone would last, and within what is added to it.
  const searching = new Set<Machine>();
  await world.until(() => {
    for (const machine of machines) {
      if (machine.agent?.connected || searching.has(machine)) continue;
      searching.add(machine);
      world.clock.after(720, () => machine.rejoin());
    }
    return searching.size === machines.length;
  }, 2_000);
  await world.clock.advance(6_000);
  expect([first.agent?.connected, second.agent?.connected, wasDown]).toEqual([true, true, false]);
  expect(first.runtime.calls).toEqual(['prepare t1', 'start t1']);
});

test('a killed daemon: its successor routes and watches before a manager is reached, and starts or stops nothing', async () => {
  cluster({ tasks: [assigned({ id: 't1' }), assigned({ id: 't2', slot: 2 })] });
  const { first } = await twoMachines();
  await world.until(() => first.ingress.backends('tcp/8080').length === 2);
  await world.clock.advance(1_000);
  await settle();
  first.kill();
  await first.ended;
  first.runtime.calls.length = 0;
  first.runtime.exit('t2', 5);
  world.wish('t1', 'shutdown');
  first.start();
  await world.until(() => first.ingress.backends('tcp/8080').length === 2);
  await world.clock.advance(5_000);
  expect(first.runtime.calls).toEqual([]);
  expect(first.agent?.tasks.find(({ taskId }) => taskId === 't2')?.status.State).toBe('failed');
  first.rejoin();
  await world.until(() => world.task('t1').Status.State === 'shutdown', 20_000);
  expect(world.task('t2').Status).toMatchObject({ State: 'failed', Err: 'task: non-zero exit (5)' });
  expect(first.runtime.calls).toEqual(['stop t1 10000']);
});

test('without its journal a daemon adopts what runs, and removes what nobody knows', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first } = await twoMachines();
  await world.until(() => first.ingress.backends('tcp/8080').length === 1);
  first.kill();
  await first.ended;
  await first.runtime.prepare(assigned({ id: 'stray' }), new AbortController().signal);
  first.runtime.calls.length = 0;
  const { rm } = await import('node:fs/promises');
  await rm(first.journalPath);
  first.start();
  await world.clock.advance(2_000);
  expect(first.runtime.calls).toEqual([]);
  first.rejoin();
  await world.until(() => first.runtime.calls.length > 0, 20_000);
  await world.clock.advance(1_000);
  expect(first.runtime.calls).toEqual(['remove stray']);
  expect(world.task('t1').Status).toMatchObject({ State: 'running', Endpoints: [{ targetPort: 80 }] });
});

test('a task whose container is gone when the daemon returns has failed', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first } = await twoMachines();
  await world.until(() => first.ingress.backends('tcp/8080').length === 1);
  first.kill();
  await first.ended;
  first.runtime.lose('t1');
  first.rejoin();
  first.start();
  await world.until(() => world.task('t1').Status.State === 'failed');
  expect(first.runtime.calls).toEqual(['prepare t1', 'start t1']);
});

test('a clean stop is forgiven for its grace, then the node is down', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  const stoppedAt = world.clock.now();
  first.stopCleanly();
  expect(await world.outcome(first.ended)).toBe('stopped');
  const until = world.node('n1').RestartGraceUntil ?? 0;
  expect(until).toBeGreaterThanOrEqual(stoppedAt + 30_000);
  await world.clock.advance(until - world.clock.now() - 100);
  expect(world.node('n1').Status.State).toBe('ready');
  expect(first.runtime.running()).toEqual(['t1']);
  await world.until(() => world.node('n1').Status.State === 'down', 600);
  first.start();
  await world.until(() => world.node('n1').Status.State === 'ready');
  expect(world.node('n1').RestartGraceUntil).toBeUndefined();
});

test('a restart within the grace moves nothing', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  first.stopCleanly();
  await world.outcome(first.ended);
  world.lead();
  await world.clock.advance(10_000);
  first.start();
  await world.until(() => first.agent?.connected === true && world.node('n1').RestartGraceUntil === undefined);
  await world.clock.advance(25_000);
  expect(world.node('n1').Status.State).toBe('ready');
  expect(first.runtime.calls).toEqual(['prepare t1', 'start t1']);
});

test('a removed node is told, and its connection ends', async () => {
  cluster();
  const removed: string[] = [];
  const first = (await world.machine('n1', { removed: (reason) => removed.push(reason) })).start();
  await world.until(() => first.agent?.connected === true);
  world.write([{ op: 'remove', table: 'nodes', id: 'n1' }]);
  await world.until(() => removed.length > 0, 100);
  expect(await first.ended).toBe('removed');
});

test('role and managers reach the daemon', async () => {
  cluster();
  const said: string[] = [];
  const hooks = {
    role: (role: string) => said.push(role),
    managers: (peers: readonly { addr: string }[]) => said.push(peers.map(({ addr }) => addr).join()),
  };
  const first = (await world.machine('n1', hooks)).start();
  await world.until(() => first.agent?.connected === true);
  expect(said).toEqual(['worker', 'm1:2377']);
  world.write([{ op: 'update', table: 'nodes', id: 'n1', set: { Spec: { ...n1.Spec, Role: 'manager' } } }]);
  await world.until(() => said.length === 3, 100);
  expect(said[2]).toBe('manager');
});

test('the journal holds what a successor needs', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const { first } = await twoMachines();
  await world.until(() => first.ingress.backends('tcp/8080').length === 1);
  first.stopCleanly();
  await world.outcome(first.ended);
  const journal = JSON.parse(await readFile(first.journalPath, 'utf8'));
  expect(journal).toMatchObject({
    version: 1,
    nodeId: 'n1',
    tasks: [{ task: { ID: 't1' }, status: { State: 'running' } }],
    ingress: [{ key: 'tcp/8080', backends: [{ taskId: 't1' }] }],
  });
});

test('a manager that is behind what this node has seen is not followed, unless all stay so', async () => {
  cluster({ tasks: [assigned({ id: 't1' })] });
  const first = await world.machine('n1');
  const task = assigned({ id: 't9', service: plain, state: 'running' });
  await first.runtime.prepare(task, new AbortController().signal);
  await first.runtime.start(task);
  first.runtime.calls.length = 0;
  await writeJournal(first.journalPath, {
    version: 1,
    nodeId: 'n1',
    revision: 1_000_000,
    tasks: [{ task, status: task.Status }],
    ingress: [],
  });
  first.start();
  await world.until(() => first.connects >= 3);
  await world.clock.advance(5_000);
  expect(first.runtime.calls).toEqual([]);
  await world.until(() => first.runtime.calls.includes('remove t9'), 30_000);
  await world.until(() => world.task('t1').Status.State === 'running');
});

test('a state restored from a snapshot is shown whole', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  await world.store.restore(world.store.snapshot()());
  await world.until(() => first.connects === 2 && first.agent?.connected === true, 2_000);
  world.wish('t1', 'shutdown');
  await world.until(() => world.task('t1').Status.State === 'shutdown', 500);
});

test('logs of several nodes are merged, and a node that is away is only mentioned', async () => {
  cluster({
    nodes: [n1, n2, aNode({ id: 'n3' })],
    tasks: [
      assigned({ id: 't1', service: plain }),
      assigned({ id: 't2', service: plain, slot: 2, node: 'n2' }),
      aTask({ id: 't3', service: plain, slot: 3, node: 'n3' }),
    ],
  });
  const { first, second } = await twoMachines();
  first.runtime.lines.set('t1', ['one', 'two']);
  second.runtime.lines.set('t2', ['three']);
  await world.until(() => world.task('t1').Status.State === 'running' && world.task('t2').Status.State === 'running');
  const options = { follow: false, stdout: true, stderr: true };
  const got: string[] = [];
  let over = false;
  void (async () => {
    const wish = { subject: { serviceId: plain.ID }, options };
    for await (const entry of world.leader?.dispatcher.subscribeLogs(wish, new AbortController().signal) ?? []) {
      if ('notice' in entry) got.push(entry.notice);
      if ('line' in entry) got.push(`${entry.taskId} ${Buffer.from(entry.line)}`);
    }
    over = true;
  })();
  // A new leader's nodes may still be on their way.
  await world.until(() => over, 30_000);
  expect(got.sort()).toEqual(['t1 one', 't1 two', 't2 three', expect.stringContaining('node n3 is not available')]);
});

test('a slow reader of logs slows the source', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  const many = Array.from({ length: 20_000 }, (_, i) => `${i} ${'x'.repeat(1_000)}`);
  first.runtime.lines.set('t1', many);
  const abort = new AbortController();
  const logs = world.leader?.dispatcher.subscribeLogs(
    { subject: { taskId: 't1' }, options: { follow: false, stdout: true, stderr: true } },
    abort.signal,
  );
  const reader = logs?.[Symbol.asyncIterator]();
  const firstLine = reader?.next();
  await world.clock.advance(2_000);
  await firstLine;
  expect(first.runtime.linesRead).toBeLessThan(1_000);
  let seen = 1;
  const rest = (async () => {
    for (let next = await reader?.next(); next && !next.done; next = await reader?.next()) seen++;
  })();
  let over = false;
  void rest.then(() => {
    over = true;
  });
  await world.until(() => over, 30_000);
  expect(seen).toBe(many.length);
});

test('following a log ends with the reader, and frees the source', async () => {
  cluster({ tasks: [assigned({ id: 't1', service: plain })] });
  const { first } = await twoMachines();
  await world.until(() => world.task('t1').Status.State === 'running');
  first.runtime.lines.set('t1', ['hello']);
  const abort = new AbortController();
  const got: unknown[] = [];
  let over = false;
  void (async () => {
    const logs = world.leader?.dispatcher.subscribeLogs(
      { subject: { taskId: 't1' }, options: { follow: true, stdout: true, stderr: true } },
      abort.signal,
    );
    for await (const entry of logs ?? []) if ('line' in entry) got.push(entry);
    over = true;
  })();
  await world.until(() => got.length === 1);
  abort.abort();
  await world.until(() => over, 50);
});

test('nodes beat as often as the cluster says, from the moment that it does', async () => {
  cluster({ cluster: aCluster() });
  const { first } = await twoMachines();
  await world.until(() => world.node('n1').Status.State === 'ready');
  const spec = (seconds: number) => ({
    Spec: { Name: 'default', Labels: {}, Dispatcher: { HeartbeatPeriod: seconds * 1e9 } },
  });
  const { ID: id } = aCluster();
  world.write([{ op: 'update', table: 'cluster', id, set: spec(5) }]);
  await world.clock.advance(30_000);
  expect(world.node('n1').Status.State).toBe('ready');
  first.freeze();
  await world.clock.advance(10_000);
  expect(world.node('n1').Status.State).toBe('ready');
  await world.until(() => world.node('n1').Status.State === 'down', 6_000);
  world.write([{ op: 'update', table: 'cluster', id, set: spec(0.5) }]);
  await world.clock.advance(10_000);
  expect(world.node('n2').Status.State).toBe('ready');
  world.machines.get('n2')?.freeze();
  await world.until(() => world.node('n2').Status.State === 'down', 2_000);
});
