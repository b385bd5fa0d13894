import { panic } from '../assert.ts';
import { ConfChangeError, enterJoint, leaveJoint, type Membership, simpleChange } from '../confchange/changer.ts';
import { describeConfig, hex } from '../describe.ts';
import type { ConfChange, ConfState } from '../types.ts';
import { answerConfirmedReads, releasePendingReads } from './reads.ts';
import { broadcastAppend, maybeSendAppend } from './replication.ts';
import type { Raft } from './state.ts';

// The configuration changes when a committed conf change is applied.

/** `index` is the change's entry: one that a snapshot has overtaken is in the configuration already. */
export function applyConfChange(r: Raft, change: ConfChange, index: number): ConfState {
  if (index <= r.restoredIndex) return r.tracker.confState();
  return switchTo(r, nextMembership(r, change));
}

function nextMembership(r: Raft, { transition, changes }: ConfChange): Membership {
  const from = { config: r.tracker.config, progress: r.tracker.progress };
  const env = { lastIndex: r.log.lastIndex(), newInflights: () => r.tracker.newInflights() };
  try {
    if (transition === 'auto' && changes.length === 0) return leaveJoint(from);
    if (transition === 'auto' && changes.length === 1) return simpleChange(from, env, changes);
    return enterJoint(from, env, transition !== 'joint-explicit', changes);
  } catch (error) {
    // It is committed: members that went on would disagree about the configuration.
    if (error instanceof ConfChangeError) panic(error.message);
    throw error;
  }
}

function switchTo(r: Raft, { config, progress }: Membership): ConfState {
  r.tracker.set(config, progress);
  r.say('info', () => `${hex(r.id)} switched to configuration ${describeConfig(config)}`);
  const state = r.tracker.confState();
  const self = progress.get(r.id);
  r.isLearner = self?.isLearner ?? false;
  if (r.role !== 'leader') return state;
  if (self === undefined || self.isLearner) {
    if (r.config.stepDownOnRemoval) r.becomeFollower(r.term, 0);
    return state;
  }
  if (state.voters.length === 0) return state;
  if (r.maybeCommit()) {
    // A smaller quorum may have committed more.
    releasePendingReads(r);
    broadcastAppend(r);
  } else {
    // New members need not wait for a heartbeat or a proposal.
    for (const id of r.tracker.ids()) if (id !== r.id) maybeSendAppend(r, id, false);
  }
  answerConfirmedReads(r);
  if (r.leadTransferee !== 0 && !r.tracker.voterIds().includes(r.leadTransferee)) r.leadTransferee = 0;
  return state;
}
