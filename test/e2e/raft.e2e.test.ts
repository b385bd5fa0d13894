import { seededRandom } from '@swarmctl/shared/kit';
import { afterEach, expect, test } from 'vitest';
import { checkLinearizable } from '../../packages/raft-ts/src/linearizability/checker.ts';
import { explain, keyValueModel } from '../../packages/raft-ts/src/linearizability/key-value.ts';
import { type NetnsLab, noNetns, openNetnsLab } from '../kit/netns.ts';
import { KvCluster, type KvMember, type Place } from '../raft/kv-cluster.ts';
import { Clients, type Network, torture } from '../raft/torture.ts';

// raft-ts as real processes on real disks, each on a machine of its own as far as the network goes: killed, stopped, cut off and brought back, while
// clients read, write and swap. What they saw must be linearizable.

let cluster: KvCluster | undefined;
let lab: NetnsLab | undefined;

afterEach(async () => {
  await cluster?.stop();
  await lab?.close();
  cluster = undefined;
  lab = undefined;
});

function places(count: number): Place[] {
  if (noNetns('nft') !== undefined)
    return Array.from({ length: count }, (_, i) => ({ ip: '127.0.0.1', port: 24_001 + i }));
  lab = openNetnsLab(count);
  return lab.spaces.map(({ addr, spawn }) => ({ ip: addr, port: 2_380, spawn }));
}

function networkOf({ spaces }: NetnsLab): Network {
  const cut = new Set<number>();
  const nft = (id: number, ...command: string[]) => spaces[id - 1]?.run('nft', ...command);
  const drop = (id: number, hook: 'input' | 'output', from: readonly KvMember[]) => {
    const field = hook === 'input' ? 'saddr' : 'daddr';
    nft(id, `add chain ip cut ${hook} { type filter hook ${hook} priority 0 ; }`);
    nft(id, `add rule ip cut ${hook} ip ${field} { ${from.map(({ place }) => place.ip).join(', ')} } drop`);
  };
  return {
    cut: (victim, from, how) => {
      cut.add(victim.id);
      nft(victim.id, 'add table ip cut');
      drop(victim.id, 'input', from);
      if (how === 'both') drop(victim.id, 'output', from);
    },
    heal: () => {
      for (const id of cut) nft(id, 'delete table ip cut');
      cut.clear();
    },
  };
}

test.each([
  { count: 3, reads: 'lease' as const, seed: 3 },
  { count: 5, reads: 'quorum' as const, seed: 5 },
])(
  '$count members, reads by $reads: what clients saw is linearizable',
  async ({ count, reads, seed }) => {
    cluster = await KvCluster.form(places(count), { reads, snapshotEntries: 400, verbose: true });
    const random = seededRandom(seed);
    const clients = new Clients(cluster, random);
    clients.start(4);
    const faults = await torture(cluster, lab && networkOf(lab), random, 22_000);
    await clients.stop();
    await clients.readAll();
    const verdict = checkLinearizable(clients.history, keyValueModel);
    expect(verdict.result, explain(verdict)).toBe('linearizable');
    // It was no walk-over, and the clients got on all the same.
    expect(faults.length).toBeGreaterThan(7);
    expect(clients.succeeded).toBeGreaterThan(500);
    const states = async () => Promise.all((cluster?.members ?? []).map((member) => cluster?.status(member)));
    await expect
      .poll(async () => new Set((await states()).map((one) => `${one?.applied} ${one?.hash}`)).size, {
        timeout: 10_000,
      })
      .toBe(1);
  },
  90_000,
);
