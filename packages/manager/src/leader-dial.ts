import type { Duplex } from 'node:stream';
import { ClusterError, delay } from '@swarmctl/shared/kit';
import type { Peer } from '@swarmctl/shared/wire';
import type { ManagerModules } from './manager-types.ts';

// A stream to the API of the manager that leads, also while that changes.

export interface LeaderDialModules extends Pick<ManagerModules, 'clock' | 'dial'> {
  readonly nodeId: string;
  readonly isLeader: () => boolean;
  readonly leader: () => Peer | undefined;
  /** Calls back when another may lead. Returns an unsubscriber. */
  readonly onChange: (listener: () => void) => () => void;
}

/** How long a request may wait for an election, and how often it looks. */
const waitMs = 3_000;
const pollMs = 10;

/** Waits a moment for an election to end; it may be this manager that wins. */
export async function dialLeader(modules: LeaderDialModules, signal: AbortSignal): Promise<Duplex | 'here'> {
  const { nodeId, isLeader, leader, clock } = modules;
  for (let waitedMs = 0; waitedMs < waitMs && !signal.aborted; waitedMs += pollMs) {
    if (isLeader()) return 'here';
    const other = leader();
    if (other && other.nodeId !== nodeId) return dialWhileLeading(other, modules, signal);
    await delay(clock, pollMs);
  }
  throw new ClusterError('no-leader', 'there is no leader');
}

/** One that hangs holds nobody up longer than it leads: the request then looks for the next leader. */
async function dialWhileLeading(
  other: Peer,
  modules: LeaderDialModules,
  signal: AbortSignal,
): Promise<Duplex | 'here'> {
  const { dial, leader, onChange } = modules;
  const deposed = new AbortController();
  const unlisten = onChange(() => {
    if (leader()?.addr !== other.addr) deposed.abort(new Error('another manager leads now'));
  });
  const target = { addr: other.addr, ...(other.nodeId && { nodeId: other.nodeId }) };
  try {
    return await dial('api', target, AbortSignal.any([signal, deposed.signal]));
  } catch (error) {
    if (!deposed.signal.aborted || signal.aborted) throw error;
  } finally {
    unlisten();
  }
  return dialLeader(modules, signal);
}
