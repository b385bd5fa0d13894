import { panic } from '../assert.ts';
import { describeConfState, hex } from '../describe.ts';
import type { ConfState, Message, Snapshot, StepResult } from '../types.ts';
import { hup } from './election.ts';
import type { Raft } from './state.ts';

// A follower: takes what the leader sends and forwards what only the leader can do.

export function stepFollower(r: Raft, m: Message): StepResult {
  switch (m.type) {
    case 'prop':
      return forwardProposal(r, m);
    case 'app':
      followLeader(r, m);
      handleAppend(r, m);
      return 'ok';
    case 'heartbeat':
      followLeader(r, m);
      handleHeartbeat(r, m);
      return 'ok';
    case 'snap':
      followLeader(r, m);
      handleSnapshot(r, m);
      return 'ok';
    case 'transfer-leader':
      return forward(r, m, 'leader transfer msg');
    case 'read-index':
      return forward(r, m, 'index reading msg');
    case 'read-index-resp':
      takeReadIndex(r, m);
      return 'ok';
    case 'forget-leader':
      forgetLeader(r);
      return 'ok';
    case 'timeout-now':
      r.say(
        'info',
        () =>
          `${hex(r.id)} [term ${r.term}] received MsgTimeoutNow from ${hex(m.from)} and starts an election to get leadership.`,
      );
      // Without pre-vote: the leader itself asks for it.
      hup(r, 'transfer');
      return 'ok';
    default:
      return 'ok';
  }
}

function followLeader(r: Raft, m: Message): void {
  r.electionElapsed = 0;
  r.leader = m.from;
}

function forwardProposal(r: Raft, m: Message): StepResult {
  if (r.leader === 0) {
    r.say('info', () => `${hex(r.id)} no leader at term ${r.term}; dropping proposal`);
    return 'no-leader';
  }
  if (r.config.disableProposalForwarding) {
    r.say('info', () => `${hex(r.id)} not forwarding to leader ${hex(r.leader)} at term ${r.term}; dropping proposal`);
    return 'not-forwarded';
  }
  r.send({ ...m, to: r.leader });
  return 'ok';
}

function forward(r: Raft, m: Message, what: string): StepResult {
  if (r.leader === 0) {
    r.say('info', () => `${hex(r.id)} no leader at term ${r.term}; dropping ${what}`);
    return 'no-leader';
  }
  r.send({ ...m, to: r.leader, term: 0 });
  return 'ok';
}

function takeReadIndex(r: Raft, m: Message): void {
  const [request, ...more] = m.entries;
  if (request !== undefined && more.length === 0) {
    r.readStates.push({ index: m.index, context: request.data });
    return;
  }
  r.say(
    'error',
    () => `${hex(r.id)} invalid format of MsgReadIndexResp from ${hex(m.from)}, entries count: ${m.entries.length}`,
  );
}

/** With leases the leader counts on being remembered. */
function forgetLeader(r: Raft): void {
  if (r.config.readOnlyOption === 'lease-based') {
    r.say('error', () => 'ignoring MsgForgetLeader due to ReadOnlyLeaseBased');
  } else if (r.leader !== 0) {
    r.say('info', () => `${hex(r.id)} forgetting leader ${hex(r.leader)} at term ${r.term}`);
    r.leader = 0;
  }
}

/** A leader has everything that is committed: one that says otherwise, or this member, has lost what it promised. */
function checkAgreement(r: Raft, m: Message): void {
  const known = [{ index: m.index, term: m.logTerm }, ...m.entries].filter(({ index }) => index <= r.log.committed);
  for (const { index, term } of known) {
    const own = r.log.term(index);
    if (own === undefined || own === term) continue;
    panic(
      `${hex(m.from)} leads with an entry [index ${index}, term ${term}], and ${hex(r.id)} has committed one of term ${own} there`,
    );
  }
}

export function handleAppend(r: Raft, m: Message): void {
  if (m.index < r.log.committed) {
    checkAgreement(r, m);
    r.send({ type: 'app-resp', to: m.from, index: r.log.committed });
    return;
  }
  const last = r.log.maybeAppend({ term: m.logTerm, index: m.index }, m.entries, m.commit);
  if (last !== undefined) {
    r.send({ type: 'app-resp', to: m.from, index: last });
    return;
  }
  r.say(
    'debug',
    () =>
      `${hex(r.id)} [logterm: ${r.log.term(m.index) ?? 0}, index: ${m.index}] rejected MsgApp ` +
      `[logterm: ${m.logTerm}, index: ${m.index}] from ${hex(m.from)}`,
  );
  // The hint skips the tail whose terms are above the leader's: it cannot match there.
  const hint = r.log.findConflictByTerm(Math.min(m.index, r.log.lastIndex()), m.logTerm);
  r.send({
    type: 'app-resp',
    to: m.from,
    index: m.index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

export function handleHeartbeat(r: Raft, m: Message): void {
  r.log.commitTo(m.commit);
  r.send({ type: 'heartbeat-resp', to: m.from, context: m.context });
}

export function handleSnapshot(r: Raft, m: Message): void {
  const { index, term } = m.snapshot?.meta ?? { index: 0, term: 0 };
  const taken = m.snapshot !== undefined && restore(r, m.snapshot);
  r.say(
    'info',
    () =>
      `${hex(r.id)} [commit: ${r.log.committed}] ${taken ? 'restored' : 'ignored'} snapshot [index: ${index}, term: ${term}]`,
  );
  r.send({ type: 'app-resp', to: m.from, index: taken ? r.log.lastIndex() : r.log.committed });
}

/** Replaces log and configuration by the snapshot's; false when it brings nothing or is not for this member. */
function restore(r: Raft, snapshot: Snapshot): boolean {
  const { index, term, confState } = snapshot.meta;
  if (index <= r.log.committed) return false;
  if (!isMember(confState, r.id)) {
    r.say(
      'warn',
      () =>
        `${hex(r.id)} attempted to restore snapshot but it is not in the ConfState ${describeConfState(confState)}; should never happen`,
    );
    return false;
  }
  const last = r.log.lastId();
  const ids = `lastindex: ${last.index}, lastterm: ${last.term}`;
  if (r.log.matchTerm({ index, term })) {
    r.say(
      'info',
      () =>
        `${hex(r.id)} [commit: ${r.log.committed}, ${ids}] fast-forwarded commit to snapshot [index: ${index}, term: ${term}]`,
    );
    r.log.commitTo(index);
    return false;
  }
  r.log.restore(snapshot);
  r.restoreTracker(confState);
  r.restoredIndex = index;
  const now = r.log.lastId();
  r.say(
    'info',
    () =>
      `${hex(r.id)} [commit: ${r.log.committed}, lastindex: ${now.index}, lastterm: ${now.term}] restored snapshot ` +
      `[index: ${index}, term: ${term}]`,
  );
  return true;
}

/** `learnersNext` need no look: they are outgoing voters. */
const isMember = (conf: ConfState, id: number): boolean =>
  conf.voters.includes(id) || conf.learners.includes(id) || conf.votersOutgoing.includes(id);
