import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { tail } from './eventually.ts';
import { imageArchive } from './images/archive.ts';

// Private Docker engines for tests. Each has its own data root, exec root, pid file, socket, containerd and bridge, so several can live on
// one machine, also in one network namespace: the bridge is named after a hash of `dataRoot`. In a namespace that others share (the default)
// an engine leaves iptables alone, since engines there would undo each other's chains; published ports are then served by docker-proxy.

const run = promisify(execFile);

export interface EngineOptions {
  /** For messages and the log. */
  readonly name: string;
  /** A folder of its own; made if need be, and removed by `stop`. */
  readonly dataRoot: string;
  /** Name of a network namespace under /run/netns, made by the caller. Default: the current one. */
  readonly netns?: string;
  /** Address and size of its bridge, such as 10.201.7.1/24. Default: the first 10.201.x.1/24 that is free. */
  readonly bip?: string;
  /** Let it manage iptables. Default: only in a namespace of its own. */
  readonly iptables?: boolean;
  /** Containers outlive `down`. */
  readonly liveRestore?: boolean;
  readonly flags?: readonly string[];
}

export interface Engine {
  readonly name: string;
  readonly socket: string;
  /** As `--docker-host` wants it. */
  readonly dockerHost: string;
  readonly docker: Docker;
  readonly log: string;
  readonly pid: number;
  /** Ends dockerd alone (SIGKILL: as a crash), and waits for it. */
  down(): Promise<void>;
  /** Starts it again on the same state. */
  up(): Promise<void>;
  /** Ends everything that it started and removes every trace. Idempotent. */
  stop(): Promise<void>;
}

/** Why no engine can be started here; undefined when one can. With REQUIRE_DOCKER it is an error. */
export function noEngine(): string | undefined {
  const missing =
    process.getuid?.() !== 0
      ? 'root'
      : ['dockerd', 'ip', 'nsenter', 'busybox'].find((name) => spawnSync('which', [name]).status !== 0);
  if (missing && process.env['REQUIRE_DOCKER']) throw new Error(`REQUIRE_DOCKER is set, but ${missing} is missing`);
  return missing;
}

/** Starts a private engine and waits until it answers. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const engine = new PrivateEngine(options);
  try {
    await engine.makeBridge();
    await engine.up();
    return engine;
  } catch (error) {
    await engine.stop();
    throw error;
  }
}

/** Puts the test images (images/catalogue.ts) into an engine: `bb:1`, `web:1`, `web:2`, `crash:1`, … No network is needed. */
export async function buildImages(socket: string): Promise<void> {
  const docker = new Docker({ socketPath: socket });
  const stream = await docker.loadImage(createReadStream(imageArchive()), { quiet: true });
  let text = '';
  for await (const chunk of stream) text += chunk;
  if (/"error"/.test(text)) throw new Error(`loading the test images failed: ${text}`);
}

class PrivateEngine implements Engine {
  readonly #options: EngineOptions;
  readonly #bridge: string;
  readonly #execRoot: string;
  #child: ChildProcess | undefined;
  readonly socket: string;
  readonly docker: Docker;
  readonly log: string;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#bridge = `swt${createHash('sha256').update(options.dataRoot).digest('hex').slice(0, 10)}`;
    this.#execRoot = join(options.dataRoot, 'exec');
    this.socket = join(options.dataRoot, 'docker.sock');
    this.log = join(options.dataRoot, 'dockerd.log');
    this.docker = new Docker({ socketPath: this.socket });
    mkdirSync(this.#execRoot, { recursive: true });
  }

  get name(): string {
    return this.#options.name;
  }

  get dockerHost(): string {
    return `unix://${this.socket}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async makeBridge(): Promise<void> {
    const bip = this.#options.bip ?? freeSubnet(this.#options.netns !== undefined);
    await this.#inNamespace('ip', ['link', 'add', this.#bridge, 'type', 'bridge']);
    await this.#inNamespace('ip', ['addr', 'add', bip, 'dev', this.#bridge]);
    await this.#inNamespace('ip', ['link', 'set', this.#bridge, 'up']);
  }

  async up(): Promise<void> {
    if (this.#child) return;
    const { dataRoot, netns, flags = [], liveRestore, iptables = netns !== undefined, name } = this.#options;
    rmSync(join(dataRoot, 'docker.pid'), { force: true });
    const config = join(dataRoot, 'daemon.json');
    writeFileSync(config, '{}');
    const log = openSync(this.log, 'a');
    const [program, args] = this.#command('dockerd', [
      ...['--config-file', config, '--data-root', join(dataRoot, 'data'), '--exec-root', this.#execRoot],
      ...['--pidfile', join(dataRoot, 'docker.pid'), '--host', `unix://${this.socket}`, '--bridge', this.#bridge],
      ...['--containerd-namespace', `moby-${this.#bridge}`, '--containerd-plugins-namespace', `plug-${this.#bridge}`],
      ...[`--iptables=${iptables}`, '--ip6tables=false', '--shutdown-timeout', '1', '--log-level', 'warn'],
      ...(liveRestore ? ['--live-restore'] : []),
      ...flags,
    ]);
    const child = spawn(program, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    const end = Date.now() + 30_000;
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`dockerd of ${name} ended:\n${tail(this.log)}`);
      if (await this.docker.ping().then(Boolean, () => false)) return;
      if (Date.now() > end) throw new Error(`dockerd of ${name} does not answer:\n${tail(this.log)}`);
      await sleep(25);
    }
  }

  async down(): Promise<void> {
    await this.#end('SIGKILL');
    // A crashed dockerd takes its containerd along; one that is still leaving would be found by the next.
    const pidFile = join(this.#execRoot, 'containerd/containerd.pid');
    const containerd = pidIn(pidFile);
    if (containerd && isRunning(containerd, this.#execRoot)) process.kill(containerd, 'SIGKILL');
    await waitUntil(() => !containerd || !isRunning(containerd, this.#execRoot), 5_000);
    rmSync(pidFile, { force: true });
  }

  async stop(): Promise<void> {
    if (this.#child) await this.#removeContainers();
    await this.#end('SIGTERM');
    await endLeftovers(this.#options.dataRoot);
    await this.#inNamespace('ip', ['link', 'del', this.#bridge]).catch(() => {});
    for (const path of mountsUnder(this.#options.dataRoot)) spawnSync('umount', ['-l', path]);
    rmSync(this.#options.dataRoot, { recursive: true, force: true, maxRetries: 5 });
  }

  /** So that the end does not wait for anybody's grace period. */
  async #removeContainers(): Promise<void> {
    const containers = await this.docker.listContainers({ all: true }).catch(() => []);
    await Promise.all(
      containers.map(({ Id }) =>
        this.docker
          .getContainer(Id)
          .remove({ force: true, v: true })
          .catch(() => {}),
      ),
    );
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }

  /** Not `ip netns exec`: it mounts another /sys, which hides the cgroups. */
  #command(program: string, args: readonly string[]): [string, string[]] {
    return this.#options.netns
      ? ['nsenter', [`--net=/run/netns/${this.#options.netns}`, program, ...args]]
      : [program, [...args]];
  }

  #inNamespace(program: string, args: readonly string[]): Promise<unknown> {
    return run(...this.#command(program, args));
  }
}

function freeSubnet(ownNamespace: boolean): string {
  const taken = new Set<string | undefined>();
  if (!ownNamespace)
    for (const addresses of Object.values(networkInterfaces()))
      for (const { address } of addresses ?? []) taken.add(/^10\.201\.(\d+)\./.exec(address)?.[1]);
  // Starts at a place of its own, so that processes that look at the same moment seldom meet.
  const start = ownNamespace ? 0 : process.pid;
  for (let i = 0; i < 256; i++) {
    const third = (start + i) % 256;
    if (!taken.has(String(third))) return `10.201.${third}.1/24`;
  }
  throw new Error('no subnet 10.201.x.0/24 is free');
}

/** containerd, its shims and their containers name the folder in their arguments, or have such a parent. */
async function endLeftovers(folder: string): Promise<void> {
  for (let round = 0; round < 20; round++) {
    const processes = processTable();
    const doomed = new Set(processes.filter(({ args }) => args.includes(`${folder}/`)).map(({ pid }) => pid));
    for (let grown = true; grown; ) {
      grown = false;
      for (const { pid, parent } of processes) {
        if (doomed.has(parent) && !doomed.has(pid)) {
          doomed.add(pid);
          grown = true;
        }
      }
    }
    doomed.delete(process.pid);
    if (doomed.size === 0) return;
    for (const pid of doomed) kill(pid);
    await sleep(50);
  }
}

function processTable(): { pid: number; parent: number; args: string }[] {
  const table = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      // Only what a private engine runs: a test or an editor may name the folder too.
      if (!/(dockerd|containerd|containerd-shim\S*|docker-proxy|runc)$/.test(args[0] ?? '')) args.length = 0;
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state !== 'Z') table.push({ pid, parent: Number(parent), args: args.join(' ') });
    } catch {
      // Gone meanwhile.
    }
  }
  return table;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone meanwhile.
  }
}

function pidIn(path: string): number | undefined {
  return existsSync(path) ? Number(readFileSync(path, 'utf8')) || undefined : undefined;
}

function isRunning(pid: number, folder: string): boolean {
  return processTable().some((process) => process.pid === pid && process.args.includes(folder));
}

function mountsUnder(folder: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path === folder || path.startsWith(`${folder}/`))
    .reverse();
}

async function waitUntil(check: () => boolean, timeoutMs: number): Promise<void> {
  for (const end = Date.now() + timeoutMs; !check() && Date.now() < end; ) await sleep(20);
}
