import { type Clock, ClusterError, type Random } from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import { recoverAlone, type Sealer } from 'raft-ts';
import { encodeBatch } from './store/codec.ts';
import { StoreStateMachine } from './store/state-machine.ts';
import { Store } from './store/store.ts';
import type { View } from './store/types.ts';

// When the majority of the managers is lost for good: what one of them knows becomes a cluster whose only manager it is.

export interface RecoverClusterOptions {
  readonly nodeId: string;
  /** `host:port` where other managers will reach this one. */
  readonly addr: string;
  /** Its raft folder, of a manager that does not run. */
  readonly from: { readonly dir: string; readonly id: number };
  /** The one that is made, of a new member; nothing may be there. */
  readonly to: { readonly dir: string; readonly id: number };
}

/** Rejects `failed-precondition` when this manager has no state to go on with, and with raft's error when its log cannot be read. */
export async function recoverCluster(
  options: RecoverClusterOptions,
  modules: { readonly sealer: Sealer; readonly random: Random; readonly clock: Pick<Clock, 'now'> },
): Promise<void> {
  const { nodeId, addr, from, to } = options;
  const { sealer, random, clock } = modules;
  const store = new Store();
  const amend = () => {
    const changes = aloneChanges(store.view(), nodeId, { RaftID: to.id, Addr: addr });
    return encodeBatch({ now: clock.now(), changes });
  };
  await recoverAlone(
    { from, to: { ...to, address: addr }, random },
    { stateMachine: new StoreStateMachine(store), sealer, amend },
  );
}

/** The others are workers: they may come back as such, and be promoted again. Nothing else changes. Pure. */
export function aloneChanges(
  view: View,
  nodeId: string,
  ManagerStatus: { readonly RaftID: number; readonly Addr: string },
): StoreChange[] {
  const cluster = view.cluster();
  const self = view.get('nodes', nodeId);
  if (!cluster || !self)
    throw new ClusterError(
      'failed-precondition',
      'this manager has not received the state of the swarm: use another one',
    );
  const others = view
    .list('nodes')
    .filter((node) => node.ID !== nodeId && (node.ManagerStatus || node.Spec.Role === 'manager'));
  const gone = [self, ...others].flatMap((node) => (node.ManagerStatus ? [node.ManagerStatus.RaftID] : []));
  return [
    { op: 'update', table: 'nodes', id: nodeId, set: { Spec: { ...self.Spec, Role: 'manager' }, ManagerStatus } },
    ...others.map(
      ({ ID, Spec }): StoreChange => ({
        op: 'update',
        table: 'nodes',
        id: ID,
        set: { Spec: { ...Spec, Role: 'worker' } },
        unset: ['ManagerStatus'],
      }),
    ),
    {
      op: 'update',
      table: 'cluster',
      id: cluster.ID,
      set: { RemovedRaftIDs: [...new Set([...cluster.RemovedRaftIDs, ...gone])] },
    },
  ];
}
