import type { RawNodeConfig } from '../core/config.ts';
import type { RaftHostParts } from './parts.ts';

// How the core is set up. One entry always goes, however large: the sizes bound what is gathered.

export function coreConfig({ options, timing, store }: RaftHostParts): RawNodeConfig {
  const { log } = options;
  return {
    id: options.id,
    electionTick: timing.electionTicks,
    heartbeatTick: timing.heartbeatTicks,
    storage: store,
    applied: store.latest?.meta.index ?? 0,
    asyncStorageWrites: true,
    maxSizePerMsg: 512 << 10,
    maxCommittedSizePerReady: 4 << 20,
    maxUncommittedEntriesSize: 64 << 20,
    maxInflightMsgs: 256,
    maxInflightBytes: 16 << 20,
    checkQuorum: true,
    preVote: true,
    disableProposalForwarding: true,
    stepDownOnRemoval: true,
    random: options.random,
    ...(log === undefined ? {} : { log: (level, text) => log(level === 'info' ? 'debug' : level, {}, text) }),
  };
}
