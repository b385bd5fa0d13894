import { expect, it } from 'vitest';
import { TestCluster } from './test-cluster.ts';

// Members that are stopped, cut off and moved about while values are proposed: nothing acknowledged is lost, nothing is
// applied twice, and all members apply the same. More with RAFT_CHAOS_ROUNDS, another run with RAFT_CHAOS_SEED.

const rounds = Number(process.env['RAFT_CHAOS_ROUNDS'] ?? 8);
const seed = Number(process.env['RAFT_CHAOS_SEED'] ?? 1);

/** Proposes one value after the other, whoever leads, and remembers which were acknowledged. */
class Client {
  readonly acknowledged: string[] = [];
  readonly #cluster: TestCluster;
  readonly #name: string;
  #stopped = false;
  #failure: unknown;
  #waiters: (() => void)[] = [];

  constructor(cluster: TestCluster, name: string) {
    this.#cluster = cluster;
    this.#name = name;
  }

  run(): Promise<void> {
    return this.#run().catch((error: unknown) => {
      this.#failure = error;
      this.#wake();
      throw error;
    });
  }

  async #run(): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const value = `${this.#name}-${i}`;
      try {
        const leader = await this.#cluster.leader();
        await leader.node.propose(new TextEncoder().encode(value));
        this.acknowledged.push(value);
        this.#wake();
      } catch (error) {
        expect(['not-leader', 'dropped', 'busy', 'stopped']).toContain((error as { code: string }).code);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  stop(): void {
    this.#stopped = true;
  }

  async more(count: number): Promise<void> {
    const goal = this.acknowledged.length + count;
    while (this.acknowledged.length < goal) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
      });
    }
  }
}

const timeout = 20_000 + rounds * 5_000;

it.each(['real', 'memory'] as const)(
  `keeps its promises through ${rounds} rounds, on %s disks`,
  { timeout },
  async (disks) => {
    const random = generator(seed);
    const pick = (from: readonly number[]): number => from[Math.floor(random() * from.length)]!;
    const cluster = await TestCluster.withMembers(3, { snapshotEntries: 50, keepEntries: 10 }, disks);
    try {
      const clients = ['a', 'b', 'c'].map((name) => new Client(cluster, name));
      const running = clients.map((client) => client.run());
      const [client] = clients as [Client];
      for (let round = 0; round < rounds; round++) {
        const victim = pick([1, 2, 3]);
        const mishap = pick(disks === 'memory' ? [1, 3, 4, 4, 4] : [0, 1, 2, 3]);
        if (mishap === 0) {
          await cluster.stop(victim);
          await client.more(pick([5, 60]));
          await cluster.open(victim, { kind: 'restart' });
        } else if (mishap === 1) {
          cluster.isolate(victim);
          await client.more(pick([5, 60]));
          cluster.heal();
        } else if (mishap === 2) {
          await cluster.restart(victim);
        } else if (mishap === 4) {
          const victims = [1, 2, 3].filter((id) => id === victim || random() < 0.3);
          await cluster.crash(victims, (['lose', 'tear', 'keep'] as const)[pick([0, 1, 2])]!);
          if (victims.length === 1) await client.more(pick([0, 60]));
          for (const id of victims) await cluster.open(id, { kind: 'restart' });
        } else {
          const leader = await cluster.leader();
          await leader.node.transferLeadership().catch(() => {});
        }
        await client.more(5);
      }
      for (const one of clients) one.stop();
      await Promise.all(running);
      await cluster.propose('end');
      for (const { machine } of cluster.members.values()) await machine.until((values) => values.includes('end'));
      const [first, ...others] = [...cluster.members.values()].map(({ machine }) => machine.values);
      for (const values of others) expect(values).toEqual(first);
      expect(new Set(first).size).toBe(first!.length);
      for (const { acknowledged } of clients) {
        const kept = new Set(acknowledged);
        expect(first!.filter((value) => kept.has(value))).toEqual(acknowledged);
      }
      for (const { fatal } of cluster.members.values()) expect(fatal).toEqual([]);
    } finally {
      await cluster.close();
    }
  },
);

function generator(state: number): () => number {
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
