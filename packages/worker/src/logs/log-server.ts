import { Bell, type Clock, messageOf } from '@swarmctl/shared/kit';
import { parseMoment, toMs } from '@swarmctl/shared/model';
import { type AgentMessage, type LogLine, type LogOptions, logsChunkBytes, logsWindow } from '@swarmctl/shared/wire';

// Serves the logs of this node's tasks to the manager: lines of several tasks become chunks, and only so many chunks are under way. What is
// not taken stays in the runtime's files, not in memory.

export interface LogServerModules {
  readonly clock: Clock;
  readonly send: (message: Extract<AgentMessage, { type: 'logs' | 'logs-end' }>) => void;
  /** A task's lines, once there is a container with a log; none when there will be none (or is none yet, without `follow`). */
  readonly lines: (taskId: string, options: LogOptions, signal: AbortSignal) => AsyncIterable<LogLine>;
}

interface Subscription {
  readonly abort: AbortController;
  readonly bell: Bell;
  credit: number;
}

/** A line waits this long for others to go with. */
const gatherMs = 20;
/** A line of the last moment takes so long to get into the log. */
const settleMs = 250;
/** Longer lines are passed on in pieces, so that every chunk fits into a frame. */
const maxLineBytes = 256 * 1024;

export class LogServer {
  readonly #modules: LogServerModules;
  readonly #subscriptions = new Map<string, Subscription>();

  constructor(modules: LogServerModules) {
    this.#modules = modules;
  }

  subscribe(id: string, taskIds: readonly string[], options: LogOptions): void {
    this.unsubscribe(id);
    const subscription = { abort: new AbortController(), bell: new Bell(), credit: logsWindow };
    this.#subscriptions.set(id, subscription);
    void this.#serve(id, subscription, taskIds, options);
  }

  unsubscribe(id: string): void {
    const subscription = this.#subscriptions.get(id);
    this.#subscriptions.delete(id);
    subscription?.abort.abort();
    subscription?.bell.ring();
  }

  acknowledge(id: string, count: number): void {
    const subscription = this.#subscriptions.get(id);
    if (!subscription) return;
    subscription.credit += count;
    subscription.bell.ring();
  }

  /** The session is over, and with it every subscription. */
  clear(): void {
    for (const id of [...this.#subscriptions.keys()]) this.unsubscribe(id);
  }

  async #serve(id: string, own: Subscription, taskIds: readonly string[], options: LogOptions): Promise<void> {
    const { signal } = own.abort;
    const batch = new LineBatch(own.bell);
    const readers = taskIds.map((taskId) => this.#read(taskId, options, batch, signal));
    const reading = Promise.all(readers).finally(() => batch.close());
    await this.#deliver(id, own, batch);
    const problems = (await reading).flatMap((problem) => (problem === undefined ? [] : [problem]));
    if (signal.aborted) return;
    this.#subscriptions.delete(id);
    const error = problems.join('; ');
    this.#modules.send({ type: 'logs-end', subscription: id, ...(error && { error: error.slice(0, 4_000) }) });
  }

  /** Resolves with what went wrong, if anything. */
  async #read(taskId: string, options: LogOptions, into: LineBatch, signal: AbortSignal): Promise<string | undefined> {
    const end = this.#endOf(options);
    const until = AbortSignal.any([signal, end.signal]);
    try {
      for await (const line of this.#modules.lines(taskId, options, until)) {
        if (until.aborted) return undefined;
        await into.add(line);
      }
      return undefined;
    } catch (error) {
      return until.aborted ? undefined : `task ${taskId}: ${messageOf(error)}`;
    } finally {
      end.cancel();
    }
  }

  /** Who follows until some time is told of its coming by no line. */
  #endOf({ follow, until }: LogOptions): { readonly signal: AbortSignal; cancel(): void } {
    const { clock } = this.#modules;
    const passed = new AbortController();
    const moment = follow && until !== undefined ? parseMoment(until, 0, 'utc') : undefined;
    if (moment === undefined) return { signal: passed.signal, cancel: () => undefined };
    const ms = Math.max(0, toMs(moment) - clock.now()) + settleMs;
    const timer = clock.after(ms, () => passed.abort());
    return { signal: passed.signal, cancel: () => timer.cancel() };
  }

  async #deliver(id: string, own: Subscription, batch: LineBatch): Promise<void> {
    for (;;) {
      while (!own.abort.signal.aborted && (batch.empty ? !batch.closed : own.credit <= 0)) await own.bell.wait();
      if (own.abort.signal.aborted) batch.close();
      if (own.abort.signal.aborted || batch.empty) return;
      await this.#gather(own, batch);
      if (own.abort.signal.aborted) continue;
      own.credit--;
      this.#modules.send({ type: 'logs', subscription: id, lines: batch.take() });
    }
  }

  async #gather(own: Subscription, batch: LineBatch): Promise<void> {
    const { clock } = this.#modules;
    const end = clock.monotonic() + gatherMs;
    while (!batch.full && !batch.closed && !own.abort.signal.aborted && clock.monotonic() < end) {
      await own.bell.wait(clock, end - clock.monotonic());
    }
  }
}

/** Lines on their way into the next chunk; readers wait while it is full. */
class LineBatch {
  readonly #bell: Bell;
  #lines: LogLine[] = [];
  #bytes = 0;
  #waiting: (() => void)[] = [];
  closed = false;

  constructor(bell: Bell) {
    this.#bell = bell;
  }

  get empty(): boolean {
    return this.#lines.length === 0;
  }

  get full(): boolean {
    return this.#bytes >= logsChunkBytes;
  }

  async add(line: LogLine): Promise<void> {
    while (this.full && !this.closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.closed) return;
    for (let at = 0; at === 0 || at < line.line.length; at += maxLineBytes) {
      this.#lines.push(
        line.line.length > maxLineBytes ? { ...line, line: line.line.subarray(at, at + maxLineBytes) } : line,
      );
    }
    const wasEmpty = this.#bytes === 0;
    this.#bytes += line.line.length + 100;
    if (wasEmpty || this.full) this.#bell.ring();
  }

  take(): LogLine[] {
    const lines = this.#lines;
    this.#lines = [];
    this.#bytes = 0;
    this.#release();
    return lines;
  }

  close(): void {
    this.closed = true;
    this.#release();
    this.#bell.ring();
  }

  #release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go();
  }
}
