import type { LogStorage, NodeId } from './types.ts';

// What a RawNode is built with, and the defaults and checks of it.

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface RawNodeConfig {
  /** This member's id: positive, below 2^53 - 2. */
  readonly id: NodeId;
  /** The election time-out is drawn from [electionTick, 2 * electionTick) ticks. */
  readonly electionTick: number;
  readonly heartbeatTick: number;
  readonly storage: LogStorage;
  /** What the state machine has already applied; set on restarts. Entries up to here are not handed out again. */
  readonly applied?: number;
  /** Messages to the local append and apply threads take the place of `advance`. */
  readonly asyncStorageWrites?: boolean;
  /** Bytes of entries in one append message; at least one entry always goes. Unlimited when absent. */
  readonly maxSizePerMsg?: number;
  /** Bytes of committed entries handed out and not yet applied; `maxSizePerMsg` when absent. */
  readonly maxCommittedSizePerReady?: number;
  /** Payload bytes in the leader's uncommitted tail before proposals are dropped; unlimited when absent. */
  readonly maxUncommittedEntriesSize?: number;
  /** Append messages on their way to one follower; 256. */
  readonly maxInflightMsgs?: number;
  /** Payload bytes on their way to one follower; unlimited when absent. */
  readonly maxInflightBytes?: number;
  /** A leader that hears of no quorum within an election time-out steps down. Off unless set. */
  readonly checkQuorum?: boolean;
  readonly preVote?: boolean;
  /** `lease-based` trusts clocks and needs `checkQuorum`. */
  readonly readOnlyOption?: 'safe' | 'lease-based';
  readonly disableProposalForwarding?: boolean;
  /** A leader that is removed or demoted steps down when it applies that. */
  readonly stepDownOnRemoval?: boolean;
  readonly disableConfChangeValidation?: boolean;
  /** A pseudo-random number in [0, 1), for the election time-outs. */
  readonly random: () => number;
  /** One line a transition. */
  readonly log?: (level: LogLevel, message: string) => void;
}

/** A config with its defaults filled in. */
export interface FullConfig extends Required<Omit<RawNodeConfig, 'log'>> {
  readonly log: ((level: LogLevel, message: string) => void) | undefined;
}

const largestId = Number.MAX_SAFE_INTEGER - 2;

export function fullConfig(config: RawNodeConfig): FullConfig {
  const maxSizePerMsg = config.maxSizePerMsg ?? Number.POSITIVE_INFINITY;
  const full: FullConfig = {
    id: config.id,
    electionTick: config.electionTick,
    heartbeatTick: config.heartbeatTick,
    storage: config.storage,
    applied: config.applied ?? 0,
    asyncStorageWrites: config.asyncStorageWrites ?? false,
    maxSizePerMsg,
    maxCommittedSizePerReady: config.maxCommittedSizePerReady || maxSizePerMsg,
    maxUncommittedEntriesSize: config.maxUncommittedEntriesSize || Number.POSITIVE_INFINITY,
    maxInflightMsgs: config.maxInflightMsgs ?? 256,
    maxInflightBytes: config.maxInflightBytes || Number.POSITIVE_INFINITY,
    checkQuorum: config.checkQuorum ?? false,
    preVote: config.preVote ?? false,
    readOnlyOption: config.readOnlyOption ?? 'safe',
    disableProposalForwarding: config.disableProposalForwarding ?? false,
    stepDownOnRemoval: config.stepDownOnRemoval ?? false,
    disableConfChangeValidation: config.disableConfChangeValidation ?? false,
    random: config.random,
    log: config.log,
  };
  const wrong = firstFault(full);
  if (wrong !== undefined) throw new RangeError(`raft config: ${wrong}`);
  return full;
}

function firstFault(c: FullConfig): string | undefined {
  if (!Number.isSafeInteger(c.id) || c.id < 1 || c.id > largestId) return `id ${c.id} is not in [1, ${largestId}]`;
  if (!(c.heartbeatTick > 0)) return 'heartbeatTick must be greater than 0';
  if (!(c.electionTick > c.heartbeatTick)) return 'electionTick must be greater than heartbeatTick';
  if (!(c.maxInflightMsgs > 0)) return 'maxInflightMsgs must be greater than 0';
  if (c.maxInflightBytes < c.maxSizePerMsg && Number.isFinite(c.maxSizePerMsg))
    return 'maxInflightBytes must be at least maxSizePerMsg';
  if (c.readOnlyOption === 'lease-based' && !c.checkQuorum) return 'lease-based reads need checkQuorum';
  return undefined;
}
