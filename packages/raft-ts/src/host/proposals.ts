import type { Entry, EntryType } from '../core/types.ts';
import { dropped, RaftError } from './errors.ts';
import type { Proposed } from './types.ts';

// Proposals on their way: those that wait for the next turn, and those that have a place in the log.

export interface Proposal {
  readonly type: EntryType;
  readonly data: Uint8Array;
  readonly resolve: (outcome: Proposed) => void;
  readonly reject: (error: unknown) => void;
}

interface Placed {
  readonly proposal: Proposal;
  readonly term: number;
}

export class Proposals {
  #waiting: Proposal[] = [];
  readonly #placed = new Map<number, Placed>();

  /** Rejects with the signal's reason when that comes first; the entry may be committed all the same. */
  add(type: EntryType, data: Uint8Array, signal?: AbortSignal): Promise<Proposed> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        this.#waiting = this.#waiting.filter((waiting) => waiting !== proposal);
        reject(signal?.reason);
      };
      const done = (): void => signal?.removeEventListener('abort', onAbort);
      const proposal: Proposal = {
        type,
        data,
        resolve: (outcome) => {
          done();
          resolve(outcome);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(proposal);
    });
  }

  takeWaiting(): Proposal[] {
    const taken = this.#waiting;
    this.#waiting = [];
    return taken;
  }

  place(proposals: readonly Proposal[], firstIndex: number, term: number): void {
    proposals.forEach((proposal, i) => {
      this.#placed.set(firstIndex + i, { proposal, term });
    });
  }

  /** The entry that was committed at its index: the proposal's own, or another one that took its place. */
  settle(entry: Entry, result: unknown): void {
    const placed = this.#placed.get(entry.index);
    if (placed === undefined) return;
    this.#placed.delete(entry.index);
    const { proposal, term } = placed;
    if (term !== entry.term) {
      proposal.reject(dropped());
    } else if (proposal.type !== entry.type) {
      proposal.reject(new RaftError('conf-change-pending', 'another membership change is not applied yet'));
    } else {
      proposal.resolve({ index: entry.index, result });
    }
  }

  /** Leadership is lost: what is not known to be committed may or may not be. */
  dropUncommitted(commit: number): void {
    for (const [index, { proposal }] of this.#placed) {
      if (index <= commit) continue;
      this.#placed.delete(index);
      proposal.reject(dropped());
    }
  }

  rejectAll(error: Error): void {
    for (const proposal of this.takeWaiting()) proposal.reject(error);
    for (const { proposal } of this.#placed.values()) proposal.reject(error);
    this.#placed.clear();
  }
}
