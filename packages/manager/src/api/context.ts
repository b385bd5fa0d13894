import { type Clock, ClusterError, type Logger, type NewId, type Random } from '@swarmctl/shared/kit';
import type { Cluster } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import type { LocalAccess, ManagerAccess } from './ports.ts';
import type { RegistryClient } from './registry/client.ts';

// What every route is handed: the node, and how to get at the cluster through it or refuse with the text that clients know.

export interface ApiContext {
  readonly local: LocalAccess;
  readonly clock: Clock;
  readonly newId: NewId;
  readonly random: Random;
  readonly log: Logger;
  readonly registries: Pick<RegistryClient, 'distribution' | 'login'>;
  readonly version: string;
}

export const lockedMessage =
  'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.';

const notManager = 'This node is not a swarm manager.';

/** The manager on this node; throws the 503 that says why there is none. */
export function managerOf(context: ApiContext): ManagerAccess {
  const manager = context.local.manager();
  if (manager) return manager;
  if (context.local.state() === 'pending') {
    throw new ClusterError(
      'unavailable',
      'rpc error: code = Unavailable desc = this node is on its way into the swarm: try again in a moment',
    );
  }
  if (context.local.state() === 'locked') throw new ClusterError('unavailable', lockedMessage);
  throw new ClusterError(
    'not-in-swarm',
    context.local.state() === 'active'
      ? `${notManager} Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.`
      : `${notManager} Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`,
  );
}

/** A linearizable view: everything committed before the call is in it. */
export async function readView(context: ApiContext): Promise<View> {
  const manager = managerOf(context);
  await manager.readIndex();
  return manager.view();
}

/** The leader, for a write or a log; followers have forwarded the request before it gets here. */
export async function leading(context: ApiContext): Promise<ManagerAccess> {
  const manager = managerOf(context);
  if (!manager.isLeader()) throw noLeader();
  await manager.readIndex();
  return manager;
}

export const noLeader = (): ClusterError =>
  new ClusterError(
    'no-leader',
    "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.",
  );

export function clusterOf(view: View): Cluster {
  const cluster = view.cluster();
  if (!cluster) throw noLeader();
  return cluster;
}
