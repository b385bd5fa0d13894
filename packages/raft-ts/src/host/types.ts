// What a program that embeds raft-ts hands in and gets back: the state machine, the streams, the sealer and the node.
import type { Duplex } from 'node:stream';

/** A cluster member's id: a positive integer below 2^53, never reused after the member was removed. */
export type MemberId = number;

/** A committed entry of the application. */
export interface AppliedEntry {
  readonly index: number;
  readonly term: number;
  readonly data: Uint8Array;
}

/** The replicated state. `apply` is deterministic, synchronous and never throws for bad input: it returns an outcome. */
export interface StateMachine {
  /** Applies one entry. What it returns resolves the `propose` of the member that proposed it. */
  apply(entry: AppliedEntry): unknown;
  /** Called after each run of `apply` calls, once per batch, with the index reached. */
  applied?(index: number): void;
  /** Takes a consistent view now (cheap, synchronous); the returned function encodes it in slices, later. */
  snapshot(): () => AsyncIterable<Uint8Array>;
  /** Replaces the whole state by a snapshot taken at `index`. */
  restore(index: number, chunks: AsyncIterable<Uint8Array>): Promise<void>;
}

/** Encrypts what goes to the disk. `open` throws when the key is unknown or the data was tampered with. */
export interface Sealer {
  readonly keyId: string;
  seal(plain: Uint8Array): Uint8Array;
  open(sealed: Uint8Array): Uint8Array;
}

/** The kinds of connection a pair of members keeps, so that bulk never delays heartbeats. */
export type Channel = 'control' | 'append' | 'snapshot';

/** Opens an authenticated stream to a member. raft-ts never listens: the host passes accepted streams to `RaftNode.accept`. */
export type Dial = (peer: { id: MemberId; address: string }, channel: Channel, signal: AbortSignal) => Promise<Duplex>;

/** A member as the configuration knows it; `address` travels in the conf-change's context. */
export interface Member {
  readonly id: MemberId;
  readonly address: string;
  readonly learner: boolean;
}

export type Role = 'follower' | 'precandidate' | 'candidate' | 'leader';

export interface NodeStatus {
  readonly id: MemberId;
  readonly term: number;
  readonly role: Role;
  /** 0 when no leader is known. */
  readonly leader: MemberId;
  readonly commit: number;
  readonly applied: number;
  readonly lastIndex: number;
  readonly members: readonly Member[];
  /**
   * True some election time-outs after this member was removed, by the log or because another member says so: until then it votes for those who do not
   * know yet. Nothing works any more then.
   */
  readonly removed?: boolean;
  /** Leader only: match index per peer, and whether it was heard of within the election time-out. */
  readonly progress: ReadonlyMap<MemberId, { match: number; active: boolean }>;
}

export interface RaftTiming {
  /** Milliseconds a tick; 50. */
  readonly tickMs: number;
  /** Ticks between heartbeats; 2. */
  readonly heartbeatTicks: number;
  /** The election time-out is drawn from [electionTicks, 2 * electionTicks) ticks; 8. */
  readonly electionTicks: number;
}

export interface Compaction {
  /** Entries applied between snapshots. */
  readonly snapshotEntries: number;
  /** Entries kept behind a snapshot for slow followers. */
  readonly keepEntries: number;
}

export interface RaftNodeOptions {
  readonly id: MemberId;
  /** The folder of the log and snapshots; created 0700 if absent. */
  readonly dir: string;
  readonly timing?: Partial<RaftTiming>;
  /** Entries applied between snapshots; 10 000. */
  readonly snapshotEntries?: number;
  /** Entries kept behind a snapshot for slow followers; 500. */
  readonly keepEntries?: number;
  /**
   * How a leader answers reads: `quorum` asks a majority each time; `lease` lets reads within the leader's lease ask nobody, which trusts that the
   * members' clocks run alike (to a fifth) and do not stop while the machine sleeps. The same on all members of a cluster. `quorum`.
   */
  readonly reads?: 'quorum' | 'lease';
  /** A pseudo-random number in [0, 1), for the election time-outs. */
  readonly random: () => number;
  /** Called on what the node cannot survive (failed fsync, corrupted log): the host must end. */
  readonly onFatal: (error: Error) => void;
  /** One line a transition; fields before prose. */
  readonly log?: (level: 'debug' | 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string) => void;
}

export interface RaftNodeModules {
  readonly stateMachine: StateMachine;
  readonly dial: Dial;
  readonly sealer: Sealer;
}

/** How the group of a stopped member goes on with it alone. */
export interface RecoverOptions {
  /** A member that does not run. */
  readonly from: { readonly dir: string; readonly id: MemberId };
  /** The member that goes on alone, of an id that was never used; nothing may be in its folder. */
  readonly to: { readonly dir: string; readonly id: MemberId; readonly address: string };
  /** A random number in [0, 1), by which the new log is told from others. */
  readonly random: () => number;
}

export interface RecoverModules {
  /** Empty. */
  readonly stateMachine: StateMachine;
  /** Opens what `from` has, and seals what is made. */
  readonly sealer: Sealer;
  /** Called when the state machine is where the log ends: an entry that the new member's state has on top. */
  readonly amend?: () => Uint8Array | undefined;
}

/** How a node comes to life. `bootstrap` makes a one-member cluster; `join` starts empty and waits to be contacted by the leader; `restart` needs a log. */
export type Start =
  | { readonly kind: 'bootstrap'; readonly address: string }
  | { readonly kind: 'join' }
  | { readonly kind: 'restart' };

export interface Proposed {
  readonly index: number;
  /** What `StateMachine.apply` returned. */
  readonly result: unknown;
}

/**
 * `add` makes a learner a voter, and is refused (`not-ready`) while it is away or far behind. It makes an id that is no member a voter at once, there or
 * not: a voter that is not there counts for the quorum all the same. So open it with `join`, `add-learner`, then `add`.
 */
export type MembershipChange =
  | { readonly type: 'add'; readonly id: MemberId; readonly address: string }
  | { readonly type: 'add-learner'; readonly id: MemberId; readonly address: string }
  | { readonly type: 'update'; readonly id: MemberId; readonly address: string }
  | { readonly type: 'remove'; readonly id: MemberId };

/**
 * A running member. Every promise rejects with a `RaftError`, whose `code` tells what became of the request:
 * - `not-leader` (data.leader; 0 when none is known), `busy` (too much is uncommitted, or leadership is being handed over), `too-large`,
 *   `conf-change-pending`, `invalid-change`, `not-ready`: nothing was done.
 * - `dropped`: leadership was lost before the commit was seen; what was proposed may be committed, now or later, or never.
 * - `removed`, `stopped`: from a member that was so already, nothing was done. One that becomes so rejects all that waits, and what was proposed has an
 *   unknown outcome as with `dropped`. The two cases look alike to the caller.
 * - `no-quorum`: too few members answered in time; nothing was proposed.
 */
export interface RaftNode {
  readonly id: MemberId;
  /**
   * Leader only, at most 4 MiB. Resolves when applied here. Rejects `removed` with the outcome unknown when this leader's own removal is applied, or another member tells
   * of it, before the entry is: an entry behind the removal in the log may be committed all the same, by this leader or the next, and applied by the
   * others. Rejects with the signal's reason when that comes first; the entry may be committed then, too, unless it aborted before the call.
   */
  propose(data: Uint8Array, signal?: AbortSignal): Promise<Proposed>;
  /** On any member: resolves with an index once the local state has applied everything committed before the call. Rejects `no-quorum` after `timeoutMs` (default 3 000). */
  readIndex(timeoutMs?: number): Promise<number>;
  /** Leader only, one change at a time. Resolves when applied here, also when it is this member's own removal; rejects as `propose` does. */
  changeMembership(change: MembershipChange): Promise<void>;
  /**
   * Leader only; resolves when another member leads. Without `to`, the most up-to-date voter. Rejects `dropped` when this one leads on,
   * `no-quorum` when no leader is known in time.
   */
  transferLeadership(to?: MemberId): Promise<void>;
  status(): NodeStatus;
  /** Whether a member of this id was removed: it never comes back, and is told so when it says something. */
  wasRemoved(id: MemberId): boolean;
  /**
   * An authenticated stream that a peer opened with its `dial`, for the channel that this was called with: how both are told is the host's, by a
   * preamble, say. Nothing behind that may have been read off.
   */
  accept(from: MemberId, channel: Channel, stream: Duplex): void;
  /** Called on each change of role, term, leader, membership, or of being removed; returns an unsubscriber. */
  onChange(listener: (status: NodeStatus) => void): () => void;
  /** Takes a snapshot now and compacts. Rejects when the disk (`io`) or the state machine fails; the member goes on. */
  snapshot(): Promise<void>;
  /** From the next snapshot on. */
  setCompaction(compaction: Compaction): void;
  /** Stops without transferring; flushes and closes files. Idempotent. */
  stop(): Promise<void>;
}
// The package's door also exports: `openRaftNode(options, modules, start): Promise<RaftNode>`, `hasLog(dir): Promise<boolean>`, `RaftError`.
