import type { TrackerConfig } from './tracker/tracker.ts';
import type {
  ConfChange,
  ConfChangeSingle,
  ConfChangeType,
  ConfState,
  EntryType,
  MessageType,
  ProgressStatus,
  SoftState,
} from './types.ts';

// Words for log lines, in etcd/raft's forms, so that its readers and tools feel at home.

export const hex = (id: number): string => id.toString(16);

const messageNames: Readonly<Record<MessageType, string>> = {
  hup: 'MsgHup',
  beat: 'MsgBeat',
  prop: 'MsgProp',
  app: 'MsgApp',
  'app-resp': 'MsgAppResp',
  vote: 'MsgVote',
  'vote-resp': 'MsgVoteResp',
  snap: 'MsgSnap',
  heartbeat: 'MsgHeartbeat',
  'heartbeat-resp': 'MsgHeartbeatResp',
  unreachable: 'MsgUnreachable',
  'snap-status': 'MsgSnapStatus',
  'check-quorum': 'MsgCheckQuorum',
  'transfer-leader': 'MsgTransferLeader',
  'timeout-now': 'MsgTimeoutNow',
  'read-index': 'MsgReadIndex',
  'read-index-resp': 'MsgReadIndexResp',
  'pre-vote': 'MsgPreVote',
  'pre-vote-resp': 'MsgPreVoteResp',
  'storage-append': 'MsgStorageAppend',
  'storage-append-resp': 'MsgStorageAppendResp',
  'storage-apply': 'MsgStorageApply',
  'storage-apply-resp': 'MsgStorageApplyResp',
  'forget-leader': 'MsgForgetLeader',
};

export const messageTypes = Object.keys(messageNames) as readonly MessageType[];

export const messageName = (type: MessageType): string => messageNames[type];

const roleNames: Readonly<Record<SoftState['role'], string>> = {
  follower: 'StateFollower',
  precandidate: 'StatePreCandidate',
  candidate: 'StateCandidate',
  leader: 'StateLeader',
};

export const roleName = (role: SoftState['role']): string => roleNames[role];

const stateNames = { probe: 'StateProbe', replicate: 'StateReplicate', snapshot: 'StateSnapshot' } as const;

export function describeProgress(pr: ProgressStatus): string {
  const { state, match, next, learner, paused, pendingSnapshot, recentActive, inflight, inflightFull } = pr;
  let text = `${stateNames[state]} match=${match} next=${next}`;
  if (learner) text += ' learner';
  if (paused) text += ' paused';
  if (pendingSnapshot > 0) text += ` pendingSnap=${pendingSnapshot}`;
  if (!recentActive) text += ' inactive';
  if (inflight > 0) text += ` inflight=${inflight}${inflightFull ? '[full]' : ''}`;
  return text;
}

export const describeIds = (ids: ReadonlySet<number>): string => `(${[...ids].sort((a, b) => a - b).join(' ')})`;

export function describeConfig(config: TrackerConfig): string {
  let text = `voters=${describeIds(config.incoming)}`;
  if (config.outgoing.size > 0) text += `&&${describeIds(config.outgoing)}`;
  if (config.learners.size > 0) text += ` learners=${describeIds(config.learners)}`;
  if (config.learnersNext.size > 0) text += ` learners_next=${describeIds(config.learnersNext)}`;
  if (config.autoLeave) text += ' autoleave';
  return text;
}

const changeLetters: Readonly<Record<ConfChangeType, string>> = {
  'add-node': 'v',
  'add-learner-node': 'l',
  'remove-node': 'r',
  'update-node': 'u',
};

/** `v1 l2 r3 u4`: make voter, make learner, remove, update. */
export const describeChanges = (changes: readonly ConfChangeSingle[]): string =>
  changes.map(({ type, nodeId }) => `${changeLetters[type]}${nodeId}`).join(' ');

const typeNames: Readonly<Record<ConfChangeType, string>> = {
  'add-node': 'ConfChangeAddNode',
  'add-learner-node': 'ConfChangeAddLearnerNode',
  'remove-node': 'ConfChangeRemoveNode',
  'update-node': 'ConfChangeUpdateNode',
};

const transitionNames: Readonly<Record<ConfChange['transition'], string>> = {
  auto: 'ConfChangeTransitionAuto',
  'joint-implicit': 'ConfChangeTransitionJointImplicit',
  'joint-explicit': 'ConfChangeTransitionJointExplicit',
};

/** A proposed change in protobuf's text form. */
export function describeConfChange(type: EntryType, change: ConfChange): string {
  const singles = change.changes.map((single) => `type:${typeNames[single.type]} node_id:${single.nodeId}`);
  if (type === 'conf-change') return singles.join(' ');
  return [`transition:${transitionNames[change.transition]}`, ...singles.map((text) => `changes:{${text}}`)].join(' ');
}

/** A stored configuration in protobuf's text form. */
export function describeConfState(state: ConfState): string {
  const each = (name: string, ids: readonly number[]): string[] => ids.map((id) => `${name}:${id}`);
  return [
    ...each('voters', state.voters),
    ...each('learners', state.learners),
    ...each('voters_outgoing', state.votersOutgoing),
    ...each('learners_next', state.learnersNext),
    `auto_leave:${state.autoLeave}`,
  ].join(' ');
}
