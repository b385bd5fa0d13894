import { isDeepStrictEqual } from 'node:util';
import { Bell, type Clock, type Logger, messageOf } from '@swarmctl/shared/kit';
import {
  isAfter,
  isTerminal,
  stopGraceMsOf,
  type Task,
  type TaskStatus,
  toTimestamp,
  wantsLife,
} from '@swarmctl/shared/model';
import type { LogHistory } from '../logs/log-history.ts';
import { networkIdsOf, type TaskNetworks } from '../network/node-networks.ts';
import { type ContainerState, type Runtime, RuntimeError } from '../runtime/types.ts';
import type { TaskMounts } from '../secrets/task-mounts.ts';
import { type DrainTime, drainConnections } from './drain.ts';
import { ContainerProbe, type Probe } from './probe.ts';
import type { Slots } from './slots.ts';
import { type Action, type Report, refused, step } from './step.ts';

// Walks one task through its life: looks, decides by `step`, does, and looks again. One thing at a time for a task; tasks do not wait for
// each other.

/** What outlives the daemon. */
export interface TaskRecord {
  readonly task: Task;
  readonly status: TaskStatus;
  readonly failure?: string;
}

export interface RunnerModules {
  /** Undefined when this node has none of the name that the task asks for. */
  readonly runtime: Runtime | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly slots: { readonly prepare: Slots; readonly start: Slots };
  readonly probe: Probe;
  readonly networks?: TaskNetworks | undefined;
  readonly mounts?: TaskMounts | undefined;
  readonly history?: Pick<LogHistory, 'keep'> | undefined;
  readonly mayStart: () => boolean;
  readonly mayStop: () => boolean;
  /** `passing`: a step on the way that nobody waits for. */
  readonly report: (taskId: string, status: TaskStatus, passing: boolean) => void;
  /** The record has changed. */
  readonly changed: () => void;
  /** The engine did not answer. */
  readonly troubled: () => void;
}

const firstRetryMs = 500;
const mostRetryMs = 8_000;
const lookAgainMs = 500;

export class TaskRunner {
  /** Resolves when nothing is left of a forgotten task, or the signal has aborted. */
  readonly done: Promise<void>;
  readonly #modules: RunnerModules;
  readonly #signal: AbortSignal;
  readonly #bell = new Bell();
  #task: Task;
  #status: TaskStatus;
  #failure: string | undefined;
  #removed = false;
  #drained = false;
  #container: ContainerState | undefined;
  /** What is known of the container may be out of date. */
  #stale: boolean;
  #failures = 0;
  readonly #probe: ContainerProbe;
  #preparing: AbortController | undefined;
  /** The container that is on the task's networks. */
  #joined: string | undefined;
  /** The end of its log is copied, or was. */
  #logKept: Promise<void> | undefined;

  /** `fresh`: the task is new here, so there is no container to look for; should there be one, preparing finds it. */
  constructor(record: TaskRecord, modules: RunnerModules, signal: AbortSignal, fresh = false) {
    this.#stale = !fresh;
    this.#task = record.task;
    this.#status = isAfter(record.task.Status.State, record.status.State) ? record.task.Status : record.status;
    this.#failure = record.failure;
    this.#modules = modules;
    this.#signal = signal;
    this.#probe = new ContainerProbe(modules, signal);
    this.done = this.#run();
  }

  get record(): TaskRecord {
    const failure = this.#failure;
    return { task: this.#task, status: this.#status, ...(failure !== undefined && { failure }) };
  }

  get task(): Task {
    return this.#task;
  }

  get status(): TaskStatus {
    return this.#status;
  }

  get container(): ContainerState | undefined {
    return this.#container;
  }

  get removed(): boolean {
    return this.#removed;
  }

  assign(task: Task): void {
    this.#task = task;
    if (isAfter(task.Status.State, this.#status.State)) this.#status = task.Status;
    this.#wishChanged();
  }

  /** The managers have forgotten the task: nothing of it stays. */
  forget(): void {
    this.#removed = true;
    this.#wishChanged();
  }

  /** Something may have happened to the container. */
  look(): void {
    this.#stale = true;
    this.#bell.ring();
  }

  /** What may be done has changed. */
  nudge(): void {
    this.#bell.ring();
  }

  #wishChanged(): void {
    if (this.#removed || !wantsLife(this.#task.DesiredState)) this.#preparing?.abort();
    this.#bell.ring();
  }

  async #run(): Promise<void> {
    const stop = () => this.#bell.ring();
    this.#signal.addEventListener('abort', stop);
    try {
      while (!this.#signal.aborted) {
        if (!(await this.#turn())) return;
      }
    } finally {
      this.#signal.removeEventListener('abort', stop);
      this.#probe.stop();
    }
  }

  /** False when the task is forgotten and gone. */
  async #turn(): Promise<boolean> {
    try {
      await this.#lookAt();
      await this.#followContainer();
      const action = this.#next();
      if (action.kind === 'forget') {
        // Attached, and no container came of it.
        this.#modules.networks?.left(this.#task.ID);
        await this.#modules.mounts?.drop(this.#task.ID);
        return false;
      }
      await this.#perform(action);
    } catch (error) {
      if (this.#signal.aborted) return true;
      await this.#troubled(error);
    }
    return true;
  }

  async #lookAt(): Promise<void> {
    if (!this.#stale) return;
    this.#stale = false;
    try {
      this.#container = await this.#modules.runtime?.inspect(this.#task.ID);
      this.#keepLog();
    } catch (error) {
      this.#stale = true;
      throw error;
    }
  }

  /** As soon as it has ended, since others may remove the container; nothing waits for that but the removal. */
  #keepLog(): void {
    const { runtime, history } = this.#modules;
    if (runtime && this.#container?.phase === 'exited') this.#logKept ??= history?.keep(this.#task.ID, runtime);
  }

  /** Its names and virtual addresses come and go with the running container. */
  async #followContainer(): Promise<void> {
    const { networks } = this.#modules;
    const running = this.#container?.phase === 'running' ? this.#container : undefined;
    if (!networks || running?.containerId === this.#joined) return;
    if (running && networkIdsOf(this.#task).length === 0) return;
    if (running) await this.#join(networks, running);
    else networks.left(this.#task.ID);
    this.#joined = running?.containerId;
  }

  async #join(networks: TaskNetworks, { pid }: ContainerState): Promise<void> {
    try {
      await networks.joined(this.#task, pid);
    } catch (error) {
      // It may have ended meanwhile: what happened is seen by looking.
      this.#stale = true;
      throw new RuntimeError(messageOf(error), { cause: error });
    }
  }

  #next(): Action {
    return step({
      task: this.#task,
      status: this.#status,
      container: this.#container,
      removed: this.#removed,
      mayStart: this.#modules.mayStart(),
      mayStop: this.#modules.mayStop(),
      reachable: this.#probe.isReachable(this.#container?.containerId),
      drained: this.#drained,
      ...(this.#failure !== undefined && { failure: this.#failure }),
    });
  }

  async #perform(action: Action): Promise<void> {
    const { runtime, clock } = this.#modules;
    const { ID } = this.#task;
    switch (action.kind) {
      case 'report':
        return this.#report(action.status);
      case 'give-up':
        this.#failure = action.failure;
        return this.#modules.changed();
      case 'prepare':
        return this.#prepare();
      case 'start':
        return this.#inSlot('start', async (there) => {
          this.#container = await there.start(this.#task);
        });
      case 'drain':
        this.#probe.stop();
        if (runtime) await drainConnections(this.#task, { runtime, clock }, this.#signal, this.#drainTime());
        this.#drained = true;
        return undefined;
      case 'stop':
        this.#probe.stop();
        await runtime?.stop(this.#task, stopGraceMsOf(this.#task.Spec));
        return this.#done({ stale: true });
      case 'remove':
        await this.#logKept;
        // Once more, should it not have come in time.
        if (runtime && this.#container?.phase === 'exited') await this.#modules.history?.keep(ID, runtime);
        await runtime?.remove(ID);
        this.#container = undefined;
        // One that was made and never ran was attached, too.
        this.#modules.networks?.left(ID);
        return this.#done({ stale: true });
      case 'probe':
        if (this.#container) this.#probe.follow(this.#container, () => this.#bell.ring());
        await this.#bell.wait();
        return undefined;
      case 'look-again':
        await this.#bell.wait(clock, lookAgainMs);
        this.#stale = true;
        return undefined;
      case 'wait':
        await this.#bell.wait();
        return undefined;
      case 'forget':
        return undefined;
      default:
        return action satisfies never;
    }
  }

  /** No stop gate holds the end of one that was given up: the tables of other nodes get a moment, and its clients not much more. */
  #drainTime(): DrainTime | undefined {
    return this.#failure === undefined ? undefined : { leastMs: 1_000, mostMs: 2_000 };
  }

  #done({ stale }: { stale: boolean }): void {
    this.#failures = 0;
    if (stale) this.#stale = true;
  }

  async #prepare(): Promise<void> {
    if (!this.#modules.runtime) {
      const name = this.#task.ServiceAnnotations.Labels['swarmctl.runtime'] ?? 'docker';
      throw new RuntimeError(`this node does not have the runtime '${name}'`, { permanent: true });
    }
    const abort = new AbortController();
    this.#preparing = abort;
    const signal = AbortSignal.any([abort.signal, this.#signal]);
    try {
      await this.#inSlot(
        'prepare',
        async (runtime) => {
          this.#container = await runtime.prepare(this.#task, signal);
        },
        signal,
      );
    } catch (error) {
      if (!abort.signal.aborted) throw error;
      // It was called off; whatever came of it is found by looking.
      this.#stale = true;
    } finally {
      this.#preparing = undefined;
    }
  }

  /** Waits for its turn, and leaves it when meanwhile something else has become the thing to do. */
  #inSlot(kind: 'prepare' | 'start', act: (runtime: Runtime) => Promise<void>, signal = this.#signal): Promise<void> {
    return this.#modules.slots[kind].run(async () => {
      const { runtime } = this.#modules;
      if (!runtime || this.#next().kind !== kind || this.#signal.aborted) return;
      await act(runtime);
      this.#done({ stale: false });
    }, signal);
  }

  #report(report: Report): void {
    const { Timestamp: _, ...known } = this.#status;
    if (isDeepStrictEqual(known, report)) return;
    const { clock, log } = this.#modules;
    if (report.State !== this.#status.State) {
      const fields = { task: this.#task.ID, service: this.#task.ServiceAnnotations.Name, state: report.State };
      log.info({ ...fields, ...(report.Err !== undefined && { error: report.Err }) }, 'task state');
    }
    if (isTerminal(report.State)) {
      this.#probe.stop();
      void this.#modules.mounts?.drop(this.#task.ID);
    }
    this.#status = { Timestamp: toTimestamp(clock.now()), ...report };
    this.#modules.report(this.#task.ID, this.#status, this.#inPassing());
    this.#modules.changed();
  }

  #inPassing(): boolean {
    const { State, Err } = this.#status;
    return Err === undefined && State !== this.#task.DesiredState && isAfter('running', State);
  }

  /** What the runtime refuses is the task's end; what it did not answer is asked again, later each time. */
  async #troubled(error: unknown): Promise<void> {
    const { clock, log } = this.#modules;
    const message = messageOf(error);
    const kind = this.#next().kind;
    if (error instanceof RuntimeError && error.permanent && (kind === 'prepare' || kind === 'start')) {
      this.#report(refused(this.#status, this.#container, message));
      return;
    }
    if (!(error instanceof RuntimeError)) log.error({ task: this.#task.ID, err: error }, 'task runner failed');
    else log.warn({ task: this.#task.ID, doing: kind, error: message }, 'the runtime does not do it');
    this.#modules.troubled();
    if (kind === 'prepare' || kind === 'start') this.#report({ ...withoutTime(this.#status), Err: message });
    const ms = Math.min(mostRetryMs, firstRetryMs * 2 ** Math.min(this.#failures++, 10));
    await this.#bell.wait(clock, ms);
    this.#stale = true;
  }
}

function withoutTime({ Timestamp: _, ...report }: TaskStatus): Report {
  return report;
}
