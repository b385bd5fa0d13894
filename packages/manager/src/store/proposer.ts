import { type Clock, ClusterError, messageOf } from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import type { RaftNode } from 'raft-ts';
import { encodeBatch } from './codec.ts';
import type { ApplyOutcome, Proposer } from './types.ts';

// Changes become one log entry; what raft and the store say of it becomes an error that users and controllers understand.

const noLeader =
  "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";

export interface RaftProposerModules {
  readonly raft: Pick<RaftNode, 'propose'>;
  readonly clock: Pick<Clock, 'now'>;
}

export class RaftProposer implements Proposer {
  readonly #modules: RaftProposerModules;

  constructor(modules: RaftProposerModules) {
    this.#modules = modules;
  }

  async propose(changes: readonly StoreChange[]): Promise<{ readonly index: number }> {
    const data = encodeBatch({ now: this.#modules.clock.now(), changes });
    const outcome = await this.#proposed(data);
    if (!outcome.ok) throw new ClusterError(outcome.code, outcome.message);
    return { index: outcome.index };
  }

  async #proposed(data: Uint8Array): Promise<ApplyOutcome> {
    try {
      const { result } = await this.#modules.raft.propose(data);
      return result as ApplyOutcome;
    } catch (error) {
      throw clusterErrorOf(error);
    }
  }
}

/** A RaftError as a ClusterError; anything else as it is. `data.raft` keeps raft's code. */
export function clusterErrorOf(error: unknown): unknown {
  const raft = (error as { code?: unknown } | undefined)?.code;
  const made = (code: ClusterError['code'], message: string) => {
    const { leader } = (error as { data?: { leader?: unknown } }).data ?? {};
    return new ClusterError(code, message, { raft, ...(leader !== undefined && { leader }) }, error);
  };
  switch (raft) {
    case 'not-leader':
    case 'no-quorum':
      return made('no-leader', noLeader);
    case 'dropped':
      return made('unavailable', 'leadership was lost while the change was on its way: it may have been made or not');
    case 'removed':
      return made('unavailable', 'this node is no longer a manager of the swarm');
    case 'stopped':
      return made('unavailable', 'this manager is stopping');
    case 'busy':
      return made('unavailable', 'the managers cannot keep up with the changes: try again later');
    case 'conf-change-pending':
      return made('unavailable', 'another change of the managers is under way: try again later');
    case 'too-large':
      return made('invalid-argument', `the change is too large: ${messageOf(error)}`);
    default:
      return error;
  }
}
