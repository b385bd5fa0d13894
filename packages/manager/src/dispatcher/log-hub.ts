import { Bell, type Logger, type NewId } from '@swarmctl/shared/kit';
import { type LogLine, type LogOptions, logsWindow } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import type { Session } from './session.ts';
import type { LogEntry } from './types.ts';

// Logs of tasks from the nodes that hold them, merged as they come. An agent sends on only when what it sent was taken, so that a slow
// reader slows its sources and fills no memory.

interface Chunk {
  readonly session: Session;
  readonly lines: readonly LogLine[];
}

interface Feed {
  readonly queue: (Chunk | { readonly notice: string })[];
  readonly sources: Set<Session>;
  readonly bell: Bell;
}

export interface LogHubModules {
  readonly view: () => View;
  readonly sessionOf: (nodeId: string) => Session | undefined;
  readonly newId: NewId;
  readonly log: Logger;
}

const incomplete = (reason: string): { notice: string } => ({
  notice: `warning: incomplete log stream. some logs could not be retrieved for the following reasons: ${reason}`,
});

export class LogHub {
  readonly #feeds = new Map<string, Feed>();
  readonly #modules: LogHubModules;

  constructor(modules: LogHubModules) {
    this.#modules = modules;
  }

  /** Ends when every source has, or with the signal. */
  async *subscribe(taskIds: readonly string[], options: LogOptions, signal: AbortSignal): AsyncGenerator<LogEntry> {
    const id = this.#modules.newId();
    const feed: Feed = { queue: [], sources: new Set(), bell: new Bell() };
    const stop = () => feed.bell.ring();
    signal.addEventListener('abort', stop);
    this.#feeds.set(id, feed);
    try {
      this.#open(id, feed, taskIds, options);
      while (!signal.aborted) {
        const next = feed.queue.shift();
        if (next && 'notice' in next) yield next;
        else if (next) {
          yield* next.lines;
          next.session.send({ type: 'logs-ack', subscription: id, count: 1 });
        } else if (feed.sources.size === 0) return;
        else await feed.bell.wait();
      }
    } finally {
      signal.removeEventListener('abort', stop);
      this.#feeds.delete(id);
      for (const session of feed.sources) session.send({ type: 'logs-unsubscribe', subscription: id });
    }
  }

  #open(id: string, feed: Feed, taskIds: readonly string[], options: LogOptions): void {
    const byNode = new Map<string, string[]>();
    for (const taskId of taskIds) {
      const nodeId = this.#modules.view().get('tasks', taskId)?.NodeID;
      if (nodeId !== undefined) byNode.set(nodeId, [...(byNode.get(nodeId) ?? []), taskId]);
    }
    for (const [nodeId, ids] of byNode) {
      const session = this.#modules.sessionOf(nodeId);
      if (session) {
        feed.sources.add(session);
        session.send({ type: 'logs-subscribe', subscription: id, taskIds: ids, options });
      } else feed.queue.push(incomplete(`node ${nodeId} is not available`));
    }
  }

  lines(session: Session, subscription: string, lines: readonly LogLine[]): void {
    const feed = this.#feeds.get(subscription);
    if (!feed?.sources.has(session)) return;
    const waiting = feed.queue.filter((item) => 'session' in item && item.session === session).length;
    if (waiting > 2 * logsWindow) throw new Error('more log lines were sent than were asked for');
    feed.queue.push({ session, lines });
    feed.bell.ring();
  }

  end(session: Session, subscription: string, error: string | undefined): void {
    const feed = this.#feeds.get(subscription);
    if (!feed?.sources.delete(session)) return;
    if (error !== undefined) feed.queue.push(incomplete(error));
    feed.bell.ring();
  }

  /** The session is over, and with it its part of every subscription. */
  drop(session: Session): void {
    for (const [id, feed] of this.#feeds) {
      if (feed.sources.has(session)) this.end(session, id, `the connection to node ${session.nodeId} was lost`);
    }
  }
}
