import { below, type Random, type Timer } from '@swarmctl/shared/kit';
import {
  isAfter,
  isTerminal,
  type Task,
  type TaskState,
  type TaskStatus,
  toTimestamp,
  wantsLife,
} from '@swarmctl/shared/model';
import type { World } from './world.ts';

// An agent of the simulated cluster: walks its tasks through their states as the real one would, with delays and failures of its own.

interface Local {
  state: TaskState;
  timer: Timer | undefined;
}

/** What a task does is in its image's name: `ok`, `slow`, `flaky`, `crash` (dies soon after each start), `broken` (never starts), `oneshot`. */
const kindOf = (task: Task): string => (task.Spec.ContainerSpec?.Image ?? 'ok').split(':')[0] ?? 'ok';

export class FakeAgent {
  readonly nodeId: string;
  readonly #world: World;
  readonly #random: Random;
  readonly #local = new Map<string, Local>();
  /** Reaches the managers. */
  connected = true;

  constructor(nodeId: string, world: World, random: Random) {
    this.nodeId = nodeId;
    this.#world = world;
    this.#random = random;
  }

  /** Tasks that really run here now, whatever the managers believe. */
  running(): string[] {
    return [...this.#local].filter(([, local]) => local.state === 'running').map(([id]) => id);
  }

  cut(): void {
    this.connected = false;
  }

  /** The machine dies with all that ran on it. */
  crash(): void {
    this.connected = false;
    for (const local of this.#local.values()) local.timer?.cancel();
    this.#local.clear();
  }

  /** Back, with what is left: reports it and learns what it should run. */
  reconnect(): void {
    this.connected = true;
    const tasks = this.#world.store.view().tasksOfNode(this.nodeId);
    for (const [id, local] of this.#local) {
      if (tasks.some((task) => task.ID === id)) continue;
      local.timer?.cancel();
      this.#local.delete(id);
    }
    for (const task of tasks) this.look(task);
  }

  /** A task of this node is new or has changed. */
  look(task: Task): void {
    if (!this.connected) return;
    const local = this.#local.get(task.ID);
    if (!local) {
      if (isTerminal(task.Status.State) || !isAfter(task.Status.State, 'pending')) return;
      const lost = isAfter(task.Status.State, 'assigned');
      this.#local.set(task.ID, { state: lost ? 'failed' : 'assigned', timer: undefined });
      if (lost) this.#report(task, 'failed');
      else this.#step(task.ID);
      return;
    }
    if (isAfter(local.state, task.Status.State)) this.#report(task, local.state);
    if (!local.timer || !wantsLife(task.DesiredState)) this.#step(task.ID);
  }

  forget(taskId: string): void {
    this.#local.get(taskId)?.timer?.cancel();
    this.#local.delete(taskId);
  }

  #step(id: string): void {
    const local = this.#local.get(id);
    const task = this.#world.store.view().get('tasks', id);
    if (!local || !task || isTerminal(local.state)) return;
    if (this.connected && !wantsLife(task.DesiredState)) {
      if (local.timer && local.state === ('stopping' as TaskState)) return;
      local.timer?.cancel();
      const ms = local.state === 'running' ? 20 + below(this.#random, 1_500) : 5;
      local.timer = this.#world.clock.after(ms, () => this.#to(id, 'shutdown'));
      return;
    }
    local.timer?.cancel();
    local.timer = undefined;
    const next = this.#next(task, local.state);
    if (next) local.timer = this.#world.clock.after(next.ms, () => this.#to(id, next.state));
  }

  #next(task: Task, state: TaskState): { state: TaskState; ms: number } | undefined {
    const kind = kindOf(task);
    const soon = 1 + below(this.#random, 20);
    switch (state) {
      case 'assigned':
        return { state: 'accepted', ms: soon };
      case 'accepted':
        return { state: 'preparing', ms: soon };
      case 'preparing':
        if (kind === 'broken') return { state: 'rejected', ms: soon };
        return { state: 'ready', ms: kind === 'slow' ? 1_000 + below(this.#random, 4_000) : soon };
      case 'ready':
        return task.DesiredState === 'running' ? { state: 'starting', ms: soon } : undefined;
      case 'starting':
        if (kind === 'flaky' && this.#random() < 0.3) return { state: 'failed', ms: soon };
        return { state: 'running', ms: soon };
      case 'running':
        if (kind === 'crash') return { state: 'failed', ms: 200 + below(this.#random, 2_000) };
        return kind === 'oneshot' ? { state: 'complete', ms: 100 + below(this.#random, 1_000) } : undefined;
      default:
        return undefined;
    }
  }

  #to(id: string, state: TaskState): void {
    const local = this.#local.get(id);
    if (!local) return;
    local.timer = undefined;
    local.state = state;
    const task = this.#world.store.view().get('tasks', id);
    if (task) this.#report(task, state);
    this.#step(id);
  }

  #report(task: Task, state: TaskState): void {
    if (!this.connected) return;
    const status: TaskStatus = {
      Timestamp: toTimestamp(this.#world.clock.now()),
      State: state,
      ...(state === 'running' && { Endpoints: [] }),
    };
    this.#world.report(this, task.ID, status);
  }
}
