import { below, type Random } from '@swarmctl/shared/kit';
import type { ConfChangeSingle, ConfState } from '../../../packages/raft-ts/src/core/index.ts';
import type { MemberOptions } from './member.ts';

// The dice of the simulation: how a cluster is set up, and how its membership changes next.

export const pick = <T>(random: Random, values: readonly T[]): T => values[below(random, values.length)]!;

export function raftSettings(random: Random, fierce: boolean): MemberOptions['raft'] {
  const careful = random() < (fierce ? 0.2 : 0.7);
  return {
    electionTick: 10,
    heartbeatTick: pick(random, [1, 2]),
    maxSizePerMsg: fierce ? 0 : pick(random, [0, 60, 1000]),
    maxCommittedSizePerReady: pick(random, [40, 200, 10_000]),
    maxUncommittedEntriesSize: pick(random, [100, 10_000]),
    maxInflightMsgs: fierce ? 1 : pick(random, [1, 3, 64]),
    maxInflightBytes: 10_000,
    checkQuorum: careful,
    preVote: careful,
    stepDownOnRemoval: random() < 0.5,
    random,
  };
}

/** Add a voter or learner, promote, demote or remove; undefined for nothing this time. */
export function chooseChange(
  random: Random,
  { voters, learners }: ConfState,
  leader: number,
  newcomer: () => number,
): ConfChangeSingle | undefined {
  const size = voters.length + learners.length;
  if (size < 3 || (size < 6 && random() < 0.4)) {
    return { type: pick(random, ['add-node', 'add-learner-node']), nodeId: newcomer() };
  }
  if (learners.length > 0 && random() < 0.5) return { type: 'add-node', nodeId: pick(random, learners) };
  if (voters.length > 3 && random() < 0.3) return { type: 'add-learner-node', nodeId: pick(random, voters) };
  const others = [...voters, ...learners].filter((id) => id !== leader || random() < 0.3);
  return others.length === 0 || voters.length < 4 ? undefined : { type: 'remove-node', nodeId: pick(random, others) };
}
