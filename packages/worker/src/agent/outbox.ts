import type { TaskStatus } from '@swarmctl/shared/model';
import type { StatusUpdate } from '@swarmctl/shared/wire';

// Statuses that the managers have not acknowledged yet: the latest of each task, sent again after each reconnect.

export class Outbox {
  readonly #unacknowledged = new Map<string, TaskStatus>();
  /** Not sent in this session yet. */
  readonly #unsent = new Set<string>();
  readonly #sent = new Map<number, readonly StatusUpdate[]>();
  #sequence = 0;

  get size(): number {
    return this.#unacknowledged.size;
  }

  put(taskId: string, status: TaskStatus): void {
    this.#unacknowledged.set(taskId, status);
    this.#unsent.add(taskId);
  }

  forget(taskId: string): void {
    this.#unacknowledged.delete(taskId);
    this.#unsent.delete(taskId);
  }

  /** A new session: nothing of what was sent before counts. */
  rewind(): void {
    this.#sent.clear();
    for (const taskId of this.#unacknowledged.keys()) this.#unsent.add(taskId);
  }

  /** What is to be sent now, if anything. */
  take(): { readonly sequence: number; readonly updates: readonly StatusUpdate[] } | undefined {
    if (this.#unsent.size === 0) return undefined;
    const updates = [...this.#unsent].flatMap((taskId) => {
      const status = this.#unacknowledged.get(taskId);
      return status ? [{ taskId, status }] : [];
    });
    this.#unsent.clear();
    const sequence = ++this.#sequence;
    this.#sent.set(sequence, updates);
    return { sequence, updates };
  }

  acknowledge(sequence: number): void {
    for (const { taskId, status } of this.#sent.get(sequence) ?? []) {
      if (this.#unacknowledged.get(taskId) === status) this.#unacknowledged.delete(taskId);
    }
    this.#sent.delete(sequence);
  }
}
