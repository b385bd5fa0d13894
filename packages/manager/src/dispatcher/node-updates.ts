import type { Clock, Logger, Timer } from '@swarmctl/shared/kit';
import { isTerminal, type Node, type StoreEvent, stateOrder, type Task, wantsLife } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { IngressTracker, isServing } from './ingress-table.ts';
import { NetworkTracker } from './network-tracker.ts';
import { mayHaveServed } from './network-view.ts';
import { type AlsoNeeded, inMessages, type PayloadDelta, PayloadTracker } from './payloads.ts';
import { concernsMesh, MeshTracker } from './peers.ts';
import type { Session } from './session.ts';
import { StopGate } from './stop-gate.ts';
import { concernsTunnels, TunnelTracker } from './tunnel-view.ts';
import type { Settings } from './types.ts';

// What the nodes are shown of the state: each its tasks and what these need, and where the others are. Changes are gathered, and each session
// gets those that concern it in one update.

/** A session as far as something is shown to it. */
export type ShownSession = Pick<
  Session,
  'nodeId' | 'shown' | 'sentRevision' | 'applied' | 'behind' | 'congested' | 'send'
>;

export interface NodeUpdatesModules {
  readonly view: () => View;
  readonly sessionOf: (nodeId: string) => ShownSession | undefined;
  /** Those that are open. */
  readonly sessions: () => Iterable<ShownSession>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly alsoNeeded?: AlsoNeeded | undefined;
  /** Runs what a timer calls, and sees to its failure. */
  readonly guard: (act: () => void) => void;
}

export class NodeUpdates {
  readonly #coalesceMs: number;
  readonly #modules: NodeUpdatesModules;
  readonly #gate: StopGate;
  readonly #ingress = new IngressTracker();
  readonly #mesh = new MeshTracker();
  readonly #tunnels = new TunnelTracker();
  readonly #networks = new NetworkTracker();
  readonly #payloads: PayloadTracker;
  /** Tasks to look at again, by node. */
  readonly #dirty = new Map<string, Set<string>>();
  #flushTimer: Timer | undefined;

  constructor(settings: Pick<Settings, 'coalesceMs' | 'holdMs' | 'absentHoldMs'>, modules: NodeUpdatesModules) {
    this.#coalesceMs = settings.coalesceMs;
    this.#modules = modules;
    this.#gate = new StopGate(settings);
    this.#payloads = new PayloadTracker(modules.alsoNeeded);
  }

  /** Looks at all of the state. Which stops the leader before withheld is not known, so all that may be are withheld anew. */
  begin(view: View): void {
    this.#gate.clear();
    const now = this.#modules.clock.monotonic();
    for (const task of view.list('tasks')) {
      if (wantsLife(task.DesiredState)) continue;
      const before = { ...task, DesiredState: 'running' as const };
      if (isServing(before) || mayHaveServed(task)) this.#gate.hold(before, view.index, now);
    }
    this.#ingress.touchAll(view);
    this.#mesh.touch();
    this.#tunnels.touch();
    this.#networks.touchAll(view);
    this.#flush();
  }

  close(): void {
    this.#flushTimer?.cancel();
  }

  /** Is shown with the next `flushSoon`. */
  changed(event: StoreEvent, view: View): void {
    this.#networks.touch(event, view);
    this.#payloads.touch(event);
    if (event.table === 'tasks') this.#taskChanged(event.before, event.after, event.index);
    else if (event.table === 'nodes') this.#nodeChanged(event.before, event.after, view);
    else if (event.table === 'services') this.#ingress.touch(event.id);
    else if (event.table === 'cluster' && event.before?.TunnelKeys !== event.after?.TunnelKeys) this.#tunnels.touch();
  }

  #taskChanged(before: Task | undefined, after: Task | undefined, index: number): void {
    const task = after ?? before;
    if (!task) return;
    if (before?.Status.Endpoints || after?.Status.Endpoints) this.#ingress.touch(task.ServiceID);
    if (after && isTerminal(after.Status.State)) this.#gate.drop(task.ID);
    else if (before && wantsLife(before.DesiredState) && !(after && wantsLife(after.DesiredState))) {
      if (this.#ingress.has(before) || this.#networks.has(before))
        this.#gate.hold(before, index, this.#modules.clock.monotonic());
    }
    if (before?.NodeID !== undefined) this.#mark(before.NodeID, before.ID);
    if (after?.NodeID !== undefined) this.#mark(after.NodeID, after.ID);
  }

  #nodeChanged(before: Node | undefined, after: Node | undefined, view: View): void {
    if (concernsMesh(before, after)) this.#mesh.touch();
    if (concernsTunnels(before, after)) this.#tunnels.touch();
    if (!before || !after || before.Status.State === after.Status.State) return;
    for (const task of view.tasksOfNode(after.ID)) if (isServing(task)) this.#ingress.touch(task.ServiceID);
  }

  #mark(nodeId: string, taskId: string): void {
    const marked = this.#dirty.get(nodeId);
    if (marked) marked.add(taskId);
    else this.#dirty.set(nodeId, new Set([taskId]));
  }

  flushSoon(): void {
    const { clock, guard } = this.#modules;
    this.#flushTimer ??= clock.after(this.#coalesceMs, () => guard(() => this.#flush()));
  }

  #flush(): void {
    this.#flushTimer?.cancel();
    this.#flushTimer = undefined;
    const { log, sessions } = this.#modules;
    const view = this.#modules.view();
    const { entries, removed } = this.#ingress.refresh(view);
    const rerouted = entries.length > 0 || removed.length > 0;
    this.#mesh.refresh(view);
    this.#tunnels.refresh(view);
    for (const low of this.#networks.refresh(view)) log.warn(low, 'addresses of a network run low');
    const wantedRevision = this.#gate.wantedRevision;
    for (const session of sessions()) {
      if (session.behind) continue;
      const { tasks, removedTasks } = this.#taskDelta(session, view);
      const moved = tasks.length > 0 || removedTasks.length > 0;
      const payloads = this.#payloads.unshown(session, view, this.#dirty.has(session.nodeId));
      const mesh = this.#mesh.unshown(session, session.nodeId);
      const tunnel = this.#tunnels.unshown(session, session.nodeId);
      const networks = this.#networks.unshown(session, session.nodeId);
      if (!moved && !rerouted && !mesh && !tunnel && !networks && !payloads && session.sentRevision >= wantedRevision)
        continue;
      if (session.congested) session.behind = true;
      else {
        session.sentRevision = view.index;
        this.#mesh.shown(session);
        this.#tunnels.shown(session);
        if (networks) this.#networks.shown(session, session.nodeId);
        if (payloads) this.#sendPayloads(session, payloads);
        session.send({
          type: 'update',
          full: false,
          revision: view.index,
          tasks,
          removedTasks,
          ingress: entries,
          removedIngress: removed,
          ...(mesh && { mesh }),
          ...(tunnel && { tunnel }),
          ...networks,
          ...(payloads && { payloads: payloads.ids }),
        });
      }
    }
    this.#dirty.clear();
    this.#payloads.settle();
    this.release(view);
  }

  /** All that is the node's, to one that has said hello or has missed an update. */
  showAll(session: ShownSession): void {
    // The table is then that of the view, and nothing is left for a later delta.
    this.#flush();
    const view = this.#modules.view();
    const tasks = [...view.tasksOfNode(session.nodeId), ...this.#gate.ghostsOf(session.nodeId)].flatMap(
      ({ ID }) => this.#shownTask(view, session.nodeId, ID) ?? [],
    );
    session.shown.clear();
    for (const task of tasks) session.shown.set(task.ID, task);
    session.sentRevision = view.index;
    session.behind = false;
    const mesh = this.#mesh.view(session.nodeId);
    const tunnel = this.#tunnels.view(session.nodeId);
    this.#mesh.shown(session);
    this.#tunnels.shown(session);
    this.#networks.shown(session, session.nodeId);
    const networks = this.#networks.views(session.nodeId);
    const payloads = this.#payloads.whole(session, view);
    this.#sendPayloads(session, payloads);
    session.send({
      type: 'update',
      full: true,
      revision: view.index,
      tasks: [...session.shown.values()],
      removedTasks: [],
      ingress: [...this.#ingress.table.values()],
      removedIngress: [],
      ...(mesh && { mesh }),
      ...(tunnel && { tunnel }),
      ...(networks.length > 0 && { networks }),
      ...(payloads.ids.length > 0 && { payloads: payloads.ids }),
    });
  }

  /** Ahead of the update that tells of who uses them. */
  #sendPayloads(session: ShownSession, payloads: PayloadDelta): void {
    for (const parts of inMessages(payloads.added)) session.send({ type: 'payloads', parts });
    this.#payloads.shown(session, payloads);
  }

  #taskDelta(session: ShownSession, view: View): { tasks: Task[]; removedTasks: string[] } {
    const tasks: Task[] = [];
    const removedTasks: string[] = [];
    for (const id of this.#dirty.get(session.nodeId) ?? []) {
      const now = this.#shownTask(view, session.nodeId, id);
      const last = session.shown.get(id);
      if (now && (!last || differsForAgent(last, now))) {
        tasks.push(now);
        session.shown.set(id, now);
      } else if (!now && session.shown.delete(id)) removedTasks.push(id);
    }
    return { tasks, removedTasks };
  }

  /** What the node may see of a task; undefined when it has nothing to do with it. */
  #shownTask(view: View, nodeId: string, id: string): Task | undefined {
    const task = this.#gate.shown(id, view.get('tasks', id));
    const assigned = task?.NodeID === nodeId && stateOrder[task.Status.State] >= stateOrder.assigned;
    return assigned ? task : undefined;
  }

  /** Lets agents stop what no node routes to any more. */
  release(view: View): void {
    if (this.#gate.size === 0) return;
    const progress = view
      .list('nodes')
      .filter((node) => node.Status.State === 'ready')
      .map((node) => ({ applied: this.#modules.sessionOf(node.ID)?.applied }));
    const released = this.#gate.release(this.#modules.clock.monotonic(), progress);
    for (const task of released) if (task.NodeID !== undefined) this.#mark(task.NodeID, task.ID);
    if (released.length > 0) this.#flush();
  }
}

/** Agents write the status and everything else is settled, but for the wish and an end that another declared. */
const differsForAgent = (last: Task, now: Task): boolean =>
  last.DesiredState !== now.DesiredState ||
  last.Spec !== now.Spec ||
  last.Ports !== now.Ports ||
  last.ServiceAnnotations !== now.ServiceAnnotations ||
  (now.Status.State === 'orphaned' && last.Status.State !== 'orphaned');
