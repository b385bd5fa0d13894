import { panic } from '../assert.ts';
import { decodeConfChange } from '../conf-change-codec.ts';
import { describeConfChange, describeConfig, describeProgress, hex } from '../describe.ts';
import { noBytes } from '../message.ts';
import type { Progress } from '../tracker/progress.ts';
import type { Entry, Message, StepResult } from '../types.ts';
import { answerConfirmedReads, releasePendingReads, stepReadIndex } from './reads.ts';
import { broadcastAppend, broadcastHeartbeat, maybeSendAppend, sendAppend } from './replication.ts';
import type { Raft } from './state.ts';

// A leader: takes proposals, follows the progress of the others, commits.

export function stepLeader(r: Raft, m: Message): StepResult {
  switch (m.type) {
    case 'beat':
      broadcastHeartbeat(r);
      return 'ok';
    case 'check-quorum':
      checkQuorum(r);
      return 'ok';
    case 'prop':
      return propose(r, m.entries);
    case 'read-index':
      stepReadIndex(r, m);
      return 'ok';
    case 'forget-leader':
      return 'ok';
    default:
      return stepWithProgress(r, m);
  }
}

function stepWithProgress(r: Raft, m: Message): StepResult {
  const pr = r.tracker.progress.get(m.from);
  if (pr === undefined) {
    r.say('debug', () => `${hex(r.id)} no progress available for ${hex(m.from)}`);
    return 'ok';
  }
  switch (m.type) {
    case 'app-resp':
      pr.recentActive = true;
      if (m.reject) handleRejection(r, m, pr);
      else handleAcknowledgement(r, m, pr);
      break;
    case 'heartbeat-resp':
      handleHeartbeatResponse(r, m, pr);
      break;
    case 'snap-status':
      handleSnapshotStatus(r, m, pr);
      break;
    case 'unreachable':
      // Pipelined appends are likely lost.
      if (pr.state === 'replicate') pr.becomeProbe();
      r.say(
        'debug',
        () =>
          `${hex(r.id)} failed to send message to ${hex(m.from)} because it is unreachable [${describeProgress(pr.status())}]`,
      );
      break;
    case 'transfer-leader':
      transferLeader(r, m.from, pr);
      break;
    default:
      break;
  }
  return 'ok';
}

function checkQuorum(r: Raft): void {
  if (!r.tracker.quorumActive()) {
    r.say('warn', () => `${hex(r.id)} stepped down to follower since quorum is not active`);
    r.becomeFollower(r.term, 0);
  }
  for (const [id, pr] of r.tracker.progress) if (id !== r.id) pr.recentActive = false;
}

function propose(r: Raft, entries: readonly Entry[]): StepResult {
  if (entries.length === 0) panic(`${hex(r.id)} stepped empty MsgProp`);
  // Removed while leading.
  if (!r.tracker.progress.has(r.id)) return 'not-member';
  if (r.leadTransferee !== 0) {
    r.say(
      'debug',
      () =>
        `${hex(r.id)} [term ${r.term}] transfer leadership to ${hex(r.leadTransferee)} is in progress; dropping proposal`,
    );
    return 'transferring';
  }
  const admitted = entries.map((entry, i) => admit(r, entry, r.log.lastIndex() + 1 + i));
  if (!r.appendEntries(admitted)) return 'too-much-uncommitted';
  broadcastAppend(r);
  return 'ok';
}

/** A conf change that may not follow what is pending is replaced by an empty entry. */
function admit(r: Raft, entry: Entry, index: number): Pick<Entry, 'type' | 'data'> {
  if (entry.type === 'normal') return entry;
  const change = decodeConfChange(entry.type, entry.data);
  const refusal = refuseConfChange(r, change.changes.length === 0);
  if (refusal !== undefined && !r.config.disableConfChangeValidation) {
    r.say(
      'info',
      () =>
        `${hex(r.id)} ignoring conf change ${describeConfChange(entry.type, change)} at config ${describeConfig(r.tracker.config)}: ${refusal}`,
    );
    return { type: 'normal', data: noBytes };
  }
  r.pendingConfIndex = index;
  return entry;
}

function refuseConfChange(r: Raft, leavesJoint: boolean): string | undefined {
  const { applied } = r.log;
  if (r.pendingConfIndex > applied) {
    return `possible unapplied conf change at index ${r.pendingConfIndex} (applied to ${applied})`;
  }
  if (r.tracker.isJoint() && !leavesJoint) return 'must transition out of joint config first';
  if (!r.tracker.isJoint() && leavesJoint) return 'not in joint state; refusing empty conf change';
  return undefined;
}

/** Probes next where the logs may match, by the follower's hint and by the terms of the own log. */
function handleRejection(r: Raft, m: Message, pr: Progress): void {
  r.say(
    'debug',
    () =>
      `${hex(r.id)} received MsgAppResp(rejected, hint: (index ${m.rejectHint}, term ${m.logTerm})) from ${hex(m.from)} for index ${m.index}`,
  );
  // The follower has term `logTerm` at the hint, so nothing of the own log with a larger term can match before it.
  const probe = m.logTerm > 0 ? r.log.findConflictByTerm(m.rejectHint, m.logTerm).index : m.rejectHint;
  if (!pr.maybeDecrTo(m.index, probe)) return;
  r.say('debug', () => `${hex(r.id)} decreased progress of ${hex(m.from)} to [${describeProgress(pr.status())}]`);
  if (pr.state === 'replicate') pr.becomeProbe();
  sendAppend(r, m.from);
}

function handleAcknowledgement(r: Raft, m: Message, pr: Progress): void {
  // A commit counted with it would be of entries that this leader alone has.
  if (m.index > r.log.lastIndex()) {
    panic(
      `${hex(m.from)} acknowledges index ${m.index}, and ${hex(r.id)}, which leads, has entries up to ${r.log.lastIndex()}`,
    );
  }
  // A probed member that matches where it is known to may go on even though nothing is new.
  const news = pr.maybeUpdate(m.index) || (pr.match === m.index && pr.state === 'probe');
  if (!news) return;
  moveOn(r, m, pr);
  const self = m.from === r.id;
  if (r.maybeCommit()) {
    releasePendingReads(r);
    broadcastAppend(r);
  } else if (!self && pr.canBumpCommit(r.log.committed)) {
    sendAppend(r, m.from);
  }
  // As many messages as the window, now wider, allows.
  if (!self) while (maybeSendAppend(r, m.from, false));
  if (m.from === r.leadTransferee && pr.match === r.log.lastIndex()) {
    r.say('info', () => `${hex(r.id)} sent MsgTimeoutNow to ${hex(m.from)} after received MsgAppResp`);
    r.send({ type: 'timeout-now', to: m.from });
  }
}

function moveOn(r: Raft, m: Message, pr: Progress): void {
  switch (pr.state) {
    case 'probe':
      pr.becomeReplicate();
      return;
    case 'snapshot':
      // Whatever snapshot it has applied: it can go on from the log.
      if (pr.match + 1 < r.log.firstIndex()) return;
      r.say(
        'debug',
        () =>
          `${hex(r.id)} recovered from needing snapshot, resumed sending replication messages to ${hex(m.from)} [${describeProgress(pr.status())}]`,
      );
      pr.becomeProbe();
      pr.becomeReplicate();
      return;
    case 'replicate':
      pr.inflights.freeUpTo(m.index);
      return;
    default:
      pr.state satisfies never;
  }
}

function handleHeartbeatResponse(r: Raft, m: Message, pr: Progress): void {
  pr.recentActive = true;
  pr.flowPaused = false;
  // Also to one that is caught up but probed, so that its answer ends the probing.
  if (pr.match < r.log.lastIndex() || pr.state === 'probe') sendAppend(r, m.from);
  if (r.config.readOnlyOption !== 'safe' || m.context.length === 0) return;
  r.readOnly.acknowledge(m.from, m.context);
  answerConfirmedReads(r);
}

function handleSnapshotStatus(r: Raft, m: Message, pr: Progress): void {
  if (pr.state !== 'snapshot') return;
  // After a failure the probe must not start behind a snapshot that never arrived.
  if (m.reject) pr.pendingSnapshot = 0;
  pr.becomeProbe();
  r.say(
    'debug',
    () =>
      `${hex(r.id)} snapshot ${m.reject ? 'failed' : 'succeeded'}, resumed sending replication messages to ${hex(m.from)} [${describeProgress(pr.status())}]`,
  );
  // Sent: its acknowledgement comes first. Failed: not before the next heartbeat.
  pr.flowPaused = true;
}

/** Hands leadership over: at once to a member that has everything, else as soon as it has. */
function transferLeader(r: Raft, to: number, pr: Progress): void {
  if (pr.isLearner) {
    r.say('debug', () => `${hex(r.id)} is learner. Ignored transferring leadership`);
    return;
  }
  if (r.leadTransferee === to) {
    r.say(
      'info',
      () =>
        `${hex(r.id)} [term ${r.term}] transfer leadership to ${hex(to)} is in progress, ignores request to same node ${hex(to)}`,
    );
    return;
  }
  if (r.leadTransferee !== 0) {
    const previous = r.leadTransferee;
    r.leadTransferee = 0;
    r.say('info', () => `${hex(r.id)} [term ${r.term}] abort previous transferring leadership to ${hex(previous)}`);
  }
  if (to === r.id) {
    r.say('debug', () => `${hex(r.id)} is already leader. Ignored transferring leadership to self`);
    return;
  }
  r.say('info', () => `${hex(r.id)} [term ${r.term}] starts to transfer leadership to ${hex(to)}`);
  // It has one election time-out.
  r.electionElapsed = 0;
  r.leadTransferee = to;
  if (pr.match === r.log.lastIndex()) {
    r.send({ type: 'timeout-now', to });
    r.say(
      'info',
      () => `${hex(r.id)} sends MsgTimeoutNow to ${hex(to)} immediately as ${hex(to)} already has up-to-date log`,
    );
  } else {
    sendAppend(r, to);
  }
}
