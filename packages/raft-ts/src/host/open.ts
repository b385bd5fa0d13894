import { RaftPanic } from '../core/assert.ts';
import { encodeConfChange } from '../core/conf-change-codec.ts';
import type { Entry, HardState } from '../core/types.ts';
import type { LogIdentity } from '../wal/extent.ts';
import { type FileSystem, nodeFileSystem } from '../wal/file-system.ts';
import { type FolderLock, lockFolder } from '../wal/folder-lock.ts';
import { holdsLog, LogStore } from '../wal/log-store.ts';
import { type HostClock, realClock } from './clock.ts';
import { RaftError, toRaftError } from './errors.ts';
import { toConfChange } from './membership.ts';
import { checkOpening, newLogId, timingOf } from './options.ts';
import { RaftHost } from './raft-host.ts';
import type { RaftNode, RaftNodeModules, RaftNodeOptions, Start } from './types.ts';

// The door: a member comes to life from nothing or from its folder.

/** What a member runs on; the real ones unless tests say otherwise. */
export interface RaftHostEnv {
  readonly fileSystem: FileSystem;
  readonly clock: HostClock;
  readonly lock: (dir: string) => Promise<FolderLock>;
  readonly segmentBytes?: number;
}

export const realEnv: RaftHostEnv = { fileSystem: nodeFileSystem, clock: realClock, lock: lockFolder };

/**
 * Resolves once the state machine is where the folder says; the cluster may not have a leader yet. `bootstrap` and
 * `join` want a folder without a log (`log-exists`), `restart` one with this member's (`no-log`, `foreign`). Damage is
 * refused (`corrupt`), and so is a folder that another process has (`locked`). What cannot be meant is refused before anything is made
 * (`invalid-options`); what the system refuses is `io`.
 */
export async function openRaftNode(
  options: RaftNodeOptions,
  modules: RaftNodeModules,
  start: Start,
  env: Partial<RaftHostEnv> = {},
): Promise<RaftNode> {
  checkOpening(options, modules, start);
  const identity = { member: options.id, log: newLogId(options) };
  const full = { ...realEnv, ...env };
  try {
    await full.fileSystem.mkdir(options.dir);
    const lock = await full.lock(options.dir);
    return await openLocked(identity, options, modules, start, full, lock);
  } catch (error) {
    throw toRaftError(error);
  }
}

/** Whether a member has been here: then `restart` is the way to start, which refuses a log that is damaged or gone. */
export async function hasLog(dir: string): Promise<boolean> {
  try {
    return await holdsLog(nodeFileSystem, dir);
  } catch (error) {
    throw toRaftError(error);
  }
}

async function openLocked(
  identity: LogIdentity,
  options: RaftNodeOptions,
  modules: RaftNodeModules,
  start: Start,
  env: RaftHostEnv,
  lock: FolderLock,
): Promise<RaftNode> {
  let store: LogStore | undefined;
  let host: RaftHost | undefined;
  try {
    store = await openStore(identity, options, modules, start, env);
    if (store.latest !== undefined) await restoreState(store, modules);
    host = new RaftHost({ options, timing: timingOf(options), modules, store, clock: env.clock, lock });
    await host.start();
    return host;
  } catch (error) {
    // What went wrong first is what is told.
    if (host !== undefined) {
      await host.stop().catch(() => {});
    } else {
      await store?.close().catch(() => {});
      await lock.release();
    }
    if (error instanceof RaftPanic) throw new RaftError('corrupt', error.message, { file: options.dir }, error);
    throw error;
  }
}

async function openStore(
  identity: LogIdentity,
  options: RaftNodeOptions,
  modules: RaftNodeModules,
  start: Start,
  env: RaftHostEnv,
): Promise<LogStore> {
  const { id, dir, log } = options;
  const storeEnv = {
    fileSystem: env.fileSystem,
    dir,
    sealer: modules.sealer,
    ...(env.segmentBytes === undefined ? {} : { segmentBytes: env.segmentBytes }),
    ...(log === undefined
      ? {}
      : { warn: (fields: Record<string, unknown>, text: string) => log('warn', fields, text) }),
  };
  switch (start.kind) {
    case 'bootstrap': {
      const { entry, hardState } = firstEntry(id, start.address);
      return LogStore.create(storeEnv, identity, [entry], hardState);
    }
    case 'join':
      return LogStore.create(storeEnv, identity, [], { term: 0, vote: 0, commit: 0 });
    case 'restart':
      return LogStore.load(storeEnv, id);
    default:
      return start satisfies never;
  }
}

/** A cluster begins with the committed entry that makes its first member one. */
function firstEntry(id: number, address: string): { entry: Entry; hardState: HardState } {
  const { type, data } = encodeConfChange(toConfChange({ type: 'add', id, address }));
  return { entry: { type, term: 1, index: 1, data }, hardState: { term: 1, vote: 0, commit: 1 } };
}

async function restoreState(store: LogStore, modules: RaftNodeModules): Promise<void> {
  const { index, term } = store.latest!.meta;
  const reader = await store.snapshots.open({ index, term });
  await modules.stateMachine.restore(index, reader.chunks());
}
