import { hex, roleName } from '../describe.ts';
import type { Message, StepResult } from '../types.ts';
import { campaign, poll } from './election.ts';
import { handleAppend, handleHeartbeat, handleSnapshot } from './follower.ts';
import { broadcastAppend } from './replication.ts';
import type { Raft } from './state.ts';

// A candidate or pre-candidate: counts votes, and follows a leader of its term when one shows.

export function stepCandidate(r: Raft, m: Message): StepResult {
  switch (m.type) {
    case 'prop':
      r.say('info', () => `${hex(r.id)} no leader at term ${r.term}; dropping proposal`);
      return 'no-leader';
    case 'read-index':
    case 'transfer-leader':
      return 'no-leader';
    case 'app':
      r.becomeFollower(m.term, m.from);
      handleAppend(r, m);
      return 'ok';
    case 'heartbeat':
      r.becomeFollower(m.term, m.from);
      handleHeartbeat(r, m);
      return 'ok';
    case 'snap':
      r.becomeFollower(m.term, m.from);
      handleSnapshot(r, m);
      return 'ok';
    case 'vote-resp':
      if (r.role === 'candidate') countVote(r, m);
      return 'ok';
    case 'pre-vote-resp':
      if (r.role === 'precandidate') countVote(r, m);
      return 'ok';
    case 'timeout-now':
      r.say(
        'debug',
        () => `${hex(r.id)} [term ${r.term} state ${roleName(r.role)}] ignored MsgTimeoutNow from ${hex(m.from)}`,
      );
      return 'ok';
    default:
      return 'ok';
  }
}

function countVote(r: Raft, m: Message): void {
  const result = poll(r, m);
  switch (result) {
    case 'won':
      if (r.role === 'precandidate') {
        campaign(r, 'election');
      } else {
        r.becomeLeader();
        broadcastAppend(r);
      }
      return;
    case 'lost':
      // A pre-vote's response may carry a term that nobody has: the own term stays.
      r.becomeFollower(r.term, 0);
      return;
    case 'pending':
      return;
    default:
      result satisfies never;
  }
}
