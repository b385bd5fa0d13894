import { afterEach, describe, expect, it } from 'vitest';
import { RaftLog } from '../../../packages/raft-ts/src/core/log/raft-log.ts';
import { ProgressTracker } from '../../../packages/raft-ts/src/core/tracker/tracker.ts';
import { Breach } from './checks.ts';
import type { HostBug } from './member.ts';
import { World } from './world.ts';

// The checkers bite: faults planted in the host or in the core are found within a few seeds.

/** The first breach over the seeds; a fault may also end in a panic of the core, which is not what is asked for here. */
function firstBreach(seeds: Iterable<number>, bug?: HostBug): string | undefined {
  for (const seed of seeds) {
    const options = { seed, steps: 3000, fierce: true };
    try {
      new World(bug === undefined ? options : { ...options, bug }).run();
    } catch (error) {
      if (error instanceof Breach) return error.invariant;
    }
  }
  return undefined;
}

/** Seeds that bit when this was written come first, so that this is quick; others follow, should the dice fall anew. */
function* seedsFrom(first: number, count: number): Generator<number> {
  for (let i = 0; i < count; i++) yield first + i;
}

describe('faults of the host', () => {
  it('a vote that is not stored', () => {
    expect(firstBreach(seedsFrom(1, 60), 'vote-not-stored')).toMatch(/one (durable )?vote a term/);
  });

  it('messages sent before what they speak of is durable', () => {
    expect(firstBreach(seedsFrom(1, 60), 'sent-before-sync')).toMatch(
      /durable|vote|log matching|election|completeness|safety/,
    );
  });

  it('a read that no quorum confirmed', () => {
    expect(firstBreach(seedsFrom(1, 60), 'read-without-quorum')).toBe('linearizable reads');
  });
});

describe('faults of the core', () => {
  const { maybeCommit, isUpToDate } = RaftLog.prototype;
  const { committed } = ProgressTracker.prototype;

  afterEach(() => {
    RaftLog.prototype.maybeCommit = maybeCommit;
    RaftLog.prototype.isUpToDate = isUpToDate;
    ProgressTracker.prototype.committed = committed;
  });

  it('an entry of an older term, committed by count', () => {
    RaftLog.prototype.maybeCommit = function (this: RaftLog, { index }) {
      if (index <= this.committed || index > this.lastIndex()) return false;
      this.commitTo(index);
      return true;
    };
    expect(firstBreach(seedsFrom(80, 300))).toMatch(/leader completeness|state machine safety/);
  });

  it('a vote for one whose log is behind', () => {
    RaftLog.prototype.isUpToDate = () => true;
    expect(firstBreach(seedsFrom(1, 100))).toMatch(/leader completeness|log matching|safety|durable/);
  });

  it('a commit with one member short of a quorum', () => {
    ProgressTracker.prototype.committed = function (this: ProgressTracker) {
      const { incoming } = this.config;
      const matches = [...incoming].map((id) => this.progress.get(id)?.match ?? 0).sort((a, b) => b - a);
      return matches[Math.max(0, Math.floor(incoming.size / 2) - 1)] ?? Number.POSITIVE_INFINITY;
    };
    expect(firstBreach(seedsFrom(1, 20))).toMatch(/committed is durable/);
  });
});
