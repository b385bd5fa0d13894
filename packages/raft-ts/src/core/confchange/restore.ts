import { emptyConfig } from '../tracker/tracker.ts';
import type { ConfChangeSingle, ConfChangeType, ConfState } from '../types.ts';
import { type ChangerEnv, enterJoint, type Membership, simpleChange } from './changer.ts';

// A stored configuration brought back to life, by the changes that lead to it.

export function restoreMembership(env: ChangerEnv, state: ConfState): Membership {
  let membership: Membership = { config: emptyConfig, progress: new Map() };
  const addOneByOne = (changes: readonly ConfChangeSingle[]): void => {
    for (const change of changes) membership = simpleChange(membership, env, [change]);
  };
  const incoming = [
    ...each('add-node', state.voters),
    ...each('add-learner-node', state.learners),
    ...each('add-learner-node', state.learnersNext),
  ];
  if (state.votersOutgoing.length === 0) {
    addOneByOne(incoming);
    return membership;
  }
  // First what is now the outgoing half; then everything of it goes and the incoming half comes, jointly.
  addOneByOne(each('add-node', state.votersOutgoing));
  const changes = [...each('remove-node', state.votersOutgoing), ...incoming];
  return enterJoint(membership, env, state.autoLeave, changes);
}

const each = (type: ConfChangeType, ids: readonly number[]): ConfChangeSingle[] =>
  ids.map((nodeId) => ({ type, nodeId }));

const sorted = (ids: readonly number[]): string => [...ids].sort((a, b) => a - b).join(' ');

/** Whether two states name the same configuration, whatever the order of ids. */
export const sameConfState = (a: ConfState, b: ConfState): boolean =>
  sorted(a.voters) === sorted(b.voters) &&
  sorted(a.votersOutgoing) === sorted(b.votersOutgoing) &&
  sorted(a.learners) === sorted(b.learners) &&
  sorted(a.learnersNext) === sorted(b.learnersNext) &&
  a.autoLeave === b.autoLeave;
