import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import {
  ClusterError,
  FrameStream,
  ManualClock,
  newIdFrom,
  seededRandom,
  settle,
  silentLogger,
} from '@swarmctl/shared/kit';
import type { Node, StoreChange, Task } from '@swarmctl/shared/model';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import { Dispatcher, redirectDispatch } from '../../../packages/manager/src/dispatcher/index.ts';
import type { Store } from '../../../packages/manager/src/store/store.ts';
import { Agent, type AgentHooks, type Link } from '../../../packages/worker/src/agent/index.ts';
import type { TaskMounts } from '../../../packages/worker/src/secrets/index.ts';
import { aStore, builtAt, type StoreWords } from '../../kit/builders.ts';
import { connection } from '../../kit/duplex-pair.ts';
import { FakeIngress } from '../../kit/fake-ingress.ts';
import { FakeRuntime } from '../../kit/fake-runtime.ts';

// One leading dispatcher and agents around one store, in memory, on a clock that the test moves.

export class World {
  readonly clock = new ManualClock(builtAt);
  readonly store: Store;
  readonly random = seededRandom(7);
  readonly newId = newIdFrom(this.random);
  readonly proposals: (readonly StoreChange[])[] = [];
  readonly machines = new Map<string, Machine>();
  leader: { dispatcher: Dispatcher; abort: AbortController; done: Promise<void> } | undefined;
  /** Proposals wait while it is set. */
  stalled: Promise<void> | undefined;
  #index: number;

  constructor(words: StoreWords) {
    this.store = aStore(words);
    this.#index = this.store.index;
  }

  lead(): Dispatcher {
    this.depose();
    const { store, clock, newId } = this;
    const dispatcher = new Dispatcher(
      {},
      {
        store,
        clock,
        newId,
        log: silentLogger,
        proposer: { propose: (changes) => this.propose(changes) },
        renew: async (nodeId) => ({ certificate: `certificate of ${nodeId}`, ca: 'ca' }),
        managers: () => [{ nodeId: 'm1', addr: 'm1:2377' }],
        giveImage: async (nodeId, taskId) => {
          if (taskId === 'unknown') throw new Error(`${nodeId} cannot have it`);
        },
      },
    );
    const abort = new AbortController();
    const done = dispatcher.run(abort.signal);
    done.catch(() => undefined);
    this.leader = { dispatcher, abort, done };
    return dispatcher;
  }

  depose(): void {
    this.leader?.abort.abort();
    this.leader = undefined;
  }

  async propose(changes: readonly StoreChange[]): Promise<{ index: number }> {
    await this.stalled;
    this.proposals.push(changes);
    return this.write(changes);
  }

  /** As if another part of the manager had proposed it. */
  write(changes: readonly StoreChange[]): { index: number } {
    const outcome = this.store.apply(++this.#index, { now: this.clock.now(), changes });
    if (!outcome.ok) throw new ClusterError(outcome.code, outcome.message);
    return { index: outcome.index };
  }

  wish(taskId: string, DesiredState: Task['DesiredState']): { index: number } {
    return this.write([{ op: 'update', table: 'tasks', id: taskId, set: { DesiredState } }]);
  }

  task(id: string): Task {
    const task = this.store.view().get('tasks', id);
    if (!task) throw new Error(`no task ${id}`);
    return task;
  }

  node(id: string): Node {
    const node = this.store.view().get('nodes', id);
    if (!node) throw new Error(`no node ${id}`);
    return node;
  }

  /** Moves time on, a little at a time, until `condition` holds. */
  async until(condition: () => boolean, mostMs = 20_000): Promise<void> {
    const end = this.clock.now() + mostMs;
    for (;;) {
      await settle();
      if (condition()) return;
      if (this.clock.now() >= end) throw new Error(`not after ${mostMs} ms: ${condition.toString()}`);
      await this.clock.advance(5);
    }
  }

  /** What `promise` comes to, with time moving on. */
  async outcome<T>(promise: Promise<T> | undefined): Promise<T | undefined> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise?.then(done, done);
    await this.until(() => settled);
    return promise;
  }

  async machine(nodeId: string, hooks: AgentHooks = {}): Promise<Machine> {
    const folder = await mkdtemp(join(tmpdir(), 'link-'));
    const machine = new Machine(this, nodeId, folder, hooks);
    this.machines.set(nodeId, machine);
    return machine;
  }

  async end(): Promise<void> {
    for (const machine of this.machines.values()) {
      machine.kill();
      await machine.ended?.catch(() => undefined);
      await rm(machine.folder, { recursive: true, force: true });
    }
    this.depose();
  }

  /** The manager's end of a new stream of this node. */
  accept(nodeId: string, stream: Duplex): void {
    if (this.leader) this.leader.dispatcher.accept(nodeId, stream);
    else redirectDispatch(new FrameStream<AgentMessage, ManagerMessage>(stream), undefined, [], this.clock);
  }
}

/** What stays of a node when its daemon dies: containers and the disk. */
export class Machine {
  readonly nodeId: string;
  readonly runtime = new FakeRuntime();
  readonly folder: string;
  ingress = new FakeIngress();
  mounts: TaskMounts | undefined;
  agent: Agent | undefined;
  ended: Promise<'stopped' | 'removed'> | undefined;
  /** Addresses that accept connections; undefined: all do. */
  listening: Set<number> | undefined;
  cut = false;
  connects = 0;
  readonly #world: World;
  readonly #hooks: AgentHooks;
  #stop = new AbortController();
  #stream: Duplex | undefined;

  constructor(world: World, nodeId: string, folder: string, hooks: AgentHooks) {
    this.#world = world;
    this.nodeId = nodeId;
    this.folder = folder;
    this.#hooks = hooks;
  }

  get journalPath(): string {
    return join(this.folder, 'agent', 'tasks.json');
  }

  start(): this {
    const { clock, random, newId } = this.#world;
    this.#stop = new AbortController();
    this.ingress = new FakeIngress();
    const link: Link = {
      connect: async () => {
        if (this.cut) throw new Error('no way');
        this.connects++;
        const [near, far] = connection();
        this.#stream = near;
        this.#world.accept(this.nodeId, far);
        return new FrameStream<ManagerMessage, AgentMessage>(near);
      },
      learned: () => undefined,
    };
    this.agent = new Agent(
      { nodeId: this.nodeId, hostname: this.nodeId, addr: '127.0.0.1', journalPath: this.journalPath },
      {
        runtimes: new Map([['docker', this.runtime]]),
        ingress: this.ingress,
        ...(this.mounts && { mounts: this.mounts }),
        link,
        clock,
        random,
        newId,
        log: silentLogger,
        probe: async (_, port) => this.listening?.has(port) ?? true,
        hooks: this.#hooks,
      },
    );
    this.ended = this.agent.run(this.#stop.signal);
    this.ended.catch(() => undefined);
    return this;
  }

  /** Breaks the connection; it comes again unless the machine is cut off. */
  breakLink(): void {
    this.#stream?.destroy();
  }

  /** Nothing gets through any more, and nobody is told. */
  freeze(): void {
    this.cut = true;
    this.#stream?.cork();
    this.#stream?.removeAllListeners('data');
    this.#stream?.pause();
  }

  isolate(): void {
    this.cut = true;
    this.breakLink();
  }

  rejoin(): void {
    this.cut = false;
  }

  /** As kill -9 does: no goodbye. */
  kill(): void {
    this.cut = true;
    this.breakLink();
    this.#stop.abort();
  }

  stopCleanly(): void {
    this.#stop.abort();
  }
}
