import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recoverAlone } from './recover.ts';
import { ListMachine, TestCluster, testSealer } from './test-cluster.ts';
import type { RecoverModules, RecoverOptions } from './types.ts';

// Three members of which two are lost: the one that is left goes on alone, by a new id.

const bytes = (text: string) => new TextEncoder().encode(text);
const alone = 11;
let cluster: TestCluster;

beforeEach(async () => {
  cluster = await TestCluster.withMembers(3);
  await cluster.propose('a');
  await cluster
    .member(1)
    .node.transferLeadership(2)
    .catch(() => {});
  await cluster.propose('b');
  for (const id of [1, 2, 3]) await cluster.member(id).machine.until((values) => values.includes('b'));
});
afterEach(() => cluster.close());

const optionsOf = (set: Partial<RecoverOptions> = {}): RecoverOptions => ({
  from: { dir: cluster.folder(1), id: 1 },
  to: { dir: cluster.folder(alone), id: alone, address: `host-${alone}` },
  random: () => 0.25,
  ...set,
});

async function recover(more: Partial<RecoverModules> = {}): Promise<ListMachine> {
  const stateMachine = new ListMachine();
  await recoverAlone(optionsOf(), { stateMachine, sealer: testSealer, ...more });
  cluster.moved.set('host-1', alone);
  return stateMachine;
}

async function loseMajority(): Promise<void> {
  for (const id of [1, 2, 3]) await cluster.stop(id);
}

describe('a recovered member', () => {
  it('goes on alone with all that was there, far behind what anybody was told of', async () => {
    await cluster.member(1).node.snapshot();
    await cluster.propose('c');
    await cluster.member(1).machine.until((values) => values.includes('c'));
    const { lastIndex, term } = cluster.member(1).node.status();
    await loseMajority();
    expect((await recover()).values).toEqual(['a', 'b', 'c']);
    const { node, machine } = await cluster.restart(alone);
    await cluster.leader([alone]);
    await node.propose(bytes('d'));
    expect(machine.values).toEqual(['a', 'b', 'c', 'd']);
    expect(node.status().members).toEqual([{ id: alone, address: `host-${alone}`, learner: false }]);
    expect(node.status().lastIndex).toBeGreaterThan(lastIndex + 100_000);
    expect(node.status().term).toBeGreaterThan(term);
    expect([1, 2, 3, alone].filter((id) => node.wasRemoved(id))).toEqual([1, 2, 3]);
    await expect(node.changeMembership({ type: 'add', id: 2, address: 'host-2' })).rejects.toMatchObject({
      code: 'invalid-change',
    });
    const again = await cluster.restart(alone);
    expect(again.machine.values).toEqual(['a', 'b', 'c', 'd']);
  });

  it('has what was written and may be committed, and what is put on top', async () => {
    const leader = await cluster.leader();
    for (const { id } of [...cluster.members.values()]) if (id !== leader.id) await cluster.stop(id);
    const tail = leader.node.propose(bytes('tail')).catch(() => {});
    await cluster.until(leader.id, ({ role }) => role !== 'leader');
    await cluster.stop(leader.id);
    await tail;
    const machine = new ListMachine();
    const options = optionsOf({ from: { dir: cluster.folder(leader.id), id: leader.id } });
    const amend = () => bytes(`on top of ${machine.values.length}`);
    await recoverAlone(options, { stateMachine: machine, sealer: testSealer, amend });
    const { machine: restarted } = await cluster.restart(alone);
    expect(restarted.values).toEqual(['a', 'b', 'tail', 'on top of 3']);
  });

  it('takes new members in', async () => {
    await loseMajority();
    await recover();
    const { node } = await cluster.restart(alone);
    await cluster.leader([alone]);
    const next = await cluster.open(12, { kind: 'join' });
    await node.changeMembership({ type: 'add', id: 12, address: 'host-12' });
    await node.propose(bytes('together'));
    await next.machine.until((values) => values.includes('together'));
    expect(next.machine.values).toEqual(['a', 'b', 'together']);
  });

  it('tells the others, also when they have a majority among themselves, that they were removed', async () => {
    await loseMajority();
    await recover();
    await cluster.restart(alone);
    const others = [2, 3];
    for (const id of others) await cluster.restart(id);
    await Promise.all(others.map((id) => cluster.until(id, ({ removed }) => removed === true)));
    const { role, members } = cluster.member(alone).node.status();
    expect([role, members.length]).toEqual(['leader', 1]);
  });
});

describe('a recovery', () => {
  it.each<[string, () => Partial<RecoverOptions>, string]>([
    ['of the log of another member', () => ({ from: { dir: cluster.folder(1), id: 2 } }), 'foreign'],
    ['of nothing', () => ({ from: { dir: cluster.folder(9), id: 9 } }), 'no-log'],
    ['over a log', () => ({ to: { dir: cluster.folder(2), id: alone, address: 'x' } }), 'log-exists'],
    ['under the old id', () => ({ to: { dir: cluster.folder(alone), id: 1, address: 'x' } }), 'invalid-options'],
    ['without an address', () => ({ to: { dir: cluster.folder(alone), id: alone, address: '' } }), 'invalid-options'],
  ])('%s is refused, and leaves the old log as it was', async (_, options, code) => {
    await loseMajority();
    const refused = recoverAlone(optionsOf(options()), { stateMachine: new ListMachine(), sealer: testSealer });
    await expect(refused).rejects.toMatchObject({ code });
    for (const id of [1, 2]) await cluster.restart(id);
    await cluster.propose('still here');
  });

  it('of a member that runs is refused', async () => {
    await expect(recover()).rejects.toMatchObject({ code: 'locked' });
  });
});

it('what was recovered is there after the power went', async () => {
  await cluster.close();
  cluster = await TestCluster.withMembers(1, {}, 'memory');
  await cluster.propose('a');
  await cluster.stop(1);
  const disk = cluster.disk(1);
  const env = { fileSystem: disk, lock: async () => ({ release: async () => {} }), segmentBytes: 64 << 10 };
  await recoverAlone(optionsOf(), { stateMachine: new ListMachine(), sealer: testSealer }, env);
  disk.crash('lose');
  cluster.shareDisk(1, alone);
  const { machine } = await cluster.restart(alone);
  expect(machine.values).toEqual(['a']);
});
