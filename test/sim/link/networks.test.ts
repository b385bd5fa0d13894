import { FrameStream } from '@swarmctl/shared/kit';
import type { NetworkAttachment, Node, Service, TaskState } from '@swarmctl/shared/model';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import { afterEach, expect, test } from 'vitest';
import { aCluster, aNetwork, aNode, aService, aTask } from '../../kit/builders.ts';
import { connection } from '../../kit/duplex-pair.ts';
import { World } from './world.ts';

// What nodes are shown of overlay networks, and when tasks on them are told to stop, spoken by hand at the dispatcher.

let world: World;
afterEach(() => world.end());

type Update = Extract<ManagerMessage, { type: 'update' }>;

class Agent {
  readonly updates: Update[] = [];
  readonly #frames: FrameStream<ManagerMessage, AgentMessage>;

  constructor({ ID, Status, Description }: Node) {
    const [near, far] = connection();
    this.#frames = new FrameStream(near);
    this.#frames.on('message', (message) => {
      if (message.type === 'update') this.updates.push(message);
    });
    world.leader?.dispatcher.accept(ID, far);
    if (!Description) throw new Error('not described');
    const addr = Status.Addr;
    this.#frames.send({
      type: 'hello',
      protocol: 1,
      instance: 'i',
      addr,
      description: Description,
      statuses: [],
      revision: 0,
    });
  }

  get last(): Update | undefined {
    return this.updates.at(-1);
  }

  names(name = 'web'): readonly string[] | undefined {
    const networks = this.updates.flatMap((update) => update.networks ?? []);
    return networks
      .at(-1)
      ?.names.find((one) => one.name === name)
      ?.tasks.map(({ taskId }) => taskId);
  }

  applied(revision: number): void {
    this.#frames.send({ type: 'applied', revision });
  }
}

const [n1, n2, n3] = ['n1', 'n2', 'n3'].map((id, i) => aNode({ id, addr: `10.9.0.${i + 1}` })) as [Node, Node, Node];
const Gateways = { n1: ['10.0.1.11'], n2: ['10.0.1.12'] };
const net = aNetwork({ id: 'net', subnets: ['10.0.1.0/24'], set: { Gateways } });
const web: Service = aService({ id: 'web', networks: ['net'] });
const at = (host: number): readonly NetworkAttachment[] => [
  { Network: { ID: 'net' }, Addresses: [`10.0.1.${host}/24`] },
];
const task = (id: string, host: number, node: string, state: TaskState = 'running') =>
  aTask({ id, service: web, slot: host, node, state, set: { NetworksAttachments: at(host) } });

function start(...states: TaskState[]): [Agent, Agent, Agent] {
  const [first = 'running', second = 'running'] = states;
  world = new World({
    cluster: aCluster(),
    nodes: [n1, n2, n3],
    networks: [net],
    services: [web],
    tasks: [task('t1', 1, 'n1', first), task('t2', 2, 'n2', second)],
  });
  world.lead();
  return [new Agent(n1), new Agent(n2), new Agent(n3)];
}

test('a node gets its networks with the whole, then what changes, and is told when it is on one no more', async () => {
  const [one, two, three] = start('running', 'starting');
  await world.until(() => [one, two, three].every(({ updates }) => updates.length > 0), 100);
  expect(one.last).toMatchObject({
    full: true,
    networks: [{ id: 'net', subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.11' }] }],
  });
  expect(one.last?.networks?.[0]?.far.map(({ addr, nodeAddr }) => `${addr} ${nodeAddr}`)).toEqual([
    '10.0.1.12 10.9.0.2',
    '10.0.1.2 10.9.0.2',
  ]);
  expect(one.names()).toEqual(['t1']);
  expect(three.last?.networks).toBeUndefined();

  const running = { Timestamp: '', State: 'running' as const };
  world.write([{ op: 'update', table: 'tasks', id: 't2', set: { Status: running } }]);
  await world.until(() => one.names()?.length === 2, 100);
  expect(one.last).toMatchObject({ full: false, revision: world.store.index });
  expect(three.updates).toHaveLength(1);

  world.write([{ op: 'update', table: 'tasks', id: 't2', set: { Status: { ...running, State: 'failed' } } }]);
  await world.until(() => one.names()?.length === 1 && two.last?.removedNetworks !== undefined, 100);
  expect(two.last?.removedNetworks).toEqual(['net']);
  expect(one.last?.networks?.[0]?.far).toEqual([]);
});

test('a task that names lead to is told to stop only when no node has its name any more', async () => {
  const agents = start();
  const [one, two] = agents;
  await world.until(() => agents.every(({ updates }) => updates.length > 0), 100);
  world.write([{ op: 'update', table: 'tasks', id: 't2', set: { DesiredState: 'shutdown' } }]);
  await world.until(() => one.names()?.length === 1, 100);
  const told = () => two.updates.flatMap(({ tasks }) => tasks).some(({ DesiredState }) => DesiredState === 'shutdown');
  const revision = world.store.index;
  for (const agent of [one, two]) agent.applied(revision);
  await world.until(() => agents.every(({ last }) => (last?.revision ?? 0) >= revision), 100);
  expect(told()).toBe(false);
  // Still a neighbour, for those who talk to it.
  expect(one.last?.networks?.[0]?.far.some(({ addr }) => addr === '10.0.1.2')).toBe(true);
  agents[2].applied(revision);
  await world.until(told, 100);
});
