import { panic } from '../assert.ts';
import { hex, messageName } from '../describe.ts';
import { transferMarker } from '../message.ts';
import type { VoteResult } from '../quorum/majority.ts';
import type { Message } from '../types.ts';
import type { Raft } from './state.ts';

// Standing for election, and voting.

export type Campaign = 'pre-election' | 'election' | 'transfer';

/** Starts an election, unless this member leads, may not lead, or has conf changes still to apply. */
export function hup(r: Raft, kind: Campaign): void {
  if (r.role === 'leader') {
    r.say('debug', () => `${hex(r.id)} ignoring MsgHup because already leader`);
  } else if (!r.isPromotable()) {
    r.say('warn', () => `${hex(r.id)} is unpromotable and can not campaign`);
  } else if (hasUnappliedConfChange(r)) {
    r.say(
      'warn',
      () =>
        `${hex(r.id)} cannot campaign at term ${r.term} since there are still pending configuration changes to apply`,
    );
  } else {
    r.say('info', () => `${hex(r.id)} is starting a new election at term ${r.term}`);
    campaign(r, kind);
  }
}

const hasUnappliedConfChange = (r: Raft): boolean => hasConfChange(r, r.log.applied, r.log.committed);

/** Among the entries behind `after`, up to `last`. */
function hasConfChange(r: Raft, after: number, last: number): boolean {
  for (let lo = after + 1; lo <= last; ) {
    const page = r.log.slice(lo, last + 1, r.log.maxApplyingSize);
    if (page === undefined) return panic(`unapplied entries from ${lo} are compacted`);
    if (page.some((entry) => entry.type !== 'normal')) return true;
    lo += page.length;
  }
  return false;
}

/**
 * Takes from a vote, or a request for one, what is committed, when that decides who votes. A configuration holds from when it is applied, so members that lost
 * their leader just after it committed one may each wait for votes that by the others' configuration are none, for ever: a removed
 * member with a longer log refuses, and may not stand itself. (As `commit` of vote messages in TiKV's raft-rs.)
 */
export function learnCommit(r: Raft, known: Message['known']): void {
  if (known === undefined || r.role === 'leader' || known.index <= r.log.committed || !r.log.matchTerm(known)) return;
  if (!hasConfChange(r, r.log.committed, known.index)) return;
  r.log.commitTo(known.index);
  // Nobody stands with a configuration still to be applied: it may not even be a voter in it.
  if (r.role !== 'follower') r.becomeFollower(r.term, 0);
}

/** Asks all voters, itself included: its own vote counts once it is durable. */
export function campaign(r: Raft, kind: Campaign): void {
  const type = kind === 'pre-election' ? 'pre-vote' : 'vote';
  if (kind === 'pre-election') r.becomePreCandidate();
  else r.becomeCandidate();
  // A pre-vote asks for the term that the election would have.
  const term = kind === 'pre-election' ? r.term + 1 : r.term;
  const last = r.log.lastId();
  for (const id of r.tracker.voterIds()) {
    if (id === r.id) {
      r.send({ type: responseType(type), to: id, term });
      continue;
    }
    r.say(
      'info',
      () =>
        `${hex(r.id)} [logterm: ${last.term}, index: ${last.index}] sent ${messageName(type)} request to ${hex(id)} at term ${r.term}`,
    );
    const request = { type, to: id, term, index: last.index, logTerm: last.term } as const;
    r.send(kind === 'transfer' ? { ...request, context: transferMarker } : request);
  }
}

const responseType = (type: 'vote' | 'pre-vote'): 'vote-resp' | 'pre-vote-resp' =>
  type === 'vote' ? 'vote-resp' : 'pre-vote-resp';

/** Counts a vote and says where the election stands. */
export function poll(r: Raft, m: Message): VoteResult {
  r.say(
    'info',
    () =>
      `${hex(r.id)} received ${messageName(m.type)}${m.reject ? ' rejection' : ''} from ${hex(m.from)} at term ${r.term}`,
  );
  r.tracker.recordVote(m.from, !m.reject);
  const { granted, rejected, result } = r.tracker.tallyVotes();
  r.say(
    'info',
    () => `${hex(r.id)} has received ${granted} ${messageName(m.type)} votes and ${rejected} vote rejections`,
  );
  return result;
}

/** Answers a request for a vote. Learners vote too: they may have been promoted without knowing it yet. */
export function castVote(r: Raft, m: Message, type: 'vote' | 'pre-vote'): void {
  const canVote = r.vote === m.from || (r.vote === 0 && r.leader === 0) || (type === 'pre-vote' && m.term > r.term);
  if (!canVote || !r.log.isUpToDate({ term: m.logTerm, index: m.index })) {
    r.say('info', () => describeRequest(r, m, `rejected ${messageName(type)} from`));
    r.send({ type: responseType(type), to: m.from, term: r.term, reject: true });
    return;
  }
  r.say('info', () => describeRequest(r, m, `cast ${messageName(type)} for`));
  // The term of the request: a pre-candidate asks for one that nobody has yet.
  r.send({ type: responseType(type), to: m.from, term: m.term });
  if (type === 'vote') {
    r.electionElapsed = 0;
    r.vote = m.from;
  }
}

export function describeRequest(r: Raft, m: Message, did: string): string {
  const last = r.log.lastId();
  return (
    `${hex(r.id)} [logterm: ${last.term}, index: ${last.index}, vote: ${hex(r.vote)}] ${did} ${hex(m.from)} ` +
    `[logterm: ${m.logTerm}, index: ${m.index}] at term ${r.term}`
  );
}
