import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '@swarmctl/shared/kit';
import { afterEach, expect, test } from 'vitest';
import { checkLinearizable } from '../../packages/raft-ts/src/linearizability/checker.ts';
import { explain, keyValueModel } from '../../packages/raft-ts/src/linearizability/key-value.ts';
import { type NetnsLab, noNetns, openNetnsLab } from '../kit/netns.ts';
import { schedule } from './faults.ts';
import { KvCluster } from './kv-cluster.ts';
import { Recorder } from './recorder.ts';

// Clients of real processes of raft-ts, while these are killed, paused and cut off from each other: what the clients saw could have been one
// store, and it still has every write that it acknowledged. RAFT_SEED=N replays an order of faults.

let lab: NetnsLab | undefined;
let cluster: KvCluster | undefined;

afterEach(async () => {
  await cluster?.stop();
  await lab?.close();
  [lab, cluster] = [undefined, undefined];
});

const seed = Number(process.env['RAFT_SEED'] ?? 1);
const clients = 6;

test.skipIf(noNetns('nft')).each([
  { size: 3, reads: 'lease' as const },
  { size: 5, reads: 'quorum' as const },
])('$size members with reads by $reads, killed, paused and cut off', async ({ size, reads }) => {
  lab = openNetnsLab(size);
  const { spaces } = lab;
  const places = spaces.map((space) => ({ ip: space.addr, port: 7000, spawn: space.spawn.bind(space) }));
  const kv = await KvCluster.form(places, { snapshotEntries: 500, verbose: true, reads });
  cluster = kv;
  const random = seededRandom(seed * 31 + size);
  const recorder = new Recorder();
  const stop = new AbortController();
  const running = Array.from({ length: clients }, (_, i) =>
    recorder.run(i, kv.members, seededRandom(seed * 1000 + i), stop.signal),
  );
  const names = await schedule(kv, spaces, random).finally(() => stop.abort());
  await Promise.all(running);
  const told = `RAFT_SEED=${seed}: ${names.join(', ')}`;

  // Whole again: writes succeed within the time of an election or two, and every one of them is there.
  await expect
    .poll(async () => (await kv.leader()).client.put('healed', 'yes').then(() => true), { timeout: 5_000 })
    .toBe(true);
  for (const key of recorder.keys) {
    const read = async () => recorder.perform('the last', (await kv.leader()).client, { kind: 'get', key });
    await expect.poll(read, { timeout: 5_000 }).toHaveProperty('output');
  }
  const found = new Map(
    recorder.history
      .filter(({ client }) => String(client).startsWith('the last'))
      .map(({ input, output }) => [input.key, output]),
  );
  const lost = [...recorder.acknowledged].filter(([key, value]) => found.get(key) !== value);
  expect(lost, `${told}\n${kv.log()}`).toEqual([]);

  const verdict = checkLinearizable(recorder.history, keyValueModel);
  expect(explain(verdict), `${told}\n${kv.log()}`).toBe('linearizable');
  const known = recorder.history.filter(({ end }) => end !== undefined);
  expect(known.length).toBeGreaterThan(1_000);
  expect(recorder.acknowledged.size).toBeGreaterThan(50);

  await expect
    .poll(
      async () => {
        const states = await Promise.all(kv.members.map((member) => kv.status(member)));
        return new Set(states.map(({ hash, applied }) => `${applied} ${hash}`)).size;
      },
      { timeout: 10_000, interval: 100 },
    )
    .toBe(1);
});

test('reads that ask nobody are found out', async () => {
  const places = [1, 2, 3].map((i) => ({ ip: '127.0.0.1', port: 24_100 + i }));
  cluster = await KvCluster.form(places, { staleReads: true });
  const { members } = cluster;
  const recorder = new Recorder();
  const stop = new AbortController();
  const running = Array.from({ length: clients }, (_, i) =>
    recorder.run(i, members, seededRandom(seed * 1000 + i), stop.signal),
  );
  await sleep(3_000);
  // A follower that was away for a while does not know what it missed.
  const leader = await cluster.leader();
  const away = members.find((one) => one !== leader);
  away?.process?.kill('SIGSTOP');
  await sleep(500);
  away?.process?.kill('SIGCONT');
  await sleep(1_000);
  stop.abort();
  await Promise.all(running);
  expect(checkLinearizable(recorder.history, keyValueModel).result).toBe('not-linearizable');
});
