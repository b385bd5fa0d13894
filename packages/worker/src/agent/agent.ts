import { Bell, delay, messageOf } from '@swarmctl/shared/kit';
import type { NodeDescription } from '@swarmctl/shared/model';
import type { AgentMessage, ManagerMessage, StatusUpdate } from '@swarmctl/shared/wire';
import { LogServer } from '../logs/log-server.ts';
import { type PayloadSource, PayloadStore } from '../secrets/payload-store.ts';
import { Belief } from './belief.ts';
import { Connector } from './connector.ts';
import { Describer } from './describer.ts';
import { JournalKeeper, readJournal, writeJournal } from './journal.ts';
import { Routing, type RoutingStart } from './routing.ts';
import type { AgentSession } from './session.ts';
import { StatusReporter } from './status-reporter.ts';
import { TaskBoard } from './task-board.ts';
import type { AgentModules, AgentOptions } from './types.ts';

// The worker of a node: keeps the tasks that the managers gave it running, and the node routing, with or without a manager in reach. Before a
// manager has told a newly begun agent what it should run, it looks and starts or stops nothing.

type Update = Extract<ManagerMessage, { type: 'update' }>;

const defaults = { restartGraceMs: 30_000, describeEveryMs: 20_000, parallelPrepares: 8, parallelStarts: 3 };
const lookEveryMs = 30_000;
const goodbyeMs = 1_000;

export class Agent {
  readonly #options: Required<AgentOptions>;
  readonly #modules: AgentModules;
  readonly #instance: string;
  readonly #tasks: TaskBoard;
  readonly #statuses: StatusReporter;
  readonly #describer: Describer;
  readonly #logs: LogServer;
  readonly #payloads: PayloadStore;
  readonly #journal: JournalKeeper;
  readonly #belief = new Belief();
  readonly #acknowledged = new Bell();
  readonly #stopping = new AbortController();
  #restartGraceMs: number;
  #routing: Routing;
  #session: AgentSession | undefined;
  /** The session's first update has come. */
  #informed = false;
  /** That of any session has. */
  #everInformed = false;

  constructor(options: AgentOptions, modules: AgentModules) {
    this.#options = { ...defaults, ...options };
    this.#modules = modules;
    this.#instance = modules.newId();
    this.#restartGraceMs = this.#options.restartGraceMs;
    this.#payloads = modules.payloads ?? new PayloadStore();
    this.#routing = this.#routingFrom({ entries: [], revision: 0 });
    this.#statuses = new StatusReporter({
      clock: modules.clock,
      seen: (taskId, status) => this.#routing.seen(taskId, status),
      maySend: () => this.#informed,
      send: (batch) => this.#session?.send({ type: 'status', ...batch }),
    });
    this.#describer = this.#nodeDescriber();
    this.#tasks = this.#taskBoard();
    this.#journal = this.#journalKeeper();
    this.#logs = new LogServer({
      clock: modules.clock,
      send: (message) => this.#session?.send(message),
      lines: (taskId, options, signal) => this.#tasks.logs(taskId, options, signal),
    });
  }

  #taskBoard(): TaskBoard {
    return new TaskBoard(this.#options, {
      ...this.#modules,
      mayStart: () => this.#informed,
      mayStop: () => this.#everInformed,
      report: (taskId, status, passing) => this.#statuses.report(taskId, status, passing),
      gone: (taskId) => {
        this.#statuses.forget(taskId);
        this.#routing.forget(taskId);
        this.#journal.touch();
      },
      changed: () => this.#journal.touch(),
      troubled: () => this.#describer.ask(),
    });
  }

  #nodeDescriber(): Describer {
    const { hostname, addr, describeEveryMs } = this.#options;
    const { runtimes, hooks, clock, log } = this.#modules;
    return new Describer(
      { hostname, everyMs: describeEveryMs },
      {
        ...{ runtimes, extras: hooks ?? {}, clock, log },
        changed: (description) => {
          this.#session?.send({ type: 'describe', description, addr });
          // What failed while the engine was away need not wait any longer.
          if (description.RuntimeReady) this.#tasks.lookAround();
        },
      },
    );
  }

  #journalKeeper(): JournalKeeper {
    const { journalPath, nodeId } = this.#options;
    const { clock, log } = this.#modules;
    return new JournalKeeper({
      clock,
      log,
      write: (journal) => writeJournal(journalPath, journal),
      current: () => ({
        version: 1,
        nodeId,
        revision: this.#routing.wanted,
        tasks: this.#tasks.records,
        ingress: this.#routing.entries,
        ...(this.#routing.mesh && { mesh: this.#routing.mesh }),
        networks: this.#routing.networks,
      }),
    });
  }

  /** A manager has told this agent what to run, and is in touch. */
  get connected(): boolean {
    return this.#informed;
  }

  get tasks(): readonly StatusUpdate[] {
    return this.#tasks.statuses;
  }

  /**
   * Until the signal aborts, which leaves the tasks running and tells the managers that the node will be back, or the node is removed from
   * the cluster, which leaves them to `purge`.
   */
  async run(signal: AbortSignal): Promise<'stopped' | 'removed'> {
    const watching = new AbortController();
    const unfollow = this.#doubtTheSilent();
    try {
      await this.#restore();
      for (const runtime of this.#modules.runtimes.values()) {
        runtime.watch(({ taskId }) => this.#tasks.look(taskId), watching.signal);
      }
      await this.#describer.look();
      // Neither ends before the link does, but either may fail.
      const background = Promise.all([
        this.#every(lookEveryMs, watching.signal, () => this.#tasks.lookAround()),
        this.#describer.run(watching.signal),
      ]);
      const failed = background.then(() => new Promise<never>(() => undefined));
      const ending = AbortSignal.any([signal, this.#stopping.signal, watching.signal]);
      return await Promise.race([this.#connector().run(ending), failed]);
    } finally {
      watching.abort();
      unfollow();
      this.#routing.end();
      this.#tasks.end();
      this.#logs.clear();
      this.#statuses.end();
      await this.#journal.flush();
    }
  }

  /** Stops and removes every container of this node, for a node that has left. Only after `run` has ended. */
  async purge(): Promise<void> {
    await this.#tasks.purge();
    await this.#modules.networks?.apply(new Map()).catch((error: unknown) => {
      this.#modules.log.warn({ error: messageOf(error) }, 'overlay networks of this node are left behind');
    });
    this.#routeFrom({ entries: [], revision: 0 });
    this.#journal.touch();
    await this.#journal.flush();
  }

  /** Ends `run`, asking the managers to move nothing for `graceMs`; 0 asks for nothing. The tasks go on running. */
  stop(graceMs: number): void {
    this.#restartGraceMs = graceMs;
    this.#stopping.abort();
  }

  /** The secrets that this node was given. */
  get secrets(): PayloadSource {
    return this.#payloads;
  }

  /** What the node says of itself, once it has looked. */
  get description(): NodeDescription | undefined {
    return this.#describer.description;
  }

  /** What it says may have changed, e.g. the labels. */
  redescribe(): void {
    this.#describer.ask();
  }

  /** Asks the managers for a new certificate; it comes to the hook. False without a connection. */
  renew(csr: string): boolean {
    this.#session?.send({ type: 'renew', csr });
    return this.#session?.open ?? false;
  }

  // --- what the node knew before ---

  async #restore(): Promise<void> {
    const { journalPath, nodeId } = this.#options;
    const journal = await readJournal(journalPath, nodeId, this.#modules.log);
    if (!journal) return;
    const { ingress: entries, revision, mesh, networks } = journal;
    const statuses = journal.tasks.map(({ task, status }) => ({ taskId: task.ID, status }));
    this.#routeFrom({ entries, revision, statuses, ...(mesh && { mesh }), ...(networks && { networks }) });
    this.#routing.restore();
    for (const record of journal.tasks) this.#tasks.begin(record);
    this.#modules.log.info({ tasks: journal.tasks.length, revision: journal.revision }, 'journal read');
  }

  #routeFrom(start: RoutingStart): void {
    this.#routing.end();
    this.#routing = this.#routingFrom(start);
  }

  #routingFrom(start: RoutingStart): Routing {
    const { ingress, mesh, networks, clock, log } = this.#modules;
    const applied = (reached: number) => this.#session?.send({ type: 'applied', revision: reached });
    const parts = { ingress, ...(mesh && { mesh }), ...(networks && { networks }) };
    return new Routing(start, { ...parts, clock, log, applied });
  }

  // --- the link ---

  #connector(): Connector {
    const { hooks } = this.#modules;
    return new Connector({
      ...this.#modules,
      hello: () => this.#hello(),
      applied: () => this.#routing.applied,
      message: (message) => this.#message(message),
      opened: (session) => {
        this.#session = session;
      },
      closed: () => this.#closed(),
      managers: (managers) => hooks?.managers?.(managers),
      removed: (reason) => hooks?.removed?.(reason),
      goodbye: (session) => this.#goodbye(session),
    });
  }

  /** A host that the mesh hears no more may be that of the manager: long before the heartbeats tell. */
  #doubtTheSilent(): () => void {
    let known: ReadonlySet<string> = new Set();
    const unfollow = this.#modules.mesh?.onChange(({ gone = new Set() }) => {
      if ([...gone].some((nodeId) => !known.has(nodeId))) this.#session?.doubt();
      known = gone;
    });
    return unfollow ?? (() => undefined);
  }

  #closed(): boolean {
    const served = this.#informed;
    this.#session = undefined;
    this.#informed = false;
    this.#logs.clear();
    this.#modules.images?.end();
    return served;
  }

  #hello(): Extract<AgentMessage, { type: 'hello' }> {
    const { addr } = this.#options;
    const { description } = this.#describer;
    if (!description) throw new Error('not described yet');
    return {
      type: 'hello',
      protocol: 1,
      instance: this.#instance,
      addr,
      description,
      statuses: this.#tasks.statuses,
      revision: this.#routing.applied,
    };
  }

  #message(message: ManagerMessage): void {
    const { hooks, link, log } = this.#modules;
    switch (message.type) {
      case 'welcome':
        log.info({ session: message.session }, 'connected to a manager');
        hooks?.role?.(message.nodeRole);
        this.#modules.images?.begin(message.givesImages && ((request) => this.#session?.send(request)));
        break;
      case 'image-given':
        this.#modules.images?.given(message.taskId, message.problem);
        break;
      case 'update':
        this.#update(message);
        break;
      case 'payloads':
        this.#payloads.put(message.parts);
        break;
      case 'status-ack':
        this.#statuses.acknowledge(message.sequence);
        break;
      case 'managers':
        link.learned?.(message.managers, undefined);
        hooks?.managers?.(message.managers);
        break;
      case 'role':
        hooks?.role?.(message.role);
        break;
      case 'roots':
        hooks?.roots?.(message.ca, message.revision);
        break;
      case 'certificate':
        hooks?.certificate?.(message.certificate, message.ca);
        break;
      case 'engine-wanted':
        hooks?.engineWanted?.(message);
        break;
      case 'logs-subscribe':
        this.#logs.subscribe(message.subscription, message.taskIds, message.options);
        break;
      case 'logs-unsubscribe':
        this.#logs.unsubscribe(message.subscription);
        break;
      case 'logs-ack':
        this.#logs.acknowledge(message.subscription, message.count);
        break;
      case 'goodbye-ack':
        this.#acknowledged.ring();
        break;
      case 'error':
        log.warn({ code: message.code, reason: message.message }, 'the manager objects');
        break;
      case 'heartbeat-ack':
      case 'heartbeat-period':
      case 'redirect':
      case 'removed':
        break;
      default:
        message satisfies never;
    }
  }

  #update(update: Update): void {
    // Before the networks that go through them.
    if (update.tunnel) this.#modules.hooks?.tunnels?.(update.tunnel);
    if (update.full) {
      this.#checkBelief(update.revision);
      this.#routing.replace(update.ingress, update.revision, update.mesh, update.networks);
    } else {
      if (!this.#informed) throw new Error('a delta came before the whole');
      this.#routing.change(update.ingress, update.removedIngress, update.revision, update.mesh, {
        views: update.networks ?? [],
        removed: update.removedNetworks ?? [],
      });
    }
    this.#tasks.assign(update.tasks);
    this.#tasks.forget(update.removedTasks);
    if (update.full || update.payloads) this.#payloads.keepOnly(update.payloads ?? []);
    if (update.full) this.#wholeKnown(update);
    this.#journal.touch();
  }

  #wholeKnown(update: Update): void {
    this.#informed = true;
    this.#everInformed = true;
    this.#tasks.keepOnly(update.tasks);
    this.#tasks.nudge();
    this.#statuses.sendAgain();
  }

  #checkBelief(revision: number): void {
    const { clock, log } = this.#modules;
    const seen = this.#routing.wanted;
    const believed = this.#belief.in(revision, seen, clock.monotonic());
    if (believed === 'not yet')
      throw new Error(`the manager is behind: it is at ${revision}, this node has seen ${seen}`);
    if (believed === 'for want of better')
      log.warn({ revision, seen }, 'every manager is behind what this node has seen; following them');
  }

  /** The node will be back: its tasks stay. */
  async #goodbye(session: AgentSession): Promise<void> {
    this.#statuses.flush();
    if (this.#restartGraceMs > 0) {
      session.send({ type: 'goodbye', graceMs: this.#restartGraceMs });
      await this.#acknowledged.wait(this.#modules.clock, goodbyeMs);
    }
    session.close('stopped');
  }

  // --- time ---

  async #every(ms: number, signal: AbortSignal, act: () => void): Promise<void> {
    while (!signal.aborted) {
      await delay(this.#modules.clock, ms, signal).catch(() => undefined);
      if (!signal.aborted) act();
    }
  }
}
