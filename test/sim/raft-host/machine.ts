import { createHash } from 'node:crypto';
import type { AppliedEntry, StateMachine } from '../../../packages/raft-ts/src/host/types.ts';
import type { KeyValueInput, KeyValueOutput } from '../../../packages/raft-ts/src/linearizability/key-value.ts';

// The replicated state of the simulation: keys and values, with a hash chained over all that was applied.

export interface MachineWatcher {
  applied(entry: AppliedEntry, hash: string): void;
  restored(index: number, lastIndex: number, hash: string): void;
}

interface Content {
  readonly index: number;
  readonly hash: string;
  readonly values: [string, string][];
}

const chunkBytes = 40;

export class KeyValueMachine implements StateMachine {
  index = 0;
  hash = '';
  readonly #watcher: MachineWatcher;
  #values = new Map<string, string>();

  constructor(watcher: MachineWatcher) {
    this.#watcher = watcher;
  }

  get(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  apply(entry: AppliedEntry): KeyValueOutput {
    this.index = entry.index;
    const before = `${this.hash} ${entry.index} `;
    this.hash = createHash('sha1').update(before).update(entry.data).digest('base64');
    const output = this.#apply(JSON.parse(Buffer.from(entry.data).toString()) as KeyValueInput);
    this.#watcher.applied(entry, this.hash);
    return output;
  }

  snapshot(): () => AsyncIterable<Uint8Array> {
    const content: Content = { index: this.index, hash: this.hash, values: [...this.#values] };
    return async function* () {
      const bytes = Buffer.from(JSON.stringify(content));
      // In many chunks, so that a stream may break between any two.
      for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
    };
  }

  async restore(index: number, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    const content = JSON.parse(Buffer.concat(parts).toString()) as Content;
    this.index = content.index;
    this.hash = content.hash;
    this.#values = new Map(content.values);
    this.#watcher.restored(index, content.index, content.hash);
  }

  #apply(input: KeyValueInput): KeyValueOutput {
    switch (input.kind) {
      case 'get':
        return this.get(input.key);
      case 'put':
        this.#values.set(input.key, input.value);
        return true;
      case 'delete':
        this.#values.delete(input.key);
        return true;
      case 'cas': {
        const swaps = this.get(input.key) === input.from;
        if (swaps) this.#values.set(input.key, input.to);
        return swaps;
      }
      default:
        return input satisfies never;
    }
  }
}
