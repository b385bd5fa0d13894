import type { Clock, Timer } from '@swarmctl/shared/kit';
import type { TaskStatus } from '@swarmctl/shared/model';
import type { StatusUpdate } from '@swarmctl/shared/wire';
import { Outbox } from './outbox.ts';

// The statuses of this node's tasks on their way to the managers: gathered for a moment, kept until they are acknowledged.

export interface StatusReporterModules {
  readonly clock: Clock;
  /** Resolves when what a status tells of can be reached; undefined: it need not be waited for. */
  readonly seen: (taskId: string, status: TaskStatus) => Promise<void> | undefined;
  /** A manager is there to be told. */
  readonly maySend: () => boolean;
  readonly send: (batch: { readonly sequence: number; readonly updates: readonly StatusUpdate[] }) => void;
}

const gatherMs = 2;
/** Of steps on the way to running, which nobody waits for: several of a task, and of its neighbours, become one message. */
const passingGatherMs = 50;

export class StatusReporter {
  readonly #modules: StatusReporterModules;
  readonly #outbox = new Outbox();
  /** Reports that wait until what they tell of can be reached. */
  readonly #opening = new Map<string, TaskStatus>();
  #timer: { readonly timer: Timer; readonly soon: boolean } | undefined;

  constructor(modules: StatusReporterModules) {
    this.#modules = modules;
  }

  /** `passing`: a step on the way that nobody waits for. */
  report(taskId: string, status: TaskStatus, passing: boolean): void {
    const open = this.#modules.seen(taskId, status);
    this.#opening.delete(taskId);
    if (!open) {
      this.#put(taskId, status, passing);
      return;
    }
    this.#opening.set(taskId, status);
    void open.then(() => {
      // A later report may have come before it.
      if (this.#opening.get(taskId) !== status) return;
      this.#opening.delete(taskId);
      this.#put(taskId, status, passing);
    });
  }

  forget(taskId: string): void {
    this.#opening.delete(taskId);
    this.#outbox.forget(taskId);
  }

  acknowledge(sequence: number): void {
    this.#outbox.acknowledge(sequence);
  }

  /** To another manager, or in another session: all that was not acknowledged. */
  sendAgain(): void {
    this.#outbox.rewind();
    this.flush();
  }

  /** What has been gathered. */
  flush(): void {
    if (!this.#modules.maySend()) return;
    const batch = this.#outbox.take();
    if (batch) this.#modules.send(batch);
  }

  end(): void {
    this.#timer?.timer.cancel();
  }

  #put(taskId: string, status: TaskStatus, passing: boolean): void {
    this.#outbox.put(taskId, status);
    if (this.#timer?.soon || (this.#timer && passing)) return;
    this.#timer?.timer.cancel();
    const timer = this.#modules.clock.after(passing ? passingGatherMs : gatherMs, () => {
      this.#timer = undefined;
      this.flush();
    });
    this.#timer = { timer, soon: !passing };
  }
}
