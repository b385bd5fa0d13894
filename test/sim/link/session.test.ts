import { EventEmitter, once } from 'node:events';
import type { Duplex } from 'node:stream';
import { FrameStream, settle, silentLogger } from '@swarmctl/shared/kit';
import type { TaskStatus } from '@swarmctl/shared/model';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import { afterEach, expect, test } from 'vitest';
import { Dispatcher, redirectDispatch } from '../../../packages/manager/src/dispatcher/index.ts';
import { aNode, aService, aTask } from '../../kit/builders.ts';
import { connection } from '../../kit/duplex-pair.ts';
import { World } from './world.ts';

// One session at the dispatcher, spoken by hand: what well-behaved agents never send as well.

let world: World;
afterEach(() => world.end());

const service = aService({ id: 'plain' });
const node = aNode({ id: 'n1' });

class Client extends EventEmitter {
  readonly near: Duplex;
  readonly frames: FrameStream<ManagerMessage, AgentMessage>;
  readonly got: ManagerMessage[] = [];
  closed = false;

  constructor(dispatcher: Dispatcher | undefined, nodeId: string) {
    super();
    const [near, far] = connection();
    this.near = near;
    this.frames = new FrameStream(near);
    this.frames.on('message', (message) => this.got.push(message));
    this.frames.on('close', () => {
      this.closed = true;
    });
    dispatcher?.accept(nodeId, far);
  }

  hello(statuses: { taskId: string; status: TaskStatus }[] = []): this {
    const description = node.Description;
    if (!description) throw new Error('not described');
    const addr = '10.0.0.1';
    this.frames.send({ type: 'hello', protocol: 1, instance: 'i', addr, description, statuses, revision: 0 });
    return this;
  }

  last<T extends ManagerMessage['type']>(type: T): Extract<ManagerMessage, { type: T }> | undefined {
    return this.got.findLast((message): message is Extract<ManagerMessage, { type: T }> => message.type === type);
  }
}

function cluster(): World {
  world = new World({
    nodes: [node, aNode({ id: 'n2' })],
    services: [service],
    tasks: [
      aTask({ id: 't1', service, node: 'n1', state: 'assigned' }),
      aTask({ id: 't2', service, node: 'n2', state: 'assigned', slot: 2 }),
      aTask({ id: 't3', service, node: 'n1', state: 'pending', slot: 3 }),
    ],
  });
  world.lead();
  return world;
}

const client = (nodeId: string) => new Client(world.leader?.dispatcher, nodeId);
const status = (State: TaskStatus['State']): TaskStatus => ({ Timestamp: '2026-01-01T00:00:00Z', State });

test('hello, welcome, managers, and the whole: assigned tasks of the node and no others', async () => {
  cluster();
  const one = client('n1').hello();
  await world.until(() => one.got.length >= 3, 10);
  expect(one.got.map(({ type }) => type)).toEqual(['welcome', 'managers', 'update']);
  expect(one.last('welcome')).toMatchObject({ heartbeatMs: 1_000, nodeRole: 'worker' });
  expect(one.last('update')).toMatchObject({ full: true, revision: 1, tasks: [{ ID: 't1' }], removedTasks: [] });
  await world.until(() => world.node('n1').Status.Addr === '10.0.0.1', 50);
});

test('after the whole only what changed is sent, and nothing for what the node itself reported', async () => {
  cluster();
  const one = client('n1').hello();
  await world.until(() => one.last('update') !== undefined, 10);
  one.got.length = 0;
  one.frames.send({ type: 'status', sequence: 5, updates: [{ taskId: 't1', status: status('running') }] });
  await world.until(() => one.last('status-ack')?.sequence === 5, 100);
  expect(world.task('t1').Status.State).toBe('running');
  await world.clock.advance(50);
  expect(one.last('update')).toBeUndefined();
  world.write([{ op: 'update', table: 'tasks', id: 't3', set: { Status: status('assigned') } }]);
  world.wish('t1', 'shutdown');
  await world.until(() => one.last('update') !== undefined, 10);
  expect(one.got.filter(({ type }) => type === 'update')).toHaveLength(1);
  expect(one.last('update')).toMatchObject({
    full: false,
    revision: world.store.index,
    tasks: [{ ID: 't3' }, { ID: 't1', DesiredState: 'shutdown' }],
  });
});

test('nobody reports for another node', async () => {
  cluster();
  const one = client('n1').hello([{ taskId: 't2', status: status('failed') }]);
  one.frames.send({ type: 'status', sequence: 1, updates: [{ taskId: 't2', status: status('failed') }] });
  await world.until(() => one.last('status-ack') !== undefined, 100);
  expect(world.task('t2').Status.State).toBe('assigned');
});

test('a status that says nothing new is acknowledged and not proposed', async () => {
  cluster();
  const one = client('n1').hello();
  one.frames.send({ type: 'status', sequence: 1, updates: [{ taskId: 't1', status: status('running') }] });
  await world.until(() => one.last('status-ack')?.sequence === 1, 100);
  const proposals = world.proposals.length;
  one.frames.send({
    type: 'status',
    sequence: 2,
    updates: [{ taskId: 't1', status: { ...status('running'), Timestamp: '2027-01-01T00:00:00Z' } }],
  });
  await world.until(() => one.last('status-ack')?.sequence === 2, 100);
  expect(world.proposals).toHaveLength(proposals);
});

test.each<[string, (one: Client) => void]>([
  ['bytes that are no frame', (one) => one.near.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'))],
  ['a frame that is no message', (one) => one.frames.send({ type: 'take-over' } as unknown as AgentMessage)],
  ['a message before the hello', (one) => one.frames.send({ type: 'heartbeat', revision: Number.NaN })],
  ['a second hello', (one) => one.hello().hello()],
])('%s: that session ends, and no other', async (_, garble) => {
  cluster();
  const good = client('n2').hello();
  const bad = client('n1');
  garble(bad);
  await world.until(() => bad.closed, 3_000);
  await world.clock.advance(1_000);
  expect(good.closed).toBe(false);
  world.wish('t2', 'shutdown');
  await world.until(() => good.last('update')?.full === false, 100);
});

test('a stream that says nothing is closed', async () => {
  cluster();
  const one = client('n1');
  await world.clock.advance(4_900);
  expect(one.closed).toBe(false);
  await world.until(() => one.closed, 300);
});

test('a newer session of a node takes the place of the older', async () => {
  cluster();
  const older = client('n1').hello();
  await world.until(() => older.last('update') !== undefined, 10);
  const newer = client('n1').hello();
  await world.until(() => older.closed && newer.last('update') !== undefined, 100);
  world.wish('t1', 'shutdown');
  await world.until(() => newer.last('update')?.full === false, 100);
  await world.clock.advance(10_000);
  expect(world.proposals.flat().some((change) => 'id' in change && change.id === 'n1' && 'unset' in change)).toBe(true);
});

test('a node that is not in the state is told so', async () => {
  cluster();
  const one = client('nobody').hello();
  await world.until(() => one.closed, 100);
  expect(one.got.map(({ type }) => type)).toEqual(['removed']);
});

test('a heartbeat is answered, a certificate is renewed', async () => {
  cluster();
  const one = client('n1').hello();
  one.frames.send({ type: 'heartbeat', revision: 1 });
  one.frames.send({ type: 'renew', csr: 'request' });
  await world.until(() => one.last('certificate') !== undefined, 100);
  expect(one.last('certificate')).toMatchObject({ certificate: 'certificate of n1', ca: 'ca' });
  expect(one.last('heartbeat-ack')).toBeDefined();
});

test('an image is given, or why not is said', async () => {
  cluster();
  const one = client('n1').hello();
  await world.until(() => one.last('welcome') !== undefined, 100);
  expect(one.last('welcome')).toMatchObject({ givesImages: true });
  for (const taskId of ['t1', 'unknown']) {
    one.frames.send({ type: 'image-wanted', taskId });
    const answered = () => one.got.some((message) => message.type === 'image-given' && message.taskId === taskId);
    await world.until(answered, 100);
  }
  expect(one.got.filter(({ type }) => type === 'image-given')).toEqual([
    { type: 'image-given', taskId: 't1' },
    { type: 'image-given', taskId: 'unknown', problem: 'n1 cannot have it' },
  ]);
});

test('the end of a term sends the agents on', async () => {
  cluster();
  const one = client('n1').hello();
  await world.until(() => one.last('update') !== undefined, 10);
  world.depose();
  await world.until(() => one.closed, 100);
  expect(one.last('redirect')).toEqual({ type: 'redirect', managers: [{ nodeId: 'm1', addr: 'm1:2377' }] });
});

test('a manager that does not lead names the one that does', async () => {
  cluster();
  const [near, far] = connection();
  const frames = new FrameStream<ManagerMessage, AgentMessage>(near);
  const leader = { nodeId: 'm2', addr: 'm2:2377' };
  redirectDispatch(new FrameStream<AgentMessage, ManagerMessage>(far), leader, [leader], world.clock);
  const [message] = await once(frames, 'message');
  expect(message).toEqual({ type: 'redirect', leader, managers: [leader] });
  await settle();
  expect(near.destroyed).toBe(true);
});

test('a proposer that fails for a reason of its own ends the run', async () => {
  cluster();
  const broken = new Dispatcher(
    {},
    {
      store: world.store,
      clock: world.clock,
      newId: world.newId,
      log: silentLogger,
      proposer: { propose: () => Promise.reject(new Error('disk on fire')) },
      renew: () => Promise.reject(new Error('no')),
      managers: () => [],
    },
  );
  const run = broken.run(new AbortController().signal);
  new Client(broken, 'n1').hello();
  await expect(world.outcome(run)).rejects.toThrow('disk on fire');
});
