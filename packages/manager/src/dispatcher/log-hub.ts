import { Bell, type NewId } from '@swarmctl/shared/kit';
import { isAfter, type StoreEvent, type Task } from '@swarmctl/shared/model';
import { type LogLine, type LogOptions, logsWindow } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import type { Session } from './session.ts';
import type { LogEntry, LogSubject } from './types.ts';

// Logs of tasks from the nodes that hold them, merged as they come. An agent sends on only when what it sent was taken, so that a slow
// reader slows its sources and fills no memory. Who follows a service is given the tasks that it gets later, too.

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
  /** One of its tasks. */
  readonly taskId: string;
}

interface Feed {
  readonly subject: LogSubject;
  readonly options: LogOptions;
  readonly queue: (Chunk | Notice)[];
  /** What the nodes were asked for and have not ended, by the name that they know it by. */
  readonly parts: Map<string, Part>;
  /** Tasks that were asked for. */
  readonly asked: Set<string>;
  readonly bell: Bell;
}

export interface LogHubModules {
  readonly view: () => View;
  readonly sessionOf: (nodeId: string) => Session | undefined;
  readonly newId: NewId;
}

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

  /** Ends with the signal, or when every source has; followed, when there can be no more sources as well. */
  async *subscribe(subject: LogSubject, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogEntry> {
    const bell = new Bell();
    const feed: Feed = { subject, options, queue: [], parts: new Map(), asked: new Set(), bell };
    const stop = () => bell.ring();
    signal.addEventListener('abort', stop);
    this.#feeds.add(feed);
    try {
      const view = this.#modules.view();
      this.#open(feed, tasksOf(subject, view).filter(isTakenOn), options);
      while (!signal.aborted) {
        const next = feed.queue.shift();
        if (next && 'notice' in next) yield next;
        else if (next) {
          yield* next.lines;
          feed.parts.get(next.part)?.session.send({ type: 'logs-ack', subscription: next.part, count: 1 });
        } else if (feed.parts.size === 0 && !(options.follow && this.#mayGrow(feed))) return;
        else await bell.wait();
      }
    } finally {
      signal.removeEventListener('abort', stop);
      this.#feeds.delete(feed);
      for (const [part, { session }] of feed.parts) {
        this.#feedOf.delete(part);
        session.send({ type: 'logs-unsubscribe', subscription: part });
      }
    }
  }

  #open(feed: Feed, tasks: readonly Task[], options: LogOptions): void {
    const byNode = new Map<string, string[]>();
    for (const { ID, NodeID } of tasks) {
      if (NodeID === undefined) continue;
      feed.asked.add(ID);
      byNode.set(NodeID, [...(byNode.get(NodeID) ?? []), ID]);
    }
    for (const [nodeId, taskIds] of byNode) {
      const [taskId = ''] = taskIds;
      const session = this.#modules.sessionOf(nodeId);
      if (session) {
        const part = this.#modules.newId();
        feed.parts.set(part, { session, taskId });
        this.#feedOf.set(part, feed);
        session.send({ type: 'logs-subscribe', subscription: part, taskIds, options });
      } else feed.queue.push(incomplete(taskId, `node ${nodeId} is not available`));
    }
    feed.bell.ring();
  }

  /** The state has changed: followers get the tasks that are new to them, and learn that there will be none. */
  changed(events: readonly StoreEvent[] | 'reset', view: View): void {
    for (const feed of this.#feeds) {
      if (!feed.options.follow) continue;
      if (events === 'reset') this.#open(feed, tasksOf(feed.subject, view).filter(isNewTo(feed)), later(feed));
      else this.#follow(feed, events);
    }
  }

  #follow(feed: Feed, events: readonly StoreEvent[]): void {
    const tasks: Task[] = [];
    for (const event of events) {
      if (event.table === 'services' && event.op === 'remove') feed.bell.ring();
      if (event.table !== 'tasks') continue;
      if (event.op === 'remove') {
        if (feed.asked.delete(event.id) || concerns(feed.subject, event.before)) feed.bell.ring();
      } else if (event.after && concerns(feed.subject, event.after) && isNewTo(feed)(event.after)) {
        tasks.push(event.after);
      }
    }
    if (tasks.length > 0) this.#open(feed, tasks, later(feed));
  }

  #mayGrow({ subject, asked }: Feed): boolean {
    const view = this.#modules.view();
    if (this.#closed) return false;
    if ('serviceId' in subject) return view.get('services', subject.serviceId) !== undefined;
    return !asked.has(subject.taskId) && view.get('tasks', subject.taskId) !== undefined;
  }

  /** This manager leads no more and hears of no later tasks: followers end with what their sources still send. */
  close(): void {
    this.#closed = true;
    for (const feed of this.#feeds) feed.bell.ring();
  }

  lines(session: Session, part: string, lines: readonly LogLine[]): void {
    const feed = this.#feedOf.get(part);
    if (feed?.parts.get(part)?.session !== session) return;
    const waiting = feed.queue.filter((item) => 'part' in item && item.part === part).length;
    if (waiting > 2 * logsWindow) throw new Error('more log lines were sent than were asked for');
    feed.queue.push({ part, lines });
    feed.bell.ring();
  }

  end(session: Session, part: string, error: string | undefined): void {
    const feed = this.#feedOf.get(part);
    const own = feed?.parts.get(part);
    if (!feed || own?.session !== session) return;
    feed.parts.delete(part);
    this.#feedOf.delete(part);
    if (error !== undefined) feed.queue.push(incomplete(own.taskId, error));
    feed.bell.ring();
  }

  /** The session is over, and with it its part of every subscription: one notice for each reader. */
  drop(session: Session): void {
    for (const feed of this.#feeds) {
      const lost = [...feed.parts].filter(([, own]) => own.session === session);
      for (const [part] of lost) {
        feed.parts.delete(part);
        this.#feedOf.delete(part);
      }
      const [first] = lost;
      if (!first) continue;
      feed.queue.push(incomplete(first[1].taskId, `the connection to node ${session.nodeId} was lost`));
      feed.bell.ring();
    }
  }
}

/** What comes later is wanted from its first line. */
const later = ({ options: { tail: _, ...options } }: Feed): LogOptions => options;

const isNewTo =
  (feed: Feed) =>
  (task: Task): boolean =>
    isTakenOn(task) && !feed.asked.has(task.ID);

const concerns = (subject: LogSubject, task: Task | undefined): boolean =>
  task !== undefined && ('serviceId' in subject ? task.ServiceID === subject.serviceId : task.ID === subject.taskId);

const tasksOf = (subject: LogSubject, view: View): readonly Task[] => {
  if ('serviceId' in subject) return view.tasksOfService(subject.serviceId);
  const task = view.get('tasks', subject.taskId);
  return task ? [task] : [];
};
