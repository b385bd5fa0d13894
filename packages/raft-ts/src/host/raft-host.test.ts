import { rm, stat } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { hasLog } from './open.ts';
import { TestCluster } from './test-cluster.ts';

let cluster: TestCluster;
afterEach(() => cluster.close());

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('one member', () => {
  it('elects itself at once, applies, and comes back with everything', async () => {
    cluster = await TestCluster.withMembers(1);
    const { node } = cluster.member(1);
    expect(await node.propose(bytes('a'))).toMatchObject({ result: 'applied a' });
    await Promise.all(['b', 'c', 'd'].map((value) => node.propose(bytes(value))));
    const again = await cluster.restart(1);
    await cluster.leader();
    await again.node.readIndex();
    expect(again.machine.values).toEqual(['a', 'b', 'c', 'd']);
    expect(again.node.status().members).toEqual([{ id: 1, address: 'host-1', learner: false }]);
  });

  it('keeps its folder to itself', async () => {
    cluster = await TestCluster.withMembers(1);
    expect(await hasLog(cluster.folder(1))).toBe(true);
    expect(await hasLog(cluster.folder(9))).toBe(false);
    await expect(cluster.open(1, { kind: 'restart' })).rejects.toMatchObject({ code: 'locked' });
    const folder = await stat(cluster.folder(1));
    expect(folder.mode & 0o777).toBe(0o700);
  });

  it('refuses to start over a log, without one, or with another member id', async () => {
    cluster = await TestCluster.withMembers(1);
    await cluster.stop(1);
    await expect(cluster.open(1, { kind: 'join' })).rejects.toMatchObject({ code: 'log-exists' });
    await expect(cluster.open(5, { kind: 'restart' })).rejects.toMatchObject({ code: 'no-log' });
    await expect(cluster.open(2, { kind: 'restart' }, { dir: cluster.folder(1) })).rejects.toMatchObject({
      code: 'foreign',
    });
    await cluster.restart(1);
  });
});

describe('three members', () => {
  it('replicate, and elect another leader when one stops', async () => {
    cluster = await TestCluster.withMembers(3);
    for (let i = 0; i < 20; i++) await cluster.propose(`v${i}`);
    for (const { machine } of cluster.members.values()) await machine.until((values) => values.length === 20);
    await cluster.stop(1);
    const leader = await cluster.leader();
    expect(leader.id).not.toBe(1);
    await cluster.propose('after');
    const back = await cluster.restart(1);
    await back.machine.until((values) => values.includes('after'));
    expect(back.machine.values).toEqual(leader.machine.values);
  });

  it('elect another leader when the first goes as soon as it has made one of them a member', async () => {
    cluster = await TestCluster.withMembers(3);
    cluster.isolate(1);
    const { node } = await cluster.leader([2, 3]);
    expect((await node.propose(bytes('x'))).result).toBe('applied x');
  });

  it('do not hear one whose disk was wiped under its old id, and tell it', async () => {
    cluster = await TestCluster.withMembers(3);
    const leader = await cluster.leader();
    await cluster.propose('a');
    await cluster.acquainted();
    const lost = leader.id === 3 ? 2 : 3;
    const other = [1, 2, 3].find((id) => id !== leader.id && id !== lost)!;
    // The other one, which may lack what these two have committed, must not find a quorum with it.
    cluster.isolate(leader.id);
    await cluster.stop(lost);
    await rm(cluster.folder(lost), { recursive: true });
    const again = await cluster.open(lost, { kind: 'join' });
    await cluster.untilFatal(lost);
    expect(again.fatal[0]).toMatchObject({ code: 'lost-log', data: { id: lost, peer: other } });
    expect(cluster.member(other).node.status().role).not.toBe('leader');
    cluster.heal();
    await cluster.stop(lost);
    await cluster.byLeader(({ node }) => node.changeMembership({ type: 'remove', id: lost }));
    await cluster.open(4, { kind: 'join' });
    await cluster.byLeader(({ node }) => node.changeMembership({ type: 'add', id: 4, address: 'host-4' }));
    await cluster.propose('b');
    await cluster.member(4).machine.until((values) => values.includes('b'));
    expect(cluster.member(4).machine.values).toContain('a');
  });

  it('all come back with everything after all stopped', async () => {
    cluster = await TestCluster.withMembers(3, { snapshotEntries: 30, keepEntries: 5 });
    await Promise.all(Array.from({ length: 100 }, (_, i) => cluster.propose(`v${i}`)));
    const before = [...(await cluster.leader()).machine.values];
    for (const id of [1, 2, 3]) await cluster.stop(id);
    for (const id of [1, 2, 3]) await cluster.open(id, { kind: 'restart' });
    await cluster.propose('new');
    for (const { machine } of cluster.members.values()) await machine.until((values) => values.includes('new'));
    for (const { machine } of cluster.members.values()) expect(machine.values).toEqual([...before, 'new']);
  });

  it('bring one that was away up to date by a snapshot', async () => {
    cluster = await TestCluster.withMembers(3, { snapshotEntries: 40, keepEntries: 5 });
    await cluster.propose('first');
    await cluster.stop(3);
    for (let i = 0; i < 100; i++) await cluster.propose(`v${i}`);
    const leader = await cluster.leader();
    await leader.node.snapshot();
    const back = await cluster.restart(3);
    await back.machine.until((values) => values.includes('v99'));
    expect(back.machine.restoredAt).toBeGreaterThan(100);
    expect(back.machine.values).toEqual(leader.machine.values);
    // And the log goes on from there, also over a restart.
    await cluster.propose('more');
    await back.machine.until((values) => values.includes('more'));
    const again = await cluster.restart(3);
    await again.machine.until((values) => values.includes('more'));
    expect(again.machine.values).toEqual(leader.machine.values);
    expect(again.node.status().members.map(({ address }) => address)).toEqual(['host-1', 'host-2', 'host-3']);
  });

  it.each(['add', 'add-learner'] as const)('serve one that came after the latest snapshot (%s)', async (type) => {
    let tell: (index: unknown) => void = () => {};
    const sent = new Promise<unknown>((resolve) => {
      tell = resolve;
    });
    const log = (_level: string, fields: Record<string, unknown>, text: string) => {
      if (text === 'sending a snapshot') tell(fields['index']);
    };
    cluster = await TestCluster.withMembers(1, { keepEntries: 1, log });
    const leader = await cluster.leader();
    for (let i = 0; i < 10; i++) await cluster.propose(`v${i}`);
    await leader.node.snapshot();
    const before = leader.node.status().applied;
    const late = await cluster.open(2, { kind: 'join' });
    await leader.node.changeMembership({ type, id: 2, address: 'host-2' });
    // The first that goes has it among the members already.
    expect(await sent).toBeGreaterThan(before);
    await cluster.propose('after');
    await late.machine.until((values) => values.includes('after'));
    expect(late.machine.restoredAt).toBe(await sent);
    expect(late.machine.values).toEqual(leader.machine.values);
    expect(late.node.status().members).toEqual(leader.node.status().members);
  });

  it('read on a follower what was written before', async () => {
    cluster = await TestCluster.withMembers(3);
    const leader = await cluster.leader();
    const follower = cluster.member(leader.id === 2 ? 3 : 2);
    for (let i = 0; i < 10; i++) {
      await leader.node.propose(bytes(`v${i}`));
      const index = await follower.node.readIndex();
      expect(follower.machine.values.at(-1)).toBe(`v${i}`);
      expect(follower.node.status().applied).toBeGreaterThanOrEqual(index);
    }
  });

  it('hand leadership over', async () => {
    cluster = await TestCluster.withMembers(3);
    const leader = await cluster.leader();
    const to = leader.id === 2 ? 3 : 2;
    await cluster.propose('x');
    await leader.node.transferLeadership(to);
    expect(leader.node.status().leader).toBe(to);
    await expect(leader.node.propose(bytes('y'))).rejects.toMatchObject({ code: 'not-leader', data: { leader: to } });
    const next = await cluster.leader();
    await next.node.transferLeadership();
    expect(next.node.status().leader).not.toBe(to);
  });

  it('remove a member, which learns of it', async () => {
    cluster = await TestCluster.withMembers(3);
    const leader = await cluster.leader();
    const gone = leader.id === 3 ? 2 : 3;
    await leader.node.changeMembership({ type: 'remove', id: gone });
    expect(leader.node.status().members.map(({ id }) => id)).not.toContain(gone);
    await cluster.until(gone, (status) => status.removed === true);
    expect([1, 2, 3].filter((id) => leader.node.wasRemoved(id))).toEqual([gone]);
    await expect(cluster.member(gone).node.readIndex()).rejects.toMatchObject({ code: 'removed' });
    await expect(
      leader.node.changeMembership({ type: 'add', id: gone, address: `host-${gone}` }),
    ).rejects.toMatchObject({ code: 'invalid-change' });
    await cluster.propose('still works');
  });

  it('do not let a learner vote that is not there, or has not caught up', async () => {
    cluster = await TestCluster.withMembers(1);
    const { node } = await cluster.leader();
    await node.changeMembership({ type: 'add-learner', id: 2, address: 'host-2' });
    const promote = () => node.changeMembership({ type: 'add', id: 2, address: 'host-2' });
    await expect(promote()).rejects.toMatchObject({ code: 'not-ready', data: { id: 2 } });
    await cluster.propose('still works');
    const learner = await cluster.open(2, { kind: 'join' });
    await learner.machine.until((values) => values.includes('still works'));
    await promote();
    expect(node.status().members.map(({ learner }) => learner)).toEqual([false, false]);
  });

  it('tell a member that was away while it was removed', async () => {
    cluster = await TestCluster.withMembers(3);
    const leader = await cluster.leader();
    const gone = leader.id === 3 ? 2 : 3;
    await cluster.until(gone, ({ members }) => members.length === 3);
    await cluster.stop(gone);
    await leader.node.changeMembership({ type: 'remove', id: gone });
    await cluster.restart(gone);
    await cluster.until(gone, (status) => status.removed === true);
    expect(leader.node.status().role).toBe('leader');
  });

  it('tell a learner so as well, which never asks for votes', async () => {
    cluster = await TestCluster.withMembers(1);
    const { node } = cluster.member(1);
    const learner = await cluster.open(2, { kind: 'join' });
    await node.changeMembership({ type: 'add-learner', id: 2, address: 'host-2' });
    await learner.node.readIndex();
    await cluster.stop(2);
    await node.changeMembership({ type: 'remove', id: 2 });
    await cluster.restart(2);
    await cluster.until(2, (status) => status.removed === true);
  });

  it('lose a leader that removes itself', async () => {
    cluster = await TestCluster.withMembers(3);
    const leader = await cluster.leader();
    await leader.node.changeMembership({ type: 'remove', id: leader.id });
    // It stays for a while, for those who do not know yet, and leads no more.
    const { role, removed } = leader.node.status();
    expect({ role, removed }).toEqual({ role: 'follower', removed: undefined });
    await cluster.until(leader.id, (status) => status.removed === true);
    const others = [1, 2, 3].filter((id) => id !== leader.id);
    const next = await cluster.leader(others);
    await next.node.propose(bytes('x'));
    await cluster.until(next.id, (status) => status.members.length === 2);
  });

  it('take a learner, which does not vote, and make it a voter', async () => {
    cluster = await TestCluster.withMembers(1);
    const { node, machine } = cluster.member(1);
    await node.propose(bytes('x'));
    const learner = await cluster.open(2, { kind: 'join' });
    await node.changeMembership({ type: 'add-learner', id: 2, address: 'host-2' });
    await learner.machine.until((values) => values.length === 1);
    await learner.node.readIndex();
    await cluster.stop(2);
    await node.propose(bytes('y'));
    const back = await cluster.restart(2);
    await back.machine.until((values) => values.length === 2);
    expect(back.node.status().members[1]).toEqual({ id: 2, address: 'host-2', learner: true });
    await node.changeMembership({ type: 'add', id: 2, address: 'host-2' });
    await cluster.until(2, (status) => status.members.every(({ learner }) => !learner));
    expect(machine.values).toEqual(['x', 'y']);
  });

  it('reject what a leader without quorum cannot commit', async () => {
    cluster = await TestCluster.withMembers(3);
    const old = await cluster.leader();
    await old.node.propose(bytes('x'));
    cluster.isolate(old.id);
    const outcomes = await Promise.allSettled([old.node.propose(bytes('lost')), old.node.readIndex(300)]);
    expect(outcomes).toMatchObject([{ reason: { code: 'dropped' } }, { reason: { code: 'no-quorum' } }]);
    const others = [1, 2, 3].filter((id) => id !== old.id);
    const next = await cluster.leader(others);
    await next.node.propose(bytes('kept'));
    cluster.heal();
    await old.machine.until((values) => values.includes('kept'));
    expect(old.machine.values).toEqual(['x', 'kept']);
  });

  it('follow a member to another address', async () => {
    cluster = await TestCluster.withMembers(3);
    const leader = await cluster.leader();
    const id = leader.id === 2 ? 3 : 2;
    await leader.node.changeMembership({ type: 'update', id, address: 'elsewhere' });
    await cluster.until(id, ({ members }) => members.some(({ address }) => address === 'elsewhere'));
  });
});

describe('a node refuses', () => {
  it('changes that make no sense', async () => {
    cluster = await TestCluster.withMembers(1);
    const { node } = cluster.member(1);
    const refused = { code: 'invalid-change' };
    await expect(node.changeMembership({ type: 'remove', id: 1 })).rejects.toMatchObject(refused);
    await expect(node.changeMembership({ type: 'remove', id: 7 })).rejects.toMatchObject(refused);
    await expect(node.changeMembership({ type: 'add', id: 2.5, address: 'x' })).rejects.toMatchObject(refused);
    await expect(node.changeMembership({ type: 'add', id: 2, address: '' })).rejects.toMatchObject(refused);
    await expect(node.changeMembership({ type: 'add-learner', id: 1, address: 'x' })).rejects.toMatchObject(refused);
  });

  it('two membership changes at once', async () => {
    cluster = await TestCluster.withMembers(3);
    const { node } = await cluster.leader();
    const changes = [4, 5].map((id) => node.changeMembership({ type: 'add-learner', id, address: `host-${id}` }));
    const outcomes = await Promise.allSettled(changes);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(outcomes[1]).toMatchObject({ reason: { code: 'conf-change-pending' } });
  });

  it('what is too large, aborted, or comes after its end', async () => {
    cluster = await TestCluster.withMembers(1);
    const { node } = cluster.member(1);
    await expect(node.propose(new Uint8Array(5 << 20))).rejects.toMatchObject({ code: 'too-large' });
    await expect(node.propose(bytes('x'), AbortSignal.abort(new Error('never mind')))).rejects.toThrow('never mind');
    await node.stop();
    await node.stop();
    await expect(node.propose(bytes('x'))).rejects.toMatchObject({ code: 'stopped' });
    await expect(node.readIndex()).rejects.toMatchObject({ code: 'stopped' });
    await expect(node.snapshot()).rejects.toMatchObject({ code: 'stopped' });
  });
});

describe('a disk', () => {
  it('that fails ends the member, and tells its host why', async () => {
    cluster = await TestCluster.withMembers(1, {}, 'memory');
    const { node, fatal } = cluster.member(1);
    await node.propose(bytes('x'));
    cluster.disk(1).fault = (operation) => {
      if (operation === 'datasync') throw new Error('EIO: i/o error, fdatasync');
    };
    await expect(node.propose(bytes('y'))).rejects.toMatchObject({ code: 'stopped' });
    expect(fatal).toMatchObject([{ code: 'io' }]);
    expect(fatal[0]!.message).toContain('EIO');
    await expect(node.propose(bytes('z'))).rejects.toMatchObject({ code: 'stopped' });
    cluster.disk(1).fault = () => {};
    const again = await cluster.restart(1);
    await cluster.leader();
    await again.node.readIndex();
    expect(again.machine.values[0]).toBe('x');
  });

  it('that spoiled the log keeps the member from starting', async () => {
    cluster = await TestCluster.withMembers(1, {}, 'memory');
    for (let i = 0; i < 5; i++) await cluster.propose(`v${i}`);
    await cluster.stop(1);
    cluster.disk(1).edit(`${cluster.folder(1)}/wal/0000000000000001.wal`, (content) => {
      content[200]! ^= 1;
      return content;
    });
    await expect(cluster.open(1, { kind: 'restart' })).rejects.toMatchObject({
      code: 'corrupt',
      data: { file: `${cluster.folder(1)}/wal/0000000000000001.wal` },
    });
  });

  it('that fills up fails a snapshot, not the member', async () => {
    cluster = await TestCluster.withMembers(1, {}, 'memory');
    const { node } = cluster.member(1);
    await node.propose(bytes('x'));
    cluster.disk(1).fault = (operation, path) => {
      if (operation === 'write' && path.includes('/snap/')) throw new Error('ENOSPC: no space left on device');
    };
    await expect(node.snapshot()).rejects.toThrow('ENOSPC');
    await node.propose(bytes('y'));
    cluster.disk(1).fault = () => {};
    await node.snapshot();
    expect(await cluster.disk(1).readdir(`${cluster.folder(1)}/snap`)).toHaveLength(1);
  });
});

describe('lease reads', () => {
  it('ask nobody while the lease holds', async () => {
    cluster = await TestCluster.withMembers(3, { reads: 'lease', timing: { tickMs: 300, electionTicks: 10 } });
    await cluster.propose('a');
    const { node, machine } = cluster.member(1);
    await node.readIndex();
    // The round that was asked beside the first read has been answered by then, or is with the next.
    await node.readIndex();
    cluster.isolate(1);
    await node.readIndex(500);
    expect(machine.values).toEqual(['a']);
  });

  it('are refused once the lease is over, long before another leader can have written', async () => {
    cluster = await TestCluster.withMembers(3, { reads: 'lease' });
    await cluster.propose('a');
    const old = cluster.member(1).node;
    await old.readIndex();
    cluster.isolate(1);
    const leader = await cluster.leader([2, 3]);
    await leader.node.propose(bytes('b'));
    await expect(old.readIndex(200)).rejects.toMatchObject({ code: 'no-quorum' });
    await leader.node.readIndex();
    expect(leader.machine.values).toEqual(['a', 'b']);
  });

  it('work after a transfer, and for restarted members', async () => {
    cluster = await TestCluster.withMembers(3, { reads: 'lease' });
    await cluster.propose('a');
    await cluster.restart(2);
    await cluster.restart(3);
    await cluster.member(1).node.transferLeadership(2);
    const { node, machine } = await cluster.leader();
    await node.readIndex();
    expect(machine.values).toEqual(['a']);
  });
});
