import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tail } from '../kit/eventually.ts';
import type { Network } from './network.ts';
import { endAll, isAlive, type ProcessId, processes, processesIn, processId } from './processes.ts';
import { exitCode, run } from './run.ts';
import { folderOf, markOf, namespaceOf } from './state.ts';

// A machine of the lab: a named network namespace with an address on the bridge, and in it a first process with a pid namespace, a host name,
// mounts and a /run of its own. Whatever runs on the machine ends with that first process, at once, as when the power fails; the folder is its
// disk, which stays.

export interface ExecResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const bin = fileURLToPath(new URL('../../node_modules/.bin', import.meta.url));

// A copy of others' namespaces in /run/netns would keep them. What programs write to /etc and /opt (engines do) goes to the machine's disk. What is
// orphaned ends up as a child of this one.
const init = `
set -e
echo "$1" >/proc/sys/kernel/hostname
umount -R -l /run/netns 2>/dev/null || :
mount -t tmpfs -o mode=755 run /run
mkdir /run/lock
for dir in etc opt; do
  mkdir -p "$2/$dir" "$2/work/$dir"
  mount -t overlay -o "lowerdir=/$dir,upperdir=$2/$dir,workdir=$2/work/$dir" overlay "/$dir" || :
done
# An engine's own name among engines, which one that ran on this machine before may have left.
[ -e "$2/etc/docker/key.json" ] || rm -f /etc/docker/key.json
echo ready
exec >/dev/null 2>&1
while :; do sleep 86400 & wait $!; done
`;

const sysctls = {
  'net/ipv4/ip_forward': 1,
  'net/ipv6/conf/all/forwarding': 1,
  'net/ipv6/conf/all/disable_ipv6': 0,
  // A new namespace takes it over from the machine's, where another daemon may have set it.
  'net/ipv4/conf/all/route_localnet': 0,
};

export class Machine {
  readonly lab: string;
  readonly name: string;
  readonly netns: string;
  readonly addr: string;
  readonly addr6: string;
  readonly folder: string;
  readonly #number: number;
  readonly #network: Network;

  constructor(lab: string, name: string, number: number, network: Network) {
    this.lab = lab;
    this.name = name;
    this.#number = number;
    this.#network = network;
    this.netns = namespaceOf(lab, name);
    this.addr = `10.77.0.${number}`;
    this.addr6 = `fd77::${number.toString(16)}`;
    this.folder = join(folderOf(lab), name);
  }

  /** Variables of what runs on it. */
  get env(): NodeJS.ProcessEnv {
    return { DOCKER_HOST: undefined, SWARMD_HOST: undefined };
  }

  get isUp(): boolean {
    return this.first !== undefined;
  }

  /** Its first process; undefined when it is off. */
  get first(): ProcessId | undefined {
    if (!existsSync(this.#firstFile)) return undefined;
    const first = JSON.parse(readFileSync(this.#firstFile, 'utf8')) as ProcessId;
    return isAlive(first) ? first : undefined;
  }

  /** A new kernel, as it were: interfaces, rules, connections and /run are as at the first time. */
  async boot(): Promise<void> {
    if (this.isUp) throw new Error(`${this.name} is up`);
    mkdirSync(this.folder, { recursive: true });
    await this.off();
    await run('ip', ['netns', 'add', this.netns], markOf(this.lab));
    await this.#network.plug(this.name, this.netns, `02:77:00:00:00:${this.#number.toString(16).padStart(2, '0')}`);
    const settings = Object.entries(sysctls).map(([name, value]) => `echo ${value} >/proc/sys/${name}`);
    const script = `${settings.join('\n')}
      ip link set lo up
      ip addr add ${this.addr}/24 dev eth0
      ip addr add ${this.addr6}/64 dev eth0 nodad
      ip link set eth0 up`;
    await run('nsenter', [`--net=/run/netns/${this.netns}`, 'sh', '-ec', script], markOf(this.lab));
    await this.#startFirst();
  }

  /** As when the power fails: the others hear no more of it, then everything on it is killed. Idempotent. */
  async off(): Promise<void> {
    await this.#network.unplug(this.name);
    await endAll(() => processesIn([this.netns]));
    if (existsSync(`/run/netns/${this.netns}`)) await run('ip', ['netns', 'del', this.netns]);
  }

  /** How to run a program on it from outside. It is killed with the process that this starts. */
  command(program: string, args: readonly string[], cwd = process.cwd()): [string, string[]] {
    const first = this.first;
    if (!first) throw new Error(`${this.name} is off`);
    return [
      'nsenter',
      [
        `--net=/run/netns/${this.netns}`,
        ...[`--target=${first.pid}`, '--uts', '--mount', '--pid', 'setpriv', '--pdeathsig', 'KILL'],
        ...['sh', '-c', 'cd "$0" 2>/dev/null || cd /; exec "$@"', cwd, program, ...args],
      ],
    ];
  }

  spawn(program: string, args: readonly string[] = [], options: SpawnOptions = {}): ChildProcess {
    const path = `${bin}:${process.env['PATH']}`;
    const env = { ...process.env, ...options.env, ...this.env, ...markOf(this.lab), PATH: path };
    return spawn(...this.command(program, args), { ...options, env });
  }

  /** Runs a program on it to its end. */
  exec(program: string, ...args: string[]): Promise<ExecResult> {
    return new Promise((resolve, reject) => {
      const child = this.spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      let out = '';
      let err = '';
      child.stdout?.setEncoding('utf8').on('data', (chunk) => {
        out += chunk;
      });
      child.stderr?.setEncoding('utf8').on('data', (chunk) => {
        err += chunk;
      });
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ code: exitCode(code, signal), out, err }));
    });
  }

  async #startFirst(): Promise<void> {
    const log = join(this.folder, 'init.log');
    const errors = openSync(log, 'w');
    const child = spawn(
      'nsenter',
      [
        ...[`--net=/run/netns/${this.netns}`, 'unshare', '--uts', '--mount', '--pid', '--fork', '--mount-proc'],
        ...['--propagation=private', 'sh', '-c', init, 'init', this.name, join(this.folder, 'disk')],
      ],
      { stdio: ['ignore', 'pipe', errors], detached: true, cwd: '/', env: { ...process.env, ...markOf(this.lab) } },
    );
    closeSync(errors);
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once('data', () => resolve());
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`${this.name} does not boot:\n${tail(log)}`)));
    });
    child.stdout?.destroy();
    child.unref();
    const first = processes().find(({ parent }) => parent === child.pid);
    if (!first) throw new Error(`${this.name} ended:\n${tail(log)}`);
    writeFileSync(this.#firstFile, JSON.stringify(processId(first.pid)));
  }

  get #firstFile(): string {
    return join(this.folder, 'init.json');
  }
}
