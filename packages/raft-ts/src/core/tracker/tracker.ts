import { jointCommitted, jointVote, type Voters, voterIds } from '../quorum/joint.ts';
import type { VoteResult } from '../quorum/majority.ts';
import type { ConfState } from '../types.ts';
import { Inflights } from './inflights.ts';
import { Progress } from './progress.ts';

// The active configuration, and the leader's progress and the candidate's votes over it.

/**
 * Voters and learners never intersect. A voter of the outgoing half that is to become a learner waits in `learnersNext`
 * until the joint configuration is left.
 */
export interface TrackerConfig extends Voters {
  readonly learners: ReadonlySet<number>;
  readonly learnersNext: ReadonlySet<number>;
  /** The leader leaves the joint configuration by itself once it is applied. */
  readonly autoLeave: boolean;
}

export type ProgressMap = ReadonlyMap<number, Progress>;

const nobody: ReadonlySet<number> = new Set();

export const emptyConfig: TrackerConfig = {
  incoming: nobody,
  outgoing: nobody,
  learners: nobody,
  learnersNext: nobody,
  autoLeave: false,
};

const ascending = (ids: Iterable<number>): number[] => [...ids].sort((a, b) => a - b);

export const confStateOf = (config: TrackerConfig): ConfState => ({
  voters: ascending(config.incoming),
  votersOutgoing: ascending(config.outgoing),
  learners: ascending(config.learners),
  learnersNext: ascending(config.learnersNext),
  autoLeave: config.autoLeave,
});

export class ProgressTracker {
  readonly #maxInflight: number;
  readonly #maxInflightBytes: number;
  #config: TrackerConfig = emptyConfig;
  #progress: ProgressMap = new Map();
  #ids: readonly number[] = [];
  #votes = new Map<number, boolean>();

  constructor(maxInflight: number, maxInflightBytes: number) {
    this.#maxInflight = maxInflight;
    this.#maxInflightBytes = maxInflightBytes;
  }

  get config(): TrackerConfig {
    return this.#config;
  }

  get progress(): ProgressMap {
    return this.#progress;
  }

  newInflights(): Inflights {
    return new Inflights(this.#maxInflight, this.#maxInflightBytes);
  }

  set(config: TrackerConfig, progress: ProgressMap): void {
    this.#config = config;
    this.#progress = progress;
    this.#ids = ascending(progress.keys());
  }

  confState(): ConfState {
    return confStateOf(this.#config);
  }

  /** One voter in all, so that its own word is a quorum. */
  isSingleton(): boolean {
    return this.#config.incoming.size === 1 && this.#config.outgoing.size === 0;
  }

  isJoint(): boolean {
    return this.#config.outgoing.size > 0;
  }

  voterIds(): number[] {
    return voterIds(this.#config);
  }

  /** All members, ascending. */
  ids(): readonly number[] {
    return this.#ids;
  }

  committed(): number {
    return jointCommitted(this.#config, (id) => this.#progress.get(id)?.match);
  }

  quorumActive(): boolean {
    const active = new Map<number, boolean>();
    for (const [id, pr] of this.#progress) if (!pr.isLearner) active.set(id, pr.recentActive);
    return jointVote(this.#config, active) === 'won';
  }

  /** Forgets all progress: nothing is known to match, and probing will start behind `lastIndex`. */
  resetProgress(self: number, lastIndex: number): void {
    const fresh = new Map<number, Progress>();
    for (const [id, pr] of this.#progress) {
      const init = {
        match: id === self ? lastIndex : 0,
        next: lastIndex + 1,
        inflights: this.newInflights(),
        isLearner: pr.isLearner,
        recentActive: false,
      };
      fresh.set(id, new Progress(init));
    }
    this.#progress = fresh;
  }

  resetVotes(): void {
    this.#votes = new Map();
  }

  /** The first word of a voter counts. */
  recordVote(id: number, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  tallyVotes(): { granted: number; rejected: number; result: VoteResult } {
    let granted = 0;
    let rejected = 0;
    for (const [id, pr] of this.#progress) {
      const vote = pr.isLearner ? undefined : this.#votes.get(id);
      if (vote === true) granted++;
      else if (vote === false) rejected++;
    }
    return { granted, rejected, result: jointVote(this.#config, this.#votes) };
  }
}
