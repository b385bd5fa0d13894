import type { Task } from '@swarmctl/shared/model';

// A task that served published ports is told to stop only after every node routes past it: until then its agent is shown the desired state
// that it had before.

interface Hold {
  /** As it was when it was still wanted. */
  readonly task: Task;
  /** Of the change that took it out of the ingress table. */
  readonly revision: number;
  /** Monotonic ms. */
  readonly since: number;
}

/** One ready node: the revision that it routes by, unless it is not connected. */
export interface NodeProgress {
  readonly applied: number | undefined;
}

export class StopGate {
  readonly #holds = new Map<string, Hold>();
  readonly #limits: { readonly holdMs: number; readonly absentHoldMs: number };

  constructor(limits: { readonly holdMs: number; readonly absentHoldMs: number }) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#holds.size;
  }

  /** Every node must be brought to at least this revision. */
  get wantedRevision(): number {
    let most = 0;
    for (const hold of this.#holds.values()) most = Math.max(most, hold.revision);
    return most;
  }

  hold(before: Task, revision: number, now: number): void {
    if (!this.#holds.has(before.ID)) this.#holds.set(before.ID, { task: before, revision, since: now });
  }

  /** Nothing of it is left that could be disturbed. */
  drop(taskId: string): void {
    this.#holds.delete(taskId);
  }

  clear(): void {
    this.#holds.clear();
  }

  /** The task as its agent may see it; `current` is undefined once it was removed from the state. */
  shown(taskId: string, current: Task | undefined): Task | undefined {
    const hold = this.#holds.get(taskId);
    if (!hold) return current;
    return current ? { ...current, DesiredState: hold.task.DesiredState } : hold.task;
  }

  /** Tasks of the node that are gone from the state and not yet from the node. */
  ghostsOf(nodeId: string): Task[] {
    return [...this.#holds.values()].flatMap(({ task }) => (task.NodeID === nodeId ? [task] : []));
  }

  /** Ends the holds that have no reason any more, and returns their tasks. */
  release(now: number, nodes: readonly NodeProgress[]): Task[] {
    const released: Task[] = [];
    for (const [id, hold] of this.#holds) {
      if (!this.#isOver(hold, now, nodes)) continue;
      this.#holds.delete(id);
      released.push(hold.task);
    }
    return released;
  }

  #isOver({ revision, since }: Hold, now: number, nodes: readonly NodeProgress[]): boolean {
    const waited = now - since;
    if (waited >= this.#limits.holdMs) return true;
    return nodes.every(({ applied }) =>
      applied === undefined ? waited >= this.#limits.absentHoldMs : applied >= revision,
    );
  }
}
