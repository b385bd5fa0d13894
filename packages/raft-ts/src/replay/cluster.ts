import { decodeConfChange } from '../core/conf-change-codec.ts';
import type { RawNodeConfig } from '../core/config.ts';
import { MemoryStorage } from '../core/memory-storage.ts';
import { isEmptyHardState, isLocalTarget } from '../core/message.ts';
import { RawNode } from '../core/raw-node.ts';
import { isStorageError } from '../core/storage-error.ts';
import {
  type Entry,
  localAppendThread,
  type Message,
  type Ready,
  type Snapshot,
  type StepResult,
} from '../core/types.ts';
import { describeMessage, describeReady } from './describe.ts';
import type { Output } from './output.ts';
import { StepError } from './step-error.ts';

// The members that a script works with, and the messages between them that are still to be delivered.

export type MemberConfig = Partial<Omit<RawNodeConfig, 'id' | 'storage' | 'random' | 'log'>>;

export interface Member {
  readonly id: number;
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly async: boolean;
  readonly electionTick: number;
  readonly heartbeatTick: number;
  readonly appendWork: Message[];
  readonly applyWork: Message[];
  /** A snapshot after each applied entry; a leader that needs one sends the last. */
  readonly history: Snapshot[];
}

class HistoryStorage extends MemoryStorage {
  readonly #history: readonly Snapshot[];

  constructor(history: readonly Snapshot[]) {
    super();
    this.#history = history;
  }

  override snapshot(): Snapshot {
    return this.#history.at(-1) ?? super.snapshot();
  }
}

const refusals: Readonly<Record<Exclude<StepResult, 'ok'>, string>> = {
  'no-leader': 'raft proposal dropped',
  transferring: 'raft proposal dropped',
  'too-much-uncommitted': 'raft proposal dropped',
  'not-member': 'raft proposal dropped',
  'not-forwarded': 'raft proposal dropped',
  'local-message': 'raft: cannot step raft local message',
  'unknown-peer': 'raft: cannot step as peer not found',
};

export const refusal = (result: StepResult): string | undefined => (result === 'ok' ? undefined : refusals[result]);

export interface Recipient {
  readonly id: number;
  readonly drop: boolean;
}

export class Cluster {
  readonly members: Member[] = [];
  messages: Message[] = [];
  readonly #output: Output;

  constructor(output: Output) {
    this.#output = output;
  }

  member(id: number): Member {
    const member = this.members[id - 1];
    if (member === undefined) throw new SyntaxError(`no member ${id}`);
    return member;
  }

  /** Adds a member that starts from the snapshot, or empty when its index is 0. */
  add(config: MemberConfig, snapshot: Snapshot): void {
    const id = this.members.length + 1;
    const history: Snapshot[] = [];
    const storage = new HistoryStorage(history);
    if (snapshot.meta.index > 0) storage.applySnapshot(snapshot);
    const ticks = { electionTick: 3, heartbeatTick: 1 };
    const defaults = { ...ticks, maxInflightMsgs: 2 ** 31 - 1, applied: snapshot.meta.index };
    const node = new RawNode({
      ...defaults,
      ...config,
      id,
      storage,
      random: () => 0,
      log: (level, text) => this.#output.log(level, text),
    });
    history.push(snapshot);
    const async = config.asyncStorageWrites ?? false;
    this.members.push({ id, node, storage, async, ...ticks, appendWork: [], applyWork: [], history });
  }

  processReady(member: Member): void {
    const ready = member.node.ready();
    this.#output.write(describeReady(ready));
    if (!member.async) {
      store(member, ready);
      apply(member, ready.committedEntries);
    }
    for (const m of ready.messages) {
      if (!isLocalTarget(m.to)) this.messages.push(m);
      else if (m.to === localAppendThread) member.appendWork.push(m);
      else member.applyWork.push(m);
    }
    if (!member.async) member.node.advance();
  }

  processAppend(member: Member): void {
    const m = member.appendWork.shift();
    if (m === undefined) {
      this.#output.write('no append work to perform');
      return;
    }
    this.#processing(m, () => {
      const hardState = { term: m.term, vote: m.vote, commit: m.commit };
      const { entries, snapshot } = m;
      store(member, { entries, hardState, ...(snapshot === undefined ? {} : { snapshot }) });
    });
  }

  processApply(member: Member): void {
    const m = member.applyWork.shift();
    if (m === undefined) {
      this.#output.write('no apply work to perform');
      return;
    }
    this.#processing(m, () => apply(member, m.entries));
  }

  #processing(m: Message, work: () => void): void {
    this.#output.write(`Processing:\n${describeMessage({ ...m, responses: [] })}\n`);
    work();
    this.#output.write('Responses:\n');
    for (const response of m.responses) this.#output.write(`${describeMessage(response)}\n`);
    this.messages.push(...m.responses);
  }

  /** Messages for a recipient; those of the local threads cannot be dropped. */
  pick({ id, drop }: Recipient, type?: string): Message[] {
    return this.messages.filter(
      (m) => m.to === id && !(drop && isReliable(m)) && (type === undefined || m.type === type),
    );
  }

  /** Delivers or drops; returns how many. */
  deliver(recipient: Recipient, type?: string): number {
    const picked = this.pick(recipient, type);
    const gone = new Set(picked);
    this.messages = this.messages.filter((m) => !gone.has(m));
    for (const m of picked) {
      this.#output.write(`${recipient.drop ? 'dropped: ' : ''}${describeMessage(m)}\n`);
      if (recipient.drop) continue;
      const result = this.member(m.to).node.step(m);
      const refused = refusal(result);
      // Reads and transfers that find no leader are dropped without a word.
      const silent = result === 'no-leader' && m.type !== 'prop';
      if (refused !== undefined && !silent) this.#output.write(`${refused}\n`);
    }
    return picked.length;
  }

  /** Works off and delivers, in rounds and in the order of ids, until nobody has anything left. */
  stabilize(members: readonly Member[]): void {
    while (this.#round(members));
  }

  #round(members: readonly Member[]): boolean {
    let busy = false;
    const turn = (has: boolean, title: string, work: () => void): void => {
      if (!has) return;
      busy = true;
      this.#output.write(`> ${title}\n`);
      work();
    };
    const indented = (work: () => void): void => this.#output.indented(work);
    for (const member of members) {
      turn(member.node.hasReady(), `${member.id} handling Ready`, () => indented(() => this.processReady(member)));
    }
    for (const { id } of members) {
      const recipient = { id, drop: false };
      turn(this.pick(recipient).length > 0, `${id} receiving messages`, () => indented(() => this.deliver(recipient)));
    }
    for (const member of members) {
      turn(member.appendWork.length > 0, `${member.id} processing append thread`, () => {
        while (member.appendWork.length > 0) indented(() => this.processAppend(member));
      });
    }
    for (const member of members) {
      turn(member.applyWork.length > 0, `${member.id} processing apply thread`, () => {
        while (member.applyWork.length > 0) indented(() => this.processApply(member));
      });
    }
    return busy;
  }
}

const isReliable = (m: Message): boolean => m.from === m.to || isLocalTarget(m.from) || isLocalTarget(m.to);

function store({ storage }: Member, work: Pick<Ready, 'entries' | 'hardState' | 'snapshot'>): void {
  if (work.hardState !== undefined && !isEmptyHardState(work.hardState)) storage.setHardState(work.hardState);
  if (work.snapshot === undefined) storage.append(work.entries);
  else if (work.entries.length > 0) throw new StepError("can't apply snapshot and entries at the same time");
  else takeSnapshot(storage, work.snapshot);
}

function takeSnapshot(storage: MemoryStorage, snapshot: Snapshot): void {
  try {
    storage.applySnapshot(snapshot);
  } catch (error) {
    if (!isStorageError(error, 'compacted')) throw error;
    throw new StepError('requested index is older than the existing snapshot');
  }
}

/** The state machine is the concatenation of all data. */
function apply(member: Member, entries: readonly Entry[]): void {
  for (const entry of entries) {
    const last = member.history.at(-1)!;
    const change = entry.type === 'normal' ? undefined : decodeConfChange(entry.type, entry.data);
    const confState = change === undefined ? last.meta.confState : member.node.applyConfChange(change);
    const data = Buffer.concat([last.data, change === undefined ? entry.data : change.context]);
    member.history.push({ meta: { index: entry.index, term: entry.term, confState }, data });
  }
}
