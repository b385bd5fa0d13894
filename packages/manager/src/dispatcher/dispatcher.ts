import type { Duplex } from 'node:stream';
import { type Clock, delay, messageOf, type Timer } from '@swarmctl/shared/kit';
import {
  type Cluster,
  isTerminal,
  type Node,
  nsToMs,
  type StoreEvent,
  stateOrder,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';
import type { LogOptions, ManagerMessage } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import { IngressTracker, isServing } from './ingress-table.ts';
import { LogHub } from './log-hub.ts';
import { mayHaveServed, NetworkTracker } from './network-view.ts';
import { inMessages, type PayloadDelta, PayloadTracker } from './payloads.ts';
import { concernsMesh, MeshTracker } from './peers.ts';
import { Presence } from './presence.ts';
import { RootTeller } from './roots.ts';
import { type Hello, Session, type SessionEvents } from './session.ts';
import { StopGate } from './stop-gate.ts';
import { concernsTunnels, TunnelTracker } from './tunnel-view.ts';
import {
  type DispatcherModules,
  type DispatcherOptions,
  defaultSettings,
  graceMsOf,
  type LogEntry,
  type LogSubject,
  type Settings,
} from './types.ts';
import { Writer } from './writer.ts';

// The manager's end of the worker link, where this manager leads: shows each node its tasks and the ingress table as they change, takes in
// what the nodes report, and tells from their silence that they are down.

const sweepMs = 250;
/** The longest restart that a goodbye can ask to be forgiven. */
const maxRestartGraceMs = 10 * 60 * 1000;

export class Dispatcher {
  readonly #settings: Settings;
  readonly #modules: DispatcherModules;
  readonly #sessions = new Map<string, Session>();
  /** Everything that is open, with or without a hello. */
  readonly #streams = new Set<Session>();
  readonly #presence: Presence;
  readonly #gate: StopGate;
  readonly #ingress = new IngressTracker();
  readonly #mesh = new MeshTracker();
  readonly #tunnels = new TunnelTracker();
  readonly #networks = new NetworkTracker();
  readonly #roots = new RootTeller();
  readonly #payloads: PayloadTracker;
  readonly #writer: Writer;
  readonly #logs: LogHub;
  /** Tasks to look at again, by node. */
  readonly #dirty = new Map<string, Set<string>>();
  readonly #events: SessionEvents;
  #flushTimer: Timer | undefined;
  /** As the cluster's spec has it. */
  #heartbeatMs: number;
  #fail: ((error: unknown) => void) | undefined;

  constructor(options: DispatcherOptions, modules: DispatcherModules) {
    this.#settings = { ...defaultSettings, ...options };
    this.#modules = modules;
    this.#heartbeatMs = this.#settings.heartbeatMs;
    this.#presence = new Presence(graceMsOf(this.#settings, this.#heartbeatMs));
    this.#gate = new StopGate(this.#settings);
    const { store, proposer, clock, log, newId, alsoNeeded } = modules;
    this.#payloads = new PayloadTracker(alsoNeeded);
    const nodeChange = (node: Node) => this.#presence.change(node, clock.now());
    this.#writer = new Writer({ store, proposer, clock, log, nodeChange });
    this.#logs = new LogHub({
      view: () => store.view(),
      sessionOf: (id) => this.#openSession(id),
      sessions: () => [...this.#sessions.values()].filter(({ open }) => open),
      newId,
      clock,
    });
    this.#events = {
      hello: (session, hello) => this.#hello(session, hello),
      message: (session, message) => this.#message(session, message),
      closed: (session, error) => this.#closed(session, error),
    };
  }

  /** Until the signal aborts; rejects when it cannot go on. */
  async run(signal: AbortSignal): Promise<void> {
    const failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    const unwatch = this.#modules.store.watch((events, view) => this.#guard(() => this.#watched(events, view)));
    try {
      this.#begin(this.#modules.store.view());
      await Promise.race([failed, Promise.all([this.#writer.run(signal), this.#sweeps(signal)])]);
    } finally {
      unwatch();
      this.#logs.close();
      this.#fail = undefined;
      this.#flushTimer?.cancel();
      // Not the leader's any more: the agents look for the next one at once.
      for (const session of this.#streams) session.close({ type: 'redirect', managers: this.#modules.managers() });
    }
  }

  /** A stream whose other end is the node `nodeId`, by its certificate. */
  accept(nodeId: string, stream: Duplex): void {
    const { clock, newId } = this.#modules;
    const { helloMs } = this.#settings;
    this.#streams.add(new Session({ id: newId(), nodeId, helloMs }, stream, { clock, events: this.#events }));
  }

  /** False: the node is away. */
  tell(nodeId: string, message: ManagerMessage): boolean {
    const session = this.#openSession(nodeId);
    session?.send(message);
    return session !== undefined;
  }

  /** Lines of the tasks as they come from their nodes, followed also of later tasks; a node that is away gives a notice. */
  subscribeLogs(subject: LogSubject, options: LogOptions, signal: AbortSignal): AsyncIterable<LogEntry> {
    return this.#logs.subscribe(subject, options, signal);
  }

  // --- the state ---

  /** A new leader: what earlier ones withheld or promised is not known, so it is withheld anew, and every node gets a whole grace and more. */
  #begin(view: View): void {
    this.#followHeartbeat(view.cluster());
    const times = timesOf(this.#modules.clock);
    for (const node of view.list('nodes')) this.#presence.add(node, times);
    for (const task of view.list('tasks')) {
      if (wantsLife(task.DesiredState)) continue;
      if (isServing({ ...task, DesiredState: 'running' }) || mayHaveServed(task)) {
        this.#gate.hold({ ...task, DesiredState: 'running' }, view.index, times.monotonic);
      }
    }
    this.#ingress.touchAll(view);
    this.#mesh.touch();
    this.#tunnels.touch();
    this.#networks.touchAll(view);
    this.#flush();
  }

  #watched(events: readonly StoreEvent[] | 'reset', view: View): void {
    if (events === 'reset') this.#reset(view);
    else for (const event of events) this.#changed(event, view);
    this.#logs.changed(events, view);
    if (events === 'reset' || events.some(({ table }) => table === 'cluster' || table === 'nodes'))
      this.#tellRoots(view);
    this.#flushSoon();
  }

  #changed(event: StoreEvent, view: View): void {
    this.#networks.touch(event, view);
    this.#payloads.touch(event);
    if (event.table === 'tasks') this.#taskChanged(event.before, event.after, event.index);
    else if (event.table === 'nodes') this.#nodeChanged(event.before, event.after, view);
    else if (event.table === 'services') this.#ingress.touch(event.id);
    else if (event.table === 'cluster') this.#clusterChanged(event.before, event.after);
  }

  #clusterChanged(before: Cluster | undefined, after: Cluster | undefined): void {
    if (before?.TunnelKeys !== after?.TunnelKeys) this.#tunnels.touch();
    this.#followHeartbeat(after);
  }

  #followHeartbeat(cluster: Cluster | undefined): void {
    const heartbeatMs = nsToMs(cluster?.Spec.Dispatcher?.HeartbeatPeriod ?? 0) || this.#settings.heartbeatMs;
    if (heartbeatMs === this.#heartbeatMs) return;
    this.#heartbeatMs = heartbeatMs;
    this.#presence.graceMs = graceMsOf(this.#settings, heartbeatMs);
    for (const session of this.#sessions.values()) {
      if (session.open) session.send({ type: 'heartbeat-period', heartbeatMs });
    }
  }

  #reset(view: View): void {
    this.#gate.clear();
    this.#presence.clear();
    for (const session of this.#streams) session.close({ type: 'redirect', managers: this.#modules.managers() });
    this.#begin(view);
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
    if (!after) {
      if (before) this.#nodeRemoved(before.ID);
      return;
    }
    this.#presence.add(after, timesOf(this.#modules.clock));
    if (before && before.Status.State !== after.Status.State) {
      for (const task of view.tasksOfNode(after.ID)) if (isServing(task)) this.#ingress.touch(task.ServiceID);
      this.#modules.log.info({ node: after.ID, state: after.Status.State, was: before.Status.State }, 'node state');
    }
    if (before && before.Spec.Role !== after.Spec.Role) {
      this.#openSession(after.ID)?.send({ type: 'role', role: after.Spec.Role });
    }
    if (before?.ManagerStatus?.Addr !== after.ManagerStatus?.Addr) this.#sendManagers();
  }

  #nodeRemoved(nodeId: string): void {
    this.#presence.remove(nodeId);
    for (const session of this.#streams) {
      if (session.nodeId === nodeId) session.close({ type: 'removed', reason: 'the node was removed from the swarm' });
    }
  }

  #tellRoots(view: View): void {
    const open = [...this.#sessions.values()].filter((session) => session.open);
    this.#roots.tell(view, open, this.#modules.clock.monotonic());
  }

  #sendManagers(): void {
    const managers = this.#modules.managers();
    for (const session of this.#sessions.values()) if (session.open) session.send({ type: 'managers', managers });
  }

  // --- what the agents are shown ---

  #mark(nodeId: string, taskId: string): void {
    const marked = this.#dirty.get(nodeId);
    if (marked) marked.add(taskId);
    else this.#dirty.set(nodeId, new Set([taskId]));
  }

  #flushSoon(): void {
    this.#flushTimer ??= this.#modules.clock.after(this.#settings.coalesceMs, () => this.#guard(() => this.#flush()));
  }

  #flush(): void {
    this.#flushTimer?.cancel();
    this.#flushTimer = undefined;
    const view = this.#modules.store.view();
    const { entries, removed } = this.#ingress.refresh(view);
    const rerouted = entries.length > 0 || removed.length > 0;
    this.#mesh.refresh(view);
    this.#tunnels.refresh(view);
    for (const low of this.#networks.refresh(view)) this.#modules.log.warn(low, 'addresses of a network run low');
    const wantedRevision = this.#gate.wantedRevision;
    for (const session of this.#sessions.values()) {
      if (!session.open || session.behind) continue;
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
    this.#release(view);
  }

  #sendAll(session: Session): void {
    // The table is then that of the view, and nothing is left for a later delta.
    this.#flush();
    const view = this.#modules.store.view();
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
  #sendPayloads(session: Session, payloads: PayloadDelta): void {
    for (const parts of inMessages(payloads.added)) session.send({ type: 'payloads', parts });
    this.#payloads.shown(session, payloads);
  }

  #taskDelta(session: Session, view: View): { tasks: Task[]; removedTasks: string[] } {
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
  #release(view: View): void {
    if (this.#gate.size === 0) return;
    const progress = view
      .list('nodes')
      .filter((node) => node.Status.State === 'ready')
      .map((node) => ({ applied: this.#openSession(node.ID)?.applied }));
    const released = this.#gate.release(this.#modules.clock.monotonic(), progress);
    for (const task of released) if (task.NodeID !== undefined) this.#mark(task.NodeID, task.ID);
    if (released.length > 0) this.#flush();
  }

  // --- sessions ---

  #openSession(nodeId: string): Session | undefined {
    const session = this.#sessions.get(nodeId);
    return session?.open ? session : undefined;
  }

  #hello(session: Session, hello: Hello): void {
    const { store, log, managers } = this.#modules;
    const { nodeId } = session;
    const node = store.view().get('nodes', nodeId);
    if (!this.#fail || !node) {
      const isGone = this.#fail && { type: 'removed' as const, reason: 'the node is not in the swarm' };
      session.close(isGone ?? { type: 'redirect', managers: managers() });
      return;
    }
    const older = this.#sessions.get(nodeId);
    older?.close({ type: 'error', code: 'conflict', message: 'the node has opened a newer session' });
    this.#sessions.set(nodeId, session);
    session.open = true;
    // No delta before the whole.
    session.behind = true;
    session.applied = Math.min(hello.revision, store.view().index);
    this.#presence.hello(nodeId, hello, timesOf(this.#modules.clock));
    this.#writer.touchNode(nodeId);
    this.#writer.addStatuses(nodeId, hello.statuses);
    session.send({
      type: 'welcome',
      session: session.id,
      heartbeatMs: this.#heartbeatMs,
      nodeRole: node.Spec.Role,
    });
    session.send({ type: 'managers', managers: managers() });
    this.#tellRoots(store.view());
    this.#sendAll(session);
    this.#logs.opened(session);
    log.info({ node: nodeId, session: session.id, tasks: session.shown.size }, 'agent connected');
  }

  #message(session: Session, message: Parameters<SessionEvents['message']>[1]): void {
    const { nodeId } = session;
    if (this.#presence.heard(nodeId, timesOf(this.#modules.clock))) this.#writer.touchNode(nodeId);
    switch (message.type) {
      case 'heartbeat':
        session.send({ type: 'heartbeat-ack' });
        this.#applied(session, message.revision);
        if (session.behind && !session.congested) this.#sendAll(session);
        break;
      case 'applied':
        this.#applied(session, message.revision);
        break;
      case 'status': {
        const { sequence } = message;
        this.#writer.addStatuses(nodeId, message.updates, () => session.send({ type: 'status-ack', sequence }));
        break;
      }
      case 'describe':
        this.#presence.described(nodeId, message);
        this.#writer.touchNode(nodeId);
        break;
      case 'goodbye':
        this.#presence.goodbye(nodeId, Math.min(message.graceMs, maxRestartGraceMs), timesOf(this.#modules.clock));
        this.#writer.touchNode(nodeId, () => session.close({ type: 'goodbye-ack' }));
        break;
      case 'logs':
        this.#logs.lines(session, message.subscription, message.lines);
        break;
      case 'logs-end':
        this.#logs.end(session, message.subscription, message.error);
        break;
      case 'renew':
        void this.#renew(session, message.csr);
        break;
      default:
        message satisfies never;
    }
  }

  #applied(session: Session, revision: number): void {
    const view = this.#modules.store.view();
    session.applied = Math.max(session.applied, Math.min(revision, view.index));
    this.#release(view);
  }

  async #renew(session: Session, csr: string): Promise<void> {
    try {
      session.send({ type: 'certificate', ...(await this.#modules.renew(session.nodeId, csr)) });
    } catch (error) {
      session.send({ type: 'error', code: 'failed-precondition', message: `not renewed: ${messageOf(error)}` });
    }
  }

  #closed(session: Session, error: Error | undefined): void {
    this.#streams.delete(session);
    this.#logs.drop(session);
    if (this.#sessions.get(session.nodeId) === session) this.#sessions.delete(session.nodeId);
    const reason = error && messageOf(error);
    this.#modules.log.info({ node: session.nodeId, session: session.id, ...(reason && { reason }) }, 'agent gone');
  }

  // --- time ---

  async #sweeps(signal: AbortSignal): Promise<void> {
    const { clock, store, log } = this.#modules;
    while (!signal.aborted) {
      for (const nodeId of this.#presence.sweep(timesOf(clock), sweepMs)) {
        log.warn({ node: nodeId }, 'node is silent');
        this.#writer.touchNode(nodeId);
        this.#sessions.get(nodeId)?.destroy(new Error('heartbeats were missed'));
      }
      this.#release(store.view());
      this.#tellRoots(store.view());
      await delay(clock, sweepMs, signal).catch(() => undefined);
    }
  }

  /** What fails in a callback ends the run, and with it the term. */
  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#fail?.(error);
    }
  }
}

const timesOf = (clock: Clock) => ({ now: clock.now(), monotonic: clock.monotonic() });

/** Agents write the status and everything else is settled, but for the wish and an end that another declared. */
const differsForAgent = (last: Task, now: Task): boolean =>
  last.DesiredState !== now.DesiredState ||
  last.Spec !== now.Spec ||
  last.Ports !== now.Ports ||
  last.ServiceAnnotations !== now.ServiceAnnotations ||
  (now.Status.State === 'orphaned' && last.Status.State !== 'orphaned');
