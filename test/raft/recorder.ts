import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '@swarmctl/shared/kit';
import type {
  KeyValueInput,
  KeyValueOperation,
  KeyValueOutput,
} from '../../packages/raft-ts/src/linearizability/key-value.ts';
import { KvClient, KvError } from './kv-client.ts';
import type { KvMember } from './kv-cluster.ts';

// Clients that write and read while things break, and the history of what they saw.

/** `refused`: by a member that knows this one to lead, 0 for none; or nobody knows what became of it. */
type Outcome = { readonly output: KeyValueOutput } | { readonly refused: number };

const timeoutMs = 1_000;
/** Keys are given up after a while, so that operations that nobody knows the outcome of do not heap up on one. */
const eraMs = 2_000;

export class Recorder {
  readonly history: KeyValueOperation[] = [];
  /** Keys that are written once, with what was acknowledged. */
  readonly acknowledged = new Map<string, string>();
  readonly keys = new Set<string>();
  #last = 0;

  /** One client: one request at a time; writes go to whom it takes for the leader, reads to anybody. */
  async run(name: number, members: readonly KvMember[], random: Random, signal: AbortSignal): Promise<void> {
    const clients = members.map(({ where }) => new KvClient(where));
    const anybody = () => Math.floor(random() * clients.length);
    let leader = anybody();
    let known: string | null = null;
    while (!signal.aborted) {
      const input = this.#next(random, known);
      const at = input.kind === 'get' ? anybody() : leader;
      const outcome = await this.perform(`${name} at member ${members[at]?.id}`, clients[at] as KvClient, input);
      if (input.kind === 'get' && 'output' in outcome) known = outcome.output as string | null;
      if (input.kind !== 'get' && 'refused' in outcome)
        leader = outcome.refused > 0 ? members.findIndex(({ id }) => id === outcome.refused) : anybody();
      await sleep('refused' in outcome ? 10 : 1 + random() * 8);
    }
    for (const client of clients) client.close();
  }

  /** The outcome goes into the history too. */
  async perform(client: string, kv: KvClient, input: KeyValueInput): Promise<Outcome> {
    const call = performance.now();
    try {
      const output = await ask(kv, input);
      const end = performance.now();
      const by = input.kind === 'get' ? ` ${JSON.stringify(kv.lastRead)}` : '';
      this.history.push({ client: `${client}${by}`, call, end, input, output });
      if (input.kind === 'put' && input.key.startsWith('once-')) this.acknowledged.set(input.key, input.value);
      return { output };
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      if (error.unknown) this.history.push({ client, call, end: undefined, input, output: undefined });
      return { refused: error.leader };
    }
  }

  #next(random: Random, known: string | null): KeyValueInput {
    const dice = random();
    const value = `v${++this.#last}`;
    if (dice < 0.15) return { kind: 'put', key: this.#key(`once-${this.#last}`), value };
    const key = this.#key(`era-${Math.floor(performance.now() / eraMs)}-${Math.floor(random() * 4)}`);
    if (dice < 0.35) return { kind: 'put', key, value };
    if (dice < 0.6) return { kind: 'cas', key, from: known, to: value };
    return { kind: 'get', key };
  }

  #key(key: string): string {
    this.keys.add(key);
    return key;
  }
}

async function ask(kv: KvClient, input: KeyValueInput): Promise<KeyValueOutput> {
  switch (input.kind) {
    case 'get':
      return kv.get(input.key, timeoutMs);
    case 'put':
      await kv.put(input.key, input.value, timeoutMs);
      return true;
    case 'cas':
      return kv.cas(input.key, input.from, input.to, timeoutMs);
    case 'delete':
      throw new Error('no client deletes');
    default:
      return input satisfies never;
  }
}
