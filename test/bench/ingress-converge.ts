import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Task } from '@swarmctl/shared/model';
import type { Host } from '../lab/host.ts';
import { Lab } from '../lab/lab.ts';
import { atMost, type Outcome } from './ingress-limits.ts';
import { print, quantile } from './stats.ts';

// On a lab of five hosts, three of them managers: how long after a task's state changed, by the status that its node gives it, until the table of
// every node follows. Containers are killed, one after the other, so that a task fails and another comes to run. An `nft monitor` on each host
// tells when the kernel took a new rule. Shown beside it: what the engine takes to let its node know.

const [hostCount, port] = [5, 8080];
const kills = 30;
/** Between one change and the next. */
const calmMs = 250;

interface Seen {
  readonly at: number;
  readonly targets: number;
}

/** The service's rules on one host, as the kernel takes them. */
class Watch {
  readonly #monitor: ChildProcess;
  #seen: Seen = { at: 0, targets: 0 };
  #told: (() => void) | undefined;

  constructor(host: Host) {
    this.#monitor = host.spawn('nft', ['monitor'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    this.#monitor.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#read(line);
    });
  }

  #read(line: string): void {
    if (!/^(?:add|insert) rule inet swarmd_\w+ s_tcp_8080 /.test(line)) return;
    const targets = Number(/numgen inc mod (\d+)/.exec(line)?.[1] ?? 1);
    this.#seen = { at: Date.now(), targets };
    this.#told?.();
  }

  /** When it came to lead to so many; rejects after 20 s. */
  until(targets: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`a table has ${this.#seen.targets} targets`)), 20_000);
      this.#told = () => {
        if (this.#seen.targets !== targets) return;
        this.#told = undefined;
        clearTimeout(timer);
        resolve(this.#seen.at);
      };
      this.#told();
    });
  }

  end(): void {
    this.#monitor.kill();
  }
}

export async function converge(): Promise<Outcome[]> {
  const name = `bc${process.pid}`;
  const watches: Watch[] = [];
  try {
    const lab = await Lab.up({ name, nodes: hostCount, managers: 3 });
    for (const host of lab.hosts) watches.push(new Watch(host));
    const flags = ['--replicas', String(hostCount), '--restart-delay', '0s', '--publish', `${port}:8080`];
    await lab.host(1).ctl('service', 'create', '--name', 'web', ...flags, 'web:1');
    await Promise.all(watches.map((watch) => watch.until(hostCount)));
    const changes: Change[] = [];
    for (let i = 0; i < kills; i++) {
      await sleep(calmMs);
      changes.push(await change(lab, watches, i));
    }
    const [gone, come] = [changes.map(({ goneMs }) => goneMs), changes.map(({ comeMs }) => comeMs)];
    const all = [...gone, ...come];
    const show = (what: string, ms: readonly number[]) =>
      print(
        `  ${what.padEnd(40)} ${[0.5, 0.9, 0.99].map((q) => quantile(ms, q).toFixed(0)).join(' / ')} ms (n=${ms.length})`,
      );
    print(`${hostCount} nodes, from a task's state to every node's table: p50 / p90 / p99`);
    show('a task failed', gone);
    show('a task runs', come);
    show('both', all);
    show(
      'from the end of a container till then',
      changes.map(({ noticedMs }) => noticedMs),
    );
    return [atMost("a task's state to every node's table, p99 ms", quantile(all, 0.99), 200)];
  } finally {
    for (const watch of watches) watch.end();
    await Lab.remove(name);
  }
}

interface Change {
  /** From the end of the container until its node's word. */
  readonly noticedMs: number;
  /** From that until all tables follow. */
  readonly goneMs: number;
  /** From the word that its replacement runs until all tables follow. */
  readonly comeMs: number;
}

/** One task is killed, and replaced. */
async function change(lab: Lab, watches: readonly Watch[], turn: number): Promise<Change> {
  const before = await tasks(lab);
  const task = before[turn % before.length] as Task;
  const host = await hostOf(lab, task);
  const id = task.Status.ContainerStatus?.ContainerID ?? '';
  const filters = { container: [id], event: ['die'] };
  const events = (await host.engine.docker.getEvents({ filters })) as Readable;
  const died = once(events, 'data').then(([data]) => JSON.parse(String(data)).timeNano / 1e6);
  const without = Promise.all(watches.map((watch) => watch.until(hostCount - 1)));
  await host.engine.docker.getContainer(id).kill();
  const last = Math.max(...(await without));
  const again = Math.max(...(await Promise.all(watches.map((watch) => watch.until(hostCount)))));
  const known = new Set(before.map(({ ID }) => ID));
  const fresh = (await tasks(lab)).find(({ ID }) => !known.has(ID));
  const ended = await lab.host(1).api.get<Task>(`/tasks/${task.ID}`);
  if (!fresh) throw new Error('no task came in its place');
  const endedAt = Date.parse(ended.Status.Timestamp);
  const diedAt = await died;
  events.destroy();
  return {
    noticedMs: endedAt - diedAt,
    goneMs: last - endedAt,
    comeMs: again - Date.parse(fresh.Status.Timestamp),
  };
}

/** Those that run. */
async function tasks(lab: Lab): Promise<Task[]> {
  const filters = JSON.stringify({ service: ['web'], 'desired-state': ['running'] });
  const wanted = await lab.host(1).api.get<Task[]>('/tasks', { filters });
  return wanted.filter(({ Status }) => Status.State === 'running');
}

async function hostOf(lab: Lab, task: Task): Promise<Host> {
  const node = (await lab.nodes()).find(({ ID }) => ID === task.NodeID);
  const host = lab.hosts.find(({ name }) => name === node?.Description?.Hostname);
  if (!host) throw new Error(`task ${task.ID} is on no host of the lab`);
  return host;
}
