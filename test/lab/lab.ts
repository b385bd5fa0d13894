import { spawnSync } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { inTime, realClock } from '@swarmctl/shared/kit';
import type { Node, Task } from '@swarmctl/shared/model';
import { eventually, tail } from '../kit/eventually.ts';
import { Host } from './host.ts';
import { Machine } from './machine.ts';
import { type Cut, Network } from './network.ts';
import { remove } from './remove.ts';
import { all } from './run.ts';
import { createState, defaultName, type LabOptions, type LabState, planOf, readState, writeState } from './state.ts';

// A lab: hosts on one bridge, each with its own engine and swarmd, formed into a cluster; and a client, which is on the bridge and is no host. A lab
// outlives the process that made it: `open` finds it again.

export type { LabOptions } from './state.ts';
export type ShownNode = Node & {
  readonly ManagerStatus?: { readonly Leader?: boolean; readonly Reachability: string };
};

/** Longer than an election takes on a busy machine. */
const electionMs = 15_000;

export interface HostStatus {
  readonly name: string;
  readonly role: 'manager' | 'worker';
  readonly addr: string;
  readonly addr6: string;
  readonly isUp: boolean;
  readonly dockerd: number | undefined;
  readonly swarmd: number | undefined;
  /** As the managers see it; undefined when none answers. */
  readonly node: string | undefined;
  readonly cutFrom: readonly string[];
}

const clientNumber = 254;

/** Why there can be no lab here; undefined when there can. `REQUIRE_DOCKER` makes it an error. */
export function noLab(...more: string[]): string | undefined {
  const tools = [...more, 'dockerd', 'ip', 'nft', 'iptables', 'nsenter', 'unshare', 'setpriv', 'busybox'];
  const missing = process.getuid?.() !== 0 ? 'root' : tools.find((name) => spawnSync('which', [name]).status !== 0);
  if (missing && process.env['REQUIRE_DOCKER']) throw new Error(`REQUIRE_DOCKER is set, but ${missing} is missing`);
  return missing;
}

export class Lab {
  readonly name: string;
  readonly hosts: readonly Host[];
  readonly client: Machine;
  readonly #state: LabState;
  readonly #network: Network;
  /** By node id, which a host keeps for as long as it is in the cluster: known also while no manager is up. */
  readonly #hostOfNode = new Map<string, Host>();

  private constructor(state: LabState) {
    this.#state = state;
    this.name = state.name;
    this.#network = new Network(state.name);
    this.hosts = Array.from({ length: state.nodes }, (_, i) => new Host(state.name, i + 1, this.#network, state.flags));
    this.client = new Machine(state.name, 'client', clientNumber, this.#network);
  }

  /** Makes one, and waits until all its nodes are ready. On an error nothing of it stays. */
  static async up(options: LabOptions = {}): Promise<Lab> {
    const state = planOf(options);
    createState(state);
    const lab = new Lab(state);
    try {
      await lab.#make();
      const { maker: _maker, ...made } = state;
      writeState(made);
      return lab;
    } catch (error) {
      const logs = lab.logTails();
      await remove(state.name);
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${logs}`, { cause: error });
    }
  }

  /** One that is up. */
  static open(name = defaultName): Lab {
    return new Lab(readState(name));
  }

  /** Removes every trace of a lab, whatever state it is in. True if there was any. */
  static remove(name = defaultName): Promise<boolean> {
    return remove(name);
  }

  get managers(): readonly Host[] {
    return this.hosts.slice(0, this.#state.managers);
  }

  get workers(): readonly Host[] {
    return this.hosts.slice(this.#state.managers);
  }

  host(number: number): Host {
    const host = this.hosts[number - 1];
    if (!host) throw new Error(`there is no host ${number}: they are 1 to ${this.hosts.length}`);
    return host;
  }

  /** A host by its number or name, or the client. */
  machine(id: number | string): Machine {
    if (id === 'client') return this.client;
    return this.host(Number(String(id).replace(/^node/, '')));
  }

  /** Cuts a machine from others (default: from all other hosts, but not from the client), both ways and without a word. */
  async partition(one: number | string, others?: readonly (number | string)[]): Promise<void> {
    const machine = this.machine(one);
    const from = others?.map((other) => this.machine(other)) ?? this.hosts;
    await this.#network.cut(
      machine.name,
      from.filter((other) => other !== machine).map(({ name }) => name),
    );
  }

  /** Undoes partitions: all, or those of one machine. */
  async heal(one?: number | string): Promise<void> {
    await this.#network.heal(one === undefined ? undefined : this.machine(one).name);
  }

  /** As when the power fails: its folder is all that stays. */
  async kill(number: number): Promise<void> {
    await this.host(number).off();
  }

  /** Brings a host back, or what does not run on it. */
  async start(number: number): Promise<void> {
    await this.host(number).start();
  }

  async down(): Promise<void> {
    await remove(this.name);
  }

  /** What the first manager that answers with a leader says; while there is none, for so long others are asked again. */
  async nodes(patienceMs = 0): Promise<ShownNode[]> {
    const end = performance.now() + patienceMs;
    const limit = { what: 'a list of nodes', ms: 2_000 };
    do {
      for (const { api, daemon } of this.managers) {
        if (daemon.pid === undefined) continue;
        const nodes = await inTime(realClock, limit, () => api.get<ShownNode[]>('/nodes')).catch(() => undefined);
        if (nodes) return nodes;
      }
      if (performance.now() < end) await sleep(100);
    } while (performance.now() < end);
    throw new Error('no manager answers');
  }

  async nodeOf(number: number): Promise<ShownNode | undefined> {
    const { name } = this.host(number);
    return (await this.nodes(electionMs)).find((node) => node.Description?.Hostname === name);
  }

  /** Runs `swarmctl` against the first manager; rejects when it fails. */
  ctl(...args: string[]): Promise<string> {
    return this.host(1).ctl(...args);
  }

  /** Those of a service that run and are to, in the order of their slots. */
  async tasksOf(service: string): Promise<Task[]> {
    const filters = JSON.stringify({ service: [service] });
    const tasks = await this.host(1).api.get<Task[]>('/tasks', { filters });
    return tasks
      .filter(({ Status, DesiredState }) => Status.State === 'running' && DesiredState === 'running')
      .sort((a, b) => (a.Slot ?? 0) - (b.Slot ?? 0));
  }

  /** Where a task is. */
  async hostOf({ ID, NodeID = '' }: Task): Promise<Host> {
    let host = this.#hostOfNode.get(NodeID);
    if (!host) {
      const node = (await this.nodes(electionMs)).find((one) => one.ID === NodeID);
      host = this.hosts.find(({ name }) => name === node?.Description?.Hostname);
    }
    if (!host) throw new Error(`task ${ID} is on no host of the lab`);
    this.#hostOfNode.set(NodeID, host);
    return host;
  }

  /** Runs a program in a task's container, wherever that is. `out`: all that it said. */
  async inside(task: Task, ...command: string[]): Promise<{ readonly code: number; readonly out: string }> {
    const { engine } = await this.hostOf(task);
    const container = engine.docker.getContainer(task.Status.ContainerStatus?.ContainerID ?? '');
    const exec = await container.exec({ Cmd: command, AttachStdout: true, AttachStderr: true });
    const stream = await exec.start({});
    const said = new PassThrough();
    engine.docker.modem.demuxStream(stream, said, said);
    stream.once('close', () => said.end());
    const out = await text(said);
    const { ExitCode } = await exec.inspect();
    return { code: ExitCode ?? -1, out };
  }

  async status(): Promise<HostStatus[]> {
    const [nodes, cuts] = await Promise.all([this.nodes().catch(() => []), this.#network.cuts()]);
    return this.hosts.map((host) => ({
      name: host.name,
      role: this.managers.includes(host) ? 'manager' : 'worker',
      addr: host.addr,
      addr6: host.addr6,
      isUp: host.isUp,
      dockerd: host.engine.pid,
      swarmd: host.daemon.pid,
      node: nodes.find((node) => node.Description?.Hostname === host.name)?.Status.State,
      cutFrom: cutFrom(host.name, cuts),
    }));
  }

  /** Polls until true; else fails with the daemons' last words. */
  async eventually(what: string, check: () => Promise<boolean> | boolean, timeoutMs = 30_000): Promise<void> {
    await eventually(what, check, { timeoutMs, hint: () => this.logTails() });
  }

  logTails(): string {
    return this.hosts.map(({ name, daemon }) => `--- swarmd of ${name}\n${tail(daemon.log)}`).join('\n');
  }

  async #make(): Promise<void> {
    await this.#network.make();
    await all([this.client, ...this.hosts].map((machine) => machine.boot()));
    await all(
      this.hosts.map(async ({ engine, daemon }) => {
        await engine.start();
        await all([engine.loadImages(), daemon.start()]);
      }),
    );
    await this.#form();
  }

  async #form(): Promise<void> {
    const first = this.host(1);
    const tokens = await first.daemon.init();
    // One after the other: each changes who must agree to the next.
    for (const { daemon } of this.managers.slice(1)) await daemon.join(first.addr, tokens.Manager);
    await all(this.workers.map(({ daemon }) => daemon.join(first.addr, tokens.Worker)));
    await this.eventually('all nodes are ready', async () => {
      const nodes = await this.nodes();
      const reachable = nodes.filter((node) => node.ManagerStatus?.Reachability === 'reachable');
      return (
        nodes.filter((node) => node.Status.State === 'ready').length === this.hosts.length &&
        reachable.length === this.managers.length
      );
    });
  }
}

const cutFrom = (name: string, cuts: readonly Cut[]) =>
  cuts.filter((cut) => cut.includes(name)).map(([a, b]) => (a === name ? b : a));
