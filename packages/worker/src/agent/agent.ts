import { setMaxListeners } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { Bell, delay, messageOf, type Timer } from '@swarmctl/shared/kit';
import { type NodeDescription, runtimeOf, type Task, type TaskStatus } from '@swarmctl/shared/model';
import type { ManagerMessage, StatusUpdate } from '@swarmctl/shared/wire';
import { LogServer } from '../logs/log-server.ts';
import type { Runtime } from '../runtime/types.ts';
import { describeNode } from './describe.ts';
import { JournalKeeper, readJournal, writeJournal } from './journal.ts';
import { Outbox } from './outbox.ts';
import { connectProbe } from './probe.ts';
import { Routing } from './routing.ts';
import { AgentSession, type SessionEnd } from './session.ts';
import { Slots } from './slots.ts';
import { type TaskRecord, TaskRunner } from './task-runner.ts';
import type { AgentModules, AgentOptions } from './types.ts';

// The worker of a node: keeps the tasks that the managers gave it running, and the node routing, with or without a manager in reach. Before a
// manager has told a newly begun agent what it should run, it looks and starts or stops nothing.

type Update = Extract<ManagerMessage, { type: 'update' }>;

const statusGatherMs = 2;
const lookEveryMs = 30_000;
const firstBackoffMs = 100;
const mostBackoffMs = 8_000;
const goodbyeMs = 1_000;
/** Redirects in a row that are followed at once. */
const quickRedirects = 3;
/** A manager that knows less than this node has seen is not believed for so long: it may have been cut off from the others. */
const disbeliefMs = 15_000;

export class Agent {
  readonly #options: Required<AgentOptions>;
  readonly #modules: AgentModules;
  readonly #instance: string;
  readonly #runners = new Map<string, TaskRunner>();
  readonly #outbox = new Outbox();
  /** Apart, so that slow pulls keep nothing from starting. */
  readonly #slots: { readonly prepare: Slots; readonly start: Slots };
  readonly #logs: LogServer;
  readonly #journal: JournalKeeper;
  readonly #acknowledged = new Bell();
  readonly #describeBell = new Bell();
  readonly #stopping = new AbortController();
  #restartGraceMs: number;
  /** Runners end with it. */
  readonly #end = new AbortController();
  #routing: Routing;
  #description: NodeDescription | undefined;
  #session: AgentSession | undefined;
  /** The session's first update has come. */
  #informed = false;
  /** That of any session has. */
  #everInformed = false;
  /** Containers of no known task may be there. */
  #strayed = false;
  #disbelievedSince: number | undefined;
  #statusTimer: Timer | undefined;
  #said = false;

  constructor(options: AgentOptions, modules: AgentModules) {
    this.#options = { restartGraceMs: 30_000, describeEveryMs: 20_000, parallel: 8, ...options };
    this.#modules = modules;
    this.#instance = modules.newId();
    // One listener a task.
    setMaxListeners(0, this.#end.signal);
    const { parallel, restartGraceMs } = this.#options;
    this.#restartGraceMs = restartGraceMs;
    this.#slots = { prepare: new Slots(parallel), start: new Slots(parallel) };
    this.#routing = this.#routingFrom([], 0);
    const { clock, log } = modules;
    this.#logs = new LogServer({
      clock,
      send: (message) => this.#session?.send(message),
      source: (taskId, follow, signal) => this.#logSource(taskId, follow, signal),
    });
    this.#journal = new JournalKeeper({
      clock,
      log,
      write: (journal) => writeJournal(this.#options.journalPath, journal),
      current: () => ({
        version: 1,
        nodeId: this.#options.nodeId,
        revision: this.#routing.wanted,
        tasks: [...this.#runners.values()].filter((runner) => !runner.removed).map((runner) => runner.record),
        ingress: this.#routing.entries,
      }),
    });
  }

  /** A manager has told this agent what to run, and is in touch. */
  get connected(): boolean {
    return this.#informed;
  }

  get tasks(): readonly StatusUpdate[] {
    return [...this.#runners].map(([taskId, runner]) => ({ taskId, status: runner.status }));
  }

  /**
   * Until the signal aborts, which leaves the tasks running and tells the managers that the node will be back, or the node is removed from
   * the cluster, which leaves them to `purge`.
   */
  async run(signal: AbortSignal): Promise<'stopped' | 'removed'> {
    const watching = new AbortController();
    try {
      await this.#restore();
      for (const runtime of this.#modules.runtimes.values()) {
        runtime.watch(({ taskId }) => this.#runners.get(taskId)?.look(), watching.signal);
      }
      await this.#describe();
      void this.#every(lookEveryMs, watching.signal, () => this.#lookAround());
      void this.#describes(watching.signal);
      return await this.#connections(AbortSignal.any([signal, this.#stopping.signal]));
    } finally {
      watching.abort();
      this.#end.abort();
      this.#logs.clear();
      this.#statusTimer?.cancel();
      await this.#journal.flush();
    }
  }

  /** Stops and removes every container of this node, for a node that has left. Only after `run` has ended. */
  async purge(): Promise<void> {
    const { log, runtimes } = this.#modules;
    for (const runtime of runtimes.values()) {
      const left = await runtime.list();
      await Promise.all(left.map(({ taskId }) => this.#removeStray(runtime, taskId)));
      log.info({ runtime: runtime.name, containers: left.length }, 'containers removed');
    }
    this.#runners.clear();
    this.#routing = this.#routingFrom([], 0);
    this.#journal.touch();
    await this.#journal.flush();
  }

  /** Ends `run`, asking the managers to move nothing for `graceMs`; 0 asks for nothing. The tasks go on running. */
  stop(graceMs: number): void {
    this.#restartGraceMs = graceMs;
    this.#stopping.abort();
  }

  /** What the node says of itself, once it has looked. */
  get description(): NodeDescription | undefined {
    return this.#description;
  }

  /** What it says may have changed, e.g. the labels. */
  redescribe(): void {
    this.#describeBell.ring();
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
    this.#routing = this.#routingFrom(journal.ingress, journal.revision);
    this.#routing.restore();
    for (const record of journal.tasks) this.#begin(record);
    this.#modules.log.info({ tasks: journal.tasks.length, revision: journal.revision }, 'journal read');
  }

  #routingFrom(entries: ConstructorParameters<typeof Routing>[0]['entries'], revision: number): Routing {
    const { ingress, clock, log } = this.#modules;
    const applied = (reached: number) => this.#session?.send({ type: 'applied', revision: reached });
    return new Routing({ entries, revision }, { ingress, clock, log, applied });
  }

  // --- tasks ---

  #begin(record: TaskRecord): TaskRunner {
    const { clock, log, runtimes, probe } = this.#modules;
    const taskId = record.task.ID;
    const runner = new TaskRunner(
      record,
      {
        runtime: runtimes.get(runtimeOf(record.task.ServiceAnnotations.Labels)),
        clock,
        log,
        slots: this.#slots,
        probe: probe ?? connectProbe,
        mayStart: () => this.#informed,
        mayStop: () => this.#everInformed,
        report: (id, status) => this.#report(id, status),
        changed: () => this.#journal.touch(),
        troubled: () => this.#describeBell.ring(),
      },
      this.#end.signal,
    );
    this.#runners.set(taskId, runner);
    void runner.done.then(() => {
      if (this.#end.signal.aborted) return;
      this.#runners.delete(taskId);
      this.#outbox.forget(taskId);
      this.#journal.touch();
    });
    return runner;
  }

  #report(taskId: string, status: TaskStatus): void {
    this.#outbox.put(taskId, status);
    this.#statusTimer ??= this.#modules.clock.after(statusGatherMs, () => {
      this.#statusTimer = undefined;
      this.#sendStatuses();
    });
  }

  #sendStatuses(): void {
    if (!this.#informed) return;
    const batch = this.#outbox.take();
    if (batch) this.#session?.send({ type: 'status', ...batch });
  }

  #assign(task: Task): void {
    const runner = this.#runners.get(task.ID);
    if (runner && !runner.removed) runner.assign(task);
    else if (!runner) this.#begin({ task, status: task.Status });
  }

  #lookAround(): void {
    for (const runner of this.#runners.values()) runner.look();
    if (this.#strayed) void this.#removeStrays();
  }

  /** Containers of tasks that the managers do not know. */
  async #removeStrays(): Promise<void> {
    this.#strayed = false;
    for (const runtime of this.#modules.runtimes.values()) {
      try {
        const strays = (await runtime.list()).filter(({ taskId }) => !this.#runners.has(taskId));
        await Promise.all(strays.map(({ taskId }) => this.#removeStray(runtime, taskId)));
      } catch (error) {
        this.#strayed = true;
        this.#modules.log.warn({ runtime: runtime.name, error: messageOf(error) }, 'cannot look for strays');
      }
    }
  }

  async #removeStray(runtime: Runtime, taskId: string): Promise<void> {
    this.#modules.log.info({ task: taskId }, 'removing the container of a task that is not known');
    await runtime.remove(taskId);
  }

  /** For logs: a task whose container is still to come is waited for when its log is followed. */
  async #logSource(taskId: string, follow: boolean, signal: AbortSignal): Promise<Runtime | undefined> {
    const { clock, runtimes } = this.#modules;
    for (;;) {
      const runner = this.#runners.get(taskId);
      if (!runner || signal.aborted) return undefined;
      if (runner.container) return runtimes.get(runtimeOf(runner.task.ServiceAnnotations.Labels));
      if (!follow) return undefined;
      await delay(clock, 250, signal).catch(() => undefined);
    }
  }

  // --- the link ---

  async #connections(signal: AbortSignal): Promise<'stopped' | 'removed'> {
    const { link, clock, random, log, hooks } = this.#modules;
    let failures = 0;
    let redirects = 0;
    while (!signal.aborted) {
      const end = await this.#connection(signal);
      if (signal.aborted) break;
      if (end.kind !== 'closed' || this.#said) failures = 0;
      if (this.#said) redirects = 0;
      this.#said = false;
      if (end.kind === 'closed') log.info({ reason: end.reason }, 'no manager');
      else if (end.kind === 'removed') {
        hooks?.removed?.(end.reason);
        return 'removed';
      } else {
        link.learned?.(end.managers, end.leader);
        if (end.managers.length > 0) hooks?.managers?.(end.managers);
        if (end.leader && redirects++ < quickRedirects) continue;
      }
      const ms = Math.min(mostBackoffMs, firstBackoffMs * 2 ** Math.min(failures++, 10));
      await delay(clock, ms * (0.5 + random() / 2), signal).catch(() => undefined);
    }
    return 'stopped';
  }

  async #connection(signal: AbortSignal): Promise<SessionOutcome> {
    const { link, clock } = this.#modules;
    try {
      const stream = await link.connect(signal);
      const session = new AgentSession(stream, this.#hello(), {
        clock,
        applied: () => this.#routing.applied,
        message: (message) => this.#message(message),
      });
      this.#session = session;
      const onAbort = () => void this.#goodbye(session);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
      const end = await session.ended;
      signal.removeEventListener('abort', onAbort);
      return outcomeOf(end);
    } catch (error) {
      return { kind: 'closed', reason: messageOf(error) };
    } finally {
      this.#session = undefined;
      this.#informed = false;
      this.#logs.clear();
    }
  }

  #hello() {
    const { addr } = this.#options;
    const description = this.#description;
    if (!description) throw new Error('not described yet');
    const statuses = this.tasks;
    return {
      type: 'hello',
      protocol: 1,
      instance: this.#instance,
      addr,
      description,
      statuses,
      revision: this.#routing.applied,
    } as const;
  }

  #message(message: ManagerMessage): void {
    const { hooks, link, log } = this.#modules;
    switch (message.type) {
      case 'welcome':
        log.info({ session: message.session }, 'connected to a manager');
        hooks?.role?.(message.nodeRole);
        break;
      case 'update':
        this.#update(message);
        break;
      case 'status-ack':
        this.#outbox.acknowledge(message.sequence);
        break;
      case 'managers':
        link.learned?.(message.managers, undefined);
        hooks?.managers?.(message.managers);
        break;
      case 'role':
        hooks?.role?.(message.role);
        break;
      case 'certificate':
        hooks?.certificate?.(message.certificate, message.ca);
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
      case 'redirect':
      case 'removed':
        break;
      default:
        message satisfies never;
    }
  }

  #update(update: Update): void {
    if (update.full) this.#checkBelief(update.revision);
    else if (!this.#informed) throw new Error('a delta came before the whole');
    if (update.full) this.#routing.replace(update.ingress, update.revision);
    else this.#routing.change(update.ingress, update.removedIngress, update.revision);
    for (const task of update.tasks) this.#assign(task);
    for (const taskId of update.removedTasks) this.#runners.get(taskId)?.forget();
    if (update.full) this.#wholeKnown(update);
    this.#journal.touch();
  }

  #wholeKnown(update: Update): void {
    const known = new Set(update.tasks.map(({ ID }) => ID));
    for (const [taskId, runner] of this.#runners) if (!known.has(taskId)) runner.forget();
    this.#informed = true;
    this.#everInformed = true;
    this.#said = true;
    this.#outbox.rewind();
    this.#sendStatuses();
    for (const runner of this.#runners.values()) runner.nudge();
    void this.#removeStrays();
  }

  /** A leader that lost its followers does not know it at once; what it says is older than what this node has seen. */
  #checkBelief(revision: number): void {
    const { clock, log } = this.#modules;
    if (revision >= this.#routing.wanted) {
      this.#disbelievedSince = undefined;
      return;
    }
    this.#disbelievedSince ??= clock.monotonic();
    const age = { revision, seen: this.#routing.wanted };
    if (clock.monotonic() - this.#disbelievedSince < disbeliefMs) {
      throw new Error(`the manager is behind: it is at ${age.revision}, this node has seen ${age.seen}`);
    }
    log.warn(age, 'every manager is behind what this node has seen; following them');
    this.#disbelievedSince = undefined;
  }

  /** The node will be back: its tasks stay. */
  async #goodbye(session: AgentSession): Promise<void> {
    this.#sendStatuses();
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

  async #describes(signal: AbortSignal): Promise<void> {
    const stop = () => this.#describeBell.ring();
    signal.addEventListener('abort', stop);
    while (!signal.aborted) {
      const asked = await this.#describeBell.wait(this.#modules.clock, this.#options.describeEveryMs);
      if (signal.aborted) return;
      await this.#describe();
      // Trouble comes in swarms.
      if (asked) await delay(this.#modules.clock, firstBackoffMs * 10, signal).catch(() => undefined);
    }
  }

  async #describe(): Promise<void> {
    const { runtimes, hooks, log } = this.#modules;
    const { hostname, addr } = this.#options;
    const { description, reasons } = await describeNode(runtimes, hostname, hooks ?? {});
    if (isDeepStrictEqual(description, this.#description)) return;
    if (this.#description?.RuntimeReady !== description.RuntimeReady) {
      if (description.RuntimeReady) log.info({ runtimes: description.Runtimes }, 'runtime ready');
      else log.warn({ reasons }, 'runtime not ready');
    }
    this.#description = description;
    this.#session?.send({ type: 'describe', description, addr });
    // What failed while the engine was away need not wait any longer.
    if (description.RuntimeReady) this.#lookAround();
  }
}

type SessionOutcome =
  | { readonly kind: 'closed'; readonly reason: string }
  | { readonly kind: 'removed'; readonly reason: string }
  | { readonly kind: 'redirect'; readonly managers: Redirect['managers']; readonly leader?: Redirect['leader'] };
type Redirect = Extract<ManagerMessage, { type: 'redirect' }>;

function outcomeOf(end: SessionEnd): SessionOutcome {
  if ('kind' in end) return end;
  return end.type === 'removed' ? { kind: 'removed', reason: end.reason } : { ...end, kind: 'redirect' };
}
