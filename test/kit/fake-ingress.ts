import type { IngressEntry } from '@swarmctl/shared/wire';
import type { Ingress } from '../../packages/worker/src/network/types.ts';

// A node's ingress that takes what it is given at once, or when the test lets it.

export class FakeIngress implements Ingress {
  readonly kind = 'proxy';
  /** What is in force. */
  table: ReadonlyMap<string, IngressEntry> = new Map();
  applies = 0;
  #wanted: ReadonlyMap<string, IngressEntry> = new Map();
  #blocked = false;
  #waiting: (() => void)[] = [];

  apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void> {
    this.applies++;
    this.#wanted = entries;
    if (!this.#blocked) this.table = entries;
    return this.#blocked ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve();
  }

  block(): void {
    this.#blocked = true;
  }

  unblock(): void {
    this.#blocked = false;
    this.table = this.#wanted;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** Task ids behind the published port. */
  backends(key: string): string[] {
    return this.table.get(key)?.backends.map(({ taskId }) => taskId) ?? [];
  }

  problems(): ReadonlyMap<string, string> {
    return new Map();
  }

  async close(): Promise<void> {}
}
