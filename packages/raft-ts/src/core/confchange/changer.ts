import type { Inflights } from '../tracker/inflights.ts';
import { Progress } from '../tracker/progress.ts';
import type { ProgressMap, TrackerConfig } from '../tracker/tracker.ts';
import type { ConfChangeSingle } from '../types.ts';

// The next configuration from the current one and a change, or why it is refused. Nothing given is modified.

/** A configuration change that must not be made. */
export class ConfChangeError extends Error {
  constructor(text: string) {
    super(text);
    this.name = 'ConfChangeError';
  }
}

export interface Membership {
  readonly config: TrackerConfig;
  readonly progress: ProgressMap;
}

/** What new members' progress is made of. */
export interface ChangerEnv {
  readonly lastIndex: number;
  readonly newInflights: () => Inflights;
}

interface Draft {
  readonly incoming: Set<number>;
  outgoing: Set<number>;
  readonly learners: Set<number>;
  learnersNext: Set<number>;
  autoLeave: boolean;
  readonly progress: Map<number, Progress>;
}

const isJoint = (config: TrackerConfig): boolean => config.outgoing.size > 0;

/** Makes at most one change to the voters, without a joint configuration. */
export function simpleChange(from: Membership, env: ChangerEnv, changes: readonly ConfChangeSingle[]): Membership {
  const draft = draftOf(from);
  if (isJoint(from.config)) throw new ConfChangeError("can't apply simple config change in joint config");
  applyChanges(draft, env, changes);
  if (differences(from.config.incoming, draft.incoming) > 1) {
    throw new ConfChangeError('more than one voter changed without entering joint config');
  }
  return finished(draft);
}

/** Keeps the current voters as the outgoing half and changes the incoming one. */
export function enterJoint(
  from: Membership,
  env: ChangerEnv,
  autoLeave: boolean,
  changes: readonly ConfChangeSingle[],
): Membership {
  const draft = draftOf(from);
  if (isJoint(from.config)) throw new ConfChangeError('config is already joint');
  if (draft.incoming.size === 0) throw new ConfChangeError("can't make a zero-voter config joint");
  draft.outgoing = new Set(draft.incoming);
  applyChanges(draft, env, changes);
  draft.autoLeave = autoLeave;
  return finished(draft);
}

/** Drops the outgoing half; its voters that are not otherwise members are gone. */
export function leaveJoint(from: Membership): Membership {
  const draft = draftOf(from);
  if (!isJoint(from.config)) throw new ConfChangeError("can't leave a non-joint config");
  for (const id of draft.learnersNext) {
    draft.learners.add(id);
    draft.progress.get(id)!.isLearner = true;
  }
  draft.learnersNext = new Set();
  for (const id of draft.outgoing) {
    if (!draft.incoming.has(id) && !draft.learners.has(id)) draft.progress.delete(id);
  }
  draft.outgoing = new Set();
  draft.autoLeave = false;
  return finished(draft);
}

function draftOf(from: Membership): Draft {
  check(from);
  const progress = new Map<number, Progress>();
  // Only the learner mark is changed here, so that sharing the inflights is safe.
  for (const [id, pr] of from.progress) progress.set(id, pr.clone());
  return {
    incoming: new Set(from.config.incoming),
    outgoing: new Set(from.config.outgoing),
    learners: new Set(from.config.learners),
    learnersNext: new Set(from.config.learnersNext),
    autoLeave: from.config.autoLeave,
    progress,
  };
}

function finished({ progress, ...config }: Draft): Membership {
  const to = { config, progress };
  check(to);
  return to;
}

function applyChanges(draft: Draft, env: ChangerEnv, changes: readonly ConfChangeSingle[]): void {
  for (const change of changes) {
    const { nodeId } = change;
    // A host that decides not to make a committed change applies it with id 0.
    if (nodeId === 0) continue;
    switch (change.type) {
      case 'add-node':
        makeVoter(draft, env, nodeId);
        break;
      case 'add-learner-node':
        makeLearner(draft, env, nodeId);
        break;
      case 'remove-node':
        remove(draft, nodeId);
        break;
      case 'update-node':
        break;
      default:
        change.type satisfies never;
    }
  }
  if (draft.incoming.size === 0) throw new ConfChangeError('removed all voters');
}

function makeVoter(draft: Draft, env: ChangerEnv, id: number): void {
  const pr = draft.progress.get(id);
  if (pr === undefined) {
    addMember(draft, env, id, false);
    return;
  }
  pr.isLearner = false;
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  draft.incoming.add(id);
}

/** Adds or demotes; a voter of the outgoing half is only staged, since nobody is voter and learner at once. */
function makeLearner(draft: Draft, env: ChangerEnv, id: number): void {
  const pr = draft.progress.get(id);
  if (pr === undefined) {
    addMember(draft, env, id, true);
    return;
  }
  if (pr.isLearner) return;
  remove(draft, id);
  draft.progress.set(id, pr);
  if (draft.outgoing.has(id)) {
    draft.learnersNext.add(id);
  } else {
    pr.isLearner = true;
    draft.learners.add(id);
  }
}

function remove(draft: Draft, id: number): void {
  if (!draft.progress.has(id)) return;
  draft.incoming.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  if (!draft.outgoing.has(id)) draft.progress.delete(id);
}

function addMember(draft: Draft, env: ChangerEnv, id: number, isLearner: boolean): void {
  (isLearner ? draft.learners : draft.incoming).add(id);
  const init = {
    match: 0,
    // Probing starts at the leader's last entry.
    next: Math.max(env.lastIndex, 1),
    inflights: env.newInflights(),
    isLearner,
    // Or a check of the quorum could depose the leader before the new member had a chance to answer.
    recentActive: true,
  };
  draft.progress.set(id, new Progress(init));
}

function check({ config, progress }: Membership): void {
  for (const ids of [config.incoming, config.outgoing, config.learners, config.learnersNext]) {
    for (const id of ids) if (!progress.has(id)) throw new ConfChangeError(`no progress for ${id}`);
  }
  for (const id of config.learnersNext) {
    if (!config.outgoing.has(id)) throw new ConfChangeError(`${id} is in LearnersNext, but not Voters[1]`);
    if (progress.get(id)!.isLearner) {
      throw new ConfChangeError(`${id} is in LearnersNext, but is already marked as learner`);
    }
  }
  for (const id of config.learners) {
    if (config.outgoing.has(id)) throw new ConfChangeError(`${id} is in Learners and Voters[1]`);
    if (config.incoming.has(id)) throw new ConfChangeError(`${id} is in Learners and Voters[0]`);
    if (!progress.get(id)!.isLearner) throw new ConfChangeError(`${id} is in Learners, but is not marked as learner`);
  }
  if (isJoint(config)) return;
  if (config.learnersNext.size > 0) throw new ConfChangeError('cfg.LearnersNext must be nil when not joint');
  if (config.autoLeave) throw new ConfChangeError('AutoLeave must be false when not joint');
}

function differences(a: ReadonlySet<number>, b: ReadonlySet<number>): number {
  let n = 0;
  for (const id of a) if (!b.has(id)) n++;
  for (const id of b) if (!a.has(id)) n++;
  return n;
}
