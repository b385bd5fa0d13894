import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { eventually } from '../kit/eventually.ts';
import { EtcdCluster } from '../raft/etcd-cluster.ts';
import { KvCluster } from '../raft/kv-cluster.ts';
import type { LoadResult, LoadSettings } from '../raft/kv-load.ts';
import { median, print, quantile } from './stats.ts';

// `npm run bench:raft [-- ROUNDS]`: three raft-ts members against three of etcd, by turns on this machine: separate processes, TLS with client
// certificates between members, everything synced to the disk. Clients write to the leader by the same requests: etcd's JSON over HTTP/1.1, kept
// alive, which costs etcd its gateway and raft-ts a small server of its own (kv-http.ts). Ratios are medians over pairs of turns, one right after the
// other: what else the machine does comes and goes. Then kill -9 of the leader until a write succeeds.
// `-- --latency ROUNDS`: one client only. `-- --load SECONDS` watches raft-ts alone for elections that nobody needed while every core is kept busy.

const args = process.argv.slice(2);
const loadProgram = fileURLToPath(new URL('../raft/kv-load.ts', import.meta.url));
const ports = { raft: 23_810, clients: 23_910, etcd: 23_710 };

function load(settings: LoadSettings): Promise<LoadResult[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', loadProgram, JSON.stringify(settings)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(Buffer.concat(chunks).toString()) as LoadResult[]);
      else reject(new Error(`the load ended with ${code}`));
    });
  });
}

const formRaft = () =>
  KvCluster.form([1, 2, 3].map((i) => ({ ip: '127.0.0.1', port: ports.raft + i, clientPort: ports.clients + i })));

const raft = await formRaft();
const etcd = args[0] === '--load' ? undefined : new EtcdCluster(ports.etcd);
let good = true;
try {
  if (etcd) {
    await etcd.start();
    if (args[0] === '--latency') await compareWrites(etcd, [1], Number(args[1] ?? 10));
    else {
      await compareWrites(etcd, [1, 64, 256], Number(args[0] ?? 3));
      await compareFailOver(etcd, 5);
    }
  } else await watchElections(Number(args[1] ?? 600));
} finally {
  await raft.stop();
  await etcd?.stop();
}
process.exit(good ? 0 : 1);

interface Case {
  readonly clients: number;
  readonly bytes: number;
  readonly raft: Sample[];
  readonly etcd: Sample[];
}

interface Sample {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
}

async function compareWrites(peer: EtcdCluster, clientCounts: readonly number[], rounds: number): Promise<void> {
  const cases: Case[] = clientCounts.flatMap((clients) =>
    [256, 1024].map((bytes) => ({ clients, bytes, raft: [], etcd: [] })),
  );
  // Neither is measured cold: Node compiles what it has run often.
  const leaders = async () => [clientsOf(await raft.leader()), (await peer.leader()).port] as const;
  for (const clients of [64, 1]) await load({ ports: await leaders(), clients, bytes: 256, ms: 1, warmUpMs: 4_000 });
  for (const member of raft.members) await raft.status(member, true);
  for (let round = 1; round <= rounds; round++) {
    for (const one of cases) await measure(one, ...(await leaders()));
    print(`round ${round} of ${rounds} done`);
  }
  print('\nclients  bytes   raft-ts writes/s (p50, p99 ms)    etcd writes/s (p50, p99 ms)      ratio   ratio of p50');
  for (const { clients, bytes, raft: ours, etcd: theirs } of cases) {
    const ratio = (of: (sample: Sample) => number) => median(ours.map((sample, i) => of(sample) / of(theirs[i]!)));
    const [speed, latency] = [ratio(({ perSecond }) => perSecond), ratio(({ p50 }) => p50)];
    good &&= clients === 1 ? latency <= 1 : speed >= 1;
    print(
      `${String(clients).padEnd(8)} ${String(bytes).padEnd(7)} ${show(middle(ours)).padEnd(33)} ${show(middle(theirs)).padEnd(32)} ${speed.toFixed(2).padEnd(7)} ${latency.toFixed(2)}`,
    );
  }
  const slowest = await Promise.all(raft.members.map(async (member) => (await raft.status(member)).slowestMs));
  print(`slowest event-loop delay of the members: ${slowest.map((one) => one.toFixed(0)).join(', ')} ms`);
}

/** Pairs of turns, begun by one and the other. A single client is as fast as the machine is just then: its turns are short and many. */
async function measure({ clients, bytes, raft: ours, etcd: theirs }: Case, our: number, their: number): Promise<void> {
  const { pairs, ms, warmUpMs } =
    clients === 1 ? { pairs: 8, ms: 400, warmUpMs: 100 } : { pairs: 1, ms: 4_000, warmUpMs: 1_000 };
  const turns = Array.from({ length: pairs }, (_, i) => (i % 2 === 0 ? [our, their] : [their, our])).flat();
  const results = await load({ ports: turns, clients, bytes, ms, warmUpMs });
  results.forEach(({ latencies, failures }, i) => {
    if (failures > 0) throw new Error(`${failures} writes failed at port ${turns[i]}`);
    const perSecond = latencies.length / (ms / 1000);
    const sample = { perSecond, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) };
    (turns[i] === our ? ours : theirs).push(sample);
  });
}

function clientsOf({ id }: { readonly id: number }): number {
  return ports.clients + id;
}

function middle(samples: readonly Sample[]): Sample {
  return {
    perSecond: median(samples.map((one) => one.perSecond)),
    p50: median(samples.map((one) => one.p50)),
    p99: median(samples.map((one) => one.p99)),
  };
}

function show({ perSecond, p50, p99 }: Sample): string {
  return `${perSecond.toFixed(0)} (${p50.toFixed(2)}, ${p99.toFixed(2)})`;
}

/** Kills the leader; a write through the others once it succeeds; and back to three members. */
type Killable = () => Promise<number>;

async function compareFailOver(peer: EtcdCluster, rounds: number): Promise<void> {
  const ours: Killable = async () => {
    const leader = await raft.leader();
    const ms = await failOver(
      () => raft.kill(leader),
      raft.members.filter((one) => one !== leader),
    );
    await raft.start(leader);
    await caughtUp();
    return ms;
  };
  const theirs: Killable = async () => {
    const leader = await peer.leader();
    const ms = await failOver(
      () => peer.kill(leader),
      peer.members.filter((one) => one !== leader),
    );
    peer.run(leader);
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    return ms;
  };
  const results = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    results.ours.push(await ours());
    results.theirs.push(await theirs());
  }
  const [a, b] = [median(results.ours), median(results.theirs)];
  const limit = 650;
  good &&= a <= limit;
  print(
    `fail-over p50: raft-ts ${a.toFixed(0)} ms, etcd ${b.toFixed(0)} ms, ratio ${(a / b).toFixed(2)}; to the limit of ${limit} ms: ${(a / limit).toFixed(2)}`,
  );
}

async function failOver(
  kill: () => Promise<void>,
  others: readonly { client: KvCluster['members'][number]['client'] }[],
) {
  const started = performance.now();
  await kill();
  for (let attempt = 0; ; attempt++) {
    const { client } = others[attempt % others.length]!;
    if (
      await client.put('after', String(attempt), 1_000).then(
        () => true,
        () => false,
      )
    )
      return performance.now() - started;
    if (performance.now() - started > 30_000) throw new Error('no write succeeded in 30 s');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function caughtUp(): Promise<void> {
  const isSo = async () => {
    const states = await Promise.all(raft.members.map((member) => raft.status(member).catch(() => undefined)));
    return states.every((one) => one && one.leader > 0 && one.applied === states[0]?.applied);
  };
  await eventually('a restarted member catches up', isSo, { timeoutMs: 20_000 });
}

/** A busy loop for every core, at the members' own priority, and writes all the time: the term must not move. */
async function watchElections(seconds: number): Promise<void> {
  const { availableParallelism } = await import('node:os');
  const leader = await raft.leader();
  const before = await raft.status(leader, true);
  const spin = 'const end = Date.now() + Number(process.argv[1]) * 1000; while (Date.now() < end);';
  const burners = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', spin, String(seconds)], { stdio: 'ignore' }),
  );
  const [{ latencies, failures } = { latencies: [], failures: 1 }] = await load({
    ports: [clientsOf(leader)],
    clients: 16,
    bytes: 256,
    ms: seconds * 1000,
    warmUpMs: 0,
  });
  for (const burner of burners) burner.kill('SIGKILL');
  const after = await raft.status(await raft.leader());
  good &&= after.term === before.term && failures === 0;
  print(
    `${seconds} s at full load: ${after.term - before.term} elections, ${latencies.length} writes (p50 ${quantile(latencies, 0.5).toFixed(1)} ms, p99 ${quantile(latencies, 0.99).toFixed(1)} ms), ${failures} failed; slowest event-loop delay ${after.slowestMs.toFixed(0)} ms`,
  );
}
