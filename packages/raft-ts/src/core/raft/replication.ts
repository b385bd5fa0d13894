import { panic } from '../assert.ts';
import { describeProgress, hex } from '../describe.ts';
import { payloadsSize } from '../entry-size.ts';
import { isStorageError } from '../storage-error.ts';
import type { Progress } from '../tracker/progress.ts';
import type { Entry, Snapshot } from '../types.ts';
import type { Raft } from './state.ts';

// What a leader sends to the others: appends, snapshots, heartbeats.

/** Sends an append, empty if there is nothing new: it carries the commit index. */
export function sendAppend(r: Raft, to: number): void {
  maybeSendAppend(r, to, true);
}

/** Sends an append unless the member is paused; an empty one only if asked to. Returns whether something was sent. */
export function maybeSendAppend(r: Raft, to: number, sendIfEmpty: boolean): boolean {
  const pr = r.tracker.progress.get(to);
  if (pr === undefined || pr.isPaused()) return false;
  const prevIndex = pr.next - 1;
  const prevTerm = r.log.term(prevIndex);
  if (prevTerm === undefined) return maybeSendSnapshot(r, to, pr);
  // With the inflights full only empty appends go, so that a member that lost all of them still answers.
  const throttled = pr.state === 'replicate' && pr.inflights.full();
  const entries: readonly Entry[] | undefined = throttled ? [] : r.log.entriesFrom(pr.next, r.config.maxSizePerMsg);
  if ((entries === undefined || entries.length === 0) && !sendIfEmpty) return false;
  if (entries === undefined) return maybeSendSnapshot(r, to, pr);
  r.send({ type: 'app', to, index: prevIndex, logTerm: prevTerm, entries, commit: r.log.committed });
  pr.sentEntries(entries.length, payloadsSize(entries));
  pr.sentCommit(r.log.committed);
  return true;
}

function maybeSendSnapshot(r: Raft, to: number, pr: Progress): boolean {
  if (!pr.recentActive) {
    r.say('debug', () => `ignore sending snapshot to ${hex(to)} since it is not recently active`);
    return false;
  }
  const snapshot = currentSnapshot(r);
  if (snapshot === undefined) {
    r.say(
      'debug',
      () => `${hex(r.id)} failed to send snapshot to ${hex(to)} because snapshot is temporarily unavailable`,
    );
    return false;
  }
  const { index, term } = snapshot.meta;
  if (index === 0) panic('need non-empty snapshot');
  r.say(
    'debug',
    () =>
      `${hex(r.id)} [firstindex: ${r.log.firstIndex()}, commit: ${r.log.committed}] sent snapshot[index: ${index}, ` +
      `term: ${term}] to ${hex(to)} [${describeProgress(pr.status())}]`,
  );
  pr.becomeSnapshot(index);
  r.say(
    'debug',
    () => `${hex(r.id)} paused sending replication messages to ${hex(to)} [${describeProgress(pr.status())}]`,
  );
  r.send({ type: 'snap', to, snapshot });
  return true;
}

function currentSnapshot(r: Raft): Snapshot | undefined {
  try {
    return r.log.snapshot();
  } catch (error) {
    if (isStorageError(error, 'snapshot-temporarily-unavailable')) return undefined;
    throw error;
  }
}

export function broadcastAppend(r: Raft): void {
  for (const id of r.tracker.ids()) if (id !== r.id) sendAppend(r, id);
}

/** Heartbeats to all, which also ask to confirm the reads that wait. */
export function broadcastHeartbeat(r: Raft): void {
  const context = r.readOnly.heartbeatContext();
  for (const id of r.tracker.ids()) if (id !== r.id) sendHeartbeat(r, id, context);
}

/** The commit index goes no further than what the member is known to have. */
function sendHeartbeat(r: Raft, to: number, context: Uint8Array): void {
  const pr = r.tracker.progress.get(to)!;
  const commit = Math.min(pr.match, r.log.committed);
  r.send({ type: 'heartbeat', to, commit, context });
  pr.sentCommit(commit);
}
