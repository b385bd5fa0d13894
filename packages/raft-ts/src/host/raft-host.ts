import type { Duplex } from 'node:stream';
import { decodeConfChange, encodeConfChange } from '../core/conf-change-codec.ts';
import { message } from '../core/message.ts';
import { RawNode } from '../core/raw-node.ts';
import {
  type Entry,
  localAppendThread,
  localApplyThread,
  type Message,
  type Ready,
  type StepResult,
} from '../core/types.ts';
import { Transport } from '../transport/transport.ts';
import type { FolderLock } from '../wal/folder-lock.ts';
import type { LogStore } from '../wal/log-store.ts';
import type { UnnamedSnapshot } from '../wal/snapshot-store.ts';
import { AppendThread } from './append-thread.ts';
import { Applier, type Outcome } from './applier.ts';
import type { HostClock } from './clock.ts';
import { dropped, notLeader, RaftError, removed, stopped, toRaftError } from './errors.ts';
import { Membership, toConfChange } from './membership.ts';
import { type Proposal, Proposals } from './proposals.ts';
import { Reads } from './reads.ts';
import { Snapshotter } from './snapshotter.ts';
import { Transfers } from './transfers.ts';
import type {
  Channel,
  MembershipChange,
  NodeStatus,
  Proposed,
  RaftNode,
  RaftNodeModules,
  RaftNodeOptions,
  RaftTiming,
} from './types.ts';

// The loop around the core: time, messages and proposals go in; what its Ready asks for is done.

export interface RaftHostParts {
  readonly options: RaftNodeOptions;
  readonly timing: RaftTiming;
  readonly modules: RaftNodeModules;
  readonly store: LogStore;
  readonly clock: HostClock;
  readonly lock: FolderLock;
}

const maxEntryBytes = 4 << 20;
/** The layout of an application's entry: the first byte of its data. Empty data is the core's own. */
const entryLayout = 1;
const defaultReadTimeoutMs = 3_000;

export class RaftHost implements RaftNode {
  readonly id: number;
  readonly #parts: RaftHostParts;
  readonly #core: RawNode;
  readonly #transport: Transport;
  readonly #appends: AppendThread;
  readonly #applier: Applier;
  readonly #snapshotter: Snapshotter;
  readonly #membership: Membership;
  readonly #proposals = new Proposals();
  readonly #reads: Reads;
  readonly #transfers = new Transfers();
  readonly #listeners = new Set<(status: NodeStatus) => void>();
  #role: NodeStatus['role'] = 'follower';
  #leader = 0;
  #term: number;
  #commit: number;
  #changed = false;
  #scheduled = false;
  #inTurn = false;
  #removed: boolean;
  /** What is applied was applied before. */
  #replaying = true;
  #leaderlessTicks = 0;
  #end: RaftError | undefined;
  #stopTicks: () => void = () => {};
  #stopping: Promise<void> | undefined;

  constructor(parts: RaftHostParts) {
    const { options, timing, store, modules, clock } = parts;
    const header = store.latest;
    const { hardState } = store.initialState();
    this.id = options.id;
    this.#parts = parts;
    this.#term = hardState.term;
    this.#commit = hardState.commit;
    this.#membership = new Membership(header);
    this.#removed = this.#membership.isRemoved(this.id);
    this.#reads = new Reads(options.random, timing.electionTicks);
    this.#core = new RawNode(coreConfig(parts));
    this.#transport = this.#makeTransport();
    this.#snapshotter = new Snapshotter({
      store,
      stateMachine: modules.stateMachine,
      header: () => this.#membership.header(this.#applier.index, this.#applier.term, this.#core.status().confState),
      snapshotEntries: options.snapshotEntries ?? 10_000,
      keepEntries: options.keepEntries ?? 500,
      log: (level, fields, text) => this.#log(level, fields, text),
    });
    this.#appends = new AppendThread({
      store,
      claim: (index) => this.#snapshotter.claim(index),
      restore: (received) => this.#restored(received),
      done: (m) => this.#deliver(m.responses),
      failed: (error) => this.#fatal(error),
    });
    const env = {
      clock,
      apply: (entry: Entry) => this.#apply(entry),
      applied: (slice: readonly Outcome[]) => this.#applied(slice),
      done: (m: Message) => this.#deliver(m.responses),
      failed: (error: unknown) => this.#fatal(error),
    };
    this.#applier = new Applier(env, header?.meta ?? { index: 0, term: 0 });
  }

  /** Resolves once what was known to be committed is applied. A lone voter needs not wait for a time-out. */
  async start(): Promise<void> {
    const { clock, timing } = this.#parts;
    this.#stopTicks = clock.every(timing.tickMs, () => this.#tick());
    this.#turn();
    const known = this.#commit;
    while (this.#applier.index < known && this.#end === undefined) {
      await new Promise<void>((resolve) => clock.soon(resolve));
      await this.#applier.idle();
    }
    if (this.#end !== undefined) throw this.#end;
    this.#replaying = false;
    const { voters, votersOutgoing } = this.#core.status().confState;
    if (voters.length !== 1 || voters[0] !== this.id || votersOutgoing.length > 0) return;
    this.#guard(() => this.#core.campaign());
    this.#soon();
  }

  propose(data: Uint8Array, signal?: AbortSignal): Promise<Proposed> {
    const refusal = this.#refusal() ?? this.#notLeading();
    if (refusal !== undefined) return Promise.reject(refusal);
    if (data.length > maxEntryBytes) {
      const sizes = { bytes: data.length, limit: maxEntryBytes };
      return Promise.reject(
        new RaftError('too-large', `a proposal of ${data.length} bytes is beyond ${maxEntryBytes}`, sizes),
      );
    }
    const wrapped = new Uint8Array(data.length + 1);
    wrapped[0] = entryLayout;
    wrapped.set(data, 1);
    this.#soon();
    return this.#proposals.add('normal', wrapped, signal);
  }

  readIndex(timeoutMs: number = defaultReadTimeoutMs): Promise<number> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    this.#soon();
    return this.#reads.add(this.#parts.clock.now() + timeoutMs);
  }

  async changeMembership(change: MembershipChange): Promise<void> {
    const refusal = this.#refusal() ?? this.#notLeading();
    if (refusal !== undefined) throw refusal;
    // A new leader knows of no pending change only once it has applied what it found in the log.
    if (this.#confChangePending()) await this.readIndex();
    this.#membership.check(change, this.#core.status().confState);
    if (this.#confChangePending()) {
      throw new RaftError('conf-change-pending', 'another membership change is not applied yet');
    }
    const { type, data } = encodeConfChange(toConfChange(change));
    this.#soon();
    await this.#proposals.add(type, data);
  }

  async transferLeadership(to?: number): Promise<void> {
    const refusal = this.#refusal() ?? this.#notLeading();
    if (refusal !== undefined) throw refusal;
    const target = to ?? this.#mostUpToDate();
    if (target === undefined) throw new RaftError('no-quorum', 'no other voter is active');
    if (target === this.id) return;
    if (!this.#core.status().confState.voters.includes(target)) {
      throw new RaftError('invalid-change', `member ${target} is not a voter`, { id: target });
    }
    this.#guard(() => this.#core.transferLeader(target));
    this.#soon();
    await this.#transfers.wait(this.#parts.timing.electionTicks * 6);
  }

  status(): NodeStatus {
    const { term, role, leader, commit, lastIndex, confState, progress } = this.#core.status();
    const active = (id: number) => id === this.id || this.#transport.silence(id) <= this.#parts.timing.electionTicks;
    return {
      id: this.id,
      term,
      role,
      leader,
      commit,
      applied: this.#applier.index,
      lastIndex,
      members: this.#membership.members(confState),
      progress: new Map([...progress].map(([id, { match }]) => [id, { match, active: active(id) }])),
      ...(this.#removed ? { removed: true } : {}),
    };
  }

  accept(from: number, channel: Channel, stream: Duplex): void {
    this.#transport.accept(from, channel, stream);
  }

  onChange(listener: (status: NodeStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  snapshot(): Promise<void> {
    return this.#end === undefined ? this.#snapshotter.take() : Promise.reject(this.#end);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#shutDown(stopped());
    const { store, lock } = this.#parts;
    await this.#transport.close();
    await this.#appends.installing;
    await this.#snapshotter.running?.catch(() => {});
    await store.close().catch((error: unknown) => this.#log('warn', { reason: String(error) }, 'closing failed'));
    await lock.release();
  }

  #shutDown(end: RaftError): void {
    this.#end ??= end;
    this.#stopTicks();
    this.#appends.stop();
    this.#applier.stop();
    this.#rejectAll(this.#end);
    void this.#transport.close();
  }

  #rejectAll(error: RaftError): void {
    this.#proposals.rejectAll(error);
    this.#reads.rejectAll(error);
    this.#transfers.rejectAll(error);
  }

  /** Nothing that was promised can be kept any more: the host must end. */
  #fatal(error: unknown): void {
    if (this.#end !== undefined) return;
    const cause = toRaftError(error);
    this.#log('error', { reason: cause.message }, 'this member cannot go on');
    this.#shutDown(new RaftError('stopped', `this member cannot go on: ${cause.message}`, {}, cause));
    this.#parts.options.onFatal(cause);
  }

  /** The core throws only for what must never be. */
  #guard<T>(call: () => T): T | undefined {
    if (this.#end !== undefined) return undefined;
    try {
      return call();
    } catch (error) {
      this.#fatal(error);
      return undefined;
    }
  }

  #refusal(): RaftError | undefined {
    return this.#end ?? (this.#removed ? removed() : undefined);
  }

  #notLeading(): RaftError | undefined {
    return this.#role === 'leader' ? undefined : notLeader(this.#leader);
  }

  #confChangePending(): boolean {
    const { pendingConfIndex, applied } = this.#core.status();
    return pendingConfIndex > applied;
  }

  #mostUpToDate(): number | undefined {
    const { progress, confState } = this.#core.status();
    const near = (id: number) => this.#transport.silence(id) <= this.#parts.timing.electionTicks;
    const voters = confState.voters.filter((id) => id !== this.id && near(id));
    return voters.sort((a, b) => (progress.get(b)?.match ?? 0) - (progress.get(a)?.match ?? 0))[0];
  }

  #tick(): void {
    if (!this.#removed) this.#guard(() => this.#core.tick());
    this.#transport.tick();
    this.#probeMembers();
    this.#reads.tick(this.#parts.clock.now());
    this.#transfers.tick();
    this.#turn();
  }

  /** One that hears of no leader may have been removed: who knows answers so. A learner would ask nobody otherwise. */
  #probeMembers(): void {
    this.#leaderlessTicks = this.#leader === 0 && !this.#removed ? this.#leaderlessTicks + 1 : 0;
    if (this.#leaderlessTicks === 0 || this.#leaderlessTicks % (3 * this.#parts.timing.electionTicks) !== 0) return;
    for (const { id } of this.status().members) if (id !== this.id) this.#transport.probe(id);
  }

  #soon(): void {
    if (this.#scheduled || this.#end !== undefined) return;
    this.#scheduled = true;
    this.#parts.clock.soon(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  /** Hands in what has gathered and works off what the core makes of it. */
  #turn(): void {
    if (this.#inTurn || this.#end !== undefined) return;
    this.#inTurn = true;
    this.#guard(() => {
      this.#stepProposals(this.#proposals.takeWaiting());
      this.#reads.flush((context) => this.#core.readIndex(context) === 'ok');
      while (this.#end === undefined && this.#core.hasReady()) this.#work(this.#core.ready());
    });
    this.#inTurn = false;
    this.#transport.flush();
    if (this.#transfers.waiting) this.#checkTransfers();
    this.#tellChange();
  }

  #checkTransfers(): void {
    const { leader, leadTransferee } = this.#core.status();
    this.#transfers.check({ self: this.id, leader, transferring: leadTransferee !== 0 });
  }

  #stepProposals(proposals: readonly Proposal[]): void {
    if (proposals.length === 0) return;
    const entries = proposals.map(({ type, data }) => ({ type, data, term: 0, index: 0 }));
    const result = this.#core.step(message({ type: 'prop', to: this.id, from: this.id, entries }));
    if (result === 'ok') {
      const { lastIndex, term } = this.#core.status();
      this.#proposals.place(proposals, lastIndex - proposals.length + 1, term);
      return;
    }
    const error = this.#refused(result);
    for (const { reject } of proposals) reject(error);
  }

  #refused(result: Exclude<StepResult, 'ok'>): RaftError {
    switch (result) {
      case 'transferring':
        return new RaftError('busy', 'leadership is being handed over');
      case 'too-much-uncommitted':
        return new RaftError('busy', 'too much waits to be committed');
      case 'not-member':
        return removed();
      default:
        return notLeader(this.#leader);
    }
  }

  #work(ready: Ready): void {
    if (ready.hardState !== undefined) this.#follow(ready.hardState);
    if (ready.softState !== undefined) this.#followRole(ready.softState);
    for (const { context, index } of ready.readStates) this.#reads.confirm(context, index, this.#applier.index);
    for (const m of ready.messages) {
      if (m.to === localAppendThread) this.#appends.push(m);
      else if (m.to === localApplyThread) this.#applier.push(m);
      else if (m.type === 'snap') this.#snapshotter.send(m, this.#transport);
      else this.#transport.send(m);
    }
  }

  #follow({ term, commit }: { term: number; commit: number }): void {
    this.#commit = commit;
    if (term === this.#term) return;
    this.#term = term;
    this.#changed = true;
    // Whatever this member proposed as the leader of an older term.
    this.#proposals.dropUncommitted(commit);
  }

  #followRole({ role, leader }: { role: NodeStatus['role']; leader: number }): void {
    if (this.#role === 'leader' && role !== 'leader') this.#proposals.dropUncommitted(this.#commit);
    if (this.#leader !== leader) this.#reads.askAgain();
    this.#role = role;
    this.#leader = leader;
    this.#changed = true;
    this.#log('info', { role, leader, term: this.#term }, 'role changed');
  }

  #deliver(messages: readonly Message[]): void {
    this.#guard(() => {
      for (const m of messages) {
        if (m.to === this.id) this.#core.step(m);
        else this.#transport.send(m);
      }
    });
    this.#soon();
  }

  #apply(entry: Entry): unknown {
    if (entry.type !== 'normal') return this.#applyConfChange(entry);
    if (entry.data.length === 0) return undefined;
    if (entry.data[0] !== entryLayout) throw new Error(`entry ${entry.index} has the unknown layout ${entry.data[0]}`);
    const { index, term } = entry;
    return this.#parts.modules.stateMachine.apply({ index, term, data: entry.data.subarray(1) });
  }

  #applyConfChange(entry: Entry): void {
    const change = decodeConfChange(entry.type, entry.data);
    this.#core.applyConfChange(change, entry.index);
    for (const { type, nodeId } of change.changes) {
      this.#log('info', { change: type, member: nodeId, index: entry.index }, 'membership changed');
      if (type !== 'remove-node') continue;
      // While its address is still known.
      if (nodeId === this.id) this.#becomeRemoved();
      else if (!this.#replaying) this.#transport.dismiss(nodeId);
    }
    this.#membership.apply(change);
    this.#changed = true;
  }

  #applied(slice: readonly Outcome[]): void {
    const { index } = this.#applier;
    this.#parts.modules.stateMachine.applied?.(index);
    let bytes = 0;
    for (const { entry, result } of slice) {
      bytes += entry.data.length;
      this.#proposals.settle(entry, result);
    }
    this.#reads.applied(index);
    if (this.#removed) this.#rejectAll(removed());
    if (!this.#appends.installing) this.#snapshotter.applied(index, bytes);
    this.#soon();
  }

  /** A snapshot of the leader's is durable and the log begins anew behind it. */
  async #restored({ header }: UnnamedSnapshot): Promise<void> {
    const { index, term } = header.meta;
    const { store, modules } = this.#parts;
    await this.#applier.idle();
    const reader = await store.snapshots.open({ index, term });
    await modules.stateMachine.restore(index, reader.chunks());
    this.#applier.index = index;
    this.#applier.term = term;
    this.#membership.load(header);
    this.#proposals.rejectAll(dropped());
    this.#reads.applied(index);
    this.#changed = true;
    this.#log('info', { index, term }, 'restored from a snapshot of the leader');
  }

  #becomeRemoved(): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#changed = true;
    this.#log('warn', { term: this.#term }, 'this member was removed from the cluster');
  }

  #tellChange(): void {
    if (!this.#changed) return;
    this.#changed = false;
    const status = this.status();
    for (const listener of this.#listeners) {
      try {
        listener(status);
      } catch (error) {
        this.#log('error', { reason: String(error) }, 'a listener failed');
      }
    }
  }

  #makeTransport(): Transport {
    const { options, modules, timing, store } = this.#parts;
    return new Transport({
      self: this.id,
      dial: modules.dial,
      tickMs: timing.tickMs,
      random: options.random,
      log: (level, fields, text) => this.#log(level, fields, text),
      address: (peer) => this.#membership.address(peer),
      isRemoved: (peer) => this.#membership.isRemoved(peer),
      receive: (header) => store.snapshots.receive(header),
      events: {
        message: (m) => this.#step(m),
        unreachable: (peer) => this.#guard(() => this.#core.reportUnreachable(peer)),
        removed: () => this.#toldRemoved(),
        snapshotSent: (peer, outcome) => {
          this.#guard(() => this.#core.reportSnapshot(peer, outcome));
          this.#soon();
        },
        snapshotReceived: (m, received) => {
          this.#snapshotter.offer(received, () => {
            this.#step(m);
            this.#turn();
          });
        },
      },
    });
  }

  #step(m: Message): void {
    if (this.#removed) return;
    this.#guard(() => this.#core.step(m));
    this.#soon();
  }

  /** By a member that has applied it; this one will not get to see that entry. */
  #toldRemoved(): void {
    this.#becomeRemoved();
    this.#rejectAll(removed());
    this.#soon();
  }

  #log(level: 'debug' | 'info' | 'warn' | 'error', fields: Record<string, unknown>, text: string): void {
    this.#parts.options.log?.(level, fields, text);
  }
}

function coreConfig({ options, timing, store }: RaftHostParts): ConstructorParameters<typeof RawNode>[0] {
  const { log } = options;
  return {
    id: options.id,
    electionTick: timing.electionTicks,
    heartbeatTick: timing.heartbeatTicks,
    storage: store,
    applied: store.latest?.meta.index ?? 0,
    asyncStorageWrites: true,
    maxSizePerMsg: 512 << 10,
    maxCommittedSizePerReady: 4 << 20,
    maxUncommittedEntriesSize: 64 << 20,
    maxInflightMsgs: 256,
    maxInflightBytes: 16 << 20,
    checkQuorum: true,
    preVote: true,
    disableProposalForwarding: true,
    stepDownOnRemoval: true,
    random: options.random,
    ...(log === undefined ? {} : { log: (level, text) => log(level === 'info' ? 'debug' : level, {}, text) }),
  };
}
