import { dirname } from 'node:path';
import { decodeConfChange } from '../core/conf-change-codec.ts';
import type { ConfState, Entry } from '../core/types.ts';
import { holdsLog, LogStore } from '../wal/log-store.ts';
import type { SnapshotHeader } from '../wal/snapshot-header.ts';
import { WalError } from '../wal/wal-error.ts';
import { unwrapData } from './entry-layout.ts';
import { toRaftError } from './errors.ts';
import { Membership } from './membership.ts';
import { type RaftHostEnv, realEnv } from './open.ts';
import { checkRecovery, newLogId } from './options.ts';
import type { MemberId, RecoverModules, RecoverOptions } from './types.ts';

// When the majority is lost for good: what one member knows becomes the beginning of a group of its own.

const readBytes = 1 << 20;
/** So far ahead of its log a recovered member goes on: nobody was told of an index beyond that by the members that are lost. */
const leap = 1_000_000;

/**
 * Makes, in a folder of its own, the log of a group whose only member is `to.id`, from all that the log of the stopped member `from` holds: also what is
 * not known to be committed, since it may be. No quorum is asked, so what only the lost members had is lost, and nothing keeps them from
 * going on by themselves: that they do not is for the caller to know. Those of them that come and are authenticated are told that they were removed.
 *
 * `from` stays as it is: which of the two folders counts is the caller's decision, and until it has made that the new one may be thrown away. The
 * state machine must be empty, and is afterwards at the index that the new member begins with, the one that this resolves with.
 *
 * Rejects with `no-log`, `foreign`, `corrupt`, `locked` or `io` for `from`, with `log-exists` for `to`, and with `invalid-options`.
 */
export async function recoverAlone(
  options: RecoverOptions,
  modules: RecoverModules,
  env: Partial<RaftHostEnv> = {},
): Promise<number> {
  checkRecovery(options, modules);
  const full = { ...realEnv, ...env };
  try {
    if (!(await holdsLog(full.fileSystem, options.from.dir)))
      throw new WalError('no-log', `there is no log in ${options.from.dir}`, { dir: options.from.dir });
    const lock = await full.lock(options.from.dir);
    try {
      return await recover(options, modules, full);
    } finally {
      await lock.release();
    }
  } catch (error) {
    throw toRaftError(error);
  }
}

async function recover(options: RecoverOptions, modules: RecoverModules, env: RaftHostEnv): Promise<number> {
  const { from, to } = options;
  const { sealer, stateMachine, amend } = modules;
  const { fileSystem } = env;
  const old = await LogStore.load({ fileSystem, dir: from.dir, sealer }, from.id);
  let begin: { readonly header: SnapshotHeader; readonly term: number };
  try {
    const membership = await replay(old, modules, env);
    const last = old.lastIndex();
    const term = Math.max(old.initialState().hardState.term, old.term(last)) + 1;
    const index = last + leap;
    const data = amend?.();
    if (data !== undefined) stateMachine.apply({ index, term, data });
    stateMachine.applied?.(index);
    begin = { header: headerOf(to, membership, { index, term }), term };
  } finally {
    await old.close();
  }
  await fileSystem.mkdir(to.dir);
  const { header, term } = begin;
  const { index } = header.meta;
  const identity = { member: to.id, log: newLogId(options) };
  const store = await LogStore.create({ fileSystem, dir: to.dir, sealer }, identity, [], {
    term: 0,
    vote: 0,
    commit: 0,
  });
  try {
    const incoming = await store.snapshots.receive(header);
    for await (const chunk of stateMachine.snapshot()()) await incoming.add(chunk);
    await store.install(await incoming.finish(), { term, vote: 0, commit: index });
  } finally {
    await store.close();
  }
  await fileSystem.syncDir(dirname(to.dir));
  return index;
}

/** Brings the state machine to the end of the log. */
async function replay(store: LogStore, { stateMachine }: RecoverModules, env: RaftHostEnv): Promise<Membership> {
  const { latest } = store;
  const membership = new Membership(latest);
  if (latest !== undefined) {
    const { index, term } = latest.meta;
    await stateMachine.restore(index, (await store.snapshots.open({ index, term })).chunks());
  }
  const apply = ({ type, index, term, data }: Entry): void => {
    if (type !== 'normal') membership.apply(decodeConfChange(type, data));
    else if (data.length > 0) stateMachine.apply({ index, term, data: unwrapData(index, data) });
  };
  for (let next = (latest?.meta.index ?? 0) + 1; next <= store.lastIndex(); ) {
    const entries = store.entries(next, store.lastIndex() + 1, readBytes);
    for (const entry of entries) apply(entry);
    next += entries.length;
    await new Promise<void>((resolve) => env.clock.soon(resolve));
  }
  return membership;
}

/** Alone, and all others were removed: also the one that it was. */
function headerOf(
  { id, address }: { readonly id: MemberId; readonly address: string },
  membership: Membership,
  at: { readonly index: number; readonly term: number },
): SnapshotHeader {
  const confState: ConfState = { voters: [id], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
  const { addresses, removed } = membership.header(at.index, at.term, confState);
  return {
    meta: { ...at, confState },
    addresses: new Map([[id, address]]),
    removed: [...new Set([...removed, ...addresses.keys()])],
  };
}
