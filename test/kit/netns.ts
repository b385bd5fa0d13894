import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { eventually } from './eventually.ts';

// Network namespaces for tests: some machines on one network, each with its loopback and an address. The network itself is a bridge in a
// namespace of its own, so that nothing is added to the machine's, and every lab may use the same addresses.

export interface Netns {
  /** As under /run/netns. */
  readonly name: string;
  readonly addr: string;
  readonly addr6: string;
  /** Runs a program to its end in it; throws with what it said when it fails. */
  run(program: string, ...args: string[]): string;
  spawn(program: string, args: readonly string[], options?: SpawnOptions): ChildProcess;
}

export interface NetnsLab {
  readonly spaces: readonly Netns[];
  /**
   * One more, inside `node` as a container is: on a bridge of that node, with the node as its way out, and the addresses 172.30.0.n and
   * fd30::n; by default ones that no other has.
   */
  addContainer(node: Netns, number?: number): Netns;
  /** Ends what was spawned in them and deletes them. Idempotent. */
  close(): Promise<void>;
}

/** A netns-peer.mjs in a namespace. */
export interface NetnsPeer {
  readonly pid: number;
  /** Has it do something (see there); rejects with its error. */
  call<T = void>(verb: string, details?: Record<string, unknown>): Promise<T>;
  end(): Promise<void>;
}

const prefix = 'swn';
const folder = '/run/netns';
let labs = 0;

/** Why there can be no namespaces here; undefined when there can. Where tests may not be skipped, it is an error. */
export function noNetns(...tools: string[]): string | undefined {
  const missing =
    process.getuid?.() !== 0
      ? 'root'
      : ['ip', 'nsenter', ...tools].find((tool) => spawnSync('which', [tool]).status !== 0);
  if (missing && (process.env['REQUIRE_DOCKER'] || process.env['CI']))
    throw new Error(`tests in network namespaces may not be skipped here, but ${missing} is missing`);
  return missing;
}

/** `count` namespaces with the addresses 10.77.0.1, .2, … and fd77::1, ::2, … on one network. */
export function openNetnsLab(count: number): NetnsLab {
  sweepNetns();
  const base = `${prefix}-${process.pid}-${++labs}`;
  const children = new Set<ChildProcess>();
  const names = [`${base}-net`];
  try {
    makeNamespace(`${base}-net`);
    inside(`${base}-net`, 'ip', 'link', 'add', 'br0', 'type', 'bridge');
    inside(`${base}-net`, 'ip', 'link', 'set', 'br0', 'up');
    const spaces = Array.from({ length: count }, (_, i) => {
      const name = `${base}-${i + 1}`;
      names.push(name);
      return join(name, `${base}-net`, i + 1, children);
    });
    const addContainer = (node: Netns, number = names.length + 1) => {
      const name = `${base}-c${names.length}`;
      names.push(name);
      return joinBridge(name, node, number, children);
    };
    return { spaces, addContainer, close: () => closeLab(names, children) };
  } catch (error) {
    for (const name of names) deleteNamespace(name);
    throw error;
  }
}

export interface PeerOptions {
  /** It can run a node's ingress too. */
  readonly ingress?: boolean;
  /** It is a mesh-peer.mjs. */
  readonly mesh?: boolean;
  /** As this user, without privileges. */
  readonly uid?: number;
}

/** Starts a peer in a namespace. */
export async function startPeer(space: Netns, { ingress, mesh, uid }: PeerOptions = {}): Promise<NetnsPeer> {
  const program = fileURLToPath(new URL(mesh ? 'mesh-peer.mjs' : 'netns-peer.mjs', import.meta.url));
  const command = [process.execPath, ...(ingress || mesh ? ['--conditions=source', '--import', 'tsx'] : []), program];
  if (uid !== undefined) command.unshift('setpriv', `--reuid=${uid}`, '--clear-groups');
  const child = space.spawn(command[0] as string, command.slice(1), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const calls = new Map<number, (answer: { value?: unknown; error?: string }) => void>();
  let last = 0;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.on('message', (message: { id: number; value?: unknown; error?: string }) => {
    calls.get(message.id)?.(message);
    calls.delete(message.id);
  });
  child.once('exit', () => {
    for (const answer of calls.values()) answer({ error: 'the peer has ended' });
  });
  await new Promise<void>((resolve, reject) => {
    calls.set(0, ({ error }) => (error === undefined ? resolve() : reject(new Error(error))));
  });
  return {
    pid: child.pid ?? 0,
    call: <T>(verb: string, details: Record<string, unknown> = {}) =>
      new Promise<T>((resolve, reject) => {
        const id = ++last;
        calls.set(id, ({ value, error }) => (error === undefined ? resolve(value as T) : reject(new Error(error))));
        child.send({ ...details, id, verb });
      }),
    end: () => {
      child.kill('SIGKILL');
      return ended;
    },
  };
}

/** Resolves when the kernel has given a namespace its link-local address by itself, and the routes with it. Rejects after 10 s. */
export async function linkLocal(space: Netns): Promise<void> {
  const routes = () => space.run('ip', '-6', 'route', 'show', 'table', 'all', 'dev', 'eth0');
  const isThere = () => ['fe80::/64', 'local fe80', 'multicast ff00::/8'].every((one) => routes().includes(one));
  await eventually(`a link-local address in ${space.name}`, isThere, { timeoutMs: 10_000, hint: routes });
}

/** Deletes what runs that did not end in order left behind. */
export function sweepNetns(): void {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    const pid = new RegExp(`^${prefix}-(\\d+)-`).exec(name)?.[1];
    if (pid && !existsSync(`/proc/${pid}`)) deleteNamespace(name);
  }
}

function join(name: string, network: string, number: number, children: Set<ChildProcess>): Netns {
  const addr = `10.77.0.${number}`;
  makeNamespace(name);
  const port = `p${number}`;
  inside(network, 'ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
  inside(network, 'ip', 'link', 'set', port, 'master', 'br0', 'up');
  const addr6 = `fd77::${number}`;
  inside(name, 'ip', 'addr', 'add', `${addr}/24`, 'dev', 'eth0');
  inside(name, 'ip', 'addr', 'add', `${addr6}/64`, 'dev', 'eth0', 'nodad');
  inside(name, 'ip', 'link', 'set', 'eth0', 'up');
  return space(name, addr, addr6, children);
}

const containerBridge = 'ctr0';

function joinBridge(name: string, node: Netns, number: number, children: Set<ChildProcess>): Netns {
  const addr = `172.30.0.${number}`;
  makeNamespace(name);
  if (!node.run('ip', '-o', 'link').includes(`${containerBridge}:`)) {
    node.run('ip', 'link', 'add', containerBridge, 'type', 'bridge');
    node.run('ip', 'addr', 'add', '172.30.0.1/16', 'dev', containerBridge);
    node.run('ip', 'addr', 'add', 'fd30::1/64', 'dev', containerBridge, 'nodad');
    node.run('ip', 'link', 'set', containerBridge, 'up');
  }
  const port = `c${number}`;
  node.run('ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
  node.run('ip', 'link', 'set', port, 'master', containerBridge, 'up');
  const addr6 = `fd30::${number}`;
  inside(name, 'ip', 'addr', 'add', `${addr}/16`, 'dev', 'eth0');
  inside(name, 'ip', 'addr', 'add', `${addr6}/64`, 'dev', 'eth0', 'nodad');
  inside(name, 'ip', 'link', 'set', 'eth0', 'up');
  inside(name, 'ip', 'route', 'add', 'default', 'via', '172.30.0.1');
  inside(name, 'ip', 'route', 'add', 'default', 'via', 'fd30::1');
  return space(name, addr, addr6, children);
}

const space = (name: string, addr: string, addr6: string, children: Set<ChildProcess>): Netns => ({
  name,
  addr,
  addr6,
  run: (program, ...args) => inside(name, program, ...args),
  spawn(program, args, options = {}) {
    // Not `ip netns exec`, which mounts another /sys.
    const child = spawn('nsenter', [`--net=${folder}/${name}`, program, ...args], options);
    children.add(child);
    child.once('exit', () => children.delete(child));
    return child;
  },
});

function makeNamespace(name: string): void {
  command('ip', 'netns', 'add', name);
  inside(name, 'ip', 'link', 'set', 'lo', 'up');
  // A new namespace takes this over from the machine's, where another daemon may have set it.
  inside(name, 'sh', '-c', 'echo 0 > /proc/sys/net/ipv4/conf/all/route_localnet');
  // No second of looking for duplicates, after which an address and its routes appear amid a test.
  for (const which of ['all', 'default'])
    inside(name, 'sh', '-c', `echo 0 > /proc/sys/net/ipv6/conf/${which}/accept_dad`);
}

function deleteNamespace(name: string): void {
  if (existsSync(`${folder}/${name}`)) spawnSync('ip', ['netns', 'del', name]);
}

async function closeLab(names: readonly string[], children: Set<ChildProcess>): Promise<void> {
  const ends = [...children].map((child) => {
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    return child.exitCode === null && child.signalCode === null ? ended : undefined;
  });
  await Promise.all(ends);
  for (const name of names) deleteNamespace(name);
}

const inside = (name: string, program: string, ...args: string[]): string =>
  command('nsenter', `--net=${folder}/${name}`, program, ...args);

function command(program: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.trim() || `exit code ${status}`}`);
  return stdout;
}
