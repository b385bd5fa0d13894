import type { Duplex } from 'node:stream';
import { encodeConfChange } from '../core/conf-change-codec.ts';
import { CoreLoop } from './core-loop.ts';
import { wrapData } from './entry-layout.ts';
import { notLeader, RaftError, removed, toRaftError } from './errors.ts';
import { toConfChange } from './membership.ts';
import type { RaftHostParts } from './parts.ts';
import type { Channel, Compaction, MembershipChange, NodeStatus, Proposed, RaftNode } from './types.ts';

// A running member as its host sees it: what may be asked of it when, and what it answers.

const maxEntryBytes = 4 << 20;
const defaultReadTimeoutMs = 3_000;

/** Entries that a learner may lack and be made a voter. */
const readyEntries = 1_000;

export class RaftHost implements RaftNode {
  readonly id: number;
  readonly #parts: RaftHostParts;
  readonly #loop: CoreLoop;
  readonly #listeners = new Set<(status: NodeStatus) => void>();
  #stopping: Promise<void> | undefined;

  constructor(parts: RaftHostParts) {
    this.id = parts.options.id;
    this.#parts = parts;
    this.#loop = new CoreLoop(parts, () => this.#tellChange());
  }

  start(): Promise<void> {
    return this.#loop.start();
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
    this.#loop.soon();
    return this.#loop.proposals.add('normal', wrapData(data), signal);
  }

  readIndex(timeoutMs: number = defaultReadTimeoutMs): Promise<number> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    this.#loop.soon();
    return this.#loop.reads.add(this.#parts.clock.now() + timeoutMs);
  }

  async changeMembership(change: MembershipChange): Promise<void> {
    const refusal = this.#refusal() ?? this.#notLeading();
    if (refusal !== undefined) throw refusal;
    // A new leader knows of no pending change only once it has applied what it found in the log.
    if (this.#confChangePending()) await this.readIndex();
    this.#loop.membership.check(change, this.#loop.core.status().confState);
    if (this.#confChangePending()) {
      throw new RaftError('conf-change-pending', 'another membership change is not applied yet');
    }
    if (change.type === 'add') this.#checkReady(change.id);
    const { type, data } = encodeConfChange(toConfChange(change));
    this.#loop.soon();
    await this.#loop.proposals.add(type, data);
  }

  async transferLeadership(to?: number): Promise<void> {
    const refusal = this.#refusal() ?? this.#notLeading();
    if (refusal !== undefined) throw refusal;
    const target = to ?? this.#mostUpToDate();
    if (target === undefined) throw new RaftError('no-quorum', 'no other voter is active');
    if (target === this.id) return;
    if (!this.#loop.core.status().confState.voters.includes(target)) {
      throw new RaftError('invalid-change', `member ${target} is not a voter`, { id: target });
    }
    this.#loop.lease?.break();
    this.#loop.guard(() => this.#loop.core.transferLeader(target));
    this.#loop.soon();
    await this.#loop.transfers.wait(this.#parts.timing.electionTicks * 6);
  }

  status(): NodeStatus {
    const { term, commit, lastIndex, confState, progress, ...now } = this.#loop.core.status();
    const { role, leader } = this.#loop.end === undefined ? now : { role: 'follower' as const, leader: 0 };
    const active = (id: number) =>
      id === this.id || this.#loop.transport.silence(id) <= this.#parts.timing.electionTicks;
    return {
      id: this.id,
      term,
      role,
      leader,
      commit,
      applied: this.#loop.applier.index,
      lastIndex,
      members: this.#loop.membership.members(confState),
      progress: new Map([...progress].map(([id, { match }]) => [id, { match, active: active(id) }])),
      ...(this.#loop.removed ? { removed: true } : {}),
    };
  }

  wasRemoved(id: number): boolean {
    return this.#loop.membership.isRemoved(id);
  }

  accept(from: number, channel: Channel, stream: Duplex): void {
    this.#loop.transport.accept(from, channel, stream);
  }

  onChange(listener: (status: NodeStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async snapshot(): Promise<void> {
    if (this.#loop.end !== undefined) throw this.#loop.end;
    try {
      await this.#loop.snapshotter.take();
    } catch (error) {
      throw toRaftError(error);
    }
  }

  setCompaction(compaction: Compaction): void {
    this.#loop.snapshotter.compaction = compaction;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#loop.stop();
    return this.#stopping;
  }

  #refusal(): RaftError | undefined {
    return this.#loop.end ?? (this.#loop.removed ? removed() : undefined);
  }

  #notLeading(): RaftError | undefined {
    return this.#loop.role === 'leader' ? undefined : notLeader(this.#loop.leader);
  }

  /** A learner that is behind, or away, would count for the quorum and not help to reach it. */
  #checkReady(id: number): void {
    const { confState, progress, commit } = this.#loop.core.status();
    if (!confState.learners.includes(id)) return;
    const lacks = commit - (progress.get(id)?.match ?? 0);
    const heard = this.#loop.transport.silence(id) <= this.#parts.timing.electionTicks;
    if (heard && lacks <= readyEntries) return;
    const why = heard ? `it lacks ${lacks} entries` : 'nothing is heard of it';
    throw new RaftError('not-ready', `member ${id} has not caught up yet: ${why}`, { id, lacks });
  }

  #confChangePending(): boolean {
    const { pendingConfIndex, applied } = this.#loop.core.status();
    return pendingConfIndex > applied;
  }

  #mostUpToDate(): number | undefined {
    const { progress, confState } = this.#loop.core.status();
    const near = (id: number) => this.#loop.transport.silence(id) <= this.#parts.timing.electionTicks;
    const voters = confState.voters.filter((id) => id !== this.id && near(id));
    return voters.sort((a, b) => (progress.get(b)?.match ?? 0) - (progress.get(a)?.match ?? 0))[0];
  }

  #tellChange(): void {
    const status = this.status();
    for (const listener of this.#listeners) {
      try {
        listener(status);
      } catch (error) {
        this.#parts.options.log?.('error', { reason: String(error) }, 'a listener failed');
      }
    }
  }
}
