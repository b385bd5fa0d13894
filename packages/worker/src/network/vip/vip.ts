import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { below, type Clock, ClusterError, type Logger, messageOf, type Random, type Timer } from '@swarmctl/shared/kit';
import type { NetworkView } from '@swarmctl/shared/wire';
import type { Vip } from '../types.ts';
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

/** Containers written at a time. */
const mostWriters = 4;
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
  readonly #waiting: (() => void)[] = [];
  #writers = 0;
  #views: ReadonlyMap<string, NetworkView> = new Map();
  #timer: Timer | undefined;
  #isClosed = false;
  #hasConntrack = true;

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
    container.work = container.work.then(() => this.#inTurn(() => this.#write(container)));
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

  /** One transaction, and what must be forgotten after it. Rejects when nft refused. */
  async #change(container: Container, old: Turns, turns: Turns): Promise<void> {
    const stale = staleFlows(old, turns);
    // One look costs less than many deletions of nothing.
    if (stale.length > fewFlows) await this.#replace(container, turns, changes(old, turns), old);
    else await withFile(changes(old, turns), (rules) => this.#sh(container, [load(rules), ...forget(stale)]));
  }

  /** Forgets whatever leads elsewhere than the rules do: also what an earlier daemon missed. */
  async #replace(container: Container, turns: Turns, text = replacement(turns), old: Turns = new Map()): Promise<void> {
    const flows = await withFile(text, (rules) => this.#sh(container, [load(rules), list]));
    const left = [...old.keys()].map((vip) => [vip, []] as const);
    const stale = strayFlows(flows, new Map([...left, ...turns]));
    if (stale.length > 0) await this.#sh(container, forget(stale));
  }

  /** What it prints; nothing when the container has ended. */
  async #sh(container: Container, lines: readonly string[]): Promise<string> {
    const result = await container.namespace.run('sh', '-c', [...lines, 'exit 0'].join('\n'));
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

  async #inTurn(work: () => Promise<void>): Promise<void> {
    if (this.#writers >= mostWriters) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#writers++;
    try {
      await work();
    } finally {
      // The place goes on to who waits, or is free.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#writers--;
    }
  }

  #sweepLater(): void {
    this.#timer = this.#modules.clock.after(
      sweepMs,
      () => {
        if (this.#isClosed) return;
        this.#sweepLater();
        void this.apply(this.#views);
      },
      { unref: true },
    );
  }
}

const kept = (old: readonly string[] | undefined, targets: readonly string[]): readonly string[] =>
  old && isSameSet(old, targets) ? old : targets;

async function withFile<T>(text: string, work: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmd-vip-'));
  try {
    const file = join(folder, 'rules.nft');
    await writeFile(file, text, { mode: 0o600 });
    return await work(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const load = (file: string): string => `nft -f '${file}' || exit`;

const list = 'conntrack -L; conntrack -L -f ipv6';

/** Nothing to forget is an error to conntrack, and none to us. */
const forget = (flows: readonly StaleFlow[]): string[] =>
  flows.map(({ protocol, vip, answering }) => {
    const family = vip.includes(':') ? 'ipv6' : 'ipv4';
    return `conntrack -D -f ${family} ${protocol ? `-p ${protocol} ` : ''}--orig-dst ${vip} --reply-src ${answering} >/dev/null`;
  });
