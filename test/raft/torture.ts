import { setTimeout as sleep } from 'node:timers/promises';
import type {
  KeyValueInput,
  KeyValueOperation,
  KeyValueOutput,
} from '../../packages/raft-ts/src/linearizability/key-value.ts';
import { KvError } from './kv-client.ts';
import type { KvCluster, KvMember } from './kv-cluster.ts';

// What a cluster has to bear, and what its clients saw of it.

type Random = () => number;

/** Clients that read, write and swap, each one thing at a time, through whoever they take for the leader. */
export class Clients {
  readonly history: KeyValueOperation[] = [];
  readonly #cluster: KvCluster;
  readonly #random: Random;
  #leader: KvMember;
  #values = 0;
  #stopped = false;
  #running: Promise<void>[] = [];

  constructor(cluster: KvCluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
    this.#leader = cluster.members[0] as KvMember;
  }

  start(count: number): void {
    this.#running = Array.from({ length: count }, (_, client) => this.#run(client));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  /** What certainly happened. */
  get succeeded(): number {
    return this.history.filter(({ end }) => end !== undefined).length;
  }

  /** Reads every key once, for certain. */
  async readAll(): Promise<void> {
    for (const key of keys) {
      for (let attempt = 0; ; attempt++) {
        const { client } = await this.#cluster.leader();
        const call = performance.now();
        const output = await client.get(key, 2_000).catch(() => undefined);
        if (output === undefined && attempt < 50) continue;
        if (output === undefined) throw new Error(`${key} cannot be read`);
        this.history.push({ client: 'last', call, end: performance.now(), input: { kind: 'get', key }, output });
        break;
      }
    }
  }

  async #run(client: number): Promise<void> {
    while (!this.#stopped) {
      const input = this.#next();
      // A read now and then of any member: its answer must be as right as the leader's.
      const target = input.kind === 'get' && this.#random() < 0.3 ? this.#any() : this.#leader;
      const call = performance.now();
      try {
        const output = await perform(target, input);
        this.history.push({ client, call, end: performance.now(), input, output });
      } catch (error) {
        const { unknown, leader } = error as KvError;
        if (!(error instanceof KvError)) throw error;
        if (unknown) this.history.push({ client, call, end: undefined, input, output: undefined });
        this.#leader = this.#cluster.members.find(({ id }) => id === leader) ?? this.#any();
        await sleep(10 + this.#random() * 40);
      }
    }
  }

  #any(): KvMember {
    const { members } = this.#cluster;
    return members[Math.floor(this.#random() * members.length)] as KvMember;
  }

  #next(): KeyValueInput {
    const key = keys[Math.floor(this.#random() * keys.length)] as string;
    const dice = this.#random();
    if (dice < 0.45) return { kind: 'get', key };
    if (dice < 0.8) return { kind: 'put', key, value: `v${this.#values++}` };
    const known = this.history.findLast((one) => one.input.key === key && typeof one.output === 'string')?.output;
    return { kind: 'cas', key, from: (known ?? null) as string | null, to: `v${this.#values++}` };
  }
}

const keys = ['a', 'b', 'c', 'd'];
const patienceMs = 1_500;

function perform({ client }: KvMember, input: KeyValueInput): Promise<KeyValueOutput> {
  switch (input.kind) {
    case 'get':
      return client.get(input.key, patienceMs);
    case 'put':
      return client.put(input.key, input.value, patienceMs).then(() => true);
    case 'cas':
      return client.cas(input.key, input.from, input.to, patienceMs);
    default:
      throw new Error(`no client does ${input.kind}`);
  }
}

/** Cuts and mends the network between members' machines. */
export interface Network {
  /** `victim` hears nothing any more of these; with `deaf` it can still talk to them. */
  cut(victim: KvMember, from: readonly KvMember[], how: 'both' | 'deaf'): void;
  heal(): void;
}

export type Fault =
  | 'kill'
  | 'kill-leader'
  | 'kill-all'
  | 'pause-leader'
  | 'isolate-leader'
  | 'deafen'
  | 'bridge'
  | 'transfer';

/** One after the other, each mended before the next, until the time is over. Returns what was done. */
export async function torture(
  cluster: KvCluster,
  network: Network | undefined,
  random: Random,
  ms: number,
): Promise<Fault[]> {
  const faults: Fault[] = ['kill', 'kill-leader', 'kill-all', 'pause-leader', 'transfer'];
  if (network) faults.push('isolate-leader', 'deafen', 'bridge');
  const done: Fault[] = [];
  for (const end = Date.now() + ms; Date.now() < end; ) {
    // Each kind once, then at random.
    const fault = faults[done.length] ?? (faults[Math.floor(random() * faults.length)] as Fault);
    done.push(fault);
    await inflict(fault, cluster, network, random);
    await sleep(500 + random() * 700);
  }
  return done;
}

async function inflict(fault: Fault, cluster: KvCluster, network: Network | undefined, random: Random): Promise<void> {
  const { members } = cluster;
  const leader = await cluster.leader();
  const others = members.filter((one) => one !== leader);
  const any = members[Math.floor(random() * members.length)] as KvMember;
  const last = 400 + random() * 1_200;
  switch (fault) {
    case 'kill':
    case 'kill-leader': {
      const victim = fault === 'kill' ? any : leader;
      await cluster.kill(victim);
      await sleep(last);
      await cluster.start(victim);
      return;
    }
    case 'kill-all':
      await Promise.all(members.map((member) => cluster.kill(member)));
      await Promise.all(members.map((member) => cluster.start(member)));
      return;
    case 'pause-leader':
      leader.process?.kill('SIGSTOP');
      await sleep(last);
      leader.process?.kill('SIGCONT');
      return;
    case 'transfer':
      await leader.client.call('/transfer', {}, 2_000).catch(() => undefined);
      return;
    case 'isolate-leader':
      network?.cut(leader, others, 'both');
      break;
    case 'deafen':
      network?.cut(
        any,
        members.filter((one) => one !== any),
        'deaf',
      );
      break;
    case 'bridge':
      // Two that do not hear of each other, and others that hear both.
      network?.cut(leader, others.slice(0, Math.ceil(others.length / 2)), 'both');
      break;
    default:
      fault satisfies never;
  }
  await sleep(last + 600);
  network?.heal();
}
