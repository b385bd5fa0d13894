import type { ConfChange, ConfChangeType, ConfState } from '../core/types.ts';
import type { SnapshotHeader } from '../wal/snapshot-header.ts';
import { RaftError } from './errors.ts';
import type { Member, MembershipChange } from './types.ts';

// Who the members are and where: the addresses beside the core's configuration, which knows ids alone.

const changeTypes: Record<MembershipChange['type'], ConfChangeType> = {
  add: 'add-node',
  'add-learner': 'add-learner-node',
  update: 'update-node',
  remove: 'remove-node',
};

export function toConfChange(change: MembershipChange): ConfChange {
  const context = change.type === 'remove' ? new Uint8Array(0) : new TextEncoder().encode(change.address);
  return { transition: 'auto', changes: [{ type: changeTypes[change.type], nodeId: change.id }], context };
}

export class Membership {
  #addresses: Map<number, string>;
  #removed: Set<number>;

  constructor(header?: SnapshotHeader) {
    this.#addresses = new Map(header?.addresses);
    this.#removed = new Set(header?.removed);
  }

  address(id: number): string | undefined {
    return this.#addresses.get(id);
  }

  isRemoved(id: number): boolean {
    return this.#removed.has(id);
  }

  /** Takes the place of everything, as a snapshot does. */
  load(header: SnapshotHeader): void {
    this.#addresses = new Map(header.addresses);
    this.#removed = new Set(header.removed);
  }

  /** Follows a committed change. */
  apply({ changes, context }: ConfChange): void {
    for (const { type, nodeId } of changes) {
      if (type === 'remove-node') {
        this.#addresses.delete(nodeId);
        this.#removed.add(nodeId);
      } else if (context.length > 0) {
        this.#addresses.set(nodeId, new TextDecoder().decode(context));
        this.#removed.delete(nodeId);
      }
    }
  }

  header(index: number, term: number, confState: ConfState): SnapshotHeader {
    return { meta: { index, term, confState }, addresses: new Map(this.#addresses), removed: [...this.#removed] };
  }

  members(conf: ConfState): Member[] {
    const voters = new Set([...conf.voters, ...conf.votersOutgoing]);
    const ids = [...new Set([...voters, ...conf.learners, ...conf.learnersNext])].sort((a, b) => a - b);
    return ids.map((id) => ({ id, address: this.#addresses.get(id) ?? '', learner: !voters.has(id) }));
  }

  /** Refuses what the core would have to panic on once it is committed, and what cannot be meant. */
  check(change: MembershipChange, conf: ConfState): void {
    const { id, type } = change;
    const refuse = (why: string): never => {
      throw new RaftError('invalid-change', `member ${id}: ${why}`, { id, type });
    };
    if (!Number.isSafeInteger(id) || id < 1 || id > Number.MAX_SAFE_INTEGER - 2) refuse('the id is out of range');
    if (type !== 'remove' && change.address === '') refuse('the address is empty');
    if (type !== 'remove' && this.#removed.has(id)) refuse('it was removed, and ids are never used again');
    const isMember = conf.voters.includes(id) || conf.learners.includes(id);
    if ((type === 'remove' || type === 'update') && !isMember) refuse('it is not a member');
    const losesVoter = (type === 'remove' || type === 'add-learner') && conf.voters.includes(id);
    if (losesVoter && conf.voters.length === 1) refuse('it is the last voter');
  }
}
