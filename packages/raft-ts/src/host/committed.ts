import { decodeConfChange } from '../core/conf-change-codec.ts';
import type { RawNode } from '../core/raw-node.ts';
import type { Entry, Message } from '../core/types.ts';
import type { Transport } from '../transport/transport.ts';
import type { UnnamedSnapshot } from '../wal/snapshot-store.ts';
import { Applier, type Outcome } from './applier.ts';
import { unwrapData } from './entry-layout.ts';
import { dropped } from './errors.ts';
import type { Lease } from './lease.ts';
import type { Membership } from './membership.ts';
import type { RaftHostParts } from './parts.ts';
import type { Proposals } from './proposals.ts';
import type { Reads } from './reads.ts';

// What is committed takes effect: on the state machine and the membership, and for those who waited for it.

export interface CommittedEnv {
  readonly parts: RaftHostParts;
  readonly core: RawNode;
  readonly membership: Membership;
  readonly lease: Lease | undefined;
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly transport: () => Transport;
  /** After each slice of entries, of that many bytes. */
  readonly applied: (bytes: number) => void;
  /** All entries of the core's message are applied. */
  readonly done: (message: Message) => void;
  readonly failed: (error: unknown) => void;
  /** Status that the host shows is another now. */
  readonly changed: () => void;
  readonly becomeRemoved: () => void;
}

export class Committed {
  readonly applier: Applier;
  /** What is applied was applied before. */
  replaying = true;
  readonly #env: CommittedEnv;

  constructor(env: CommittedEnv) {
    this.#env = env;
    const { parts, done, failed } = env;
    this.applier = new Applier(
      {
        clock: parts.clock,
        apply: (entry) => this.#apply(entry),
        applied: (slice) => this.#applied(slice),
        done,
        failed,
      },
      parts.store.latest?.meta ?? { index: 0, term: 0 },
    );
  }

  /** A snapshot of the leader's is durable and the log begins anew behind it. */
  async restored({ header }: UnnamedSnapshot): Promise<void> {
    const { index, term } = header.meta;
    const { parts, membership, proposals, reads, changed } = this.#env;
    const { store, modules, options } = parts;
    await this.applier.idle();
    const reader = await store.snapshots.open({ index, term });
    await modules.stateMachine.restore(index, reader.chunks());
    this.applier.index = index;
    this.applier.term = term;
    membership.load(header);
    proposals.rejectAll(dropped());
    reads.applied(index);
    changed();
    options.log?.('info', { index, term }, 'restored from a snapshot of the leader');
  }

  #apply(entry: Entry): unknown {
    if (entry.type !== 'normal') return this.#applyConfChange(entry);
    if (entry.data.length === 0) return undefined;
    const { index, term } = entry;
    return this.#env.parts.modules.stateMachine.apply({ index, term, data: unwrapData(index, entry.data) });
  }

  #applyConfChange(entry: Entry): void {
    const { parts, core, membership, lease, transport, becomeRemoved, changed } = this.#env;
    const change = decodeConfChange(entry.type, entry.data);
    core.applyConfChange(change, entry.index);
    lease?.end();
    for (const { type, nodeId } of change.changes) {
      parts.options.log?.('info', { change: type, member: nodeId, index: entry.index }, 'membership changed');
      if (type !== 'remove-node') continue;
      // While its address is still known.
      if (nodeId === parts.options.id) becomeRemoved();
      else if (!this.replaying) transport().dismiss(nodeId);
    }
    membership.apply(change);
    changed();
  }

  #applied(slice: readonly Outcome[]): void {
    const { parts, proposals, reads, applied } = this.#env;
    const { index } = this.applier;
    parts.modules.stateMachine.applied?.(index);
    let bytes = 0;
    for (const { entry, result } of slice) {
      bytes += entry.data.length;
      proposals.settle(entry, result);
    }
    reads.applied(index);
    applied(bytes);
  }
}
