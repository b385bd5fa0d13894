import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Node, Service, Task } from '@swarmctl/shared/model';
import { Client } from '../../packages/cli/src/client.ts';
import { eventually, tail } from './eventually.ts';
import { swarmctl } from './swarmctl.ts';

// A real cluster for end-to-end tests: separate `swarmd` processes with addresses of their own in one network namespace (as root), so that
// nothing of the machine's network is touched. Everything that it starts is known by pid and ends with `stop`.

const root = fileURLToPath(new URL('../../', import.meta.url));
const swarmdBin = join(root, 'packages/daemon/bin/swarmd.js');

export const isRoot = process.getuid?.() === 0;

/** Why tests that need root, dockerd and nft cannot run here; undefined when they can. `REQUIRE_DOCKER` makes it an error. */
export function missingForDocker(): string | undefined {
  const missing = !isRoot
    ? 'root'
    : ['dockerd', 'nft', 'ip', 'nsenter'].find((name) => spawnSync('which', [name]).status !== 0);
  if (missing && process.env['REQUIRE_DOCKER']) throw new Error(`REQUIRE_DOCKER is set, but ${missing} is missing`);
  return missing;
}

export interface NodeHandle {
  readonly name: string;
  readonly addr: string;
  readonly folder: string;
  readonly socket: string;
  readonly log: string;
  readonly api: Client;
  readonly netns: string | undefined;
  readonly dockerHost: string | undefined;
  process: ChildProcess | undefined;
}

export interface ClusterOptions {
  readonly runtime: 'docker' | 'process';
  readonly managers: number;
  readonly workers: number;
  /** `unix:///…` of the engine, with `docker`. */
  readonly dockerHost?: string;
  /** Network namespace to run in; made by the caller. Undefined: this one. */
  readonly netns?: string;
  readonly flags?: readonly string[];
  /** Third part of the addresses 127.0.X.n. */
  readonly subnet?: number;
  /** A host of its own for each node, instead of loopback addresses in one namespace. */
  readonly hosts?: readonly { readonly netns: string; readonly addr: string; readonly dockerHost?: string }[];
}

export class Cluster {
  readonly options: ClusterOptions;
  readonly folder: string;
  readonly nodes: readonly NodeHandle[];

  private constructor(options: ClusterOptions) {
    this.options = options;
    this.folder = mkdtempSync(join(tmpdir(), 'swarm-e2e-'));
    this.nodes = Array.from({ length: options.managers + options.workers }, (_, i) => {
      const name = i < options.managers ? `m${i + 1}` : `w${i - options.managers + 1}`;
      const folder = join(this.folder, name);
      const socket = join(folder, 'api.sock');
      return {
        name,
        addr: options.hosts?.[i]?.addr ?? `127.0.${options.subnet ?? 0}.${i + 1}`,
        netns: options.hosts?.[i]?.netns ?? options.netns,
        dockerHost: options.hosts?.[i]?.dockerHost ?? options.dockerHost,
        folder,
        socket,
        log: join(this.folder, `${name}.log`),
        api: new Client({ host: `unix://${socket}`, from: 'the test' }),
        process: undefined,
      };
    });
  }

  get managers(): readonly NodeHandle[] {
    return this.nodes.slice(0, this.options.managers);
  }

  get workers(): readonly NodeHandle[] {
    return this.nodes.slice(this.options.managers);
  }

  /** Starts the daemons and forms the cluster through init, tokens and join. */
  static async form(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    try {
      await Promise.all(cluster.nodes.map((node) => cluster.startNode(node)));
      const [first, ...others] = cluster.nodes;
      if (!first) throw new Error('a cluster needs a node');
      await cluster.ctl(first, 'swarm', 'init', '--advertise-addr', first.addr);
      for (const node of others) {
        const role = cluster.managers.includes(node) ? 'manager' : 'worker';
        const token = (await cluster.ctl(first, 'swarm', 'join-token', '-q', role)).trim();
        await cluster.ctl(node, 'swarm', 'join', '--token', token, '--advertise-addr', node.addr, `${first.addr}:2377`);
      }
      await cluster.eventually('all nodes ready', async () => {
        const nodes = await first.api.get<Node[]>('/nodes');
        return nodes.length === cluster.nodes.length && nodes.every((node) => node.Status.State === 'ready');
      });
      return cluster;
    } catch (error) {
      const tails = cluster.logTails();
      await cluster.stop();
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${tails}`, { cause: error });
    }
  }

  /** Runs a program in the cluster's namespace, or in a node's. */
  command(program: string, args: readonly string[], netns = this.options.netns): [string, string[]] {
    return netns ? ['nsenter', [`--net=/run/netns/${netns}`, program, ...args]] : [program, [...args]];
  }

  async startNode(node: NodeHandle): Promise<void> {
    mkdirSync(node.folder, { recursive: true, mode: 0o700 });
    const { runtime, flags = [] } = this.options;
    const { dockerHost } = node;
    const log = openSync(node.log, 'a');
    const [program, args] = this.command(
      process.execPath,
      [
        swarmdBin,
        ...[
          '--data-dir',
          node.folder,
          '--listen-addr',
          `${node.addr}:2377`,
          '--advertise-addr',
          node.addr,
          '--hostname',
          node.name,
          '--api-addr',
          `${node.addr}:2376`,
        ],
        ...['--runtime', runtime],
        ...(dockerHost ? ['--docker-host', dockerHost] : []),
        ...(runtime === 'process' && isRoot ? ['--process-allow-root'] : []),
        ...flags,
      ],
      node.netns,
    );
    const child = spawn(program, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    node.process = child;
    await this.eventually(`${node.name} answers`, async () => {
      const ended = child.exitCode ?? child.signalCode;
      if (ended !== null) throw new Error(`swarmd of ${node.name} ended with ${ended}:\n${tail(node.log)}`);
      if (!existsSync(node.socket)) return false;
      return node.api.get('/info').then(
        () => true,
        () => false,
      );
    });
  }

  /** kill -9 (or another signal), and waits for the end. */
  async kill(node: NodeHandle, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = node.process;
    node.process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    await ended;
  }

  /** Runs `swarmctl` against a node; rejects when it fails. */
  async ctl(node: NodeHandle, ...args: string[]): Promise<string> {
    const { code, out, err } = await this.tryCtl(node, ...args);
    if (code !== 0) throw new Error(`swarmctl ${args.join(' ')} on ${node.name}: exit ${code}: ${err}${out}`);
    return out;
  }

  tryCtl(node: NodeHandle, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
    return swarmctl(['--host', `unix://${node.socket}`, ...args]);
  }

  /** A manager that is up. */
  async anyManager(): Promise<NodeHandle> {
    const up = this.managers.find((node) => node.process);
    if (!up) throw new Error('no manager is up');
    return up;
  }

  /** Waits for a leader and returns it. */
  leader(timeoutMs = 15_000): Promise<NodeHandle> {
    return this.eventually(
      'a leader',
      async () => {
        for (const manager of this.managers.filter((node) => node.process)) {
          const nodes = await manager.api
            .get<(Node & { ManagerStatus?: { Leader?: boolean } })[]>('/nodes')
            .catch(() => []);
          const leading = nodes.find((node) => node.ManagerStatus?.Leader);
          const found = this.nodes.find((node) => node.name === leading?.Description?.Hostname && node.process);
          if (found) return found;
        }
        return undefined;
      },
      timeoutMs,
    );
  }

  async service(name: string): Promise<Service> {
    return (await this.anyManager()).api.get<Service>(`/services/${name}`);
  }

  async tasks(service: string): Promise<Task[]> {
    return (await this.anyManager()).api.get<Task[]>('/tasks', { filters: JSON.stringify({ service: [service] }) });
  }

  async running(service: string): Promise<Task[]> {
    return (await this.tasks(service)).filter(
      (task) => task.Status.State === 'running' && task.DesiredState === 'running',
    );
  }

  /** With the daemons' last log lines in the error. */
  eventually<T>(what: string, check: () => Promise<T> | T, timeoutMs = 30_000) {
    return eventually(what, check, { timeoutMs, everyMs: 50, hint: () => this.logTails() });
  }

  logTails(): string {
    return this.nodes.map((node) => `--- ${node.name}\n${tail(node.log)}`).join('\n');
  }

  /** Ends every daemon, then whatever their tasks still run. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => this.kill(node)));
    const ended = endProcessesOf(this.folder);
    // Until they are gone they may leave a last line, in a folder that is just being emptied.
    await this.eventually('its processes have ended', () => !ended.some((pid) => existsSync(`/proc/${pid}`)));
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20 });
  }
}

/** Shims of the process runtime name their data folder; on SIGUSR2 each ends its whole task, then itself. Their pids. */
export function endProcessesOf(folder: string): readonly number[] {
  const told: number[] = [];
  const { stdout } = spawnSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' });
  for (const line of stdout.split('\n')) {
    const match = /^\s*(\d+)\s+swarmd-shim\s+(.*)$/.exec(line);
    if (!match?.[2]?.includes(`${folder}/`)) continue;
    spawnSync('kill', ['-USR2', match[1] ?? '']);
    told.push(Number(match[1]));
  }
  return told;
}

export function runProgram(
  program: string,
  args: readonly string[],
): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      err += chunk;
    });
    child.on('error', (error) => resolve({ code: 127, out, err: error.message }));
    child.on('close', (code) => resolve({ code: code ?? 1, out, err }));
  });
}
