import { setMaxListeners } from 'node:events';
import { type Clock, delay, type Logger, messageOf } from '@swarmctl/shared/kit';
import { isTerminal, type RuntimeName, runtimeOf, type Task, type TaskStatus } from '@swarmctl/shared/model';
import type { LogLine, LogOptions, StatusUpdate } from '@swarmctl/shared/wire';
import type { LogHistory } from '../logs/log-history.ts';
import type { TaskNetworks } from '../network/node-networks.ts';
import type { Runtime } from '../runtime/types.ts';
import type { TaskMounts } from '../secrets/task-mounts.ts';
import { connectProbe, type Probe } from './probe.ts';
import { Slots } from './slots.ts';
import { type TaskRecord, TaskRunner } from './task-runner.ts';

// All tasks of this node, each with its runner, and the containers that belong to none.

export interface TaskBoardModules {
  readonly runtimes: ReadonlyMap<RuntimeName, Runtime>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly probe?: Probe | undefined;
  readonly networks?: TaskNetworks | undefined;
  readonly mounts?: TaskMounts | undefined;
  readonly history?: LogHistory | undefined;
  readonly mayStart: () => boolean;
  readonly mayStop: () => boolean;
  /** `passing`: a step on the way that nobody waits for. */
  readonly report: (taskId: string, status: TaskStatus, passing: boolean) => void;
  /** Nothing is left of the task. */
  readonly gone: (taskId: string) => void;
  /** What should be remembered has changed. */
  readonly changed: () => void;
  readonly troubled: () => void;
}

export class TaskBoard {
  readonly #runners = new Map<string, TaskRunner>();
  readonly #modules: TaskBoardModules;
  /** Apart, so that slow pulls keep nothing from starting. */
  readonly #slots: { readonly prepare: Slots; readonly start: Slots };
  /** Runners end with it. */
  readonly #end = new AbortController();
  /** Containers of no known task may be there. */
  #strayed = false;

  constructor(
    options: { readonly parallelPrepares: number; readonly parallelStarts: number },
    modules: TaskBoardModules,
  ) {
    this.#modules = modules;
    this.#slots = { prepare: new Slots(options.parallelPrepares), start: new Slots(options.parallelStarts) };
    // One listener a task.
    setMaxListeners(0, this.#end.signal);
  }

  /** Forgotten ones are left out: whoever reads this later finds their containers as strays. */
  get records(): TaskRecord[] {
    return [...this.#runners.values()].filter((runner) => !runner.removed).map((runner) => runner.record);
  }

  get statuses(): StatusUpdate[] {
    return [...this.#runners].map(([taskId, runner]) => ({ taskId, status: runner.status }));
  }

  /** `fresh`: no agent of this node has had it before. */
  begin(record: TaskRecord, fresh = false): void {
    const { runtimes, probe = connectProbe, gone } = this.#modules;
    const taskId = record.task.ID;
    const runtime = runtimes.get(runtimeOf(record.task.ServiceAnnotations.Labels));
    const modules = { ...this.#modules, runtime, probe, slots: this.#slots };
    const runner = new TaskRunner(record, modules, this.#end.signal, fresh);
    this.#runners.set(taskId, runner);
    void runner.done.then(() => {
      if (this.#end.signal.aborted) return;
      this.#runners.delete(taskId);
      this.#inHistory((history) => history.forget(taskId));
      gone(taskId);
    });
  }

  assign(tasks: readonly Task[]): void {
    for (const task of tasks) {
      const runner = this.#runners.get(task.ID);
      if (!runner) this.begin({ task, status: task.Status }, task.Status.State === 'assigned');
      else if (!runner.removed) runner.assign(task);
    }
  }

  forget(taskIds: readonly string[]): void {
    for (const taskId of taskIds) this.#runners.get(taskId)?.forget();
  }

  /** These are all the tasks that this node has. */
  keepOnly(tasks: readonly Task[]): void {
    const known = new Set(tasks.map(({ ID }) => ID));
    this.forget([...this.#runners.keys()].filter((taskId) => !known.has(taskId)));
    void this.#removeStrays();
    this.#dropFiles();
    this.#inHistory((history) => history.sweep((taskId) => this.#runners.has(taskId)));
  }

  /** What may be done has changed. */
  nudge(): void {
    for (const runner of this.#runners.values()) runner.nudge();
  }

  look(taskId: string): void {
    this.#runners.get(taskId)?.look();
  }

  lookAround(): void {
    for (const runner of this.#runners.values()) runner.look();
    if (this.#strayed) void this.#removeStrays();
    if (!this.#modules.mayStop()) return;
    this.#dropFiles();
    this.#inHistory((history) => history.sweep((taskId) => this.#runners.has(taskId)));
  }

  /** The containers go on running. */
  end(): void {
    this.#end.abort();
  }

  /** Removes every container of this node. Only after the end. */
  async purge(): Promise<void> {
    this.#runners.clear();
    for (const runtime of this.#modules.runtimes.values()) await this.#removeStraysOf(runtime, { keepLogs: false });
    await this.#modules.mounts?.keepOnly(() => false);
    await this.#modules.history?.clear();
  }

  /** Of tasks that an earlier daemon had, and those that could not be dropped. */
  #dropFiles(): void {
    void this.#modules.mounts?.keepOnly((taskId) => {
      const runner = this.#runners.get(taskId);
      return runner !== undefined && !isTerminal(runner.status.State);
    });
  }

  /** A trouble with the disk costs no task anything. */
  #inHistory(act: (history: LogHistory) => Promise<void>): void {
    const { history, log } = this.#modules;
    if (!history) return;
    act(history).catch((error) => log.warn({ error: messageOf(error) }, 'the logs of tasks that are gone'));
  }

  /**
   * A task's log, from its container or from what was kept of one that is gone. A container that is still to start is waited for when the
   * log is followed. Throws when it is gone and nothing was kept.
   */
  async *logs(taskId: string, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
    const { runtimes, history } = this.#modules;
    const runner = await this.#withContainer(taskId, options.follow, signal);
    if (signal.aborted) return;
    const runtime = runner && runtimes.get(runtimeOf(runner.task.ServiceAnnotations.Labels));
    if (runtime && (await runtime.inspect(taskId))) yield* runtime.logs(taskId, options, signal);
    else if (history && (await history.has(taskId))) yield* history.read(taskId, options, signal);
    else if (runner?.status.ContainerStatus?.ContainerID) throw new Error('its container is gone, and its log with it');
  }

  async #withContainer(taskId: string, follow: boolean, signal: AbortSignal): Promise<TaskRunner | undefined> {
    for (;;) {
      const runner = this.#runners.get(taskId);
      if (!runner || !follow || signal.aborted || isTerminal(runner.status.State)) return runner;
      // Of one that has not begun, an engine follows nothing.
      if (runner.container && runner.container.phase !== 'created') return runner;
      await delay(this.#modules.clock, 250, signal).catch(() => undefined);
    }
  }

  async #removeStrays(): Promise<void> {
    this.#strayed = false;
    for (const runtime of this.#modules.runtimes.values()) {
      try {
        await this.#removeStraysOf(runtime);
      } catch (error) {
        this.#strayed = true;
        this.#modules.log.warn({ runtime: runtime.name, error: messageOf(error) }, 'strays stay for now');
      }
    }
  }

  async #removeStraysOf(runtime: Runtime, { keepLogs } = { keepLogs: true }): Promise<void> {
    const { history, log } = this.#modules;
    const strays = (await runtime.list()).filter(({ taskId }) => !this.#runners.has(taskId));
    await Promise.all(
      strays.map(async ({ taskId, phase }) => {
        log.info({ task: taskId }, 'removing the container of a task that is not known');
        if (keepLogs && phase !== 'created') await history?.keep(taskId, runtime);
        return runtime.remove(taskId);
      }),
    );
  }
}
