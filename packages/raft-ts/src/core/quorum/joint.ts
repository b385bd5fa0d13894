import { type Acked, majorityCommitted, majorityVote, type VoteResult } from './majority.ts';

// Decisions of a joint configuration: both halves must agree. An empty `outgoing` makes it a plain majority.

export interface Voters {
  readonly incoming: ReadonlySet<number>;
  readonly outgoing: ReadonlySet<number>;
}

export const jointCommitted = (voters: Voters, acked: Acked): number =>
  Math.min(majorityCommitted(voters.incoming, acked), majorityCommitted(voters.outgoing, acked));

export function jointVote(voters: Voters, votes: ReadonlyMap<number, boolean>): VoteResult {
  const incoming = majorityVote(voters.incoming, votes);
  const outgoing = majorityVote(voters.outgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending';
}

/** All voters of both halves, ascending. */
export const voterIds = (voters: Voters): number[] =>
  [...new Set([...voters.incoming, ...voters.outgoing])].sort((a, b) => a - b);
