import { panic } from '../assert.ts';
import type { ProgressState, ProgressStatus } from '../types.ts';
import type { Inflights } from './inflights.ts';

// What a leader knows of one member's log, and whether it may send to it now.

/**
 * `probe`: one append message per heartbeat, to find where the logs match. `replicate`: appends are pipelined.
 * `snapshot`: nothing is sent until the snapshot is reported or acknowledged.
 */
export class Progress {
  /** The member's log is known to match the leader's up to here. */
  match: number;
  /** The next index to send. Invariant: match < next; what lies between is on its way. In `snapshot`, pendingSnapshot + 1. */
  next: number;
  state: ProgressState = 'probe';
  pendingSnapshot = 0;
  /** Heard of since the last check of the quorum. Always true for the leader itself. */
  recentActive: boolean;
  /** Appends wait for a heartbeat response: set by a probe, or by the message that fills the inflights. */
  flowPaused = false;
  isLearner: boolean;
  readonly inflights: Inflights;
  /** The highest commit index on its way to the member. */
  #sentCommit = 0;

  constructor(init: { match: number; next: number; inflights: Inflights; isLearner: boolean; recentActive: boolean }) {
    this.match = init.match;
    this.next = init.next;
    this.inflights = init.inflights;
    this.isLearner = init.isLearner;
    this.recentActive = init.recentActive;
  }

  /** A copy that shares the inflights. */
  clone(): Progress {
    const copy = new Progress(this);
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.flowPaused = this.flowPaused;
    copy.#sentCommit = this.#sentCommit;
    return copy;
  }

  #enter(state: ProgressState): void {
    this.flowPaused = false;
    this.pendingSnapshot = 0;
    this.state = state;
    this.inflights.reset();
  }

  /** Probing starts behind what is known to match, or behind a snapshot that arrived. */
  becomeProbe(): void {
    const snapshot = this.state === 'snapshot' ? this.pendingSnapshot : 0;
    this.#enter('probe');
    this.next = Math.max(this.match, snapshot) + 1;
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
  }

  becomeReplicate(): void {
    this.#enter('replicate');
    this.next = this.match + 1;
  }

  becomeSnapshot(index: number): void {
    this.#enter('snapshot');
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.#sentCommit = index;
  }

  /** Accounts for an append message of `count` entries from `next` on. */
  sentEntries(count: number, bytes: number): void {
    switch (this.state) {
      case 'replicate':
        if (count > 0) {
          this.next += count;
          this.inflights.add(this.next - 1, bytes);
        }
        this.flowPaused = this.inflights.full();
        return;
      case 'probe':
        if (count > 0) this.flowPaused = true;
        return;
      case 'snapshot':
        panic('an append was sent to a member that waits for a snapshot');
        break;
      default:
        this.state satisfies never;
    }
  }

  sentCommit(commit: number): void {
    this.#sentCommit = commit;
  }

  /** Whether sending this commit index could move the member's. */
  canBumpCommit(commit: number): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1;
  }

  /** Takes an acknowledgement; false when it is an old one. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.flowPaused = false;
    return true;
  }

  /** Takes the rejection of the append that followed index `rejected`; false when it is an old one. */
  maybeDecrTo(rejected: number, matchHint: number): boolean {
    if (this.state === 'replicate') {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
      return true;
    }
    // Probes go one at a time, so that a rejection of anything but the last one is old.
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, matchHint + 1), this.match + 1);
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
    this.flowPaused = false;
    return true;
  }

  isPaused(): boolean {
    return this.state === 'snapshot' || this.flowPaused;
  }

  status(): ProgressStatus {
    return {
      match: this.match,
      next: this.next,
      state: this.state,
      pendingSnapshot: this.pendingSnapshot,
      recentActive: this.recentActive,
      paused: this.isPaused(),
      learner: this.isLearner,
      inflight: this.inflights.count,
      inflightFull: this.inflights.full(),
    };
  }
}
