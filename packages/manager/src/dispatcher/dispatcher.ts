import type { Duplex } from 'node:stream';
import { type Clock, delay, messageOf } from '@swarmctl/shared/kit';
import { type Cluster, type Node, nsToMs, type StoreEvent } from '@swarmctl/shared/model';
import type { LogEntry, LogNote, LogWish, ManagerMessage } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import { LogHub } from './log-hub.ts';
import { NodeUpdates } from './node-updates.ts';
import { Presence } from './presence.ts';
import { RootTeller } from './roots.ts';
import { type Hello, Session, type SessionEvents } from './session.ts';
import { type DispatcherModules, type DispatcherOptions, defaultSettings, graceMsOf, type Settings } from './types.ts';
import { Writer } from './writer.ts';

// The manager's end of the worker link, where this manager leads: has the sessions of the nodes, takes in what these report, and tells from their
// silence that they are down.

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
  readonly #updates: NodeUpdates;
  readonly #roots = new RootTeller();
  readonly #writer: Writer;
  readonly #logs: LogHub;
  readonly #events: SessionEvents;
  /** As the cluster's spec has it. */
  #heartbeatMs: number;
  #fail: ((error: unknown) => void) | undefined;

  constructor(options: DispatcherOptions, modules: DispatcherModules) {
    this.#settings = { ...defaultSettings, ...options };
    this.#modules = modules;
    this.#heartbeatMs = this.#settings.heartbeatMs;
    this.#presence = new Presence(graceMsOf(this.#settings, this.#heartbeatMs));
    const { store, proposer, clock, log, newId, alsoNeeded } = modules;
    const open = {
      view: () => store.view(),
      sessionOf: (id: string) => this.#openSession(id),
      sessions: () => this.#openSessions(),
    };
    const guard = (act: () => void) => this.#guard(act);
    this.#updates = new NodeUpdates(this.#settings, { ...open, clock, log, alsoNeeded, guard });
    const nodeChange = (node: Node) => this.#presence.change(node, clock.now());
    this.#writer = new Writer({ store, proposer, clock, log, nodeChange });
    this.#logs = new LogHub({ ...open, isAwaited: (nodeId) => this.isAwaited(nodeId), newId, clock });
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
      this.#updates.close();
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

  /** The node did not come to this leader yet, which gives it time. */
  isAwaited(nodeId: string): boolean {
    return this.#presence.isAwaited(nodeId, timesOf(this.#modules.clock));
  }

  /** Lines of the tasks as they come from their nodes, followed also of later tasks; a node that is away gives a notice. */
  subscribeLogs(wish: LogWish, signal: AbortSignal): AsyncIterable<LogEntry | LogNote> {
    return this.#logs.subscribe(wish, signal);
  }

  // --- the state ---

  /** A new leader: every node gets a whole grace and more. */
  #begin(view: View): void {
    this.#followHeartbeat(view.cluster());
    const times = timesOf(this.#modules.clock);
    for (const node of view.list('nodes')) this.#presence.add(node, times);
    this.#updates.begin(view);
  }

  #watched(events: readonly StoreEvent[] | 'reset', view: View): void {
    if (events === 'reset') this.#reset(view);
    else for (const event of events) this.#changed(event, view);
    this.#logs.changed(events, view);
    if (events === 'reset' || events.some(({ table }) => table === 'cluster' || table === 'nodes'))
      this.#tellRoots(view);
    this.#updates.flushSoon();
  }

  #changed(event: StoreEvent, view: View): void {
    this.#updates.changed(event, view);
    if (event.table === 'nodes') this.#nodeChanged(event.before, event.after);
    else if (event.table === 'cluster') this.#followHeartbeat(event.after);
  }

  #followHeartbeat(cluster: Cluster | undefined): void {
    const heartbeatMs = nsToMs(cluster?.Spec.Dispatcher?.HeartbeatPeriod ?? 0) || this.#settings.heartbeatMs;
    if (heartbeatMs === this.#heartbeatMs) return;
    this.#heartbeatMs = heartbeatMs;
    this.#presence.graceMs = graceMsOf(this.#settings, heartbeatMs);
    for (const session of this.#openSessions()) session.send({ type: 'heartbeat-period', heartbeatMs });
  }

  #reset(view: View): void {
    this.#presence.clear();
    for (const session of this.#streams) session.close({ type: 'redirect', managers: this.#modules.managers() });
    this.#begin(view);
  }

  #nodeChanged(before: Node | undefined, after: Node | undefined): void {
    if (!after) {
      if (before) this.#nodeRemoved(before.ID);
      return;
    }
    this.#presence.add(after, timesOf(this.#modules.clock));
    if (before && before.Status.State !== after.Status.State)
      this.#modules.log.info({ node: after.ID, state: after.Status.State, was: before.Status.State }, 'node state');
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
    this.#roots.tell(view, this.#openSessions(), this.#modules.clock.monotonic());
  }

  #sendManagers(): void {
    const managers = this.#modules.managers();
    for (const session of this.#openSessions()) session.send({ type: 'managers', managers });
  }

  // --- sessions ---

  #openSession(nodeId: string): Session | undefined {
    const session = this.#sessions.get(nodeId);
    return session?.open ? session : undefined;
  }

  #openSessions(): Session[] {
    return [...this.#sessions.values()].filter(({ open }) => open);
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
      ...(this.#modules.giveImage && { givesImages: true }),
    });
    session.send({ type: 'managers', managers: managers() });
    this.#tellRoots(store.view());
    this.#updates.showAll(session);
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
        if (session.behind && !session.congested) this.#updates.showAll(session);
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
      case 'image-wanted':
        void this.#giveImage(session, message.taskId);
        break;
      default:
        message satisfies never;
    }
  }

  #applied(session: Session, revision: number): void {
    const view = this.#modules.store.view();
    session.applied = Math.max(session.applied, Math.min(revision, view.index));
    this.#updates.release(view);
  }

  async #renew(session: Session, csr: string): Promise<void> {
    try {
      session.send({ type: 'certificate', ...(await this.#modules.renew(session.nodeId, csr)) });
    } catch (error) {
      session.send({ type: 'error', code: 'failed-precondition', message: `not renewed: ${messageOf(error)}` });
    }
  }

  async #giveImage(session: Session, taskId: string): Promise<void> {
    try {
      if (!this.#modules.giveImage) throw new Error('this manager gives no images');
      await this.#modules.giveImage(session.nodeId, taskId);
      session.send({ type: 'image-given', taskId });
    } catch (error) {
      session.send({ type: 'image-given', taskId, problem: messageOf(error) });
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
      this.#updates.release(store.view());
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
