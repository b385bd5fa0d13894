import { decodeConfChange } from './conf-change-codec.ts';
import type { RawNodeConfig } from './config.ts';
import { MemoryStorage } from './memory-storage.ts';
import { RawNode } from './raw-node.ts';
import type { ConfState, Entry, Message, Ready } from './types.ts';

// A few members over a perfect network, worked by hand: for the tables beside the core.

export const text = (data: Uint8Array): string => new TextDecoder().decode(data);
export const bytes = (words: string): Uint8Array => new TextEncoder().encode(words);

export interface TestMember {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly applied: string[];
  readonly reads: { index: number; context: string }[];
  confState: ConfState;
}

export const voters = (...ids: number[]): ConfState => ({
  voters: ids,
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
});

export class TestCluster {
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
  const ready: Ready = member.node.ready();
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
