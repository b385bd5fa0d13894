import {
  type Clock,
  delay,
  isClusterError,
  type Logger,
  messageOf,
  type NewId,
  type Random,
} from '@swarmctl/shared/kit';
import type { StoreChange, StoreEvent } from '@swarmctl/shared/model';
import type { Overlay, Proposer, StoreWatch, View } from '../store/types.ts';
import { type Atom, batchesOf } from './batches.ts';
import { MarkBoard } from './mark-board.ts';
import { Slices } from './slices.ts';
import type { Controller, Env, Key } from './types.ts';

// The one loop behind all deciders. While this manager leads, it watches the state, asks the controllers that have something to look
// at over one overlay, so that each sees what the others just decided, proposes the outcome and goes on when it is applied.

export interface ControlLoopOptions {
  /** In the order of asking: earlier ones are asked again first when a later one has changed something for them. */
  readonly controllers: readonly Controller[];
  /** Rounds of asking within one pass, before what was decided is proposed anyway. */
  readonly maxRounds?: number;
  /** The longest that deciding may keep the event loop, apart from one decision. */
  readonly sliceMs?: number;
  /** The wait after a proposal that failed for no fault of ours, and the longest that it grows to. */
  readonly retryMs?: { readonly first: number; readonly most: number };
}

export interface ControlLoopModules {
  readonly store: StoreWatch & { view(): View; overlay(now: number): Overlay };
  readonly proposer: Proposer;
  readonly clock: Clock;
  readonly newId: NewId;
  readonly random: Random;
  readonly log: Logger;
}

export interface ControlStats {
  passes: number;
  decisions: number;
  proposals: number;
  changes: number;
  /** Proposals that lost a race and were decided anew. */
  retries: number;
  failures: number;
}

/** The longest that a timer can be set for. */
const longestTimerMs = 24 * 60 * 60 * 1000;

export class ControlLoop {
  readonly #options: Required<ControlLoopOptions>;
  readonly #modules: ControlLoopModules;
  readonly #marks: MarkBoard;
  readonly #slices: Slices;
  #events: (readonly StoreEvent[])[] = [];
  #reset = false;
  #wake: () => void = () => undefined;
  /** Proposals that failed in a row. */
  #failedInRow = 0;
  readonly stats: ControlStats = { passes: 0, decisions: 0, proposals: 0, changes: 0, retries: 0, failures: 0 };

  constructor(options: ControlLoopOptions, modules: ControlLoopModules) {
    this.#options = { maxRounds: 64, sliceMs: 4, retryMs: { first: 20, most: 1_000 }, ...options };
    this.#modules = modules;
    this.#marks = new MarkBoard(options.controllers);
    this.#slices = new Slices(modules.clock, this.#options.sliceMs);
  }

  /**
   * Runs until the signal aborts or leadership is lost (resolves), or a controller throws (rejects: it ends the term). To be called once a
   * term, when the state holds all that earlier leaders committed.
   */
  async run(signal: AbortSignal): Promise<void> {
    const unwatch = this.#modules.store.watch((events) => {
      if (events === 'reset') this.#reset = true;
      else this.#events.push(events);
      this.#wake();
    });
    const onAbort = () => this.#wake();
    signal.addEventListener('abort', onAbort);
    this.#reset = true;
    try {
      while (!signal.aborted) {
        await this.#collect();
        if (this.#marks.isEmpty) await this.#sleep(signal);
        else if (!(await this.#pass(signal))) return;
      }
    } finally {
      unwatch();
      signal.removeEventListener('abort', onAbort);
      this.#events = [];
      this.#marks.clear();
    }
  }

  /** Turns events, a reset and times that have come into marks. */
  async #collect(): Promise<void> {
    if (this.#reset) {
      this.#reset = false;
      this.#events = [];
      this.#marks.markAll(this.#modules.store.view());
    }
    // A manager's apply may add more meanwhile.
    for (let batch = this.#events.shift(); batch; batch = this.#events.shift()) {
      for (const event of batch) {
        this.#marks.markEvent(event, this.#modules.store.view());
        await this.#slices.pause();
      }
    }
    this.#marks.markDue(this.#modules.clock.now());
  }

  /** Waits for an event, the earliest time that a controller asked for, or the end. */
  async #sleep(signal: AbortSignal): Promise<void> {
    const { clock } = this.#modules;
    if (signal.aborted || this.#reset || this.#events.length > 0) return;
    const at = this.#marks.nextWake();
    await new Promise<void>((resolve) => {
      const ms = at === undefined ? longestTimerMs : Math.min(longestTimerMs, Math.max(0, at - clock.now()));
      const timer = clock.after(ms, resolve, { unref: true });
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#wake = () => undefined;
    this.#slices.restart();
  }

  /** Decides and proposes once; false when this manager no longer leads. */
  async #pass(signal: AbortSignal): Promise<boolean> {
    this.stats.passes++;
    const { atoms, failure } = await this.#decideAll(signal);
    const going = await this.#propose(atoms, signal);
    // What the others decided is kept; the term ends all the same.
    if (failure) throw failure;
    return going;
  }

  async #decideAll(signal: AbortSignal): Promise<{ atoms: Atom[]; failure: Error | undefined }> {
    const { clock, newId, random, store } = this.#modules;
    const env: Env = { now: clock.now(), newId, random };
    const overlay = store.overlay(env.now);
    const atoms: Atom[] = [];
    let failure: Error | undefined;
    for (let round = 0; round < this.#options.maxRounds && !signal.aborted; round++) {
      const next = this.#marks.takeFirst();
      if (!next) break;
      for (const key of next.keys) {
        try {
          this.#decide(next.controller, key, overlay, env, atoms);
        } catch (error) {
          const failed = this.#failed(next.controller, key, error);
          failure ??= failed;
        }
        await this.#slices.pause();
      }
    }
    return { atoms, failure };
  }

  #decide(controller: Controller, key: Key, overlay: Overlay, env: Env, atoms: Atom[]): void {
    this.stats.decisions++;
    const { changes, wakeAt } = controller.decide(overlay, key, env);
    this.#marks.setWake(controller, key, wakeAt);
    if (changes.length === 0) return;
    const events = addTo(overlay, changes);
    atoms.push({ controller, key, changes });
    for (const event of events) this.#marks.markEvent(event, overlay);
  }

  #failed(controller: Controller, key: Key, error: unknown): Error {
    this.stats.failures++;
    const message = `controller ${controller.name} failed on '${key}': ${messageOf(error)}`;
    this.#modules.log.error({ controller: controller.name, key, err: error }, 'controller failed');
    return new Error(message, { cause: error });
  }

  /** False when this manager no longer leads. */
  async #propose(atoms: readonly Atom[], signal: AbortSignal): Promise<boolean> {
    const batches = batchesOf(atoms);
    for (const [i, batch] of batches.entries()) {
      if (signal.aborted) return false;
      this.stats.proposals++;
      this.stats.changes += batch.changes.length;
      try {
        await this.#modules.proposer.propose(batch.changes);
        this.#failedInRow = 0;
      } catch (error) {
        if (isClusterError(error, 'no-leader') || signal.aborted) return false;
        // Later batches may rest on this one, so all that was not applied is decided anew.
        for (const lost of batches.slice(i)) for (const atom of lost.atoms) this.#marks.mark(atom.controller, atom.key);
        await this.#backOff(error, signal);
        return true;
      }
    }
    return true;
  }

  async #backOff(error: unknown, signal: AbortSignal): Promise<void> {
    if (!isClusterError(error)) throw error;
    this.stats.retries++;
    this.#failedInRow++;
    const { clock, log } = this.#modules;
    log.debug({ code: error.code, reason: error.message, inRow: this.#failedInRow }, 'decisions lost a race');
    // Nobody knows whether a proposal of an unclear outcome will still be applied, so everything is looked at again.
    const unclear = error.code === 'unavailable' || error.code === 'deadline-exceeded' || error.code === 'unknown';
    if (unclear) this.#reset = true;
    if (this.#failedInRow < 3 && !unclear) return;
    const { first, most } = this.#options.retryMs;
    const ms = Math.min(most, first * 2 ** Math.min(10, this.#failedInRow - 1));
    await delay(clock, ms, signal).catch(() => undefined);
  }
}

/** Lays changes over the view; the events that the store will make of them say where to look next. */
function addTo(overlay: Overlay, changes: readonly StoreChange[]): StoreEvent[] {
  const idOf = (change: StoreChange) => (change.op === 'create' ? change.object.ID : change.id);
  const before = changes.map((change) => overlay.get(change.table, idOf(change)));
  overlay.add(changes);
  return changes.map((change, i) => {
    const id = idOf(change);
    const after = overlay.get(change.table, id);
    return {
      table: change.table,
      op: change.op,
      id,
      index: overlay.index,
      ...(before[i] && { before: before[i] }),
      ...(after && { after }),
    } as StoreEvent;
  });
}
