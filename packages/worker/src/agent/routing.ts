import { type Clock, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { IngressEntry } from '@swarmctl/shared/wire';
import type { Ingress } from '../network/types.ts';

// The ingress table as the managers want it, and how far this node has come with it.

const retryMs = 1_000;

export interface RoutingModules {
  readonly ingress: Ingress;
  readonly clock: Clock;
  readonly log: Logger;
  /** The node routes by a newer revision. */
  readonly applied: (revision: number) => void;
}

export class Routing {
  readonly #modules: RoutingModules;
  #table = new Map<string, IngressEntry>();
  #wanted: number;
  #applied = 0;
  /** True when `#table` is in force. */
  #latest: Promise<boolean> = Promise.resolve(true);
  #retrying = false;

  /** From the journal: nothing is in force yet. */
  constructor(
    start: { readonly entries: readonly IngressEntry[]; readonly revision: number },
    modules: RoutingModules,
  ) {
    this.#modules = modules;
    this.#table = new Map(start.entries.map((entry) => [entry.key, entry]));
    this.#wanted = start.revision;
  }

  get entries(): IngressEntry[] {
    return [...this.#table.values()];
  }

  /** The newest revision that was asked for, and the one that is in force. */
  get wanted(): number {
    return this.#wanted;
  }

  get applied(): number {
    return this.#applied;
  }

  /** Puts what is known into force. */
  restore(): void {
    this.#force();
  }

  replace(entries: readonly IngressEntry[], revision: number): void {
    this.#table = new Map(entries.map((entry) => [entry.key, entry]));
    this.#wanted = revision;
    this.#force();
  }

  change(entries: readonly IngressEntry[], removed: readonly string[], revision: number): void {
    this.#wanted = Math.max(this.#wanted, revision);
    if (entries.length === 0 && removed.length === 0) {
      this.#settle();
      return;
    }
    const table = new Map(this.#table);
    for (const key of removed) table.delete(key);
    for (const entry of entries) table.set(entry.key, entry);
    this.#table = table;
    this.#force();
  }

  #force(): void {
    const table = this.#table;
    const apply = async () => this.#modules.ingress.apply(table);
    this.#latest = apply().then(
      () => true,
      (error: unknown) => {
        this.#modules.log.error({ error: messageOf(error) }, 'the ingress table is not in force');
        this.#retrySoon();
        return false;
      },
    );
    this.#settle();
  }

  /** Tells once the latest table, which answers for every earlier one, is in force. */
  #settle(): void {
    const revision = this.#wanted;
    void this.#latest.then((inForce) => {
      if (!inForce || revision <= this.#applied) return;
      this.#applied = revision;
      this.#modules.applied(revision);
    });
  }

  #retrySoon(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    this.#modules.clock.after(
      retryMs,
      () => {
        this.#retrying = false;
        this.#force();
      },
      { unref: true },
    );
  }
}
