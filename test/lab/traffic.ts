import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Task } from '@swarmctl/shared/model';
import type { Host } from './host.ts';
import type { Lab } from './lab.ts';

// Traffic through the hosts of a lab: a service that answers it, clients that count what they get, and what came of it.

const kit = fileURLToPath(new URL('../kit', import.meta.url));

export interface Failure {
  readonly kind: string;
  readonly host: string;
  readonly error: string;
  readonly connectedAt: number;
  readonly startedAt: number;
  readonly failedAt: number;
  /** Of the connection, before. */
  readonly served: number;
  readonly task?: string;
}

export interface Counts {
  readonly sent: number;
  readonly ok: number;
  readonly slowestMs: number;
}

export interface Outcome {
  readonly failures: readonly Failure[];
  readonly new: Counts;
  readonly kept: Counts;
  readonly transfer: Counts;
  readonly udp: Counts;
  readonly tasks: Readonly<
    Record<string, { version: string; count: number; lastConnectedAt: number; lastStartedAt: number }>
  >;
  readonly lagMs: number;
}

export interface Mix {
  /** New connections a second. */
  readonly rate: number;
  /** Connections that are kept, with a request each second. */
  readonly kept: number;
  /** Downloads at a time. */
  readonly transfers: number;
  readonly transferMs: number;
  /** Requests by UDP a second, each from a socket of its own. */
  readonly udp: number;
}

/** As many processes as keep each of them idle most of the time. */
const processes = 2;

export class Load {
  readonly #children: readonly ChildProcess[];
  readonly #outs: Promise<string>[];

  constructor(lab: Lab, port: number, mix: Mix, hosts: readonly Host[]) {
    const share = (n: number, i: number) => Math.floor((n * (i + 1)) / processes) - Math.floor((n * i) / processes);
    this.#children = Array.from({ length: processes }, (_, i) =>
      lab.client.spawn(
        process.execPath,
        [
          `${kit}/load-mix.mjs`,
          ...['--hosts', hosts.map(({ addr }) => addr).join(), '--port', String(port)],
          ...['--rate', String(mix.rate / processes), '--transfer-ms', String(mix.transferMs)],
          ...['--udp-rate', String(mix.udp / processes)],
          ...['--kept', String(share(mix.kept, i)), '--transfers', String(share(mix.transfers, i))],
        ],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      ),
    );
    this.#outs = this.#children.map(async (child) => {
      let out = '';
      child.stdout?.setEncoding('utf8');
      for await (const chunk of child.stdout ?? []) out += chunk;
      return out;
    });
  }

  /** Resolves when all that was under way has ended. */
  async stop(): Promise<Outcome> {
    for (const child of this.#children) child.stdin?.end();
    const lines = (await Promise.all(this.#outs)).map((out) =>
      out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    );
    const ends = lines.map((each) => each.at(-1) as Outcome);
    const sum = (of: (one: Outcome) => Counts): Counts =>
      ends.map(of).reduce((a, b) => ({
        sent: a.sent + b.sent,
        ok: a.ok + b.ok,
        slowestMs: Math.max(a.slowestMs, b.slowestMs),
      }));
    const tasks: Record<string, Outcome['tasks'][string]> = {};
    for (const [task, seen] of ends.flatMap((end) => Object.entries(end.tasks))) {
      const other = tasks[task];
      tasks[task] = {
        version: seen.version,
        count: seen.count + (other?.count ?? 0),
        lastConnectedAt: Math.max(seen.lastConnectedAt, other?.lastConnectedAt ?? 0),
        lastStartedAt: Math.max(seen.lastStartedAt, other?.lastStartedAt ?? 0),
      };
    }
    return {
      failures: lines.flatMap((each) => each.slice(0, -1) as Failure[]),
      new: sum((end) => end.new),
      kept: sum((end) => end.kept),
      transfer: sum((end) => end.transfer),
      udp: sum((end) => end.udp),
      tasks,
      lagMs: Math.max(...ends.map(({ lagMs }) => lagMs)),
    };
  }
}

export function report({ failures, new: made, kept, transfer, udp, lagMs }: Outcome): void {
  const of = ({ ok, sent, slowestMs }: Counts) => `${ok}/${sent} (slowest ${slowestMs} ms)`;
  console.log(
    `new ${of(made)}, kept ${of(kept)}, transfers ${of(transfer)}, UDP ${of(udp)}; generator late by ${lagMs} ms at most`,
  );
  const alike = new Map<string, Failure[]>();
  for (const failure of failures) {
    const key = `${failure.kind} through ${failure.host}: ${failure.error.replace(/\d+ of/, '… of')}`;
    alike.set(key, [...(alike.get(key) ?? []), failure]);
  }
  for (const [key, some] of alike) console.log(`${some.length} ${key}, the first: ${JSON.stringify(some[0])}`);
}

/** Services of the load server, which is run by this machine's node on the busybox of the test images. */
export class LoadServices {
  readonly #lab: Lab;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  /** Any host whose swarmd runs. */
  get api(): Host {
    const up = this.#lab.hosts.find(({ daemon }) => daemon.pid !== undefined);
    if (!up) throw new Error('no swarmd runs');
    return up;
  }

  /** Published by TCP and UDP. */
  create(service: string, port: number, count: number, drainMs: number, ...flags: string[]): Promise<string> {
    const mounts = ['/lib', '/lib64', '/usr/lib', `${process.execPath}:/node`, `${kit}:/kit`].map((mount) => {
      const [source, target = source] = mount.split(':');
      return ['--mount', `type=bind,source=${source},target=${target},readonly`];
    });
    return this.api.ctl(
      ...['service', 'create', '--name', service, '--replicas', String(count), '--publish', `${port}:8080`],
      ...['--publish', `${port}:8080/udp`],
      ...['--label', `swarmctl.drain-timeout=${drainMs}ms`, '--env', 'TASK_ID={{.Task.ID}}', '--env', 'VERSION=1'],
      ...['--restart-delay', '100ms', ...mounts.flat(), ...flags, 'bb:1', '/node', '/kit/load-server.mjs'],
    );
  }

  async running(service: string): Promise<Task[]> {
    const isWanted = ({ Status, DesiredState }: Task) => Status.State === 'running' && DesiredState === 'running';
    return (await this.#tasksOf(service)).filter(isWanted);
  }

  /** So many run, and nothing else of it is under way. */
  settled(service: string, count: number, timeoutMs = 60_000): Promise<void> {
    const inUse = ['starting', 'running', 'ready', 'preparing'];
    return this.#lab.eventually(
      `${service} has settled`,
      async () => {
        const tasks = (await this.#tasksOf(service)).filter(({ Status }) => inUse.includes(Status.State));
        return tasks.length === count && (await this.running(service)).length === count;
      },
      timeoutMs,
    );
  }

  #tasksOf(service: string): Promise<Task[]> {
    return this.api.api.get<Task[]>('/tasks', { filters: JSON.stringify({ service: [service] }) });
  }
}
