import { checkBounds, checkConfState, checkHardState, panic } from '../assert.ts';
import { restoreMembership, sameConfState } from '../confchange/restore.ts';
import type { FullConfig, LogLevel } from '../config.ts';
import { describeConfig, hex, messageName } from '../describe.ts';
import { payloadsSize } from '../entry-size.ts';
import { RaftLog } from '../log/raft-log.ts';
import { isEmptyHardState, type MessageFields, messageFrom } from '../message.ts';
import { ReadOnly } from '../read-only.ts';
import { ProgressTracker } from '../tracker/tracker.ts';
import type { Entry, HardState, Message, ReadState, SoftState } from '../types.ts';

// What a member knows, and the changes to it that all roles share. What the roles do with messages is beside this file.

export class Raft {
  readonly id: number;
  readonly config: FullConfig;
  readonly log: RaftLog;
  tracker: ProgressTracker;

  term = 0;
  vote = 0;
  role: SoftState['role'] = 'follower';
  leader = 0;
  /** Follows from the configuration: this member is in it, as a learner. */
  isLearner = false;
  /** The index of the last snapshot that the configuration was taken from. */
  restoredIndex = 0;

  /** To other members, at once. */
  messages: Message[] = [];
  /** To other members or to this one, once everything unstable so far is durable: votes and acknowledgements. */
  messagesAfterAppend: Message[] = [];
  readStates: ReadState[] = [];

  leadTransferee = 0;
  /** At or behind the last conf change in the log that may not be applied yet: another is proposed only once this is. */
  pendingConfIndex = 0;
  /** Payload bytes in the uncommitted tail; may be too low, never too high. Leader only. */
  #uncommittedSize = 0;
  readOnly = new ReadOnly();
  /** Reads that came before the first commit of this leader's term. */
  pendingReads: Message[] = [];

  electionElapsed = 0;
  heartbeatElapsed = 0;
  randomizedElectionTimeout = 0;

  constructor(config: FullConfig) {
    this.id = config.id;
    this.config = config;
    checkBounds(config.storage.firstIndex(), config.storage.lastIndex());
    this.log = new RaftLog(config.storage, config.maxCommittedSizePerReady, config.log);
    this.tracker = new ProgressTracker(config.maxInflightMsgs, config.maxInflightBytes);
    const { hardState, confState } = config.storage.initialState();
    checkHardState(hardState);
    checkConfState(confState);
    const last = this.log.lastId();
    this.restoreTracker(confState);
    if (!isEmptyHardState(hardState)) this.#load(hardState);
    if (config.applied > 0) this.log.appliedTo(config.applied, 0);
    this.becomeFollower(this.term, 0);
    this.say(
      'info',
      () =>
        `newRaft ${hex(this.id)} [peers: [${this.tracker.voterIds().map(hex).join(',')}], term: ${this.term}, ` +
        `commit: ${this.log.committed}, applied: ${this.log.applied}, lastindex: ${last.index}, lastterm: ${last.term}]`,
    );
  }

  say(level: LogLevel, text: () => string): void {
    this.config.log?.(level, text());
  }

  /** The configuration of a start or of a snapshot; progress begins anew. */
  restoreTracker(confState: Parameters<typeof restoreMembership>[1]): void {
    this.tracker = new ProgressTracker(this.config.maxInflightMsgs, this.config.maxInflightBytes);
    const env = { lastIndex: this.log.lastIndex(), newInflights: () => this.tracker.newInflights() };
    const { config, progress } = restoreMembership(env, confState);
    this.tracker.set(config, progress);
    this.isLearner = progress.get(this.id)?.isLearner ?? false;
    this.say('info', () => `${hex(this.id)} switched to configuration ${describeConfig(config)}`);
    if (!sameConfState(confState, this.tracker.confState())) panic('the stored configuration cannot be restored');
  }

  #load(state: HardState): void {
    if (state.commit < this.log.committed || state.commit > this.log.lastIndex()) {
      panic(
        `${hex(this.id)} state.commit ${state.commit} is out of range [${this.log.committed}, ${this.log.lastIndex()}]`,
      );
    }
    this.log.committed = state.commit;
    this.term = state.term;
    this.vote = state.vote;
  }

  softState(): SoftState {
    return { leader: this.leader, role: this.role };
  }

  hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  /** Fills in sender and term, and sends at once or once durable. */
  send(outgoing: MessageFields): void {
    const { type } = outgoing;
    const electoral = type === 'vote' || type === 'vote-resp' || type === 'pre-vote' || type === 'pre-vote-resp';
    let term = outgoing.term ?? 0;
    if (electoral) {
      if (term === 0) panic(`term should be set when sending ${messageName(type)}`);
    } else {
      if (term !== 0) panic(`term should not be set when sending ${messageName(type)} (was ${term})`);
      // Forwarded proposals and reads have no term: they are good whatever the term when they arrive.
      if (type !== 'prop' && type !== 'read-index') term = this.term;
    }
    const sent = messageFrom(
      electoral ? { ...outgoing, known: this.#known() } : outgoing,
      outgoing.from || this.id,
      term,
    );
    // Votes and acknowledgements speak of durable state, so they wait for it.
    if (type === 'app-resp' || type === 'vote-resp' || type === 'pre-vote-resp') {
      this.messagesAfterAppend.push(sent);
    } else {
      if (sent.to === this.id) panic(`message should not be self-addressed when sending ${messageName(type)}`);
      this.messages.push(sent);
    }
  }

  #known(): Message['known'] {
    const index = this.log.committed;
    const term = this.log.term(index);
    return index === 0 || term === undefined ? undefined : { index, term };
  }

  #reset(term: number): void {
    if (this.term !== term) {
      if (!Number.isSafeInteger(term)) panic(`term ${term} is beyond 2^53`);
      this.term = term;
      this.vote = 0;
    }
    this.leader = 0;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.#drawElectionTimeout();
    this.leadTransferee = 0;
    this.tracker.resetVotes();
    this.tracker.resetProgress(this.id, this.log.lastIndex());
    this.pendingConfIndex = 0;
    this.#uncommittedSize = 0;
    this.readOnly = new ReadOnly();
    this.pendingReads = [];
  }

  #drawElectionTimeout(): void {
    const { electionTick, random } = this.config;
    this.randomizedElectionTimeout = electionTick + Math.floor(random() * electionTick);
  }

  becomeFollower(term: number, leader: number): void {
    this.#reset(term);
    this.leader = leader;
    this.role = 'follower';
    this.say('info', () => `${hex(this.id)} became follower at term ${this.term}`);
  }

  becomeCandidate(): void {
    if (this.role === 'leader') panic('invalid transition [leader -> candidate]');
    this.#reset(this.term + 1);
    this.vote = this.id;
    this.role = 'candidate';
    this.say('info', () => `${hex(this.id)} became candidate at term ${this.term}`);
  }

  /** Neither term nor vote change: nothing has happened yet. */
  becomePreCandidate(): void {
    if (this.role === 'leader') panic('invalid transition [leader -> pre-candidate]');
    this.tracker.resetVotes();
    this.leader = 0;
    this.role = 'precandidate';
    this.say('info', () => `${hex(this.id)} became pre-candidate at term ${this.term}`);
  }

  becomeLeader(): void {
    if (this.role === 'follower') panic('invalid transition [follower -> leader]');
    this.#reset(this.term);
    this.leader = this.id;
    this.role = 'leader';
    const self = this.tracker.progress.get(this.id) ?? panic('a leader must be in its configuration');
    self.becomeReplicate();
    self.recentActive = true;
    // A conf change may wait in the tail: instead of looking for it, allow none until the tail is applied.
    this.pendingConfIndex = this.log.lastIndex();
    // An entry of the own term, by which the older ones are committed.
    this.appendEntries([{ type: 'normal', data: new Uint8Array(0) }]);
    this.say('info', () => `${hex(this.id)} became leader at term ${this.term}`);
  }

  /** Appends to the leader's own log; false when too much is uncommitted already. */
  appendEntries(proposed: readonly Pick<Entry, 'type' | 'data'>[]): boolean {
    const last = this.log.lastIndex();
    const entries = proposed.map(({ type, data }, i) => ({ type, term: this.term, index: last + 1 + i, data }));
    if (!Number.isSafeInteger(last + entries.length)) panic('the log index is beyond 2^53');
    if (!this.#growUncommitted(payloadsSize(entries))) {
      this.say(
        'warn',
        () =>
          `${hex(this.id)} appending new entries to log would exceed uncommitted entry size limit; dropping proposal`,
      );
      return false;
    }
    this.log.append(entries);
    // Acknowledges to itself once durable.
    this.send({ type: 'app-resp', to: this.id, index: last + entries.length });
    return true;
  }

  /** Empty payloads are never refused: a new leader's first entry and the leaving of a joint configuration are such. */
  #growUncommitted(size: number): boolean {
    if (this.#uncommittedSize > 0 && size > 0 && this.#uncommittedSize + size > this.config.maxUncommittedEntriesSize) {
      return false;
    }
    this.#uncommittedSize += size;
    return true;
  }

  shrinkUncommitted(size: number): void {
    this.#uncommittedSize = Math.max(0, this.#uncommittedSize - size);
  }

  /** A voter of its configuration, with no snapshot still to be stored. */
  isPromotable(): boolean {
    const self = this.tracker.progress.get(this.id);
    return self !== undefined && !self.isLearner && !this.log.hasSnapshot();
  }

  maybeCommit(): boolean {
    return this.log.maybeCommit({ term: this.term, index: this.tracker.committed() });
  }

  hasCommittedInTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }
}
