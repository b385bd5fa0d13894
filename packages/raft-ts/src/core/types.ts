// The vocabulary of the core: entries, hard state, messages and the Ready that a host works off (after etcd/raft's raftpb and node.go).

/** A member's id: a positive integer below 2^53 - 2. 0 stands for none. */
export type NodeId = number;

/** Log entry kinds. `normal` with empty data is the entry a new leader commits first. */
export type EntryType = 'normal' | 'conf-change' | 'conf-change-v2';

export interface Entry {
  readonly type: EntryType;
  readonly term: number;
  readonly index: number;
  readonly data: Uint8Array;
}

/** What must be on disk before a message that depends on it leaves. `vote` 0: none. */
export interface HardState {
  readonly term: number;
  readonly vote: number;
  readonly commit: number;
}

export interface ConfState {
  readonly voters: readonly number[];
  readonly votersOutgoing: readonly number[];
  readonly learners: readonly number[];
  readonly learnersNext: readonly number[];
  readonly autoLeave: boolean;
}

export interface SnapshotMeta {
  readonly index: number;
  readonly term: number;
  readonly confState: ConfState;
}

/** A snapshot as the core sees it: `data` is opaque (inline bytes in simulations, empty with a stored file in a real host). */
export interface Snapshot {
  readonly meta: SnapshotMeta;
  readonly data: Uint8Array;
}

export type ConfChangeType = 'add-node' | 'remove-node' | 'update-node' | 'add-learner-node';

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeId: number;
}

/** One kind for both versions: a v1 change is a single one with `transition` 'auto'. */
export interface ConfChange {
  readonly transition: 'auto' | 'joint-implicit' | 'joint-explicit';
  readonly changes: readonly ConfChangeSingle[];
  /** For the host: here, the member's address. */
  readonly context: Uint8Array;
}

export type MessageType =
  | 'hup'
  | 'beat'
  | 'prop'
  | 'app'
  | 'app-resp'
  | 'vote'
  | 'vote-resp'
  | 'snap'
  | 'heartbeat'
  | 'heartbeat-resp'
  | 'unreachable'
  | 'snap-status'
  | 'check-quorum'
  | 'transfer-leader'
  | 'timeout-now'
  | 'read-index'
  | 'read-index-resp'
  | 'pre-vote'
  | 'pre-vote-resp'
  | 'storage-append'
  | 'storage-append-resp'
  | 'storage-apply'
  | 'storage-apply-resp'
  | 'forget-leader';

/** Ids of the local append and apply threads (etcd/raft uses 2^64-1 and 2^64-2; here numbers stay below 2^53). */
export const localAppendThread = Number.MAX_SAFE_INTEGER;
export const localApplyThread = Number.MAX_SAFE_INTEGER - 1;

export interface Message {
  readonly type: MessageType;
  readonly to: number;
  readonly from: number;
  readonly term: number;
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  readonly vote: number;
  readonly snapshot?: Snapshot;
  readonly reject: boolean;
  readonly rejectHint: number;
  /** Read-index request context, or 'campaign-transfer' marker. */
  readonly context: Uint8Array;
  /** With votes and requests for them: an entry that the sender knows to be committed. Not in etcd/raft; see `learnCommit`. */
  readonly known?: { readonly index: number; readonly term: number };
  /** Messages to deliver once the storage thread is done (asynchronous storage writes). */
  readonly responses: readonly Message[];
}

export interface SoftState {
  readonly leader: number;
  readonly role: 'follower' | 'precandidate' | 'candidate' | 'leader';
}

export interface ReadState {
  readonly index: number;
  readonly context: Uint8Array;
}

/**
 * One batch of work for the host. Synchronous order: append `entries` and save `hardState` and `snapshot` durably
 * (`mustSync`), then send `messages`, apply `committedEntries`, call `advance`. With asynchronous storage writes the
 * messages to the local threads carry that order instead and `advance` is not called.
 */
export interface Ready {
  readonly softState?: SoftState | undefined;
  readonly hardState?: HardState | undefined;
  readonly readStates: readonly ReadState[];
  readonly entries: readonly Entry[];
  readonly snapshot?: Snapshot | undefined;
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  readonly mustSync: boolean;
}

/** What the core reads of the stable log. Synchronous: the host keeps the tail in memory. Throws `StorageError` 'compacted' | 'unavailable' | 'snapshot-temporarily-unavailable'. */
export interface LogStorage {
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /** Entries in [lo, hi), at least one, at most `maxBytes` together. */
  entries(lo: number, hi: number, maxBytes: number): readonly Entry[];
  term(index: number): number;
  firstIndex(): number;
  lastIndex(): number;
  snapshot(): Snapshot;
}

/**
 * What became of a stepped message or a proposal. All but `ok` mean that nothing was done: no leader is known, a
 * leadership transfer is under way, too much is uncommitted, this member is not (or no more) in the configuration,
 * proposals are not forwarded, the message is a local one that came from outside, or its sender is unknown.
 */
export type StepResult =
  | 'ok'
  | 'no-leader'
  | 'transferring'
  | 'too-much-uncommitted'
  | 'not-member'
  | 'not-forwarded'
  | 'local-message'
  | 'unknown-peer';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

/** A leader's view of one member. */
export interface ProgressStatus {
  readonly match: number;
  readonly next: number;
  readonly state: ProgressState;
  readonly pendingSnapshot: number;
  readonly recentActive: boolean;
  readonly paused: boolean;
  readonly learner: boolean;
  readonly inflight: number;
  readonly inflightFull: boolean;
}

export interface RawNodeStatus {
  readonly id: NodeId;
  readonly term: number;
  readonly vote: NodeId;
  readonly role: SoftState['role'];
  readonly leader: NodeId;
  readonly commit: number;
  readonly applied: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** The member that leadership is being handed to; 0 for none. */
  readonly leadTransferee: NodeId;
  /** A conf change proposed while `applied` is below this index is replaced by an empty entry. Leader only. */
  readonly pendingConfIndex: number;
  readonly confState: ConfState;
  /** Leader only, else empty. In the order of ids. */
  readonly progress: ReadonlyMap<NodeId, ProgressStatus>;
}
