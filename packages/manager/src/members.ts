import { type Clock, ClusterError, delay, type Random } from '@swarmctl/shared/kit';
import type { MembershipChange, NodeStatus } from 'raft-ts';
import { withRemoved } from './roles.ts';
import { clusterErrorOf } from './store/proposer.ts';
import type { Proposer, View } from './store/types.ts';

// Takes managers into the raft group, as learners at first; the roles (roles.ts) make them voters, and let them go. Where this manager leads.

export interface MembersModules {
  readonly raft: { status(): NodeStatus; changeMembership(change: MembershipChange): Promise<void> };
  readonly view: () => View;
  readonly proposer: Proposer;
  readonly clock: Pick<Clock, 'after'>;
  readonly random: Random;
}

export interface AddedMember {
  readonly raftId: number;
  readonly peers: readonly { readonly id: number; readonly addr: string }[];
}

const attempts = 50;
const retryMs = 100;

export class Members {
  readonly #modules: MembersModules;

  constructor(modules: MembersModules) {
    this.#modules = modules;
  }

  /** A new manager becomes a learner of the group; it votes once it has caught up. May be repeated, and is by one that hears of no leader. */
  async add(nodeId: string, addr: string): Promise<AddedMember> {
    const { raft } = this.#modules;
    const raftId = await this.#again('out-of-sequence', () => this.#nameMember(nodeId, addr));
    const member = raft.status().members.find((one) => one.id === raftId);
    if (!member) await this.#change({ type: 'add-learner', id: raftId, address: addr });
    else if (member.address !== addr) await this.#change({ type: 'update', id: raftId, address: addr });
    return { raftId, peers: raft.status().members.map(({ id, address }) => ({ id, addr: address })) };
  }

  /** The id that the node is a member by. Never one that has been a member before: the node may have dropped that one's log, and with it its votes. */
  async #nameMember(nodeId: string, addr: string): Promise<number> {
    const { raft, view, proposer } = this.#modules;
    const node = view().get('nodes', nodeId);
    if (!node) throw new ClusterError('not-found', `node ${nodeId} not found`);
    if (node.Spec.Role !== 'manager') throw new ClusterError('permission-denied', `node ${nodeId} is not a manager`);
    const known = node.ManagerStatus?.RaftID;
    const isMember = raft.status().members.some((one) => one.id === known);
    const raftId = known !== undefined && isMember ? known : this.#freshRaftId();
    if (known === raftId && node.ManagerStatus?.Addr === addr) return raftId;
    const set = { ManagerStatus: { RaftID: raftId, Addr: addr } };
    await proposer.propose([
      // Nothing of what was decided on may have changed: the role, or that the group has let the old member go.
      { op: 'update', table: 'nodes', id: nodeId, version: node.Version.Index, set },
      ...(known === undefined || known === raftId ? [] : withRemoved(view(), known)),
    ]);
    return raftId;
  }

  /** One change at a time: another that is under way is waited for. */
  async #change(change: MembershipChange): Promise<void> {
    try {
      await this.#again('conf-change-pending', () => this.#modules.raft.changeMembership(change));
    } catch (error) {
      throw clusterErrorOf(error);
    }
  }

  async #again<T>(passing: string, act: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await act();
      } catch (error) {
        const { code } = error as { code?: string };
        if (code !== passing || attempt >= attempts) throw error;
        await delay(this.#modules.clock, retryMs);
      }
    }
  }

  #freshRaftId(): number {
    const { raft, view, random } = this.#modules;
    const used = new Set([
      ...raft.status().members.map((member) => member.id),
      ...(view().cluster()?.RemovedRaftIDs ?? []),
    ]);
    for (;;) {
      const id = newRaftId(random);
      if (!used.has(id)) return id;
    }
  }
}

/** A member id: random in [1, 2^48). */
export const newRaftId = (random: Random): number => 1 + Math.floor(random() * (2 ** 48 - 1));
