import { jointCommitted, jointVote, type Voters, voterIds } from '../core/quorum/joint.ts';
import type { VoteResult } from '../core/quorum/majority.ts';
import { type Directive, integer, valuesOf } from './script.ts';

// The scripts of pure quorum decisions.

const voteNames: Readonly<Record<VoteResult, string>> = { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' };

export function runQuorum(directive: Directive): string {
  const incoming = ids(directive, 'cfg');
  const outgoing = ids(directive, 'cfgj');
  const joint = valuesOf(directive, 'cfgj') !== undefined;
  const voters: Voters = { incoming: new Set(incoming), outgoing: new Set(outgoing) };
  const swapped: Voters = { incoming: voters.outgoing, outgoing: voters.incoming };
  const order = [...new Set([...incoming, ...outgoing])];
  const given = valuesOf(directive, directive.name === 'vote' ? 'votes' : 'idx') ?? [];
  if (given.length !== order.length) {
    return `error: mismatched input (explicit or _) for voters ${asGoSet(order)}: [${given.map(asNumber).join(' ')}]\n`;
  }
  const words = new Map(order.map((id, i) => [id, given[i]!] as const).filter(([, word]) => word !== '_'));
  if (directive.name === 'vote') {
    const votes = new Map([...words].map(([id, word]) => [id, word === 'y'] as const));
    return decide(voteNames[jointVote(voters, votes)], joint ? voteNames[jointVote(swapped, votes)] : undefined);
  }
  const indices = new Map([...words].map(([id, word]) => [id, integer(word)] as const));
  const acked = (id: number): number | undefined => indices.get(id);
  const other = joint ? asIndex(jointCommitted(swapped, acked)) : undefined;
  return describe(voters, acked) + decide(asIndex(jointCommitted(voters, acked)), other);
}

const asGoSet = (members: readonly number[]): string =>
  `map[${[...members]
    .sort((a, b) => a - b)
    .map((id) => `${id}:{}`)
    .join(' ')}]`;

/** The number that stands for an index or a vote: 0 for none, 1 against, 2 for. */
const asNumber = (word: string): string => ({ _: '0', n: '1', y: '2' })[word] ?? word;

/** A joint decision must not depend on which half is which. */
const decide = (result: string, swapped: string | undefined): string =>
  `${swapped !== undefined && swapped !== result ? `${swapped} <-- via symmetry\n` : ''}${result}\n`;

function ids(directive: Directive, key: string): number[] {
  const values = valuesOf(directive, key) ?? [];
  return values[0] === 'zero' ? [] : values.map(integer);
}

const asIndex = (index: number): string => (index === Number.POSITIVE_INFINITY ? '∞' : String(index));

/** A bar for each voter: the further its index is ahead of others', the longer. */
function describe(voters: Voters, acked: (id: number) => number | undefined): string {
  const members = voterIds(voters);
  if (members.length === 0) return '<empty majority quorum>';
  const n = members.length;
  const byIndex = [...members].sort((a, b) => (acked(a) ?? 0) - (acked(b) ?? 0) || a - b);
  const bars = new Map<number, number>();
  byIndex.forEach((id, i) => {
    const before = byIndex[i - 1];
    const ahead = before === undefined || (acked(before) ?? 0) < (acked(id) ?? 0);
    bars.set(id, ahead ? i : bars.get(before)!);
  });
  let text = `${' '.repeat(n)}    idx\n`;
  for (const id of members) {
    const index = acked(id);
    const bar = bars.get(id)!;
    text += index === undefined ? `?${' '.repeat(n)}` : `${'x'.repeat(bar)}>${' '.repeat(n - bar)}`;
    text += ` ${String(index ?? 0).padStart(5)}    (id=${id})\n`;
  }
  return text;
}
