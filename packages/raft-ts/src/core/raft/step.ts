import { describeConfig, hex, messageName } from '../describe.ts';
import { entriesSize, payloadsSize } from '../entry-size.ts';
import { isTransferMarker, message, noBytes } from '../message.ts';
import type { Message, Snapshot, StepResult } from '../types.ts';
import { stepCandidate } from './candidate.ts';
import { castVote, describeRequest, hup, learnCommit } from './election.ts';
import { stepFollower } from './follower.ts';
import { stepLeader } from './leader.ts';
import type { Raft } from './state.ts';

// One step of the state machine: first the message's term, then what all roles do alike, then the role.

export function step(r: Raft, m: Message): StepResult {
  // Term 0 marks local messages.
  if (m.term > r.term) {
    if (!meetHigherTerm(r, m)) return 'ok';
  } else if (m.term !== 0 && m.term < r.term) {
    answerLowerTerm(r, m);
    return 'ok';
  }
  learnCommit(r, m.known);
  switch (m.type) {
    case 'hup':
      hup(r, r.config.preVote ? 'pre-election' : 'election');
      return 'ok';
    case 'storage-append-resp':
      if (m.index !== 0) r.log.unstable.stableTo(m.index, m.logTerm);
      if (m.snapshot !== undefined) appliedSnapshot(r, m.snapshot);
      return 'ok';
    case 'storage-apply-resp':
      appliedEntries(r, m);
      return 'ok';
    case 'vote':
    case 'pre-vote':
      castVote(r, m, m.type);
      return 'ok';
    default:
      return stepRole(r, m);
  }
}

function stepRole(r: Raft, m: Message): StepResult {
  switch (r.role) {
    case 'follower':
      return stepFollower(r, m);
    case 'precandidate':
    case 'candidate':
      return stepCandidate(r, m);
    case 'leader':
      return stepLeader(r, m);
    default:
      return r.role satisfies never;
  }
}

/** Follows the message into its term, if it is one that can; false when the message is to be ignored. */
function meetHigherTerm(r: Raft, m: Message): boolean {
  if (m.type === 'vote' || m.type === 'pre-vote') {
    const { checkQuorum, electionTick } = r.config;
    const inLease = checkQuorum && r.leader !== 0 && r.electionElapsed < electionTick;
    if (inLease && !isTransferMarker(m.context)) {
      // It heard of its leader within the shortest election time-out: whoever asks is likely cut off or removed.
      r.say(
        'info',
        () =>
          `${describeRequest(r, m, `ignored ${messageName(m.type)} from`)}: lease is not expired ` +
          `(remaining ticks: ${electionTick - r.electionElapsed})`,
      );
      return false;
    }
  }
  // A pre-vote changes no term; a granted one carries the term that was asked for.
  if (m.type === 'pre-vote' || (m.type === 'pre-vote-resp' && !m.reject)) return true;
  r.say(
    'info',
    () =>
      `${hex(r.id)} [term: ${r.term}] received a ${messageName(m.type)} message with higher term from ${hex(m.from)} [term: ${m.term}]`,
  );
  const fromLeader = m.type === 'app' || m.type === 'heartbeat' || m.type === 'snap';
  r.becomeFollower(m.term, fromLeader ? m.from : 0);
  return true;
}

function answerLowerTerm(r: Raft, m: Message): void {
  if ((r.config.checkQuorum || r.config.preVote) && (m.type === 'heartbeat' || m.type === 'app')) {
    // A leader that is behind in terms: it would never learn so by votes, which leases and pre-votes hold back.
    r.send({ type: 'app-resp', to: m.from });
  } else if (m.type === 'pre-vote') {
    // Or a pre-candidate of an older term with a shorter log could wait forever.
    r.say('info', () => describeRequest(r, m, `rejected ${messageName(m.type)} from`));
    r.send({ type: 'pre-vote-resp', to: m.from, term: r.term, reject: true });
  } else if (m.type === 'storage-append-resp') {
    if (m.index !== 0) {
      // The entries may have been overwritten since: a later response will speak for what is there now.
      r.say(
        'info',
        () =>
          `${hex(r.id)} [term: ${r.term}] ignored entry appends from a ${messageName(m.type)} message with lower term [term: ${m.term}]`,
      );
    }
    // A snapshot is of committed state, whatever the term.
    if (m.snapshot !== undefined) appliedSnapshot(r, m.snapshot);
  } else {
    r.say(
      'info',
      () =>
        `${hex(r.id)} [term: ${r.term}] ignored a ${messageName(m.type)} message with lower term from ${hex(m.from)} [term: ${m.term}]`,
    );
  }
}

function appliedSnapshot(r: Raft, snapshot: Snapshot): void {
  r.log.unstable.stableSnapshotTo(snapshot.meta.index);
  appliedTo(r, snapshot.meta.index, 0);
}

function appliedEntries(r: Raft, m: Message): void {
  const last = m.entries.at(-1);
  if (last === undefined) return;
  appliedTo(r, last.index, entriesSize(m.entries));
  r.shrinkUncommitted(payloadsSize(m.entries));
}

function appliedTo(r: Raft, index: number, size: number): void {
  const applied = Math.max(index, r.log.applied);
  r.log.appliedTo(applied, size);
  if (r.role === 'leader' && r.tracker.config.autoLeave && applied >= r.pendingConfIndex) leaveJointConfig(r);
}

/** If a leadership transfer is under way this is dropped, and tried again with the next applied entry or by the next leader. */
function leaveJointConfig(r: Raft): void {
  const leave = { type: 'conf-change-v2', term: 0, index: 0, data: noBytes } as const;
  const config = describeConfig(r.tracker.config);
  if (step(r, message({ type: 'prop', to: 0, entries: [leave] })) === 'ok') {
    r.say('info', () => `initiating automatic transition out of joint configuration ${config}`);
  } else {
    r.say(
      'debug',
      () => `not initiating automatic transition out of joint configuration ${config}: raft proposal dropped`,
    );
  }
}

/** One tick of the clock: towards an election, or of a leader. */
export function tick(r: Raft): void {
  r.electionElapsed++;
  if (r.role === 'leader') {
    tickLeader(r);
  } else if (r.isPromotable() && r.electionElapsed >= r.randomizedElectionTimeout) {
    r.electionElapsed = 0;
    step(r, message({ type: 'hup', to: 0, from: r.id }));
  }
}

function tickLeader(r: Raft): void {
  r.heartbeatElapsed++;
  if (r.electionElapsed >= r.config.electionTick) {
    r.electionElapsed = 0;
    if (r.config.checkQuorum) step(r, message({ type: 'check-quorum', to: 0, from: r.id }));
    // A transfer that took an election time-out has failed.
    r.leadTransferee = 0;
  }
  if (r.role === 'leader' && r.heartbeatElapsed >= r.config.heartbeatTick) {
    r.heartbeatElapsed = 0;
    step(r, message({ type: 'beat', to: 0, from: r.id }));
  }
}
