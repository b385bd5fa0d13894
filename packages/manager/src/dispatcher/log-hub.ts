import { Bell, type Clock, ClusterError, type NewId } from '@swarmctl/shared/kit';
import { isAfter, parseMoment, type StoreEvent, type Task, toMs, toUnixTime } from '@swarmctl/shared/model';
import {
  type LogCursor,
  type LogEntry,
  type LogLine,
  type LogNote,
  type LogOptions,
  LogProgress,
  type LogSubject,
  type LogWish,
  logsWindow,
} from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import type { Session } from './session.ts';

// Logs of tasks from the nodes that hold them, merged as they come. An agent sends on only when what it sent was taken, so that a slow
// reader slows its sources and fills no memory. Who follows a service is given the tasks that it gets later, too; and when a node is away for
// a while, its tasks' logs go on where they broke off. So do all at the next leader, which is handed how far they have come.

interface Chunk {
  readonly part: string;
  readonly lines: readonly LogLine[];
}

interface Notice {
  readonly notice: string;
  readonly taskId: string;
}

/** What a node was asked for. */
interface Part {
  readonly session: Session;
  readonly taskIds: readonly string[];
}

interface Feed {
  readonly subject: LogSubject;
  readonly options: LogOptions;
  readonly queue: (Chunk | Notice | LogNote)[];
  /** What the nodes were asked for and have not ended, by the name that they know it by. */
  readonly parts: Map<string, Part>;
  /** Tasks that were asked for; true: it came later. */
  readonly asked: Map<string, boolean>;
  /** Followed: how far the log of each task was read. */
  readonly progress: Map<string, LogProgress>;
  /** By task, the node that is asked when it is there: of what is followed, and of a leader that awaits its nodes. */
  readonly away: Map<string, string>;
  /** When it was asked for; ms since the epoch. */
  readonly begun: number;
  /** The time has come that it was to end at. */
  over: boolean;
  readonly bell: Bell;
}

export interface LogHubModules {
  readonly view: () => View;
  readonly sessionOf: (nodeId: string) => Session | undefined;
  readonly sessions: () => Iterable<Session>;
  /** It leads since so short a time that the node may be there and has not come to it yet. */
  readonly isAwaited: (nodeId: string) => boolean;
  readonly newId: NewId;
  readonly clock: Clock;
}

/** After the end of what is followed, for the agents to come to their own. */
const overdueMs = 2_000;
/** Nodes come to a new leader one after the other: of one that does not in this time is said that it is away. */
const comingMs = 10_000;
const lookAgainMs = 250;

const incomplete = (taskId: string, reason: string): Notice => ({
  taskId,
  notice: `warning: incomplete log stream. some logs could not be retrieved for the following reasons: ${reason}`,
});

/** An agent answers for a task only once it has taken it on. */
const isTakenOn = (task: Task): boolean => task.NodeID !== undefined && !isAfter('accepted', task.Status.State);

export class LogHub {
  readonly #feeds = new Set<Feed>();
  readonly #feedOf = new Map<string, Feed>();
  readonly #modules: LogHubModules;
  #closed = false;

  constructor(modules: LogHubModules) {
    this.#modules = modules;
  }

  /**
   * Ends with the signal, or when every source has; followed, when there can be no more sources as well. Who follows is told which tasks are taken.
   * Throws `no-leader` to who follows when this manager leads no more.
   */
  async *subscribe({ subject, options, cursor }: LogWish, signal: AbortSignal): AsyncGenerator<LogEntry | LogNote> {
    const feed = this.#newFeed(subject, options, cursor);
    const { bell } = feed;
    const stop = () => bell.ring();
    const timers = [this.#deadline(feed), cursor && this.#missing(feed)];
    signal.addEventListener('abort', stop);
    this.#feeds.add(feed);
    try {
      const view = this.#modules.view();
      if ('forgottenTaskId' in subject) this.#askAll(feed, subject.forgottenTaskId);
      else if (cursor) this.#goOn(feed, view);
      else this.#open(feed, tasksOf(subject, view).filter(isTakenOn), false);
      while (!signal.aborted) {
        const next = feed.queue.shift();
        if (next && 'part' in next) {
          yield* next.lines;
          feed.parts.get(next.part)?.session.send({ type: 'logs-ack', subscription: next.part, count: 1 });
        } else if (next) yield next;
        else if (feed.parts.size > 0 || this.#mayGoOn(feed)) await bell.wait();
        else if (this.#closed && options.follow && !feed.over) throw new ClusterError('no-leader', 'it leads no more');
        else return;
      }
    } finally {
      for (const timer of timers) timer?.cancel();
      signal.removeEventListener('abort', stop);
      this.#feeds.delete(feed);
      for (const [part, { session }] of feed.parts) {
        this.#feedOf.delete(part);
        session.send({ type: 'logs-unsubscribe', subscription: part });
      }
    }
  }

  #newFeed(subject: LogSubject, options: LogOptions, cursor?: LogCursor): Feed {
    const { begun = this.#modules.clock.now(), tasks = [] } = cursor ?? {};
    const asked = new Map(tasks.map(({ taskId, isNew }) => [taskId, isNew]));
    const reached = tasks.filter(({ places }) => places.length > 0);
    const progress = new Map(reached.map(({ taskId, places }) => [taskId, new LogProgress(places)]));
    const parts = { queue: [], parts: new Map(), asked, progress, away: new Map() };
    return { subject, options, ...parts, begun, over: false, bell: new Bell() };
  }

  /** Agents end what they were asked for by themselves; no later task is waited for. */
  #deadline(feed: Feed) {
    const { follow, until } = feed.options;
    const moment = follow && until !== undefined ? parseMoment(until, 0, 'utc') : undefined;
    if (moment === undefined) return undefined;
    const { clock } = this.#modules;
    return clock.after(Math.max(0, toMs(moment) - clock.now()) + overdueMs, () => {
      feed.over = true;
      feed.bell.ring();
    });
  }

  #missing(feed: Feed) {
    return this.#modules.clock.after(comingMs, () => {
      for (const [nodeId, taskId] of new Map([...feed.away].map(([task, node]) => [node, task]))) {
        feed.queue.push(incomplete(taskId, `node ${nodeId} is not available`));
      }
      feed.bell.ring();
    });
  }

  /** From where it was at another leader. */
  #goOn(feed: Feed, view: View): void {
    const tasks = tasksOf(feed.subject, view).filter(isTakenOn);
    for (const { ID, NodeID = '' } of tasks.filter(({ ID }) => feed.asked.has(ID))) {
      const session = this.#modules.sessionOf(NodeID);
      if (session) this.#ask(feed, session, [ID], onwards(feed, ID));
      else this.#awaits(feed, [ID], NodeID);
    }
    this.#open(feed, tasks.filter(isNewTo(feed)), true, false);
  }

  /** `warns`: a node that is not there is away, and not only late. */
  #open(feed: Feed, tasks: readonly Task[], isNew: boolean, warns = true): void {
    const byNode = new Map<string, string[]>();
    const taken = tasks.filter(({ NodeID }) => NodeID !== undefined).map(({ ID }) => ID);
    if (feed.options.follow) feed.queue.push({ taken, isNew });
    const options = isNew ? later(feed) : feed.options;
    for (const { ID, NodeID } of tasks) {
      if (NodeID === undefined) continue;
      feed.asked.set(ID, isNew);
      byNode.set(NodeID, [...(byNode.get(NodeID) ?? []), ID]);
    }
    for (const [nodeId, taskIds] of byNode) {
      const [taskId = ''] = taskIds;
      const session = this.#modules.sessionOf(nodeId);
      if (session) this.#ask(feed, session, taskIds, options);
      else if (warns && this.#modules.isAwaited(nodeId)) this.#expect(feed, taskIds, nodeId);
      else {
        this.#awaits(feed, taskIds, nodeId);
        if (warns) feed.queue.push(incomplete(taskId, `node ${nodeId} is not available`));
      }
    }
    feed.bell.ring();
  }

  /** Nobody knows any more which node it was on. */
  #askAll(feed: Feed, taskId: string): void {
    for (const session of this.#modules.sessions()) this.#ask(feed, session, [taskId], feed.options);
  }

  #ask(feed: Feed, session: Session, taskIds: readonly string[], options: LogOptions): void {
    const part = this.#modules.newId();
    feed.parts.set(part, { session, taskIds });
    this.#feedOf.set(part, feed);
    session.send({ type: 'logs-subscribe', subscription: part, taskIds, options });
  }

  #awaits(feed: Feed, taskIds: readonly string[], nodeId: string): void {
    if (feed.options.follow) for (const taskId of taskIds) feed.away.set(taskId, nodeId);
  }

  /** A node that is on its way to a new leader is asked when it comes; it is away when it does not. */
  #expect(feed: Feed, taskIds: readonly string[], nodeId: string): void {
    const { clock, isAwaited } = this.#modules;
    for (const taskId of taskIds) feed.away.set(taskId, nodeId);
    const look = () => {
      const missing = taskIds.filter((taskId) => feed.away.get(taskId) === nodeId);
      const [first] = missing;
      if (first === undefined || !this.#feeds.has(feed)) return;
      if (isAwaited(nodeId) && !this.#closed) return void clock.after(lookAgainMs, look);
      if (!feed.options.follow) for (const taskId of missing) feed.away.delete(taskId);
      feed.queue.push(incomplete(first, `node ${nodeId} is not available`));
      feed.bell.ring();
    };
    clock.after(lookAgainMs, look);
  }

  /** A node is back: the logs of its tasks go on where they broke off. */
  opened(session: Session): void {
    for (const feed of this.#feeds) {
      for (const [taskId, nodeId] of feed.away) {
        if (nodeId !== session.nodeId) continue;
        feed.away.delete(taskId);
        this.#ask(feed, session, [taskId], onwards(feed, taskId));
      }
    }
  }

  /** The state has changed: followers get the tasks that are new to them, and learn that there will be none. */
  changed(events: readonly StoreEvent[] | 'reset', view: View): void {
    for (const feed of this.#feeds) {
      if (!feed.options.follow) continue;
      if (events === 'reset') {
        for (const taskId of feed.away.keys()) if (!view.get('tasks', taskId)) feed.away.delete(taskId);
        this.#open(feed, tasksOf(feed.subject, view).filter(isNewTo(feed)), true);
      } else this.#follow(feed, events);
    }
  }

  #follow(feed: Feed, events: readonly StoreEvent[]): void {
    const tasks: Task[] = [];
    for (const event of events) {
      if (event.table === 'services' && event.op === 'remove') feed.bell.ring();
      if (event.table !== 'tasks') continue;
      if (event.op === 'remove') {
        feed.away.delete(event.id);
        feed.progress.delete(event.id);
        const isAsked = feed.asked.delete(event.id);
        if (isAsked) feed.queue.push({ forgotten: event.id });
        if (isAsked || concerns(feed.subject, event.before)) feed.bell.ring();
      } else if (event.after && concerns(feed.subject, event.after) && isNewTo(feed)(event.after)) {
        tasks.push(event.after);
      }
    }
    if (tasks.length > 0) this.#open(feed, tasks, true);
  }

  /** Of what has no open part: there may be more to come. */
  #mayGoOn({ subject, options, asked, away, over }: Feed): boolean {
    if (!options.follow) return away.size > 0;
    if (this.#closed || over) return false;
    if (away.size > 0) return true;
    const view = this.#modules.view();
    if ('serviceId' in subject) return view.get('services', subject.serviceId) !== undefined;
    if ('forgottenTaskId' in subject) return false;
    return !asked.has(subject.taskId) && view.get('tasks', subject.taskId) !== undefined;
  }

  /** This manager leads no more and hears of no later tasks: followers have what their sources still send, and go on at the next leader. */
  close(): void {
    this.#closed = true;
    for (const feed of this.#feeds) feed.bell.ring();
  }

  lines(session: Session, part: string, lines: readonly LogLine[]): void {
    const feed = this.#feedOf.get(part);
    const own = feed?.parts.get(part);
    if (!feed || own?.session !== session) return;
    const asked = new Set(own.taskIds);
    if (lines.some(({ taskId }) => !asked.has(taskId))) throw new Error('log lines of another task were sent');
    const waiting = feed.queue.filter((item) => 'part' in item && item.part === part).length;
    if (waiting > 2 * logsWindow) throw new Error('more log lines were sent than were asked for');
    // One without new lines is to be acknowledged, too.
    feed.queue.push({ part, lines: feed.options.follow ? lines.filter((line) => isNewLine(feed, line)) : lines });
    feed.bell.ring();
  }

  end(session: Session, part: string, error: string | undefined): void {
    const feed = this.#feedOf.get(part);
    const own = feed?.parts.get(part);
    if (!feed || own?.session !== session) return;
    feed.parts.delete(part);
    this.#feedOf.delete(part);
    if (error !== undefined) feed.queue.push(incomplete(own.taskIds[0] ?? '', error));
    feed.bell.ring();
  }

  /** The session is over, and with it its part of every subscription: one notice for each reader. */
  drop(session: Session): void {
    for (const feed of this.#feeds) {
      const lost = [...feed.parts].filter(([, own]) => own.session === session);
      for (const [part, { taskIds }] of lost) {
        feed.parts.delete(part);
        this.#feedOf.delete(part);
        this.#awaits(
          feed,
          taskIds.filter((taskId) => feed.asked.has(taskId)),
          session.nodeId,
        );
      }
      const [first] = lost;
      if (!first) continue;
      feed.bell.ring();
      // The connection was given up with the lead.
      if (this.#closed && feed.options.follow) continue;
      feed.queue.push(incomplete(first[1].taskIds[0] ?? '', `the connection to node ${session.nodeId} was lost`));
    }
    // The node may have opened its next one before this ended.
    const next = this.#modules.sessionOf(session.nodeId);
    if (next && next !== session) this.opened(next);
  }
}

/** What comes later is wanted from its first line. */
const later = ({ options: { tail: _, ...options } }: Feed): LogOptions => options;

/** How a task's log goes on. Where nothing came of it yet: as at first, but what was new then has to come. */
function onwards(feed: Feed, taskId: string): LogOptions {
  const progress = feed.progress.get(taskId);
  if (progress) return progress.goOn(feed.options);
  if (feed.asked.get(taskId)) return later(feed);
  return feed.options.follow && feed.options.tail === 0 ? since(feed) : feed.options;
}

const since = (feed: Feed): LogOptions => ({ ...later(feed), since: toUnixTime(BigInt(feed.begun) * 1_000_000n) });

function isNewLine(feed: Feed, line: LogLine): boolean {
  const progress = feed.progress.get(line.taskId) ?? new LogProgress();
  feed.progress.set(line.taskId, progress);
  return progress.isNew(line);
}

const isNewTo =
  (feed: Feed) =>
  (task: Task): boolean =>
    isTakenOn(task) && !feed.asked.has(task.ID);

const concerns = (subject: LogSubject, task: Task | undefined): boolean => {
  if (!task || 'forgottenTaskId' in subject) return false;
  return 'serviceId' in subject ? task.ServiceID === subject.serviceId : task.ID === subject.taskId;
};

const tasksOf = (subject: LogSubject, view: View): readonly Task[] => {
  if ('serviceId' in subject) return view.tasksOfService(subject.serviceId);
  if ('forgottenTaskId' in subject) return [];
  const task = view.get('tasks', subject.taskId);
  return task ? [task] : [];
};
