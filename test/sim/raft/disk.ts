import { below, type Random } from '@swarmctl/shared/kit';
import {
  type ConfState,
  type Entry,
  type HardState,
  MemoryStorage,
  type Snapshot,
} from '../../../packages/raft-ts/src/core/index.ts';

// A simulated disk: an append-only file of records, of which what was not synced may be lost or torn at a crash.

export type DiskRecord =
  | { readonly kind: 'hard-state'; readonly state: HardState }
  | { readonly kind: 'entries'; readonly entries: readonly Entry[] }
  /** A snapshot from the leader: replaces the log. */
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot }
  /** A snapshot of the own state; the log up to `compactTo` is dropped. */
  | { readonly kind: 'checkpoint'; readonly snapshot: Snapshot; readonly compactTo: number };

export class SimDisk {
  readonly #durable = new MemoryStorage();
  #unsynced: DiskRecord[] = [];

  write(record: DiskRecord): void {
    this.#unsynced.push(record);
  }

  sync(): void {
    for (const record of this.#unsynced) replay(this.#durable, record);
    this.#unsynced = [];
  }

  /** Loses a random suffix of what was not synced; the last surviving batch of entries may be cut short. */
  crash(random: Random): void {
    const kept = this.#unsynced.slice(0, below(random, this.#unsynced.length + 1));
    const last = kept.at(-1);
    if (last?.kind === 'entries') {
      const entries = last.entries.slice(0, below(random, last.entries.length + 1));
      kept[kept.length - 1] = { kind: 'entries', entries };
    }
    this.#unsynced = kept;
    this.sync();
  }

  /** What a restart would find. */
  load(): MemoryStorage {
    return this.#durable.clone();
  }

  /** The term of a durable entry; `covered` when a durable snapshot has it. */
  durableTerm(index: number): number | 'covered' | undefined {
    if (index < this.#durable.firstIndex()) return 'covered';
    return index > this.#durable.lastIndex() ? undefined : this.#durable.term(index);
  }

  durableHardState(): HardState {
    return this.#durable.initialState().hardState;
  }
}

export function replay(storage: MemoryStorage, record: DiskRecord): void {
  switch (record.kind) {
    case 'hard-state':
      // A checkpoint may be ahead of a write that was queued before it.
      storage.setHardState({ ...record.state, commit: Math.max(record.state.commit, storage.snapshot().meta.index) });
      return;
    case 'entries':
      storage.append(record.entries);
      return;
    case 'snapshot':
      if (record.snapshot.meta.index > storage.snapshot().meta.index) storage.applySnapshot(record.snapshot);
      raiseCommit(storage, record.snapshot.meta.index);
      return;
    case 'checkpoint': {
      const { index, confState } = record.snapshot.meta;
      if (index > storage.snapshot().meta.index) storage.createSnapshot(index, confState, record.snapshot.data);
      if (record.compactTo >= storage.firstIndex()) storage.compact(record.compactTo);
      raiseCommit(storage, index);
      return;
    }
    default:
      record satisfies never;
  }
}

/** A snapshot is of committed state, even if the commit index behind it was lost. */
function raiseCommit(storage: MemoryStorage, index: number): void {
  const { hardState } = storage.initialState();
  if (hardState.commit < index) storage.setHardState({ ...hardState, commit: index });
}

export const confOf = (voters: readonly number[]): ConfState => ({
  voters,
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
});
