import { type Clock, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { Node, StoreChange } from '@swarmctl/shared/model';
import type { MembershipChange, NodeStatus } from 'raft-ts';
import type { Proposer, StoreWatch, View } from './store/types.ts';

// Makes the raft group what the nodes' roles say: a joining manager is a learner until it has caught up, a demoted one leaves the group
// before it forgets that it was a manager. Runs where this manager leads.

export type RoleStep =
  | { readonly kind: 'change'; readonly change: MembershipChange }
  /** This leader is to go: another must lead first. */
  | { readonly kind: 'transfer' }
  /** `version`: of the node as this was decided on. */
  | { readonly kind: 'forget'; readonly nodeId: string; readonly version: number; readonly raftId: number };

/** Entries that a learner may lag behind and still be given a vote. */
const caughtUp = 16;

/** The next step, or undefined when group and roles agree. Pure. */
export function nextRoleStep(view: View, status: NodeStatus): RoleStep | undefined {
  const nodes = view.list('nodes');
  const byRaftId = new Map(
    nodes.flatMap((node) => (node.ManagerStatus ? [[node.ManagerStatus.RaftID, node] as const] : [])),
  );
  for (const member of status.members) {
    const node = byRaftId.get(member.id);
    if (node?.Spec.Role === 'manager') {
      const progress = status.progress.get(member.id);
      if (member.learner && progress?.active && progress.match + caughtUp >= status.commit) {
        return { kind: 'change', change: { type: 'add', id: member.id, address: member.address } };
      }
      continue;
    }
    if (!mayGo(status, member.id)) continue;
    return member.id === status.id
      ? { kind: 'transfer' }
      : { kind: 'change', change: { type: 'remove', id: member.id } };
  }
  const gone = nodes.find((node) => isForgettable(node, status));
  if (!gone?.ManagerStatus) return undefined;
  const { ID, Version, ManagerStatus } = gone;
  return { kind: 'forget', nodeId: ID, version: Version.Index, raftId: ManagerStatus.RaftID };
}

const isForgettable = (node: Node, status: NodeStatus): boolean =>
  node.ManagerStatus !== undefined &&
  node.Spec.Role !== 'manager' &&
  !status.members.some((member) => member.id === node.ManagerStatus?.RaftID);

/** What notes that a raft id must never come back. */
export function withRemoved(view: View, raftId: number): readonly StoreChange[] {
  const cluster = view.cluster();
  if (!cluster) return [];
  const set = { RemovedRaftIDs: [...cluster.RemovedRaftIDs, raftId] };
  return [{ op: 'update', table: 'cluster', id: cluster.ID, version: cluster.Version.Index, set }];
}

/** A member goes only when those that stay and answer are a majority of those that stay. */
function mayGo(status: NodeStatus, id: number): boolean {
  const stay = status.members.filter((member) => !member.learner && member.id !== id);
  const active = stay.filter((member) => member.id === status.id || status.progress.get(member.id)?.active);
  return stay.length > 0 && active.length > stay.length / 2;
}

export interface RaftMembership {
  status(): NodeStatus;
  changeMembership(change: MembershipChange): Promise<void>;
  transferLeadership(to?: number): Promise<void>;
  onChange(listener: () => void): () => void;
}

const retryMs = 200;

export async function runRoles(
  signal: AbortSignal,
  modules: {
    store: StoreWatch & { view(): View };
    raft: RaftMembership;
    proposer: Proposer;
    clock: Clock;
    log: Logger;
  },
): Promise<void> {
  const { store, raft, proposer, clock, log } = modules;
  let wake: () => void = () => undefined;
  const unwatch = store.watch((events) => {
    if (events === 'reset' || events.some((event) => event.table === 'nodes')) wake();
  });
  const unlisten = raft.onChange(() => wake());
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort);
  try {
    while (!signal.aborted) {
      const view = store.view();
      const step = nextRoleStep(view, raft.status());
      if (step)
        await take(step, view).catch((error) =>
          log.warn({ step: step.kind, error: messageOf(error) }, 'role step failed'),
        );
      // A learner catches up without an event; what failed is tried again.
      const waiting = step !== undefined || raft.status().members.some((member) => member.learner);
      if (signal.aborted) return;
      await new Promise<void>((resolve) => {
        const timer = clock.after(waiting ? retryMs : 10_000, resolve, { unref: true });
        wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
  } finally {
    unwatch();
    unlisten();
    signal.removeEventListener('abort', onAbort);
  }

  async function take(step: RoleStep, view: View): Promise<void> {
    switch (step.kind) {
      case 'change':
        log.info({ change: step.change.type, raftId: step.change.id }, 'changing the raft group');
        return raft.changeMembership(step.change);
      case 'transfer':
        log.info({}, 'handing leadership over: this node is to be demoted');
        return raft.transferLeadership();
      case 'forget': {
        const { nodeId: id, version } = step;
        await proposer.propose([
          // It may have been promoted again, and be another member by now.
          { op: 'update', table: 'nodes', id, version, set: {}, unset: ['ManagerStatus'] },
          ...withRemoved(view, step.raftId),
        ]);
        log.info({ node: step.nodeId, raftId: step.raftId }, 'manager demoted');
        return undefined;
      }
      default:
        return step satisfies never;
    }
  }
}
