import { checkMessage, panic } from './assert.ts';
import { encodeConfChange } from './conf-change-codec.ts';
import { fullConfig, type RawNodeConfig } from './config.ts';
import { entriesSize } from './entry-size.ts';
import {
  isEmptyHardState,
  isLocalMessage,
  isLocalTarget,
  isResponseMessage,
  message,
  sameHardState,
} from './message.ts';
import { applyConfChange } from './raft/membership.ts';
import { Raft } from './raft/state.ts';
import { step, tick } from './raft/step.ts';
import {
  type ConfChange,
  type ConfState,
  type Entry,
  type EntryType,
  type HardState,
  localAppendThread,
  localApplyThread,
  type Message,
  type ProgressStatus,
  type RawNodeStatus,
  type Ready,
  type SoftState,
  type StepResult,
} from './types.ts';

// The door of the core: a member as a pure state machine that hands its host batches of work.

/**
 * Not reentrant, and free of I/O: the host steps messages and ticks in, takes a `Ready`, works it off and says so with
 * `advance`; or, with asynchronous storage writes, delivers the responses of the messages to the local threads.
 */
export class RawNode {
  readonly #raft: Raft;
  readonly #async: boolean;
  #softState: SoftState;
  #hardState: HardState;
  /** What `advance` will step: the member's messages to itself. */
  #stepsOnAdvance: Message[] = [];

  constructor(config: RawNodeConfig) {
    const full = fullConfig(config);
    this.#raft = new Raft(full);
    this.#async = full.asyncStorageWrites;
    this.#softState = this.#raft.softState();
    this.#hardState = this.#raft.hardState();
  }

  tick(): void {
    tick(this.#raft);
  }

  /** Takes a message from another member, or a response of a local thread. */
  step(m: Message): StepResult {
    checkMessage(m);
    if (isLocalMessage(m.type) && !isLocalTarget(m.from)) return 'local-message';
    if (isResponseMessage(m.type) && !isLocalTarget(m.from) && !this.#raft.tracker.progress.has(m.from)) {
      return 'unknown-peer';
    }
    return step(this.#raft, m);
  }

  /** Appends on a leader, forwards on a follower. `ok` promises nothing: only a committed entry is there to stay. */
  propose(data: Uint8Array): StepResult {
    return this.#propose([proposed('normal', data)]);
  }

  /** Several at once, in one append to each member: all of them are taken, or none. */
  proposeAll(data: readonly Uint8Array[]): StepResult {
    return data.length === 0 ? 'ok' : this.#propose(data.map((one) => proposed('normal', one)));
  }

  /** At most one change is pending at a time: a further one is replaced by an empty entry. */
  proposeConfChange(change: ConfChange, v1?: boolean): StepResult {
    const { type, data } = encodeConfChange(change, v1);
    return this.#propose([proposed(type, data)]);
  }

  #propose(entries: readonly Entry[]): StepResult {
    return step(this.#raft, message({ type: 'prop', to: 0, from: this.#raft.id, entries }));
  }

  /**
   * Asks for the index that a linearizable read must have applied; it comes in `readStates` with the same context.
   * Requests may be lost: the host repeats them.
   */
  readIndex(context: Uint8Array): StepResult {
    return step(this.#raft, message({ type: 'read-index', to: 0, entries: [proposed('normal', context)] }));
  }

  /** Hands leadership to `to`; a follower forwards this. */
  transferLeader(to: number): void {
    step(this.#raft, message({ type: 'transfer-leader', to: 0, from: to }));
  }

  /** Stands for election now. */
  campaign(): void {
    step(this.#raft, message({ type: 'hup', to: 0 }));
  }

  /** The last message to `id` could not be sent. */
  reportUnreachable(id: number): void {
    step(this.#raft, message({ type: 'unreachable', to: 0, from: id }));
  }

  /** What became of the snapshot that was sent to `id`. */
  reportSnapshot(id: number, outcome: 'finished' | 'failed'): void {
    step(this.#raft, message({ type: 'snap-status', to: 0, from: id, reject: outcome === 'failed' }));
  }

  /** A follower forgets its leader, so that it may vote for another at once. */
  forgetLeader(): void {
    step(this.#raft, message({ type: 'forget-leader', to: 0 }));
  }

  /**
   * The host applies this committed change. A change that it decides not to make is not applied here either. Hosts that
   * step messages while they apply give the entry's index: a change that a snapshot has overtaken is then left alone.
   */
  applyConfChange(change: ConfChange, index: number = Number.POSITIVE_INFINITY): ConfState {
    return applyConfChange(this.#raft, change, index);
  }

  hasReady(): boolean {
    const { log, messages, messagesAfterAppend, readStates } = this.#raft;
    return (
      this.#softStateChanged() ||
      this.#hardStateChanged() ||
      log.unstable.nextSnapshot() !== undefined ||
      messages.length > 0 ||
      messagesAfterAppend.length > 0 ||
      log.unstable.hasNextEntries() ||
      log.hasNextCommitted(!this.#async) ||
      readStates.length > 0
    );
  }

  /** The outstanding work. It is considered taken: the next `ready` will not have it again. */
  ready(): Ready {
    const ready = this.#build();
    this.#accept(ready);
    return ready;
  }

  /** The last `Ready` is worked off: everything stored and applied. Not with asynchronous storage writes. */
  advance(): void {
    if (this.#async) panic('advance must not be called with asynchronous storage writes');
    const steps = this.#stepsOnAdvance;
    this.#stepsOnAdvance = [];
    for (const m of steps) step(this.#raft, m);
  }

  /** Of `status`, which costs more. */
  get term(): number {
    return this.#raft.term;
  }

  /** Of `status`, which costs more. */
  get lastIndex(): number {
    return this.#raft.log.lastIndex();
  }

  status(): RawNodeStatus {
    const r = this.#raft;
    const progress = new Map<number, ProgressStatus>();
    if (r.role === 'leader') {
      for (const id of r.tracker.ids()) progress.set(id, r.tracker.progress.get(id)!.status());
    }
    return {
      id: r.id,
      term: r.term,
      vote: r.vote,
      role: r.role,
      leader: r.leader,
      commit: r.log.committed,
      applied: r.log.applied,
      firstIndex: r.log.firstIndex(),
      lastIndex: r.log.lastIndex(),
      leadTransferee: r.leadTransferee,
      pendingConfIndex: r.pendingConfIndex,
      confState: r.tracker.confState(),
      progress,
    };
  }

  /** For tests: fixes the time-out of the election that is drawn at random otherwise. */
  setElectionTimeout(ticks: number): void {
    this.#raft.randomizedElectionTimeout = ticks;
  }

  #softStateChanged(): boolean {
    return this.#raft.leader !== this.#softState.leader || this.#raft.role !== this.#softState.role;
  }

  #hardStateChanged(): boolean {
    const now = this.#raft.hardState();
    return !isEmptyHardState(now) && !sameHardState(now, this.#hardState);
  }

  #build(): Ready {
    const r = this.#raft;
    const hardState = r.hardState();
    const entries = r.log.unstable.nextEntries();
    const mustSync =
      entries.length > 0 || hardState.vote !== this.#hardState.vote || hardState.term !== this.#hardState.term;
    const messages = r.messages;
    const work: Ready = {
      softState: this.#softStateChanged() ? r.softState() : undefined,
      hardState: this.#hardStateChanged() ? hardState : undefined,
      snapshot: r.log.unstable.nextSnapshot(),
      readStates: r.readStates,
      entries,
      committedEntries: r.log.nextCommitted(!this.#async),
      messages,
      mustSync,
    };
    for (const further of this.#furtherMessages(work)) messages.push(further);
    return work;
  }

  /** What goes out only once the batch is stored: to the local threads, or, synchronously, straight to the others. */
  #furtherMessages(work: Ready): Message[] {
    const { messagesAfterAppend, id } = this.#raft;
    if (!this.#async) return messagesAfterAppend.filter((m) => m.to !== id);
    const further: Message[] = [];
    const stores = work.entries.length > 0 || work.hardState !== undefined || work.snapshot !== undefined;
    if (stores || messagesAfterAppend.length > 0) further.push(this.#storageAppend(work));
    if (work.committedEntries.length > 0) further.push(this.#storageApply(work.committedEntries));
    return further;
  }

  #storageAppend(work: Ready): Message {
    const r = this.#raft;
    // The response comes last, so that the leader finds its own entries still in memory when it acknowledges them.
    const responses = [...r.messagesAfterAppend];
    if (this.#wantsAppendResponse(work)) responses.push(this.#storageAppendResponse(work));
    const { hardState, snapshot, entries } = work;
    return message({
      type: 'storage-append',
      to: localAppendThread,
      from: r.id,
      entries,
      term: hardState?.term,
      vote: hardState?.vote,
      commit: hardState?.commit,
      snapshot,
      responses,
    });
  }

  #wantsAppendResponse(work: Ready): boolean {
    return this.#raft.log.unstable.entries.length > 0 || work.snapshot !== undefined;
  }

  /**
   * Says which entries are stable once all writes so far are done. It names the last entry of the log whether or not
   * this batch has it, and the term: after a change of term the entries may have been overwritten, and then only a
   * response of the new term speaks for them.
   */
  #storageAppendResponse(work: Ready): Message {
    const r = this.#raft;
    const last = r.log.unstable.entries.length > 0 ? r.log.lastId() : undefined;
    return message({
      type: 'storage-append-resp',
      to: r.id,
      from: localAppendThread,
      term: r.term,
      index: last?.index,
      logTerm: last?.term,
      snapshot: work.snapshot,
    });
  }

  #storageApply(entries: readonly Entry[]): Message {
    const responses = [this.#storageApplyResponse(entries)];
    return message({ type: 'storage-apply', to: localApplyThread, from: this.#raft.id, entries, responses });
  }

  #storageApplyResponse(entries: readonly Entry[]): Message {
    return message({ type: 'storage-apply-resp', to: this.#raft.id, from: localApplyThread, entries });
  }

  #accept(ready: Ready): void {
    const r = this.#raft;
    if (!this.#async) {
      if (this.#stepsOnAdvance.length > 0) panic('two accepted Ready structs without call to Advance');
      this.#stepsOnAdvance = r.messagesAfterAppend.filter((m) => m.to === r.id);
      if (this.#wantsAppendResponse(ready)) this.#stepsOnAdvance.push(this.#storageAppendResponse(ready));
      if (ready.committedEntries.length > 0) {
        this.#stepsOnAdvance.push(this.#storageApplyResponse(ready.committedEntries));
      }
    }
    if (ready.softState !== undefined) this.#softState = ready.softState;
    if (ready.hardState !== undefined) this.#hardState = ready.hardState;
    r.readStates = [];
    r.messages = [];
    r.messagesAfterAppend = [];
    r.log.unstable.acceptInProgress();
    const last = ready.committedEntries.at(-1);
    if (last !== undefined) r.log.acceptApplying(last.index, entriesSize(ready.committedEntries), !this.#async);
  }
}

const proposed = (type: EntryType, data: Uint8Array): Entry => ({ type, term: 0, index: 0, data });
