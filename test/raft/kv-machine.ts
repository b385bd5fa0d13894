import { createHash } from 'node:crypto';
import type { AppliedEntry, StateMachine } from 'raft-ts';

// Keys and values. A command is a JSON list: put, delete or cas, key, values. What it answers depends on the state alone.

export class KeyValueMachine implements StateMachine {
  #values = new Map<string, string>();

  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  apply({ index, data }: AppliedEntry): unknown {
    const [kind, key, a, b] = JSON.parse(Buffer.from(data).toString()) as [string, string, string | null, string];
    switch (kind) {
      case 'put':
        this.#values.set(key, a ?? '');
        return index;
      case 'delete':
        return this.#values.delete(key);
      case 'cas':
        if ((this.#values.get(key) ?? null) !== a) return false;
        this.#values.set(key, b);
        return true;
      default:
        return undefined;
    }
  }

  snapshot(): () => AsyncIterable<Uint8Array> {
    const values = [...this.#values];
    return async function* () {
      for (let i = 0; i < values.length; i += 500) {
        yield Buffer.from(`${JSON.stringify(values.slice(i, i + 500))}\n`);
      }
    };
  }

  async restore(_: number, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    const lines = Buffer.concat(parts).toString().split('\n').filter(Boolean);
    this.#values = new Map(lines.flatMap((line) => JSON.parse(line) as [string, string][]));
  }

  hash(): string {
    const sorted = [...this.#values].sort(([a], [b]) => (a < b ? -1 : 1));
    return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 16);
  }
}
