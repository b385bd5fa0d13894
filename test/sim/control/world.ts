import {
  below,
  ClusterError,
  ManualClock,
  type NewId,
  newIdFrom,
  type Random,
  seededRandom,
  settle,
  silentLogger,
} from '@swarmctl/shared/kit';
import {
  type Node,
  type Service,
  type StoreChange,
  type StoreEvent,
  type TaskStatus,
  toTimestamp,
} from '@swarmctl/shared/model';
import { standardControllers } from '../../../packages/manager/src/control/controllers.ts';
import { ControlLoop } from '../../../packages/manager/src/control/loop.ts';
import { scheduler } from '../../../packages/manager/src/scheduler/index.ts';
import { Store } from '../../../packages/manager/src/store/store.ts';
import { FakeAgent } from './fake-agent.ts';

// A cluster in one process: the real store, deciders and loop on a manual clock, with fake agents, a log that commits after a while, and
// leaders that change.

type ServiceSpec = Service['Spec'];

export class World {
  readonly clock = new ManualClock();
  readonly store = new Store();
  readonly random: Random;
  readonly newId: NewId;
  readonly agents = new Map<string, FakeAgent>();
  proposals = 0;
  /** Something else than expected; the first one counts. */
  failure: Error | undefined;
  readonly history: string[] = [];
  /** Chance that a proposal is answered `unavailable`, applied or not. */
  unavailability = 0;
  #index = 0;
  #term = 0;
  #leader: { abort: AbortController; done: Promise<void> } | undefined;
  #statuses: { agent: FakeAgent; taskId: string; status: TaskStatus }[] = [];
  #afterApply: ((world: World) => void)[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.newId = newIdFrom(seededRandom(seed + 1));
    this.store.watch((events: readonly StoreEvent[] | 'reset') => {
      if (events !== 'reset') this.#dispatch(events);
    });
  }

  onApply(check: (world: World) => void): void {
    this.#afterApply.push(check);
  }

  note(text: string): void {
    this.history.push(`${((this.clock.now() - 1_700_000_000_000) / 1000).toFixed(3)} ${text}`);
  }

  /** Lets time pass in steps, so that what is decided at the end of a step has its timers in the next. */
  async run(ms: number, stepMs = 50): Promise<void> {
    await settle();
    for (let left = ms; left > 0 && !this.failure; left -= stepMs) await this.clock.advance(Math.min(stepMs, left));
    if (this.failure) throw this.failure;
  }

  // The log.

  commit(changes: readonly StoreChange[]): void {
    const outcome = this.store.apply(++this.#index, { now: this.clock.now(), changes });
    if (!outcome.ok) throw new ClusterError(outcome.code, outcome.message);
    for (const check of this.#afterApply) check(this);
  }

  startLeader(): void {
    const term = ++this.#term;
    const abort = new AbortController();
    const loop = new ControlLoop(
      {
        controllers: standardControllers(
          scheduler(),
          () => '',
          () => '',
        ),
      },
      {
        store: this.store,
        proposer: { propose: (changes) => this.#propose(term, changes) },
        clock: this.clock,
        newId: this.newId,
        random: this.random,
        log: silentLogger,
      },
    );
    const done = loop.run(abort.signal).catch((error: Error) => {
      this.failure ??= error;
    });
    this.#leader = { abort, done };
  }

  async stopLeader(): Promise<void> {
    const leader = this.#leader;
    this.#leader = undefined;
    this.#term++;
    leader?.abort.abort();
    await this.clock.advance(20);
    await leader?.done;
  }

  async #propose(term: number, changes: readonly StoreChange[]): Promise<{ index: number }> {
    this.proposals++;
    const lost = this.random() < this.unavailability;
    const applied = !lost || this.random() < 0.5;
    const ms = 1 + below(this.random, 8);
    return new Promise((resolve, reject) => {
      if (lost) reject(new ClusterError('unavailable', 'proposal dropped'));
      this.clock.after(lost ? ms * 20 : ms, () => {
        // What an old leader proposed last may be committed or not, but never after its successor has started.
        if (term !== this.#term && (this.#leader || this.random() < 0.5)) {
          return reject(new ClusterError('no-leader', 'lost leadership'));
        }
        if (!applied) return;
        try {
          this.commit(changes);
          resolve({ index: this.#index });
        } catch (error) {
          if (!lost) reject(error);
        }
      });
    });
  }

  // The worker link.

  report(agent: FakeAgent, taskId: string, status: TaskStatus): void {
    this.#statuses.push({ agent, taskId, status });
    if (this.#statuses.length === 1) this.clock.after(10, () => this.#flushStatuses());
  }

  #flushStatuses(): void {
    if (!this.#leader) {
      this.clock.after(50, () => this.#flushStatuses());
      return;
    }
    const reports = this.#statuses.filter(({ agent }) => agent.connected);
    this.#statuses = [];
    const changes = reports.map(
      ({ taskId, status }): StoreChange => ({
        op: 'update',
        table: 'tasks',
        id: taskId,
        set: { Status: status },
        ifExists: true,
      }),
    );
    if (changes.length > 0) this.commit(changes);
  }

  #dispatch(events: readonly StoreEvent[]): void {
    for (const event of events) {
      if (event.table !== 'tasks') continue;
      const nodeId = (event.after ?? event.before)?.NodeID;
      const agent = nodeId === undefined ? undefined : this.agents.get(nodeId);
      if (!agent?.connected) continue;
      this.clock.after(1 + below(this.random, 5), () => {
        const task = this.store.view().get('tasks', event.id);
        if (!agent.connected) return;
        if (task) agent.look(task);
        else agent.forget(event.id);
      });
    }
  }

  // Nodes.

  addNode(id: string, labels: Record<string, string> = {}): void {
    this.agents.set(id, new FakeAgent(id, this, this.random));
    this.commit([
      {
        op: 'create',
        table: 'nodes',
        object: {
          ID: id,
          Spec: { Role: 'worker', Availability: 'active', Labels: labels },
          Description: {
            Hostname: id,
            Platform: { OS: 'linux', Architecture: 'x86_64' },
            Resources: { NanoCPUs: 4e9, MemoryBytes: 8 * 2 ** 30 },
            Engine: {},
            Runtimes: ['docker', 'process'],
            RuntimeReady: true,
          },
          Status: { State: 'ready', Addr: '127.0.0.1' },
        },
      },
    ]);
  }

  setNode(
    id: string,
    set: Partial<Pick<Node, 'Spec' | 'Status' | 'DownSince'>>,
    unset: readonly (keyof Node)[] = [],
  ): void {
    this.commit([{ op: 'update', table: 'nodes', id, set, unset, ifExists: true }]);
  }

  available(id: string, Availability: 'active' | 'pause' | 'drain'): void {
    const node = this.store.view().get('nodes', id);
    if (node) this.setNode(id, { Spec: { ...node.Spec, Availability } });
  }

  failNode(id: string, how: 'cut' | 'crash'): void {
    const agent = this.agents.get(id);
    if (!agent?.connected) return;
    if (how === 'cut') agent.cut();
    else agent.crash();
    this.clock.after(3_000, () => {
      const node = this.store.view().get('nodes', id);
      if (agent.connected || !node) return;
      this.setNode(id, { Status: { ...node.Status, State: 'down' }, DownSince: this.clock.now() });
    });
  }

  returnNode(id: string): void {
    const agent = this.agents.get(id);
    const node = this.store.view().get('nodes', id);
    if (!agent || agent.connected || !node) return;
    this.setNode(id, { Status: { ...node.Status, State: 'ready' } }, ['DownSince']);
    agent.reconnect();
  }

  // The API.

  createService(spec: ServiceSpec): string {
    const ID = this.newId();
    this.commit([
      {
        op: 'create',
        table: 'services',
        object: { ID, Spec: spec, SpecVersion: this.newId(), Endpoint: { Spec: {} } },
      },
    ]);
    return ID;
  }

  updateService(id: string, change: (spec: ServiceSpec) => ServiceSpec): void {
    const service = this.service(id);
    this.commit([
      {
        op: 'update',
        table: 'services',
        id,
        version: service.Version.Index,
        set: {
          Spec: change(service.Spec),
          SpecVersion: this.newId(),
          PreviousSpec: service.Spec,
          PreviousSpecVersion: service.SpecVersion,
        },
        unset: ['UpdateStatus'],
      },
    ]);
  }

  rollback(id: string): void {
    const service = this.service(id);
    if (!service.PreviousSpec) return;
    this.commit([
      {
        op: 'update',
        table: 'services',
        id,
        version: service.Version.Index,
        set: {
          Spec: service.PreviousSpec,
          SpecVersion: service.PreviousSpecVersion ?? this.newId(),
          PreviousSpec: service.Spec,
          PreviousSpecVersion: service.SpecVersion,
          UpdateStatus: {
            State: 'rollback_started',
            StartedAt: toTimestamp(this.clock.now()),
            Message: 'manually requested rollback',
          },
        },
      },
    ]);
  }

  removeService(id: string): void {
    this.commit([{ op: 'remove', table: 'services', id }]);
  }

  service(id: string): Service {
    const service = this.store.view().get('services', id);
    if (!service) throw new Error(`no service ${id}`);
    return service;
  }
}
