// The package's door: a member with disk and streams, and the core alone for those who bring their own.
export * from './core/index.ts';
export type { HostClock } from './host/clock.ts';
export { RaftError, type RaftErrorCode } from './host/errors.ts';
export { hasLog, openRaftNode, type RaftHostEnv } from './host/open.ts';
export { recoverAlone } from './host/recover.ts';
export type {
  AppliedEntry,
  Channel,
  Compaction,
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
  RecoverModules,
  RecoverOptions,
  Role,
  Sealer,
  Start,
  StateMachine,
} from './host/types.ts';
export type { File, FileSystem, OpenMode } from './wal/file-system.ts';
export type { FolderLock } from './wal/folder-lock.ts';
export { MemoryFileSystem } from './wal/memory-file-system.ts';
