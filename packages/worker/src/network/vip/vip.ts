import { below, type Clock, ClusterError, type Logger, messageOf, type Random, type Timer } from '@swarmctl/shared/kit';
import { parseIp } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { runCommand } from '../command.ts';
import type { Vip } from '../types.ts';
import { NamespaceBatch } from './batch.ts';
import { isAsWritten, readListing } from './drift.ts';
import { ContainerNamespace } from './namespace.ts';
import {
  changes,
  isSameSet,
  replacement,
  type StaleFlow,
  servicesOf,
  staleFlows,
  strayFlows,
  type Turns,
  turnsOf,
} from './plan.ts';

// The virtual addresses of services, in the containers of this node. Each container has its own small table; a change writes what differs, into those
// that it concerns, a few at a time.

export interface VipModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: Random;
}

const sweepMs = 60_000;
/** To be forgotten one by one. */
const fewFlows = 4;

interface Container {
  readonly taskId: string;
  readonly networks: readonly string[];
  readonly namespace: ContainerNamespace;
  /** What it has; undefined: unknown, so that all of it is written. */
  turns: Turns | undefined;
  problem?: string | undefined;
  /** The latest write; one waits for the other. */
  work: Promise<void>;
}

export class ContainerVips implements Vip {
  readonly #modules: VipModules;
  readonly #containers = new Map<string, Container>();
  readonly #batch = new NamespaceBatch();
  #views: ReadonlyMap<string, NetworkView> = new Map();
  #timer: Timer | undefined;
  #isClosed = false;
  #hasConntrack = true;
  /** What a table says beside its services, as this nft lists it; undefined: unknown. */
  #fixed: Promise<string | undefined> | undefined;

  constructor(modules: VipModules) {
    this.#modules = modules;
    this.#sweepLater();
  }

  /** Rejects with ClusterError when the rules cannot be written. A container without networks, or gone already, needs none. */
  async started(taskId: string, pid: number, networks: readonly string[]): Promise<void> {
    this.ended(taskId);
    const namespace = networks.length > 0 ? await ContainerNamespace.of(pid) : undefined;
    if (!namespace) return;
    const container: Container = { taskId, networks, namespace, turns: undefined, work: Promise.resolve() };
    this.#containers.set(taskId, container);
    await this.#bring(container);
    if (container.problem !== undefined) throw new ClusterError('unavailable', container.problem);
  }

  /** Its rules went with it. */
  ended(taskId: string): void {
    this.#containers.delete(taskId);
  }

  /** Resolves when all containers have them; what could not be written is in `problems`, and tried again. */
  async apply(views: ReadonlyMap<string, NetworkView>): Promise<void> {
    this.#views = views;
    await Promise.all([...this.#containers.values()].map((container) => this.#bring(container)));
  }

  /** Compares all with what is, and repairs it. Runs by itself each minute. Never rejects. */
  async sweep(): Promise<void> {
    if (this.#containers.size === 0) return;
    this.#fixed ??= fixedPart();
    const fixed = await this.#fixed;
    if (fixed === undefined) this.#fixed = undefined;
    const all = [...this.#containers.values()];
    for (const container of all) container.work = container.work.then(() => this.#check(container, fixed));
    await Promise.all(all.map(({ work }) => work));
    await this.apply(this.#views);
  }

  problems(): readonly string[] {
    return [...this.#containers.values()].flatMap(({ taskId, problem }) =>
      problem === undefined ? [] : [`task ${taskId}: ${problem}`],
    );
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await Promise.all([...this.#containers.values()].map(({ work }) => work));
  }

  /** Brings a container to the latest views. Never rejects. */
  #bring(container: Container): Promise<void> {
    if (container.turns && !this.#differs(container)) return container.work;
    container.work = container.work.then(() => this.#write(container));
    return container.work;
  }

  #services(container: Container) {
    return servicesOf(container.networks.map((id) => this.#views.get(id)).filter((view) => view !== undefined));
  }

  #differs(container: Container): boolean {
    const { turns } = container;
    const services = this.#services(container);
    if (turns?.size !== services.size) return true;
    return [...services].some(([vip, targets]) => !isSameSet(turns.get(vip) ?? ['none'], targets));
  }

  async #write(container: Container): Promise<void> {
    if (this.#isClosed || this.#containers.get(container.taskId) !== container) return;
    // The write before it may have brought it there.
    if (container.turns && !this.#differs(container)) return;
    const services = this.#services(container);
    const old = container.turns;
    const fresh = turnsOf(services, (_, count) => below(this.#modules.random, count));
    // What stays goes on as it is.
    const turns = new Map([...fresh].map(([vip, targets]) => [vip, kept(old?.get(vip), targets)]));
    try {
      if (!old) await this.#replace(container, turns);
      else await this.#change(container, old, turns).catch(() => this.#replace(container, turns));
      container.turns = turns;
      container.problem = undefined;
    } catch (error) {
      container.turns = undefined;
      container.problem = `virtual addresses cannot be written: ${messageOf(error)}`;
      this.#modules.log.warn(
        { task: container.taskId, error: messageOf(error) },
        'virtual addresses cannot be written',
      );
    }
  }

  async #check(container: Container, fixed: string | undefined): Promise<void> {
    const { namespace, turns, taskId } = container;
    if (this.#isClosed || !turns) return;
    const result = await this.#batch.run({ namespace, script: listTable }).catch(() => undefined);
    if (!result) return;
    const listed = readListing(result.stdout);
    if (result.code === 0 && isAsWritten(listed, turns) && (fixed === undefined || listed.fixed === fixed)) return;
    this.#modules.log.warn({ task: taskId }, 'virtual addresses were changed by somebody else; they are written anew');
    container.turns = undefined;
  }

  /** One transaction, and what must be forgotten after it. Rejects when nft refused. */
  async #change(container: Container, old: Turns, turns: Turns): Promise<void> {
    const stale = staleFlows(old, turns);
    // One look costs less than many deletions of nothing.
    if (stale.length > fewFlows) await this.#replace(container, turns, changes(old, turns), old);
    else await this.#sh(container, [load, ...forget(stale)], changes(old, turns));
  }

  /** Forgets whatever leads elsewhere than the rules do: also what an earlier daemon missed. */
  async #replace(container: Container, turns: Turns, text = replacement(turns), old: Turns = new Map()): Promise<void> {
    const flows = await this.#sh(container, [load, list], text);
    const left = [...old.keys()].map((vip) => [vip, []] as const);
    const stale = strayFlows(flows, new Map([...left, ...turns]));
    if (stale.length > 0) await this.#sh(container, forget(stale));
  }

  /** What it prints; nothing when the container has ended. */
  async #sh(container: Container, lines: readonly string[], text = ''): Promise<string> {
    const { namespace } = container;
    const result = await this.#batch.run({ namespace, script: [...lines, 'exit 0'].join('\n'), text });
    if (!result) {
      if (this.#containers.get(container.taskId) === container) this.#containers.delete(container.taskId);
      return '';
    }
    if (result.code !== 0)
      throw new ClusterError('internal', `nft failed: ${result.stderr.trim().slice(0, 400) || `code ${result.code}`}`);
    if (/conntrack: .*not found/.test(result.stderr) && this.#hasConntrack) {
      this.#hasConntrack = false;
      this.#modules.log.warn('conntrack is not installed: UDP clients may go on talking to tasks that are gone');
    }
    return result.stdout;
  }

  #sweepLater(): void {
    this.#timer = this.#modules.clock.after(
      sweepMs,
      () => {
        if (this.#isClosed) return;
        this.#sweepLater();
        void this.sweep();
      },
      { unref: true },
    );
  }
}

const kept = (old: readonly string[] | undefined, targets: readonly string[]): readonly string[] =>
  old && isSameSet(old, targets) ? old : targets;

/** Of a table without services, made in a network of nobody; undefined when there can be none. */
async function fixedPart(): Promise<string | undefined> {
  const script = `printf '%s' "$1" | nft -f - && ${listTable}`;
  const result = await runCommand('unshare', ['--net', 'sh', '-c', script, 'sh', replacement(new Map())]).catch(
    () => undefined,
  );
  return result?.code === 0 ? readListing(result.stdout).fixed : undefined;
}

const load = 'nft -f "$1" || exit';
const listTable = 'nft list table inet swarmd_vip';

/** Where the kernel shows its flows, a look saves most of the work. */
const seen = 'seen() { [ ! -r /proc/self/net/nf_conntrack ] || grep -q "$1" /proc/self/net/nf_conntrack; }';
const list = `${seen}\nseen . || exit 0\nconntrack -L; conntrack -L -f ipv6`;

/** Nothing to forget is an error to conntrack, and none to us. */
const forget = (flows: readonly StaleFlow[]): string[] => [
  seen,
  ...flows.map(({ protocol, vip, answering }) => {
    const family = vip.includes(':') ? 'ipv6' : 'ipv4';
    return `seen 'dst=${expanded(vip)} ' && conntrack -D -f ${family} ${protocol ? `-p ${protocol} ` : ''}--orig-dst ${vip} --reply-src ${answering} >/dev/null`;
  }),
];

/** As the kernel writes it there: IPv6 with all its zeros. */
function expanded(addr: string): string {
  if (!addr.includes(':')) return addr;
  const digits = (parseIp(addr)?.value ?? 0n).toString(16).padStart(32, '0');
  return digits.match(/.{4}/g)?.join(':') ?? addr;
}
