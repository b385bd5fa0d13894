import { setMaxListeners } from 'node:events';
import { type Clock, delay, type Logger, messageOf } from '@swarmctl/shared/kit';
import { isTerminal, type RuntimeName, runtimeOf, type Task, type TaskStatus } from '@swarmctl/shared/model';
import type { StatusUpdate } from '@swarmctl/shared/wire';
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
    if (this.#modules.mayStop()) this.#dropFiles();
  }

  /** The containers go on running. */
  end(): void {
    this.#end.abort();
  }

  /** Removes every container of this node. Only after the end. */
  async purge(): Promise<void> {
    this.#runners.clear();
    for (const runtime of this.#modules.runtimes.values()) await this.#removeStraysOf(runtime);
    await this.#modules.mounts?.keepOnly(() => false);
  }

  /** Of tasks that an earlier daemon had, and those that could not be dropped. */
  #dropFiles(): void {
    void this.#modules.mounts?.keepOnly((taskId) => {
      const runner = this.#runners.get(taskId);
      return runner !== undefined && !isTerminal(runner.status.State);
    });
  }

  /** For logs: a task whose container is still to come is waited for when its log is followed. */
  async logSource(taskId: string, follow: boolean, signal: AbortSignal): Promise<Runtime | undefined> {
    const { clock, runtimes } = this.#modules;
    for (;;) {
      const runner = this.#runners.get(taskId);
      if (!runner || signal.aborted) return undefined;
      if (runner.container) return runtimes.get(runtimeOf(runner.task.ServiceAnnotations.Labels));
      if (!follow) return undefined;
      await delay(clock, 250, signal).catch(() => undefined);
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

  async #removeStraysOf(runtime: Runtime): Promise<void> {
    const strays = (await runtime.list()).filter(({ taskId }) => !this.#runners.has(taskId));
    await Promise.all(
      strays.map(({ taskId }) => {
        this.#modules.log.info({ task: taskId }, 'removing the container of a task that is not known');
        return runtime.remove(taskId);
      }),
    );
  }
}
