import type { FolderLock } from '../wal/folder-lock.ts';
import type { LogStore } from '../wal/log-store.ts';
import type { HostClock } from './clock.ts';
import type { RaftNodeModules, RaftNodeOptions, RaftTiming } from './types.ts';

/** What a running member is made of. */
export interface RaftHostParts {
  readonly options: RaftNodeOptions;
  readonly timing: RaftTiming;
  readonly modules: RaftNodeModules;
  readonly store: LogStore;
  readonly clock: HostClock;
  readonly lock: FolderLock;
}
