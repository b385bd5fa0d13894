import { isClusterError } from '@swarmctl/shared/kit';
import type { Batch } from '@swarmctl/shared/model';
import type { AppliedEntry, StateMachine } from 'raft-ts';
import { decodeBatch } from './codec.ts';
import type { Store } from './store.ts';
import type { ApplyOutcome } from './types.ts';

// The store as the state machine that raft drives.

export class StoreStateMachine implements StateMachine {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  apply(entry: AppliedEntry): ApplyOutcome {
    let batch: Batch;
    try {
      batch = decodeBatch(entry.data);
    } catch (error) {
      if (!isClusterError(error, 'invalid-argument')) throw error;
      this.#store.advance(entry.index);
      return { ok: false, code: 'invalid-argument', message: error.message };
    }
    return this.#store.apply(entry.index, batch);
  }

  applied(index: number): void {
    this.#store.advance(index);
  }

  snapshot(): () => AsyncIterable<Uint8Array> {
    return this.#store.snapshot();
  }

  restore(index: number, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    return this.#store.restore(chunks, index);
  }
}
