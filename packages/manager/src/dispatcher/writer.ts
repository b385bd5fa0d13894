import { isDeepStrictEqual } from 'node:util';
import { Bell, type Clock, delay, encode, isClusterError, type Logger } from '@swarmctl/shared/kit';
import {
  isTerminal,
  maxBatchBytes,
  maxBatchChanges,
  type Node,
  type StoreChange,
  stateOrder,
  type Task,
  type TaskStatus,
} from '@swarmctl/shared/model';
import type { StatusUpdate } from '@swarmctl/shared/wire';
import type { Proposer, View } from '../store/types.ts';

// All that the nodes report becomes as few proposals as possible: while one is under way, the next gathers.

interface Pending {
  /** Latest report by task; `nodeId` is who says so. */
  readonly statuses: Map<string, { readonly nodeId: string; readonly status: TaskStatus }>;
  readonly nodes: Set<string>;
  readonly done: (() => void)[];
}

const nothing = (): Pending => ({ statuses: new Map(), nodes: new Set(), done: [] });

export interface WriterModules {
  readonly store: { view(): View };
  readonly proposer: Proposer;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the state should be told of a node; undefined when it is right. */
  readonly nodeChange: (node: Node) => StoreChange | undefined;
}

const gatherMs = 2;
const retryMs = 100;

export class Writer {
  readonly #modules: WriterModules;
  readonly #bell = new Bell();
  #pending = nothing();

  constructor(modules: WriterModules) {
    this.#modules = modules;
  }

  /** `done` is called once all of it is in the state, or will never be. */
  addStatuses(nodeId: string, updates: readonly StatusUpdate[], done?: () => void): void {
    // A report of a task that is not the reporter's must not displace its own node's.
    for (const { taskId, status } of updates) {
      if (this.#modules.store.view().get('tasks', taskId)?.NodeID !== nodeId) continue;
      this.#pending.statuses.set(taskId, { nodeId, status });
    }
    this.#add(done);
  }

  touchNode(nodeId: string, done?: () => void): void {
    this.#pending.nodes.add(nodeId);
    this.#add(done);
  }

  #add(done: (() => void) | undefined): void {
    if (done) this.#pending.done.push(done);
    this.#bell.ring();
  }

  async run(signal: AbortSignal): Promise<void> {
    const stop = () => this.#bell.ring();
    signal.addEventListener('abort', stop);
    try {
      while (!signal.aborted) {
        await this.#bell.wait();
        await delay(this.#modules.clock, gatherMs, signal).catch(() => undefined);
        const taken = this.#pending;
        this.#pending = nothing();
        await this.#write(taken, signal);
      }
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /** Until it is in the state: what was decided by then is decided anew after each failure. */
  async #write(taken: Pending, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const changes = this.#changes(taken);
      try {
        for (const batch of inBatches(changes)) await this.#propose(batch);
        for (const done of taken.done) done();
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!isClusterError(error)) throw error;
        this.#modules.log.debug({ code: error.code, reason: error.message }, 'reports wait');
        await delay(this.#modules.clock, retryMs, signal).catch(() => undefined);
      }
    }
  }

  async #propose(batch: readonly StoreChange[]): Promise<void> {
    try {
      await this.#modules.proposer.propose(batch);
    } catch (error) {
      if (!isClusterError(error, 'invalid-argument')) throw error;
      const [first, ...rest] = batch;
      if (rest.length === 0 || !first) {
        this.#modules.log.error({ reason: error.message, change: first }, 'a report was refused and is dropped');
        return;
      }
      for (const change of batch) await this.#propose([change]);
    }
  }

  #changes(taken: Pending): StoreChange[] {
    const view = this.#modules.store.view();
    const changes: StoreChange[] = [];
    for (const id of taken.nodes) {
      const node = view.get('nodes', id);
      const change = node && this.#modules.nodeChange(node);
      if (change) changes.push(change);
    }
    for (const [id, { nodeId, status }] of taken.statuses) {
      const task = view.get('tasks', id);
      if (!task || !mayReport(task, nodeId, status)) continue;
      changes.push({ op: 'update', table: 'tasks', id, ifExists: true, set: { Status: status } });
    }
    return changes;
  }
}

/** The node runs the task, and the report takes it on: never back, and never from one end to another. */
export function mayReport(task: Task, nodeId: string, status: TaskStatus): boolean {
  const known = task.Status;
  if (task.NodeID !== nodeId || stateOrder[known.State] < stateOrder.assigned) return false;
  if (stateOrder[status.State] < stateOrder[known.State]) return false;
  if (known.State !== status.State) return !isTerminal(known.State);
  return !isDeepStrictEqual({ ...known, Timestamp: '' }, { ...status, Timestamp: '' });
}

function* inBatches(changes: readonly StoreChange[]): Generator<StoreChange[]> {
  let batch: StoreChange[] = [];
  let bytes = 0;
  for (const change of changes) {
    const size = encode(change).length;
    if (batch.length > 0 && (batch.length >= maxBatchChanges || bytes + size > maxBatchBytes - 1024)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(change);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
