import { readFile } from 'node:fs/promises';
import type { ContainerSpec, Task } from '@swarmctl/shared/model';
import { afterEach, expect, test } from 'vitest';
import { aCluster, aNode, aPayload, aService, aTask } from '../../kit/builders.ts';
import { type Machine, World } from './world.ts';

// Secrets and configs on their way to agents: they are there before a task needs them, on its node alone, in memory alone, as long as it lives.

let world: World;
afterEach(() => world.end());

const hidden = 'a-value-that-nobody-may-find';
const file = { Name: 'f', UID: '0', GID: '0', Mode: 0o444 };
const container: ContainerSpec = { Secrets: [{ SecretID: 's1', SecretName: 'pass', File: file }] };
const service = aService({ id: 'web', container });

async function start(spec = service, more: object = {}): Promise<[Machine, Machine]> {
  world = new World({
    cluster: aCluster(),
    nodes: [aNode({ id: 'n1' }), aNode({ id: 'n2' })],
    secrets: [aPayload({ id: 's1', name: 'pass', data: hidden })],
    services: [spec],
    tasks: [aTask({ id: 't1', service: spec, node: 'n1', state: 'assigned' })],
    ...more,
  });
  world.lead();
  return [await world.machine('n1'), await world.machine('n2')];
}

const holds = (machine: Machine) => machine.agent?.secrets.get('pass')?.data;
const runs = () => world.task('t1').Status.State === 'running';

test('a node has a secret before its task is prepared; others never have it', async () => {
  const [one, two] = await start();
  let held: Uint8Array | undefined;
  const prepare = one.runtime.prepare.bind(one.runtime);
  one.runtime.prepare = (task: Task, signal) => {
    held = holds(one);
    return prepare(task, signal);
  };
  for (const machine of [one, two]) machine.start();
  await world.until(runs);
  await world.until(() => two.agent?.connected === true);
  expect([held && String(Buffer.from(held)), holds(two)]).toEqual([hidden, undefined]);
});

test('the journal knows nothing of it, and a restarted agent gets it again', async () => {
  const [one] = await start();
  one.start();
  await world.until(runs);
  one.kill();
  await one.ended;
  const journal = await readFile(one.journalPath, 'utf8');
  expect(journal).toContain('"SecretName":"pass"');
  for (const form of [hidden, Buffer.from(hidden).toString('base64')]) expect(journal).not.toContain(form);
  one.rejoin();
  one.start();
  expect(holds(one)).toBeUndefined();
  await world.until(() => holds(one) !== undefined);
});

test('it goes with the last task, and its files with each', async () => {
  const [one] = await start();
  const dropped: string[] = [];
  let isWanted: ((taskId: string) => boolean) | undefined;
  one.mounts = {
    provide: async () => [],
    drop: async (taskId) => {
      dropped.push(taskId);
    },
    keepOnly: async (asked) => {
      isWanted = asked;
    },
  };
  let changes = 0;
  one.start();
  one.agent?.secrets.onChange(() => changes++);
  await world.until(runs);
  expect([holds(one) !== undefined, changes, dropped]).toEqual([true, 1, []]);
  expect(['t1', 't2'].map((taskId) => isWanted?.(taskId))).toEqual([true, false]);
  world.wish('t1', 'shutdown');
  await world.until(() => world.task('t1').Status.State === 'shutdown');
  await world.until(() => holds(one) === undefined);
  expect([changes, dropped, isWanted?.('t1')]).toEqual([2, ['t1'], false]);
  world.write([{ op: 'remove', table: 'tasks', id: 't1' }]);
  await world.until(() => dropped.length === 2);
});

test('what is too much for one message comes whole, also to an agent that lost the connection', async () => {
  const ids = Array.from({ length: 30 }, (_, i) => `c${i}`);
  const Configs = ids.map((id) => ({ ConfigID: id, ConfigName: id, File: { ...file, Name: id } }));
  const configs = ids.map((id) => aPayload({ id, name: id, data: Buffer.alloc(1_000_000, id) }));
  const [one] = await start(aService({ id: 'web', container: { Configs } }), { configs });
  one.start();
  await world.until(runs);
  one.breakLink();
  await world.until(() => one.connects === 2 && one.agent?.connected === true);
  for (const id of ids) {
    expect(Buffer.from(one.agent?.secrets.get(id, 'config')?.data ?? []).equals(Buffer.alloc(1_000_000, id))).toBe(
      true,
    );
  }
});
