import { message } from '../core/message.ts';
import { RawNode } from '../core/raw-node.ts';
import { localAppendThread, localApplyThread, type Message, type Ready } from '../core/types.ts';
import type { Transport } from '../transport/transport.ts';
import { AppendThread } from './append-thread.ts';
import type { Applier } from './applier.ts';
import { Committed } from './committed.ts';
import { coreConfig } from './core-config.ts';
import { RaftError, refused, removed, stopped, toRaftError } from './errors.ts';
import { Lease } from './lease.ts';
import { Membership } from './membership.ts';
import type { RaftHostParts } from './parts.ts';
import { Peers } from './peers.ts';
import { type Proposal, Proposals } from './proposals.ts';
import { Reads } from './reads.ts';
import { Snapshotter } from './snapshotter.ts';
import { Transfers } from './transfers.ts';
import type { Role } from './types.ts';

// The loop around the core: time, messages and proposals go in; what its Ready asks for is done.

const settleMs = 1000;

/** How many election time-outs a removed member stays. */
const leavingElections = 4;

export class CoreLoop {
  readonly id: number;
  readonly core: RawNode;
  readonly transport: Transport;
  readonly applier: Applier;
  readonly snapshotter: Snapshotter;
  readonly membership: Membership;
  readonly proposals = new Proposals();
  readonly reads: Reads;
  readonly transfers = new Transfers();
  /** Undefined: every read asks a quorum. */
  readonly lease: Lease | undefined;
  role: Role = 'follower';
  leader = 0;
  removed: boolean;
  /** Until it is. */
  #leavingTicks = 0;
  /** Why nothing is done any more. */
  end: RaftError | undefined;
  readonly #parts: RaftHostParts;
  /** Called at the end of a turn in which role, term, leader or membership changed. */
  readonly #tell: () => void;
  readonly #peers: Peers;
  readonly #committed: Committed;
  readonly #appends: AppendThread;
  #term: number;
  #commit: number;
  #changed = false;
  #scheduled = false;
  #flushing = false;
  #ticks = 0;
  #inTurn = false;
  #stopTicks: () => void = () => {};

  constructor(parts: RaftHostParts, changed: () => void) {
    this.#tell = changed;
    const { options, timing, store, modules } = parts;
    const header = store.latest;
    const { hardState } = store.initialState();
    this.id = options.id;
    this.#parts = parts;
    this.#term = hardState.term;
    this.#commit = hardState.commit;
    this.membership = new Membership(header);
    this.removed = this.membership.isRemoved(this.id);
    this.reads = new Reads(options.random, timing.electionTicks);
    const leased = options.reads === 'lease';
    this.lease = leased ? new Lease(timing, options.random, hardState.term > 0) : undefined;
    this.core = new RawNode(coreConfig(parts));
    this.#committed = new Committed({
      parts,
      core: this.core,
      membership: this.membership,
      lease: this.lease,
      proposals: this.proposals,
      reads: this.reads,
      transport: () => this.transport,
      applied: (bytes) => this.#applied(bytes),
      done: (m) => this.#deliver(m.responses),
      failed: (error) => this.#fatal(error),
      changed: () => {
        this.#changed = true;
      },
      becomeRemoved: () => this.#leave(),
    });
    this.applier = this.#committed.applier;
    this.snapshotter = new Snapshotter({
      store,
      stateMachine: modules.stateMachine,
      header: () => this.membership.header(this.applier.index, this.applier.term, this.core.status().confState),
      compaction: { snapshotEntries: options.snapshotEntries ?? 10_000, keepEntries: options.keepEntries ?? 500 },
      notSent: (peer) => this.#peers.snapshotSent(peer, 'failed'),
      log: (level, fields, text) => this.#log(level, fields, text),
    });
    this.#peers = new Peers({
      parts,
      core: this.core,
      membership: this.membership,
      lease: this.lease,
      snapshotter: this.snapshotter,
      isRemoved: () => this.removed,
      toldRemoved: () => this.#toldRemoved(),
      failed: (error) => this.#fatal(error),
      guard: (call) => this.guard(call),
      turn: () => this.#turn(),
      soon: () => this.soon(),
    });
    this.transport = this.#peers.transport;
    this.#appends = new AppendThread({
      store,
      claim: (index) => this.snapshotter.claim(index),
      restore: (received) => this.#committed.restored(received),
      done: (m) => this.#deliver(m.responses),
      failed: (error) => this.#fatal(error),
    });
  }

  /** Resolves once what was known to be committed is applied. A lone voter needs not wait for a time-out. */
  async start(): Promise<void> {
    const { clock, timing } = this.#parts;
    this.#stopTicks = clock.every(timing.tickMs, () => this.#tick());
    this.#turn();
    const known = this.#commit;
    while (this.applier.index < known && this.end === undefined) {
      await new Promise<void>((resolve) => clock.soon(resolve));
      await this.applier.idle();
    }
    if (this.end !== undefined) throw this.end;
    this.#committed.replaying = false;
    const { voters, votersOutgoing } = this.core.status().confState;
    if (voters.length !== 1 || voters[0] !== this.id || votersOutgoing.length > 0) return;
    this.guard(() => this.core.campaign());
    this.soon();
  }

  async stop(): Promise<void> {
    this.#shutDown(stopped());
    const { store, lock } = this.#parts;
    await this.transport.close();
    await this.#appends.installing;
    await this.snapshotter.running?.catch(() => {});
    await store.close().catch((error: unknown) => this.#log('warn', { reason: String(error) }, 'closing failed'));
    await lock.release();
  }

  #shutDown(end: RaftError): void {
    this.end ??= end;
    this.#stopTicks();
    this.#appends.stop();
    this.applier.stop();
    this.#rejectAll(this.end);
    void this.transport.close();
  }

  #rejectAll(error: RaftError): void {
    this.proposals.rejectAll(error);
    this.reads.rejectAll(error);
    this.transfers.rejectAll(error);
  }

  /** Nothing that was promised can be kept any more: the host must end. */
  #fatal(error: unknown): void {
    if (this.end !== undefined) return;
    const cause = toRaftError(error);
    this.#log('error', { reason: cause.message }, 'this member cannot go on');
    this.#shutDown(new RaftError('stopped', `this member cannot go on: ${cause.message}`, {}, cause));
    this.#parts.options.onFatal(cause);
  }

  /** The core throws only for what must never be. */
  guard<T>(call: () => T): T | undefined {
    if (this.end !== undefined) return undefined;
    try {
      return call();
    } catch (error) {
      this.#fatal(error);
      return undefined;
    }
  }

  #tick(): void {
    if (!this.removed) this.guard(() => this.core.tick());
    if (this.#leavingTicks > 0 && --this.#leavingTicks === 0) this.#becomeRemoved();
    this.#peers.tick(this.leader);
    this.lease?.tick();
    this.reads.tick(this.#parts.clock.now());
    this.transfers.tick();
    this.#settle();
    this.#turn();
  }

  /** Once a second the log notes down how far it is durable: what is lost from then on is missed at a start. */
  #settle(): void {
    const { store, timing } = this.#parts;
    if (++this.#ticks % Math.ceil(settleMs / timing.tickMs) !== 0) return;
    store.settle().catch((error: unknown) => this.#fatal(error));
  }

  soon(): void {
    if (this.#scheduled || this.end !== undefined) return;
    this.#scheduled = true;
    this.#parts.clock.soon(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  /** Hands in what has gathered and works off what the core makes of it. */
  #turn(): void {
    if (this.#inTurn || this.end !== undefined) return;
    this.#inTurn = true;
    this.guard(() => {
      this.#stepProposals(this.proposals.takeWaiting());
      this.#useLease();
      this.reads.flush((context) => this.core.readIndex(context) === 'ok');
      while (this.end === undefined && this.core.hasReady()) this.#work(this.core.ready());
    });
    this.#inTurn = false;
    // Whoever takes over must know the membership that counts.
    if (this.#changed) this.transport.sendNews();
    this.transport.flush();
    if (this.transfers.waiting) this.#checkTransfers();
    this.#tellChange();
  }

  #useLease(): void {
    if (this.lease === undefined || !this.reads.waiting || this.role !== 'leader') return;
    const now = this.#parts.clock.now();
    if (this.lease.holds(now)) this.reads.answerWaiting(this.core.status().commit, this.applier.index);
    const round = this.lease.due(now);
    if (round !== undefined) this.core.readIndex(round);
  }

  #checkTransfers(): void {
    const { leader, leadTransferee } = this.core.status();
    this.transfers.check({ self: this.id, leader, transferring: leadTransferee !== 0 });
  }

  #stepProposals(proposals: readonly Proposal[]): void {
    if (proposals.length === 0) return;
    const entries = proposals.map(({ type, data }) => ({ type, data, term: 0, index: 0 }));
    const result = this.guard(() => this.core.step(message({ type: 'prop', to: this.id, from: this.id, entries })));
    if (result === undefined) {
      for (const { reject } of proposals) reject(this.end);
      return;
    }
    if (result === 'ok') {
      const { lastIndex, term } = this.core;
      this.proposals.place(proposals, lastIndex - proposals.length + 1, term);
      return;
    }
    const error = refused(result, this.leader);
    for (const { reject } of proposals) reject(error);
  }

  #work(ready: Ready): void {
    if (ready.hardState !== undefined) this.#follow(ready.hardState);
    if (ready.softState !== undefined) this.#followRole(ready.softState);
    for (const { context, index } of ready.readStates) {
      if (this.lease?.confirm(context) !== true) this.reads.confirm(context, index, this.applier.index);
    }
    for (const m of ready.messages) {
      if (m.to === localAppendThread) this.#appends.push(m);
      else if (m.to === localApplyThread) this.applier.push(m);
      else if (m.type === 'snap') this.snapshotter.send(m, this.transport);
      else this.transport.send(m);
    }
  }

  #follow({ term, commit }: { term: number; commit: number }): void {
    this.#commit = commit;
    if (term === this.#term) return;
    this.#term = term;
    this.#changed = true;
    this.lease?.renew();
    // Whatever this member proposed as the leader of an older term.
    this.proposals.dropUncommitted(commit);
  }

  #followRole({ role, leader }: { role: Role; leader: number }): void {
    if (this.role === 'leader' && role !== 'leader') this.proposals.dropUncommitted(this.#commit);
    if (this.leader !== leader) this.reads.askAgain();
    if (role !== 'leader') this.lease?.end();
    this.role = role;
    this.leader = leader;
    this.#changed = true;
    this.#log('info', { role, leader, term: this.#term }, 'role changed');
  }

  #deliver(messages: readonly Message[]): void {
    if (messages.length === 0) return;
    this.guard(() => {
      for (const m of messages) {
        if (m.to === this.id) this.core.step(m);
        else this.transport.send(m);
      }
    });
    // Acknowledgements: a leader's client waits for them. What else was just written goes along.
    this.#flushSoon();
    this.soon();
  }

  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.transport.flush();
    });
  }

  #applied(bytes: number): void {
    if (this.removed) this.#rejectAll(removed());
    if (!this.#appends.installing) this.snapshotter.applied(this.applier.index, bytes);
    // Whoever asked for another membership may do anything once it is told that it has it: the others must be on their way to it.
    if (this.#changed) this.#turn();
    else this.soon();
  }

  /**
   * Not at once: members that do not know yet that the removal is committed count its vote, and learn so by it (`learnCommit`). Were their leader
   * gone as well, a majority of those that stay could wait for ever.
   */
  #leave(): void {
    if (this.removed || this.#leavingTicks > 0) return;
    this.#leavingTicks = this.#parts.timing.electionTicks * leavingElections;
    this.#log('warn', { term: this.#term }, 'this member was removed from the cluster');
  }

  #becomeRemoved(): void {
    this.removed = true;
    this.#changed = true;
    this.#rejectAll(removed());
    this.soon();
  }

  #tellChange(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.#tell();
  }

  /** By a member that has applied it; this one will not get to see that entry. */
  #toldRemoved(): void {
    this.#leave();
  }

  #log(level: 'debug' | 'info' | 'warn' | 'error', fields: Record<string, unknown>, text: string): void {
    this.#parts.options.log?.(level, fields, text);
  }
}
