import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  configFolder,
  contextName,
  controlPort,
  dataFolder,
  imageLabel,
  type LocalNode,
  localNodes,
  pidFile,
  startTimeOf,
  swarmctlBin,
  swarmdBin,
} from './layout.ts';
import { type Ran, run } from './sh.ts';

// The daemons of the local cluster: started in sessions of their own, found again by pid and start time, swept when a former run was killed.

interface Recorded {
  readonly pid: number;
  readonly startTime: string;
}

export const swarmctl = (node: LocalNode, ...args: string[]): Promise<Ran> =>
  run(process.execPath, [swarmctlBin, '--host', `unix://${node.socket}`, ...args]);

/** Like `swarmctl`, but a failure ends the start. */
export async function must(node: LocalNode, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await swarmctl(node, ...args);
  if (code !== 0) throw new Error(`swarmctl ${args.join(' ')} failed on ${node.name}: ${(stderr || stdout).trim()}`);
  return stdout.trim();
}

/** Names what holds a port that the cluster needs. */
export async function refuseTakenPorts(webPort: number): Promise<void> {
  for (const node of localNodes) {
    for (const [port, what, variable] of [
      [controlPort, 'the cluster port', 'SWARMCTL_LOCAL_CONTROL_PORT'],
      [webPort, 'the web service', 'SWARMCTL_LOCAL_WEB_PORT'],
    ] as const) {
      const code = await bindError(node.addr, port);
      if (code === undefined) continue;
      const holder = code === 'EADDRINUSE' ? await holderOf(port) : '';
      throw new Error(
        `port ${port} (${what}) cannot be used on ${node.addr}: ${code}${holder}. Stop what uses it, or choose another with ${variable}=PORT npm start`,
      );
    }
  }
}

function bindError(address: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, address, () => server.close(() => resolve(undefined)));
  });
}

async function holderOf(port: number): Promise<string> {
  const { stdout } = await run('ss', ['-Hltnp', `sport = :${port}`]);
  const name = /users:\(\("([^"]+)",pid=(\d+)/.exec(stdout);
  return name ? `, held by ${name[1]} (pid ${name[2]})` : '';
}

export function startDaemon(node: LocalNode, runtimeFlags: readonly string[]): ChildProcess {
  mkdirSync(node.folder, { recursive: true, mode: 0o700 });
  const log = openSync(node.log, 'a', 0o600);
  const flags = [
    '--data-dir',
    node.folder,
    '--listen-addr',
    `${node.addr}:${controlPort}`,
    '--advertise-addr',
    node.addr,
    '--hostname',
    node.name,
    ...runtimeFlags,
  ];
  const child = spawn(process.execPath, [swarmdBin, ...flags], { detached: true, stdio: ['ignore', log, log] });
  child.unref();
  if (child.pid !== undefined) record(child.pid);
  return child;
}

function record(pid: number): void {
  const known = recorded();
  writeFileSync(pidFile, JSON.stringify([...known, { pid, startTime: startTimeOf(pid) ?? '' }]), { mode: 0o600 });
}

function recorded(): Recorded[] {
  try {
    return JSON.parse(readFileSync(pidFile, 'utf8')) as Recorded[];
  } catch {
    return [];
  }
}

const alive = (process: Recorded) => startTimeOf(process.pid) === process.startTime;

/** Waits for a node's socket; fails with the end of its log when the daemon ends first. */
export async function waitForSocket(node: LocalNode, child: ChildProcess): Promise<void> {
  for (let waited = 0; waited < 15_000; waited += 50) {
    if (child.exitCode !== null)
      throw new Error(`swarmd of ${node.name} ended with ${child.exitCode}:\n${logTail(node)}`);
    if (existsSync(node.socket) && (await swarmctl(node, 'info')).code === 0) return;
    await sleep(50);
  }
  throw new Error(`swarmd of ${node.name} does not answer on ${node.socket}:\n${logTail(node)}`);
}

const logTail = (node: LocalNode) => readFileSync(node.log, 'utf8').split('\n').slice(-12).join('\n');

/** Stops every recorded daemon: SIGTERM, then SIGKILL. */
export async function stopDaemons(options: { force: boolean }): Promise<void> {
  const running = recorded().filter(alive);
  for (const one of running) signalOne(one, options.force ? 'SIGKILL' : 'SIGTERM');
  for (let waited = 0; waited < 15_000 && running.some(alive); waited += 50) await sleep(50);
  for (const one of running.filter(alive)) signalOne(one, 'SIGKILL');
  for (let waited = 0; waited < 5_000 && running.some(alive); waited += 20) await sleep(20);
}

function signalOne(one: Recorded, signal: NodeJS.Signals): void {
  try {
    process.kill(one.pid, signal);
  } catch {
    // It ended meanwhile.
  }
}

/** Removes what daemons leave behind when they are killed: containers, processes, kernel tables, data, the context. */
export async function sweep(): Promise<boolean> {
  const found = existsSync(dataFolder);
  await stopDaemons({ force: true });
  for (const node of localNodes) {
    const state = readState(node);
    if (state.clusterId) await removeContainers(state.clusterId);
    await endShims(node);
    if (state.nodeId) await removeTables(state.nodeId);
  }
  if (found) await removeImages();
  rmSync(dataFolder, { recursive: true, force: true });
  await forgetContext();
  return found;
}

function readState(node: LocalNode): { nodeId?: string; clusterId?: string } {
  try {
    return JSON.parse(readFileSync(`${node.folder}/state.json`, 'utf8')) as { nodeId?: string; clusterId?: string };
  } catch {
    return {};
  }
}

async function removeContainers(clusterId: string): Promise<void> {
  const { stdout } = await run('docker', ['ps', '-aq', '--filter', `label=swarmctl.cluster.id=${clusterId}`], {
    timeoutMs: 10_000,
  });
  const ids = stdout.split('\n').filter(Boolean);
  if (ids.length > 0) await run('docker', ['rm', '-f', '-v', ...ids]);
}

/** The images that a start made, known by their label. */
async function removeImages(): Promise<void> {
  const { stdout } = await run('docker', ['images', '-q', '--filter', `label=${imageLabel}`], { timeoutMs: 10_000 });
  const ids = stdout.split('\n').filter(Boolean);
  if (ids.length > 0) await run('docker', ['rmi', ...ids]);
}

/** The shims of a node's tasks name its folder. Told by SIGUSR2, a shim kills its whole task and ends; killed, it would leave the task behind. */
async function endShims(node: LocalNode): Promise<void> {
  const shims = (await shimsOf(node)).map((pid) => ({ pid, startTime: startTimeOf(pid) ?? '' }));
  for (const shim of shims) signalOne(shim, 'SIGUSR2');
  for (let waited = 0; waited < 5_000 && shims.some(alive); waited += 20) await sleep(20);
  for (const shim of shims.filter(alive)) signalOne(shim, 'SIGKILL');
}

async function shimsOf(node: LocalNode): Promise<number[]> {
  const { stdout } = await run('ps', ['-eo', 'pid=,args=']);
  return stdout.split('\n').flatMap((line) => {
    const [, pid, args = ''] = /^\s*(\d+)\s+(swarmd-shim\s.*)$/.exec(line) ?? [];
    return args.includes(` ${node.folder}/`) ? [Number(pid)] : [];
  });
}

async function removeTables(nodeId: string): Promise<void> {
  const { code, stdout } = await run('nft', ['list', 'tables']);
  if (code !== 0) return;
  for (const line of stdout.split('\n')) {
    const [, family = '', name = ''] = /^table (\S+) (\S+)$/.exec(line) ?? [];
    if (name.startsWith('swarmd_') && name.includes(nodeId.slice(0, 12))) await removeTable(family, name);
  }
}

/** A table keeps in its comment what `route_localnet` was; the last table to go gives it back. */
async function removeTable(family: string, name: string): Promise<void> {
  const { stdout } = await run('nft', ['list', 'table', family, name]);
  const before = /comment "route_localnet was (\d)"/.exec(stdout)?.[1];
  await run('nft', ['delete', 'table', family, name]);
  const others = (await run('nft', ['list', 'tables'])).stdout.includes(' swarmd_');
  if (before === '0' && !others) await run('sysctl', ['-qw', 'net.ipv4.conf.all.route_localnet=0']);
}

export async function recordContext(node: LocalNode): Promise<void> {
  const ctl = (...args: string[]) => run(process.execPath, [swarmctlBin, 'context', ...args]);
  await ctl(
    'create',
    contextName,
    '--endpoint',
    `unix://${node.socket}`,
    '--description',
    'three nodes on this machine (npm start)',
  );
  await ctl('use', contextName);
}

async function forgetContext(): Promise<void> {
  if (existsSync(`${configFolder}/contexts/${contextName}.json`))
    await run(process.execPath, [swarmctlBin, 'context', 'rm', '--force', contextName]);
}
