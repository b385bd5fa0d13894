import { describe, expect, test } from 'vitest';
import { decodeConfChange } from './conf-change-codec.ts';
import type { RawNodeConfig } from './config.ts';
import { MemoryStorage } from './memory-storage.ts';
import { message } from './message.ts';
import { RawNode } from './raw-node.ts';
import type { ConfChange, ConfState, Entry, Message } from './types.ts';

// A few members over a perfect network, worked by hand: for the tables beside the core.

const text = (data: Uint8Array): string => new TextDecoder().decode(data);
const bytes = (words: string): Uint8Array => new TextEncoder().encode(words);

interface TestMember {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly applied: string[];
  readonly reads: { index: number; context: string }[];
  confState: ConfState;
}

const voters = (...ids: number[]): ConfState => ({
  voters: ids,
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
});

class TestCluster {
  readonly members = new Map<number, TestMember>();
  /** Return true to lose the message. */
  drop: (m: Message) => boolean = () => false;

  /** A member that starts from a snapshot at index 1 with this configuration; or empty, to be contacted. */
  add(id: number, confState: ConfState | undefined, config: Partial<RawNodeConfig> = {}): TestMember {
    const storage = new MemoryStorage();
    if (confState !== undefined) {
      storage.applySnapshot({ meta: { index: 1, term: 1, confState }, data: new Uint8Array(0) });
      storage.setHardState({ term: 1, vote: 0, commit: 1 });
    }
    const base = { id, electionTick: 10, heartbeatTick: 1, storage, random: () => 0 };
    const node = new RawNode({ ...base, applied: confState === undefined ? 0 : 1, ...config });
    const member: TestMember = { node, storage, applied: [], reads: [], confState: confState ?? voters() };
    this.members.set(id, member);
    return member;
  }

  node(id: number): RawNode {
    return this.members.get(id)!.node;
  }

  /** Works off and delivers until nobody has anything to do. */
  settle(): void {
    for (;;) {
      const sent: Message[] = [];
      for (const member of this.members.values()) {
        while (member.node.hasReady()) sent.push(...workOff(member));
      }
      if (sent.length === 0) return;
      for (const m of sent) if (!this.drop(m)) this.members.get(m.to)?.node.step(m);
    }
  }

  tick(id: number, times = 1): void {
    for (let i = 0; i < times; i++) this.node(id).tick();
    this.settle();
  }

  elect(id: number): void {
    this.node(id).campaign();
    this.settle();
  }
}

function workOff(member: TestMember): readonly Message[] {
  const ready = member.node.ready();
  if (ready.snapshot !== undefined) {
    member.storage.applySnapshot(ready.snapshot);
    member.confState = ready.snapshot.meta.confState;
    member.applied.push(`snapshot ${ready.snapshot.meta.index}`);
  }
  member.storage.append(ready.entries);
  if (ready.hardState !== undefined) member.storage.setHardState(ready.hardState);
  for (const entry of ready.committedEntries) apply(member, entry);
  for (const read of ready.readStates) member.reads.push({ index: read.index, context: text(read.context) });
  member.node.advance();
  return ready.messages;
}

function apply(member: TestMember, entry: Entry): void {
  if (entry.type === 'normal') {
    if (entry.data.length > 0) member.applied.push(text(entry.data));
    return;
  }
  member.confState = member.node.applyConfChange(decodeConfChange(entry.type, entry.data));
  // A new member takes only a snapshot that names it.
  member.storage.createSnapshot(entry.index, member.confState, new Uint8Array(0));
}

function cluster(n: number, config: Parameters<TestCluster['add']>[2] = {}): TestCluster {
  const c = new TestCluster();
  const ids = Array.from({ length: n }, (_, i) => i + 1);
  for (const id of ids) c.add(id, voters(...ids), config);
  return c;
}

const change = (type: ConfChange['changes'][number]['type'], nodeId: number): ConfChange => ({
  transition: 'auto',
  changes: [{ type, nodeId }],
  context: new Uint8Array(0),
});

const terms = (c: TestCluster): number[] => [...c.members.values()].map((m) => m.node.status().term);
const roles = (c: TestCluster): string[] => [...c.members.values()].map((m) => m.node.status().role);
const applied = (c: TestCluster): string[] => [...c.members.values()].map((m) => m.applied.join(' '));

describe('replication', () => {
  test.each([1, 2, 3, 5])('%i members elect and commit', (n) => {
    const c = cluster(n);
    c.elect(1);
    expect(c.node(1).status()).toMatchObject({ role: 'leader', term: 2 });
    expect(c.node(1).propose(bytes('a'))).toBe('ok');
    expect(c.node(n).propose(bytes('b'))).toBe('ok');
    c.settle();
    expect(applied(c)).toEqual(Array(n).fill('a b'));
  });

  test('a minority commits nothing, and catches up', () => {
    const c = cluster(3);
    c.elect(1);
    c.drop = (m) => m.to === 1 || m.from === 1;
    c.node(1).propose(bytes('lost'));
    c.settle();
    expect(applied(c)).toEqual(['', '', '']);
    c.elect(2);
    c.node(2).propose(bytes('kept'));
    c.settle();
    c.drop = () => false;
    c.tick(2);
    expect(applied(c)).toEqual(['kept', 'kept', 'kept']);
    expect(roles(c)).toEqual(['follower', 'leader', 'follower']);
  });

  test('an entry of an older term is not committed by count alone', () => {
    const c = cluster(3);
    c.elect(1);
    // 1 appends at term 2 and only 2 gets it; its acknowledgement is lost.
    c.drop = (m) => m.to === 3 || (m.type === 'app-resp' && m.to === 1);
    c.node(1).propose(bytes('old'));
    c.settle();
    // 1 leads again at term 3, and again nothing of its own term is acknowledged as 'old' reaches 3.
    c.drop = (m) => m.type === 'app' && m.entries.some((e) => e.term === 3);
    c.elect(1);
    expect(c.node(1).status().role).toBe('leader');
    expect(c.node(1).status().commit).toBeLessThan(3);
  });

  test('several proposals go in one append', () => {
    const c = cluster(3);
    c.elect(1);
    const sent: number[] = [];
    c.drop = (m) => {
      if (m.type === 'app' && m.to === 2) sent.push(m.entries.length);
      return false;
    };
    expect(c.node(1).proposeAll([bytes('a'), bytes('b'), bytes('c')])).toBe('ok');
    expect(c.node(1).proposeAll([])).toBe('ok');
    c.settle();
    expect(sent[0]).toBe(3);
    expect(applied(c)).toEqual(['a b c', 'a b c', 'a b c']);
  });

  test('limits uncommitted bytes, but takes one of any size', () => {
    const c = cluster(3, { maxUncommittedEntriesSize: 10 });
    c.elect(1);
    c.drop = () => true;
    expect(c.node(1).propose(bytes('x'.repeat(20)))).toBe('ok');
    expect(c.node(1).propose(bytes('y'))).toBe('too-much-uncommitted');
  });

  test('cuts appends at the size limit and pipelines up to the inflight limit', () => {
    const c = cluster(3, { maxSizePerMsg: 20, maxInflightMsgs: 2 });
    c.elect(1);
    const sent: number[] = [];
    c.drop = (m) => {
      if (m.type === 'app' && m.to === 2) sent.push(m.entries.length);
      return m.to === 2;
    };
    for (let i = 0; i < 5; i++) c.node(1).propose(bytes(`entry ${i} of sixteen`));
    c.settle();
    expect(sent).toEqual([1, 1]);
    expect(c.node(1).status().progress.get(2)).toMatchObject({ state: 'replicate', inflight: 2, paused: true });
    c.drop = () => false;
    c.tick(1);
    expect(c.members.get(2)!.applied).toHaveLength(5);
  });

  test('a follower that fell behind the log gets a snapshot', () => {
    const c = cluster(3);
    c.elect(1);
    c.drop = (m) => m.to === 3;
    for (let i = 0; i < 5; i++) c.node(1).propose(bytes(`e${i}`));
    c.settle();
    const { storage, confState } = c.members.get(1)!;
    const { applied: index } = c.node(1).status();
    storage.createSnapshot(index, confState, bytes('state'));
    storage.compact(index);
    c.drop = () => false;
    c.tick(1);
    c.node(1).propose(bytes('after'));
    c.settle();
    expect(c.members.get(3)!.applied).toEqual([`snapshot ${index}`, 'after']);
    expect(c.node(1).status().progress.get(3)).toMatchObject({ state: 'replicate' });
  });
});

describe('elections', () => {
  test('a time-out leads to an election', () => {
    const c = cluster(3);
    c.tick(2, 10);
    expect(roles(c)).toEqual(['follower', 'leader', 'follower']);
  });

  test('with pre-vote, a member that was cut off does not disturb', () => {
    const c = cluster(3, { preVote: true, checkQuorum: true });
    c.elect(1);
    c.drop = (m) => m.to === 3 || m.from === 3;
    c.tick(3, 50);
    expect(roles(c)[2]).toBe('precandidate');
    c.drop = () => false;
    c.tick(1);
    expect(terms(c)).toEqual([2, 2, 2]);
    expect(roles(c)).toEqual(['leader', 'follower', 'follower']);
  });

  test('with check-quorum, a leader alone steps down', () => {
    const c = cluster(3, { checkQuorum: true });
    c.elect(1);
    c.drop = () => true;
    c.tick(1, 20);
    expect(roles(c)[0]).toBe('follower');
  });

  test('a vote is not given twice in a term', () => {
    const c = cluster(3);
    c.node(1).campaign();
    c.node(2).campaign();
    c.settle();
    expect(roles(c).filter((role) => role === 'leader')).toHaveLength(1);
    expect(c.node(3).status().vote).toBe(1);
  });

  test('leadership is handed over once the other has everything', () => {
    const c = cluster(3, { preVote: true, checkQuorum: true });
    c.elect(1);
    c.node(1).propose(bytes('a'));
    c.node(1).transferLeader(3);
    expect(c.node(1).propose(bytes('b'))).toBe('transferring');
    c.settle();
    expect(roles(c)).toEqual(['follower', 'follower', 'leader']);
    expect(applied(c)).toEqual(['a', 'a', 'a']);
  });
});

describe('membership', () => {
  test('members are added and removed one by one', () => {
    const c = cluster(1);
    c.elect(1);
    c.add(2, undefined);
    c.add(3, undefined);
    for (const id of [2, 3]) {
      c.node(1).proposeConfChange(change('add-node', id));
      c.settle();
      c.tick(1);
    }
    expect(c.members.get(3)!.confState.voters).toEqual([1, 2, 3]);
    c.node(1).proposeConfChange(change('remove-node', 2));
    c.settle();
    expect(c.members.get(3)!.confState.voters).toEqual([1, 3]);
  });

  test('a second change while one is pending becomes an empty entry', () => {
    const c = cluster(3);
    c.elect(1);
    c.node(1).proposeConfChange(change('add-learner-node', 4));
    c.node(1).proposeConfChange(change('add-learner-node', 5));
    c.settle();
    expect(c.members.get(2)!.confState.learners).toEqual([4]);
  });

  test('a joint change is left by itself', () => {
    const c = cluster(3);
    c.elect(1);
    c.add(4, undefined);
    const swap: ConfChange = {
      transition: 'auto',
      changes: [
        { type: 'add-node', nodeId: 4 },
        { type: 'remove-node', nodeId: 3 },
      ],
      context: new Uint8Array(0),
    };
    c.node(1).proposeConfChange(swap);
    c.settle();
    expect(c.members.get(4)!.confState).toEqual(voters(1, 2, 4));
  });

  describe('that lost its leader just after a joint configuration was left', () => {
    // By what member 3 has applied, 1 and 4 vote still; they have longer logs, and may not stand.
    const joint: ConfState = { ...voters(2, 3), votersOutgoing: [1, 2, 3, 4], autoLeave: true };
    const leave = { type: 'conf-change-v2', term: 1, index: 2, data: new Uint8Array(0) } as const;
    const standing = (entry: Entry): { c: TestCluster; asked: number[] } => {
      const c = new TestCluster();
      const asked: number[] = [];
      c.add(3, joint).storage.append([entry]);
      c.drop = (m) => {
        if (m.type === 'pre-vote' || m.type === 'vote') asked.push(m.to);
        return true;
      };
      c.members.get(3)!.storage.setHardState({ term: 1, vote: 0, commit: 1 });
      const { storage } = c.members.get(3)!;
      c.members.set(3, {
        ...c.members.get(3)!,
        node: new RawNode({ id: 3, electionTick: 10, heartbeatTick: 1, storage, random: () => 0, applied: 1 }),
      });
      return { c, asked };
    };

    test.each<[string, Entry, Message['known'], number[]]>([
      ['learns from a refusal who votes now', leave, { index: 2, term: 1 }, [2]],
      ['learns nothing of another entry', leave, { index: 2, term: 2 }, [1, 2, 4]],
      ['learns nothing of an entry that it does not have', leave, { index: 3, term: 1 }, [1, 2, 4]],
      ['leaves what decides nothing to its leader', { ...leave, type: 'normal' }, { index: 2, term: 1 }, [1, 2, 4]],
    ])('%s', (_, entry, known, next) => {
      const { c, asked } = standing(entry);
      c.elect(3);
      expect(asked.splice(0).sort()).toEqual([1, 2, 4]);
      const { term } = c.node(3).status();
      c.node(3).step(message({ type: 'vote-resp', from: 1, to: 3, term, reject: true, known }));
      c.settle();
      c.node(3).step(message({ type: 'vote-resp', from: 4, to: 3, term, reject: true }));
      c.settle();
      c.elect(3);
      expect(asked.sort()).toEqual(next);
    });
  });

  test('a removed leader steps down if asked to', () => {
    const c = cluster(3, { stepDownOnRemoval: true });
    c.elect(1);
    c.node(1).proposeConfChange(change('remove-node', 1));
    c.settle();
    expect(roles(c)[0]).toBe('follower');
    expect(c.node(1).propose(bytes('x'))).toBe('no-leader');
  });
});

describe('reads', () => {
  test.each(['safe', 'lease-based'] as const)('%s: on any member, with the commit index', (readOnlyOption) => {
    const c = cluster(3, { readOnlyOption, checkQuorum: true });
    c.elect(1);
    c.node(1).propose(bytes('a'));
    c.settle();
    const { commit } = c.node(1).status();
    for (const id of [1, 3]) {
      c.node(id).readIndex(bytes(`read ${id}`));
      c.settle();
      expect(c.members.get(id)!.reads).toEqual([{ index: commit, context: `read ${id}` }]);
    }
  });

  test('a deposed leader confirms nothing', () => {
    const c = cluster(3);
    c.elect(1);
    c.drop = (m) => m.to === 1 || m.from === 1;
    c.elect(2);
    c.node(2).propose(bytes('newer'));
    c.settle();
    c.node(1).readIndex(bytes('stale'));
    c.tick(1, 3);
    expect(c.members.get(1)!.reads).toEqual([]);
  });

  test('a new leader waits for its first commit', () => {
    const c = cluster(3);
    c.drop = (m) => m.type === 'app';
    c.elect(1);
    c.node(1).readIndex(bytes('early'));
    c.tick(1);
    expect(c.members.get(1)!.reads).toEqual([]);
    c.drop = () => false;
    c.tick(1);
    c.tick(1);
    expect(c.members.get(1)!.reads).toEqual([{ index: 2, context: 'early' }]);
  });

  test('a single voter, too, answers only once it has committed in its term', () => {
    const c = new TestCluster();
    const { storage, reads } = c.add(1, voters(1));
    // It had committed this before a restart, but its commit index was not stored any more.
    storage.append([{ type: 'normal', term: 1, index: 2, data: bytes('a') }]);
    const node = new RawNode({ id: 1, electionTick: 10, heartbeatTick: 1, storage, applied: 1, random: () => 0 });
    node.campaign();
    const member = { ...c.members.get(1)!, node };
    while (node.status().role !== 'leader') workOff(member);
    node.readIndex(bytes('r'));
    expect(node.status().commit).toBe(1);
    while (node.hasReady()) workOff(member);
    expect(reads).toEqual([{ index: 3, context: 'r' }]);
  });

  test('a leader that is no voter any more asks the one that is', () => {
    const c = cluster(2);
    c.elect(1);
    c.node(1).proposeConfChange(change('remove-node', 1));
    c.settle();
    c.drop = (m) => m.to === 2;
    c.node(1).readIndex(bytes('r'));
    c.settle();
    expect(c.members.get(1)!.reads).toEqual([]);
    c.drop = () => false;
    c.tick(1);
    expect(c.members.get(1)!.reads).toMatchObject([{ context: 'r' }]);
  });

  test('without a leader a read is refused', () => {
    expect(cluster(3).node(1).readIndex(bytes('r'))).toBe('no-leader');
  });
});

describe('restarts and reports', () => {
  test('term, vote and commit survive, and what was applied is not handed out again', () => {
    const c = cluster(3);
    c.elect(1);
    c.node(1).propose(bytes('a'));
    c.node(1).propose(bytes('b'));
    c.settle();
    const { storage } = c.members.get(2)!;
    const again = new RawNode({ id: 2, electionTick: 10, heartbeatTick: 1, storage, applied: 3, random: () => 0 });
    expect(again.status()).toMatchObject({ term: 2, vote: 1, commit: 4, applied: 3, role: 'follower', leader: 0 });
    expect(again.ready().committedEntries.map((entry) => text(entry.data))).toEqual(['b']);
    expect(again.step(message({ type: 'vote', to: 2, from: 3, term: 2, index: 9, logTerm: 2 }))).toBe('ok');
    again.advance();
    expect(again.ready().messages).toMatchObject([{ type: 'vote-resp', to: 3, reject: true }]);
  });

  test('a commit index beyond the log is a panic', () => {
    const storage = new MemoryStorage();
    storage.setHardState({ term: 1, vote: 0, commit: 5 });
    expect(() => new RawNode({ id: 1, electionTick: 10, heartbeatTick: 1, storage, random: () => 0 })).toThrow('range');
  });

  test('a learner does not stand for election', () => {
    const c = new TestCluster();
    c.add(1, { ...voters(2, 3), learners: [1] });
    c.tick(1, 100);
    expect(roles(c)).toEqual(['follower']);
  });

  test('a member that cannot be reached is probed until it answers', () => {
    const c = cluster(3);
    c.elect(1);
    c.node(1).reportUnreachable(2);
    expect(c.node(1).status().progress.get(2)?.state).toBe('probe');
    c.tick(1);
    expect(c.node(1).status().progress.get(2)?.state).toBe('replicate');
  });

  test('a snapshot that failed is sent again', () => {
    const c = cluster(3);
    c.elect(1);
    c.drop = (m) => m.to === 3;
    c.node(1).propose(bytes('a'));
    c.settle();
    const { storage, confState } = c.members.get(1)!;
    storage.createSnapshot(3, confState, bytes('state'));
    storage.compact(3);
    c.drop = (m) => m.type === 'snap';
    c.tick(1);
    expect(c.node(1).status().progress.get(3)).toMatchObject({ state: 'snapshot', pendingSnapshot: 3 });
    c.node(1).reportSnapshot(3, 'failed');
    c.drop = () => false;
    c.tick(1);
    expect(c.members.get(3)!.applied).toEqual(['snapshot 3']);
  });

  test('a conf change that a snapshot has overtaken changes nothing', () => {
    const c = cluster(3);
    const node = c.node(1);
    const meta = { index: 20, term: 1, confState: voters(1, 2) };
    node.step(message({ type: 'snap', to: 1, from: 2, term: 1, snapshot: { meta, data: new Uint8Array(0) } }));
    expect(node.applyConfChange(change('remove-node', 2), 15)).toEqual(voters(1, 2));
    expect(node.applyConfChange(change('remove-node', 2), 21)).toEqual(voters(1));
  });
});

describe('the door', () => {
  test('refuses local messages and responses of strangers', () => {
    const c = cluster(3);
    expect(c.node(1).step(message({ type: 'app-resp', to: 1, from: 9 }))).toBe('unknown-peer');
    expect(c.node(1).step(message({ type: 'hup', to: 1, from: 2 }))).toBe('local-message');
  });

  const tooLarge = 2 ** 53;
  const meta = { index: 9, term: 1, confState: voters(1) };
  const data = new Uint8Array(0);

  test.each([
    { term: tooLarge },
    { term: -1 },
    { term: 1.5 },
    { index: tooLarge },
    { logTerm: tooLarge },
    { commit: tooLarge },
    { from: tooLarge },
    { vote: tooLarge },
    { rejectHint: tooLarge },
    { known: { index: tooLarge, term: 1 } },
    { known: { index: 2, term: tooLarge } },
    { entries: [{ type: 'normal', term: tooLarge, index: 2, data }] },
    { entries: [{ type: 'normal', term: 1, index: tooLarge, data }] },
    { snapshot: { meta: { ...meta, index: tooLarge }, data } },
    { snapshot: { meta: { ...meta, term: tooLarge }, data } },
    { snapshot: { meta: { ...meta, confState: voters(tooLarge) }, data } },
  ] satisfies Partial<Message>[])('a message with a number beyond 2^53 is a panic: %o', (fields) => {
    const { node } = new TestCluster().add(1, voters(1, 2));
    const before = node.status();
    expect(() => node.step(message({ type: 'app', to: 1, from: 2, term: 1, ...fields }))).toThrow('below 2^53');
    expect(node.status()).toEqual(before);
  });

  test.each([
    ['term', { term: tooLarge, vote: 0, commit: 0 }, voters(1)],
    ['vote', { term: 1, vote: tooLarge, commit: 0 }, voters(1)],
    ['commit', { term: 1, vote: 0, commit: tooLarge }, voters(1)],
    ['member id', { term: 1, vote: 0, commit: 0 }, voters(tooLarge)],
  ])('a storage whose %s is beyond 2^53 is a panic', (what, hardState, confState) => {
    const storage = new MemoryStorage();
    storage.initialState = () => ({ hardState, confState });
    const build = (): RawNode => new RawNode({ id: 1, electionTick: 10, heartbeatTick: 1, storage, random: () => 0 });
    expect(build).toThrow(`${what} ${tooLarge} is not`);
  });

  test('a change that names an id beyond 2^53 is not proposed', () => {
    const { node } = new TestCluster().add(1, voters(1));
    expect(() => node.proposeConfChange(change('add-node', tooLarge))).toThrow('below 2^53');
  });

  test('the same inputs give the same outputs', () => {
    const run = (): string => {
      const c = cluster(3, { preVote: true });
      const seen: unknown[] = [];
      c.drop = (m) => {
        seen.push(m);
        return false;
      };
      c.tick(1, 10);
      c.node(2).propose(bytes('a'));
      c.settle();
      return JSON.stringify(seen);
    };
    expect(run()).toBe(run());
  });
});

describe('a member that has lost what it promised', () => {
  function three(): TestCluster {
    const cluster = new TestCluster();
    for (const id of [1, 2, 3]) cluster.add(id, voters(1, 2, 3));
    cluster.elect(1);
    cluster.node(1).propose(bytes('a'));
    cluster.settle();
    return cluster;
  }

  test('an acknowledgement of what the leader does not have ends the leader', () => {
    const leader = three().node(1);
    const { term, lastIndex } = leader.status();
    const beyond = message({ type: 'app-resp', to: 1, from: 2, term, index: lastIndex + 1 });
    expect(() => leader.step(beyond)).toThrow(/acknowledges index 4, and 1, which leads, has entries up to 3/);
  });

  test.each([
    ['the entry before', { index: 2, logTerm: 1 }],
    ['an entry', { index: 1, logTerm: 1, entries: [{ type: 'normal', term: 3, index: 2, data: bytes('b') }] }],
  ] satisfies [string, Partial<Message>][])(
    'a leader that contradicts what is committed by %s ends the follower',
    (_, fields) => {
      const follower = three().node(2);
      expect(follower.status().commit).toBe(3);
      const append = message({ type: 'app', to: 2, from: 3, term: 5, ...fields });
      expect(() => follower.step(append)).toThrow(/2 has committed one of term 2 there/);
    },
  );
});
