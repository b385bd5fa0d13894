import { isDeepStrictEqual } from 'node:util';
import { Bell, type Clock, delay, type Logger } from '@swarmctl/shared/kit';
import type { NodeDescription, RuntimeName } from '@swarmctl/shared/model';
import type { Runtime } from '../runtime/types.ts';
import { describeNode, type Extras } from './describe.ts';

// Looks now and then at what the node says of itself, and sooner when it may have changed.

export interface DescriberModules {
  readonly runtimes: ReadonlyMap<RuntimeName, Runtime>;
  readonly extras: Extras;
  readonly clock: Clock;
  readonly log: Logger;
  /** It says something else now. */
  readonly changed: (description: NodeDescription) => void;
}

/** Between descriptions that trouble asks for: it comes in swarms. */
const againMs = 1_000;

export class Describer {
  readonly #options: { readonly hostname: string; readonly everyMs: number };
  readonly #modules: DescriberModules;
  readonly #bell = new Bell();
  #description: NodeDescription | undefined;

  constructor(options: { readonly hostname: string; readonly everyMs: number }, modules: DescriberModules) {
    this.#options = options;
    this.#modules = modules;
  }

  /** Undefined before the first look. */
  get description(): NodeDescription | undefined {
    return this.#description;
  }

  /** It may have changed. */
  ask(): void {
    this.#bell.ring();
  }

  async look(): Promise<void> {
    const { runtimes, extras, log, changed } = this.#modules;
    const { description, reasons } = await describeNode(runtimes, this.#options.hostname, extras);
    if (isDeepStrictEqual(description, this.#description)) return;
    if (this.#description?.RuntimeReady !== description.RuntimeReady) {
      if (description.RuntimeReady) log.info({ runtimes: description.Runtimes }, 'runtime ready');
      else log.warn({ reasons }, 'runtime not ready');
    }
    this.#description = description;
    changed(description);
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#modules;
    signal.addEventListener('abort', () => this.#bell.ring(), { once: true });
    while (!signal.aborted) {
      const asked = await this.#bell.wait(clock, this.#options.everyMs);
      if (signal.aborted) return;
      await this.look();
      if (asked) await delay(clock, againMs, signal).catch(() => undefined);
    }
  }
}
