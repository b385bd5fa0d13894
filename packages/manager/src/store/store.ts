import { invariant, isClusterError } from '@swarmctl/shared/kit';
import type { Batch, StoreEvent } from '@swarmctl/shared/model';
import { StateEditor } from './editor.ts';
import { hashOf } from './hash.ts';
import { StateOverlay } from './overlay.ts';
import { decodeSnapshot, encodeSnapshot } from './snapshot.ts';
import { State } from './state.ts';
import type { ApplyOutcome, Overlay, StoreWatch, View } from './types.ts';

// The replicated state of the cluster. Each applied batch makes a new state; views are states, so each stays what it is for as long as
// somebody holds it.

type Listener = Parameters<StoreWatch['watch']>[0];

export interface StoreOptions {
  /** A listener threw: it must not keep the log from being applied. Ends the process unless given. */
  readonly onListenerError?: (error: unknown) => void;
}

export class Store implements StoreWatch {
  readonly #options: StoreOptions;
  readonly #listeners = new Set<Listener>();
  #state = State.empty;

  constructor(options: StoreOptions = {}) {
    this.#options = options;
  }

  get index(): number {
    return this.#state.index;
  }

  /** Applies one log entry, whole or not at all. The outcome is the same on every manager. */
  apply(index: number, batch: Batch): ApplyOutcome {
    invariant(index > this.#state.index, `entry ${index} is applied after ${this.#state.index}`);
    const editor = new StateEditor(this.#state, { index, now: batch.now });
    const events: StoreEvent[] = [];
    try {
      for (const change of batch.changes) {
        const event = editor.apply(change);
        if (event) events.push(event);
      }
    } catch (error) {
      this.#state = this.#state.at(index);
      return refusal(error);
    }
    this.#state = editor.done();
    if (events.length > 0) this.#notify(events);
    return { ok: true, index, events };
  }

  /** Entries that concern nobody here were applied up to `index`. */
  advance(index: number): void {
    if (index > this.#state.index) this.#state = this.#state.at(index);
  }

  view(): View {
    return this.#state;
  }

  overlay(now?: number): Overlay {
    return new StateOverlay(this.#state, now);
  }

  watch(listener: Listener): () => void {
    // A function of its own, so that one listener may watch twice.
    const own: Listener = (events, view) => listener(events, view);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** A view, and every event after it. */
  viewAndWatch(listener: Listener): { readonly view: View; readonly unwatch: () => void } {
    return { view: this.#state, unwatch: this.watch(listener) };
  }

  /** The state as it is now, to be encoded later. */
  snapshot(): () => AsyncIterable<Uint8Array> {
    const state = this.#state;
    return () => encodeSnapshot(state);
  }

  /** Replaces everything; throws, and changes nothing, when the stream is not a whole snapshot. `index`: where the log goes on. */
  async restore(chunks: AsyncIterable<Uint8Array>, index?: number): Promise<void> {
    const restored = await decodeSnapshot(chunks);
    this.#state = index === undefined ? restored : restored.at(index);
    this.#notify('reset');
  }

  hash(): string {
    return hashOf(this.#state);
  }

  #notify(events: readonly StoreEvent[] | 'reset'): void {
    const view = this.#state;
    for (const listener of [...this.#listeners]) {
      if (!this.#listeners.has(listener)) continue;
      try {
        listener(events, view);
      } catch (error) {
        this.#failed(error);
      }
    }
  }

  #failed(error: unknown): void {
    if (this.#options.onListenerError) this.#options.onListenerError(error);
    else {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

function refusal(error: unknown): ApplyOutcome {
  if (!isClusterError(error)) throw error;
  switch (error.code) {
    case 'out-of-sequence':
    case 'already-exists':
    case 'not-found':
    case 'invalid-argument':
      return { ok: false, code: error.code, message: error.message };
    default:
      throw error;
  }
}
