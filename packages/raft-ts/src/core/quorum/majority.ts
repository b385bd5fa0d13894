// What a set of voters has decided, by simple majority. The empty set agrees to everything, so that it is neutral in a joint configuration.

export type VoteResult = 'pending' | 'lost' | 'won';

/** The index a voter has acknowledged, if it has any. */
export type Acked = (id: number) => number | undefined;

/** The largest index that a majority has acknowledged; Infinity for no voters. */
export function majorityCommitted(voters: ReadonlySet<number>, acked: Acked): number {
  if (voters.size === 0) return Number.POSITIVE_INFINITY;
  const indices: number[] = [];
  for (const id of voters) insertDescending(indices, acked(id) ?? 0);
  return indices[Math.floor(voters.size / 2)]!;
}

/** For a few this takes a fraction of what `sort` with a function does, and every acknowledgement asks. */
function insertDescending(sorted: number[], value: number): void {
  let at = sorted.length;
  for (; at > 0 && sorted[at - 1]! < value; at--) sorted[at] = sorted[at - 1]!;
  sorted[at] = value;
}

export function majorityVote(voters: ReadonlySet<number>, votes: ReadonlyMap<number, boolean>): VoteResult {
  if (voters.size === 0) return 'won';
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const quorum = Math.floor(voters.size / 2) + 1;
  if (granted >= quorum) return 'won';
  return granted + missing >= quorum ? 'pending' : 'lost';
}
