import {
  type ConfState,
  decodeConfChange,
  type Entry,
  isEmptyHardState,
  localAppendThread,
  localApplyThread,
  MemoryStorage,
  type Message,
  RawNode,
  type RawNodeConfig,
  type ReadState,
  type Ready,
  type Snapshot,
} from '../../../packages/raft-ts/src/core/index.ts';
import type { Checks } from './checks.ts';
import { type DiskRecord, replay, type SimDisk } from './disk.ts';
import { Machine } from './machine.ts';

// A host in the simulation: a RawNode with its disk and state machine, whose work takes time, so that it can crash in between.

/** Faults of the host, planted to prove that the checkers see them. */
export type HostBug = 'vote-not-stored' | 'sent-before-sync' | 'read-without-quorum';

export interface MemberOptions {
  readonly id: number;
  readonly async: boolean;
  readonly raft: Omit<RawNodeConfig, 'id' | 'storage' | 'applied' | 'asyncStorageWrites'>;
  readonly bug: HostBug | undefined;
}

/** What a member needs of the world. */
export interface MemberPorts {
  readonly disk: SimDisk;
  readonly checks: Checks;
  readonly send: (m: Message) => void;
  /** The configuration in which this member is no more was applied here. */
  readonly applied: (member: SimMember, entry: Entry) => void;
  readonly read: (member: SimMember, context: string) => void;
}

/** Takes a snapshot of the applied state whenever the leader needs one, so that it names every member. */
class HostStorage extends MemoryStorage {
  fresh: (() => Snapshot) | undefined;

  override snapshot(): Snapshot {
    return this.fresh?.() ?? super.snapshot();
  }
}

export class SimMember {
  readonly id: number;
  readonly node: RawNode;
  readonly machine: Machine;
  readonly #options: MemberOptions;
  readonly #ports: MemberPorts;
  readonly #storage: MemoryStorage;
  /** Synchronous: the batch that is being written. */
  #batch: Ready | undefined;
  /** Asynchronous: the queues of the local threads; the first `#written` appends are written but not synced. */
  readonly #appends: Message[] = [];
  #written = 0;
  #applies: Message[] = [];
  /** Reads that know their index and wait for it to be applied. */
  #waitingReads: { index: number; context: string }[] = [];
  /** The log as handed out, for the check of a new leader's. */
  readonly #log = new Map<number, number>();
  #ledTerm = 0;

  constructor(options: MemberOptions, ports: MemberPorts) {
    this.id = options.id;
    this.#options = options;
    this.#ports = ports;
    const stored = ports.disk.load();
    const storage = new HostStorage();
    copyInto(storage, stored);
    this.#storage = storage;
    this.machine = new Machine(stored.snapshot());
    const { id, async, raft } = options;
    this.node = new RawNode({ ...raft, id, storage, applied: this.machine.applied, asyncStorageWrites: async });
    storage.fresh = () => this.#freshSnapshot();
    for (let i = storage.firstIndex(); i <= storage.lastIndex(); i++) this.#log.set(i, storage.term(i));
    ports.checks.restarted(id);
  }

  get confState(): ConfState {
    return this.machine.confState;
  }

  /** Takes up the next work, if there is any and the last is far enough. */
  pump(): void {
    if (this.#batch !== undefined || !this.node.hasReady()) return;
    const ready = this.node.ready();
    this.#observe(ready);
    for (const read of ready.readStates) this.#readReady(read);
    if (!this.#options.async) {
      this.#batch = ready;
      this.#write(ready);
      if (this.#options.bug === 'sent-before-sync') for (const m of ready.messages) this.#ports.send(m);
      return;
    }
    for (const m of ready.messages) {
      if (m.to === localAppendThread) this.#appends.push(m);
      else if (m.to === localApplyThread) this.#applies.push(m);
      else this.#ports.send(m);
    }
  }

  /** One step of the disk or of the state machine. */
  progress(which: 'disk' | 'apply'): void {
    if (!this.#options.async) {
      if (this.#batch !== undefined) this.#finishBatch(this.#batch);
    } else if (which === 'disk') {
      this.#progressAppend();
    } else {
      this.#progressApply();
    }
  }

  /** Snapshot of the applied state; the log is dropped up to `keep` entries before it. */
  checkpoint(keep: number): void {
    // Only with nothing half-written, so that the checkpoint does not overtake it.
    if (this.#batch !== undefined || this.#written > 0) return;
    const snapshot = this.#freshSnapshot();
    const compactTo = Math.max(0, snapshot.meta.index - keep);
    const record: DiskRecord = { kind: 'checkpoint', snapshot, compactTo };
    this.#ports.disk.write(record);
    this.#synced();
    if (compactTo >= this.#storage.firstIndex()) this.#storage.compact(compactTo);
  }

  read(context: string): void {
    if (this.#options.bug === 'read-without-quorum' && this.node.status().role === 'leader') {
      this.#waitingReads.push({ index: this.node.status().commit, context });
      this.#serveReads();
      return;
    }
    this.node.readIndex(Buffer.from(context));
  }

  #freshSnapshot(): Snapshot {
    const { applied, confState } = this.machine;
    const stored = MemoryStorage.prototype.snapshot.call(this.#storage);
    if (applied <= stored.meta.index) return stored;
    return this.#storage.createSnapshot(applied, confState, this.machine.encode());
  }

  #observe(ready: Ready): void {
    if (ready.snapshot !== undefined) {
      this.#log.clear();
      this.#log.set(ready.snapshot.meta.index, ready.snapshot.meta.term);
    }
    const [first] = ready.entries;
    if (first !== undefined) {
      this.#ports.checks.appended(ready.entries, this.#log.get(first.index - 1));
      for (const index of [...this.#log.keys()]) if (index >= first.index) this.#log.delete(index);
      for (const entry of ready.entries) this.#log.set(entry.index, entry.term);
    }
    const { role, term, firstIndex } = this.node.status();
    if (role === 'leader' && term !== this.#ledTerm) {
      this.#ledTerm = term;
      this.#ports.checks.elected(this.id, firstIndex, (index) => this.#log.get(index));
    }
  }

  #records(work: Pick<Ready, 'entries' | 'snapshot' | 'hardState'>): DiskRecord[] {
    const records: DiskRecord[] = [];
    if (work.snapshot !== undefined) records.push({ kind: 'snapshot', snapshot: work.snapshot });
    if (work.entries.length > 0) records.push({ kind: 'entries', entries: work.entries });
    if (work.hardState !== undefined) {
      const state = this.#options.bug === 'vote-not-stored' ? { ...work.hardState, vote: 0 } : work.hardState;
      records.push({ kind: 'hard-state', state });
    }
    return records;
  }

  #write(work: Pick<Ready, 'entries' | 'snapshot' | 'hardState'>): void {
    for (const record of this.#records(work)) this.#ports.disk.write(record);
  }

  #synced(): void {
    this.#ports.disk.sync();
    this.#ports.checks.hardState(this.id, this.#ports.disk.durableHardState());
  }

  /** Makes what was synced visible to the core. */
  #store(work: Pick<Ready, 'entries' | 'snapshot' | 'hardState'>): void {
    for (const record of this.#records(work)) replay(this.#storage, record);
    if (work.snapshot !== undefined && work.snapshot.meta.index > this.machine.applied) {
      this.machine.restore(work.snapshot);
      this.#ports.checks.hash(this.id, work.snapshot.meta.index, this.machine.hash);
    }
  }

  #finishBatch(ready: Ready): void {
    this.#batch = undefined;
    this.#synced();
    this.#store(ready);
    if (this.#options.bug !== 'sent-before-sync') for (const m of ready.messages) this.#ports.send(m);
    for (const entry of ready.committedEntries) this.#apply(entry);
    this.node.advance();
    this.#serveReads();
  }

  /** Writes all that is queued, then syncs it at once. */
  #progressAppend(): void {
    const early = this.#options.bug === 'sent-before-sync';
    if (this.#written === 0) {
      for (const m of this.#appends) {
        this.#write(workOf(m));
        if (early) this.#respond(m, 'others');
      }
      this.#written = this.#appends.length;
      return;
    }
    const done = this.#appends.splice(0, this.#written);
    this.#written = 0;
    this.#synced();
    for (const m of done) {
      this.#store(workOf(m));
      this.#respond(m, early ? 'self' : 'all');
    }
    this.#serveReads();
  }

  #respond(m: Message, whom: 'all' | 'self' | 'others'): void {
    for (const response of m.responses) {
      const toSelf = response.to === this.id;
      if (toSelf && whom !== 'others') this.node.step(response);
      if (!toSelf && whom !== 'self') this.#ports.send(response);
    }
  }

  #progressApply(): void {
    const done = this.#applies;
    this.#applies = [];
    for (const m of done) {
      for (const entry of m.entries) this.#apply(entry);
      this.#respond(m, 'all');
    }
    this.#serveReads();
  }

  #apply(entry: Entry): void {
    // A snapshot, stored or still to be stored, may have overtaken what was to be applied.
    if (entry.index <= this.machine.applied || entry.index < this.node.status().firstIndex) return;
    // The core may ask for a snapshot in the midst of it: index and configuration of the machine go on together.
    const conf =
      entry.type === 'normal'
        ? undefined
        : this.node.applyConfChange(decodeConfChange(entry.type, entry.data), entry.index);
    this.machine.apply(entry.index, entry.data);
    if (conf) this.machine.confState = conf;
    this.#ports.checks.applied(this.id, entry, this.machine.hash);
    this.#ports.applied(this, entry);
  }

  #readReady({ index, context }: ReadState): void {
    this.#waitingReads.push({ index, context: Buffer.from(context).toString() });
    this.#serveReads();
  }

  #serveReads(): void {
    const ready = this.#waitingReads.filter((read) => read.index <= this.machine.applied);
    this.#waitingReads = this.#waitingReads.filter((read) => read.index > this.machine.applied);
    for (const { context } of ready) this.#ports.read(this, context);
  }
}

function workOf(m: Message): Pick<Ready, 'entries' | 'snapshot' | 'hardState'> {
  const hardState = { term: m.term, vote: m.vote, commit: m.commit };
  return {
    entries: m.entries,
    ...(m.snapshot === undefined ? {} : { snapshot: m.snapshot }),
    ...(isEmptyHardState(hardState) ? {} : { hardState }),
  };
}

function copyInto(target: MemoryStorage, source: MemoryStorage): void {
  const { hardState } = source.initialState();
  const snapshot = source.snapshot();
  if (snapshot.meta.index > 0) target.applySnapshot(snapshot);
  target.setHardState(hardState);
  const from = Math.max(snapshot.meta.index + 1, source.firstIndex());
  if (from <= source.lastIndex()) target.append(source.entries(from, source.lastIndex() + 1, Number.POSITIVE_INFINITY));
}
