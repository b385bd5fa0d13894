import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Node, Task } from '@swarmctl/shared/model';
import { Cluster } from '../kit/cluster.ts';
import { DockerSwarm, type Host, Hosts } from './engines.ts';
import { print, quantile } from './stats.ts';

// `npm run bench:api [-- ROUNDS]`: how long reads and writes of the API take at 200 requests a second, four of five of them reads, in an idle cluster of three managers
// that holds 10 000 tasks; by turns with Docker's own swarm mode on the same hosts, asked the same. The tasks wait for a node that is none,
// so that nothing else runs. Exit status 1 beyond the limits.

const rounds = Number(process.argv[2] ?? 2);
const rate = 200;
const seconds = 15;
const [services, replicas] = [100, 100];
const limits = { read: 20, write: 50 } as const;

type Kind = keyof typeof limits;
interface Outcome {
  readonly times: Readonly<Record<Kind, number[]>>;
  readonly failures: number;
  readonly example?: string;
  readonly latest: number;
}

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'bench-api-'));
const all = { ours: { read: [], write: [] }, docker: { read: [], write: [] } } as Record<
  'ours' | 'docker',
  Record<Kind, number[]>
>;

const hosts = await Hosts.make(3);
try {
  for (let round = 1; round <= rounds; round++) {
    await measure('ours', round);
    await measure('docker', round);
  }
} finally {
  await hosts.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function measure(which: 'ours' | 'docker', round: number): Promise<void> {
  const { socket, end } = which === 'ours' ? await ours() : docker(hosts.hosts);
  try {
    const outcome = await load(socket);
    if (outcome.failures > 0) print(`${which}: ${outcome.failures} requests failed, such as ${outcome.example}`);
    for (const kind of ['read', 'write'] as const) all[which][kind].push(...outcome.times[kind]);
    const shown = (kind: Kind) =>
      `${kind}s p50 ${at(outcome.times[kind], 0.5)}, p99 ${at(outcome.times[kind], 0.99)} ms`;
    print(`round ${round}, ${which}: ${shown('read')}; ${shown('write')}; requests late by ${outcome.latest} at most`);
  } finally {
    await end();
  }
}

async function ours(): Promise<{ socket: string; end: () => Promise<void> }> {
  const cluster = await Cluster.form({
    runtime: 'docker',
    managers: 3,
    workers: 0,
    hosts: hosts.hosts.map((host) => ({ ...host, dockerHost: host.engine.dockerHost })),
  });
  return { socket: (await cluster.leader()).socket, end: () => cluster.stop() };
}

function docker(list: readonly Host[]): { socket: string; end: () => Promise<void> } {
  const swarm = new DockerSwarm(list);
  swarm.form(3);
  return { socket: swarm.first.engine.socket, end: async () => swarm.dissolve() };
}

/** Fills the cluster, waits until it is idle, and asks it. */
async function load(socket: string): Promise<Outcome> {
  const spec = (name: string, count: number) => ({
    Name: name,
    Mode: { Replicated: { Replicas: count } },
    TaskTemplate: { ContainerSpec: { Image: 'bb:1' }, Placement: { Constraints: ['node.labels.none==here'] } },
  });
  for (let i = 0; i < services; i++) await ask(socket, '/services/create', spec(`bench-${i}`, replicas));
  const task = await waiting(socket);
  const [node] = await ask<Node[]>(socket, '/nodes');
  const reads = [
    '/services/bench-1',
    '/services?status=true',
    `/tasks?filters=${filters('service', 'bench-2')}`,
    `/tasks/${task}`,
    '/nodes',
    `/nodes/${node?.ID}`,
    '/info',
    `/services?filters=${filters('name', 'bench-3')}`,
  ].map((path) => ({ kind: 'read', method: 'GET', path: `/v1.41${path}` }));
  const write = (path: string, body: object) => ({ kind: 'write', method: 'POST', path: `/v1.41${path}`, body });
  const requests = [
    ...reads.slice(0, 4),
    write('/services/create', spec('more-{n}', 0)),
    ...reads.slice(4),
    write('/configs/create', { Name: 'more-{n}', Labels: {}, Data: Buffer.from('content').toString('base64') }),
  ];
  const file = join(folder, 'requests.json');
  writeFileSync(file, JSON.stringify(requests));
  const program = fileURLToPath(new URL('./api-load.mjs', import.meta.url));
  const { stdout } = await run(process.execPath, [program, socket, String(rate), String(seconds), file], {
    maxBuffer: 2 ** 26,
  });
  return JSON.parse(stdout) as Outcome;
}

/** Resolves with one of the tasks when each has been found to have no node. */
async function waiting(socket: string): Promise<string> {
  for (const end = performance.now() + 300_000; ; ) {
    const tasks = await ask<Task[]>(socket, '/tasks');
    const judged = tasks.filter((task) => task.Status.State === 'pending' && task.Status.Err);
    if (judged.length === services * replicas) break;
    if (performance.now() > end) throw new Error(`only ${judged.length} of ${tasks.length} tasks wait after 300 s`);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const [task] = await ask<Task[]>(socket, `/tasks?filters=${filters('service', 'bench-0')}`);
  return task?.ID ?? '';
}

function filters(key: string, value: string): string {
  return encodeURIComponent(JSON.stringify({ [key]: { [value]: true } }));
}

/** Of the version that both know. */
function ask<T>(socketPath: string, path: string, body?: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const method = body ? 'POST' : 'GET';
    const headers = { 'content-type': 'application/json' };
    const asked = request({ socketPath, method, path: `/v1.41${path}`, headers }, async (answer) => {
      let text = '';
      for await (const chunk of answer) text += chunk;
      if ((answer.statusCode ?? 500) >= 400) reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`));
      else resolve(JSON.parse(text) as T);
    });
    asked.once('error', reject);
    asked.end(body && JSON.stringify(body));
  });
}

function at(times: readonly number[], q: number): string {
  return quantile(times, q).toFixed(1);
}

let worst = 0;
print(`\n           this cluster p50 / p99     Docker Swarm p50 / p99     ratio of p99   of the limit`);
for (const kind of ['read', 'write'] as const) {
  const [mine, theirs] = [all.ours[kind], all.docker[kind]];
  const share = quantile(mine, 0.99) / limits[kind];
  worst = Math.max(worst, share);
  const pair = (times: number[]) => `${at(times, 0.5)} / ${at(times, 0.99)} ms`.padEnd(26);
  const ratio = quantile(mine, 0.99) / quantile(theirs, 0.99);
  print(
    `${`${kind}s`.padEnd(10)} ${pair(mine)} ${pair(theirs)} ${ratio.toFixed(2).padEnd(14)} ${share.toFixed(2)} of ${limits[kind]} ms`,
  );
}
process.exit(worst <= 1 ? 0 : 1);
