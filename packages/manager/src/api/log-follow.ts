import type { Duplex } from 'node:stream';
import {
  ClusterError,
  decode,
  delay,
  encode,
  frameOf,
  isClusterError,
  messageOf,
  readFrames,
} from '@swarmctl/shared/kit';
import {
  isLogEntry,
  type LogCursor,
  type LogEntry,
  type LogFrame,
  type LogNote,
  LogProgress,
  type LogWish,
} from '@swarmctl/shared/wire';
import type { FastifyInstance } from 'fastify';
import { type ApiContext, leading, managerOf } from './context.ts';
import { requestOver, textOf } from './docker-host/over-stream.ts';
import { forwardedBy } from './forward.ts';
import type { ManagerAccess } from './ports.ts';
import { drained, openStream } from './stream.ts';
import { apiVersion } from './version.ts';

// Logs that are followed outlive the leader: the manager that serves the client, be it the leader itself, keeps account of how far they have come, and has
// the next leader go on from there.

const retryMs = 250;
const lookMs = 1_000;
const contentType = 'application/vnd.swarmd.frames';

/** Ends when there can be no more lines, or when this node is no manager any more. Throws what is wrong with the wish itself. */
export async function* followLogs(
  context: ApiContext,
  wish: Omit<LogWish, 'cursor'>,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  const account = new LogAccount(context.clock.now());
  let isTold = false;
  while (!signal.aborted && context.local.manager()) {
    try {
      for await (const entry of fromLeader(context, { ...wish, cursor: account.cursor }, signal)) {
        isTold = false;
        if ('taken' in entry) await untilKnown(managerOf(context), entry.taken);
        account.add(entry);
        if (isLogEntry(entry)) yield entry;
      }
      return;
    } catch (error) {
      if (isClusterError(error) && error.code === 'invalid-argument') throw error;
      if (!isTold) context.log.info({ error: messageOf(error) }, 'a log that is followed waits for a leader');
      isTold = true;
    }
    await delay(context.clock, retryMs, signal).catch(() => undefined);
  }
}

/** Whoever reads a line asks this manager whose it is. */
async function untilKnown(manager: ManagerAccess, taskIds: readonly string[]): Promise<void> {
  const view = manager.view();
  if (taskIds.some((taskId) => !view.get('tasks', taskId))) await manager.readIndex();
}

/** How far a log that is followed has come. */
class LogAccount {
  readonly #begun: number;
  #isTaken = false;
  readonly #tasks = new Map<string, { readonly isNew: boolean; readonly progress: LogProgress }>();

  constructor(begun: number) {
    this.#begun = begun;
  }

  /** Undefined before the first leader has answered. */
  get cursor(): LogCursor | undefined {
    if (!this.#isTaken) return undefined;
    const tasks = [...this.#tasks].map(([taskId, { isNew, progress }]) => ({ taskId, isNew, places: progress.places }));
    return { begun: this.#begun, tasks };
  }

  add(entry: LogEntry | LogNote): void {
    if ('taken' in entry) {
      this.#isTaken = true;
      for (const taskId of entry.taken) {
        this.#tasks.set(taskId, { isNew: entry.isNew, progress: new LogProgress() });
      }
    } else if ('forgotten' in entry) this.#tasks.delete(entry.forgotten);
    else if ('line' in entry) this.#tasks.get(entry.taskId)?.progress.isNew(entry);
  }
}

async function* fromLeader(
  context: ApiContext,
  wish: LogWish,
  signal: AbortSignal,
): AsyncGenerator<LogEntry | LogNote> {
  const manager = managerOf(context);
  const stream = manager.isLeader() ? 'here' : await manager.dialLeader(signal);
  if (stream === 'here') {
    yield* manager.logs(wish, signal);
    return;
  }
  const led = new Deposed(context, manager);
  try {
    yield* over(stream, context, wish, AbortSignal.any([signal, led.signal]));
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    led.end();
    stream.destroy();
  }
}

async function* over(
  stream: Duplex,
  context: ApiContext,
  wish: LogWish,
  signal: AbortSignal,
): AsyncGenerator<LogEntry | LogNote> {
  const headers = { 'content-type': contentType, [forwardedBy]: context.local.info().nodeId };
  const asked = { method: 'POST', path: `/v${apiVersion}/logs`, headers, signal };
  const { outgoing, answer } = requestOver(stream, asked);
  outgoing.end(encode(wish));
  const response = await answer;
  const { statusCode = 0 } = response;
  if (statusCode !== 200) {
    const message = `the leader says to a log: status ${statusCode}: ${(await textOf(response)).trim()}`;
    throw statusCode < 500 ? new ClusterError('invalid-argument', message) : new Error(message);
  }
  for await (const frame of readFrames(response) as AsyncIterable<LogFrame>) {
    if ('over' in frame) return;
    yield frame;
  }
  throw new Error('the leader has ended it');
}

/** Aborts when another manager has come to lead: a connection to the last one may hang for long. */
class Deposed {
  readonly #abort = new AbortController();
  #timer: { cancel(): void } | undefined;

  constructor({ local, clock }: ApiContext, manager: ManagerAccess) {
    const leader = manager.leader()?.nodeId;
    const isDeposed = () => {
      const now = manager.leader()?.nodeId;
      return local.manager() !== manager || manager.isLeader() || (now !== undefined && now !== leader);
    };
    const look = () => {
      if (isDeposed()) this.#abort.abort(new Error('another manager leads'));
      else this.#timer = clock.after(lookMs, look);
    };
    look();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  end(): void {
    this.#timer?.cancel();
  }
}

/** What the leader answers another manager. */
export function logRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/logs', { config: { leaderOnly: true } }, async (request, reply) => {
    const wish = wishIn(request.body as Buffer | undefined);
    const manager = await leading(context);
    const abort = openStream(reply, contentType);
    const send = async (frame: LogFrame) => {
      if (!reply.raw.write(frameOf(frame))) await drained(reply, abort.signal);
    };
    try {
      for await (const entry of manager.logs(wish, abort.signal)) await send(entry);
      await send({ over: true });
      reply.raw.end();
    } catch (error) {
      if (!abort.signal.aborted) context.log.debug({ error: messageOf(error) }, 'a log breaks off');
      reply.raw.destroy();
    }
    return reply;
  });
}

function wishIn(body: Buffer | undefined): LogWish {
  let wish: Partial<LogWish> | undefined;
  try {
    wish = body && (decode(body) as Partial<LogWish>);
  } catch {}
  const begun = wish?.cursor?.begun ?? 0;
  if (!isObject(wish?.subject) || !isObject(wish?.options) || !Number.isSafeInteger(begun)) {
    throw new ClusterError('invalid-argument', 'managers ask each other for logs here, in a form of their own');
  }
  return wish as LogWish;
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
