import type { Message } from '../types.ts';
import { broadcastHeartbeat } from './replication.ts';
import type { Raft } from './state.ts';

// A leader's answers to ReadIndex requests, its own and forwarded ones.

export function stepReadIndex(r: Raft, request: Message): void {
  // Until then an older leader may have committed more than is known here, and so may a single voter before a restart.
  if (r.hasCommittedInTerm()) startRead(r, request);
  else r.pendingReads.push(request);
}

/** The only voter needs nobody's word, unless another is the one, and may elect itself. */
const decidesAlone = (r: Raft): boolean => r.tracker.isSingleton() && r.tracker.config.incoming.has(r.id);

function startRead(r: Raft, request: Message): void {
  if (decidesAlone(r) || r.config.readOnlyOption === 'lease-based') {
    answerRead(r, request, r.log.committed);
    return;
  }
  r.readOnly.add(request, r.log.committed);
  r.readOnly.acknowledge(r.id, r.readOnly.heartbeatContext());
  broadcastHeartbeat(r);
}

/** Called when the commit index moved: the reads that waited for the first commit of the term may start. */
export function releasePendingReads(r: Raft): void {
  if (r.pendingReads.length === 0 || !r.hasCommittedInTerm()) return;
  const requests = r.pendingReads;
  r.pendingReads = [];
  for (const request of requests) startRead(r, request);
}

/** Answers what a quorum has confirmed by now. */
export function answerConfirmedReads(r: Raft): void {
  for (const { request, index } of r.readOnly.takeConfirmed(r.tracker.config)) answerRead(r, request, index);
}

function answerRead(r: Raft, request: Message, index: number): void {
  if (request.from === 0 || request.from === r.id) {
    r.readStates.push({ index, context: request.entries[0]?.data ?? request.context });
  } else {
    r.send({ type: 'read-index-resp', to: request.from, index, entries: request.entries });
  }
}
