// The package's door: a member with disk and streams, and the core alone for those who bring their own.
export * from './core/index.ts';
export { RaftError, type RaftErrorCode } from './host/errors.ts';
export { hasLog, openRaftNode } from './host/open.ts';
export type {
  AppliedEntry,
  Channel,
  Dial,
  Member,
  MemberId,
  MembershipChange,
  NodeStatus,
  Proposed,
  RaftNode,
  RaftNodeModules,
  RaftNodeOptions,
  RaftTiming,
  Role,
  Sealer,
  Start,
  StateMachine,
} from './host/types.ts';
