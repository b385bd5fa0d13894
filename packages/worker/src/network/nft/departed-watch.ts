import { type Clock, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import type { NodeTable } from '../plan.ts';
import { NamedTimers } from '../timers.ts';
import type { MeshState } from '../types.ts';
import { asksIfDead, DepartedTargets } from './departed.ts';

// When connections to backends that left are looked at: soon, then ever more seldom. Beside the upkeep, since it waits for those who may never
// answer.

/** After they left; then half as often each time. */
const firstMs = 2_000;
const mostMs = 60_000;

export interface DepartedWatchModules {
  readonly run: RunCommand;
  readonly clock: Clock;
  readonly log: Logger;
  readonly mesh: () => MeshState | undefined;
  /** Nobody is asked after any more. */
  readonly signal: AbortSignal;
}

export class DepartedWatch {
  readonly #modules: DepartedWatchModules;
  readonly #departed = new DepartedTargets();
  readonly #timers: NamedTimers;
  /** Looks follow one another until there is nobody to look after. */
  #isOn = false;
  #looking: Promise<void> = Promise.resolve();

  constructor(modules: DepartedWatchModules) {
    this.#modules = modules;
    this.#timers = new NamedTimers(modules.clock);
  }

  changed(before: NodeTable, after: NodeTable): void {
    this.#departed.changed(before, after);
    if (this.#departed.size === 0 || this.#modules.signal.aborted) return;
    if (!this.#isOn) this.#lookAfter(firstMs);
    // Whose node has just gone need not wait, neither for their time nor for others who are asked after.
    if (hasNewlyGone(before, after)) void this.#look();
  }

  /** After the signal; resolves when nothing runs any more. */
  close(): Promise<void> {
    this.#timers.close();
    return this.#looking;
  }

  #lookAfter(ms: number): void {
    this.#isOn = true;
    this.#timers.after('look', ms, () => void this.#lookOn(ms));
  }

  async #lookOn(ms: number): Promise<void> {
    await this.#look();
    this.#isOn = false;
    if (this.#departed.size > 0) this.#lookAfter(Math.min(ms * 2, mostMs));
  }

  /** Never rejects. */
  #look(): Promise<void> {
    const { run, mesh, signal, log } = this.#modules;
    const look = this.#departed
      .look(run, asksIfDead(run, mesh, signal))
      .catch((error) => log.debug({ error: messageOf(error) }, 'no conntrack'));
    this.#looking = Promise.all([this.#looking, look]).then(() => undefined);
    return look;
  }
}

const hasNewlyGone = ({ mesh: was }: NodeTable, { mesh }: NodeTable): boolean =>
  [...(mesh?.gone ?? [])].some((nodeId) => !was?.gone?.has(nodeId));
