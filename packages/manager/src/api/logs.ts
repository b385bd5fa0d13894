import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { type Moment, toTimestamp, toUnixTime } from '@swarmctl/shared/model';
import {
  isLogEntry,
  type LogEntry,
  type LogLine,
  type LogOptions,
  type LogSubject,
  type LogWish,
} from '@swarmctl/shared/wire';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ApiContext, managerOf } from './context.ts';
import { followLogs } from './log-follow.ts';
import { givenMoment } from './moments.ts';
import type { ManagerAccess } from './ports.ts';
import { flag, type Query, single } from './query.ts';
import { drained, openStream } from './stream.ts';
import { minorOf } from './version.ts';

// Logs of tasks as one multiplexed stream: frames of `[1 stdout | 2 stderr] 0 0 0 [u32 length] payload`, or raw bytes with a TTY.
// Notices are lines of stderr with the details of a task: Docker's clients take details for granted, and give up at frames of other kinds.

type LogRequest = FastifyRequest<{ Querystring: Query }>;

/** By any manager when it is followed, else by the leader. */
export async function sendLogs(
  context: ApiContext,
  { subject, options }: Pick<LogWish, 'subject' | 'options'>,
  tty: boolean,
  request: LogRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const entries = (signal: AbortSignal) =>
    options.follow
      ? followLogs(context, { subject, options }, signal)
      : readLogs(managerOf(context), subject, options, signal);
  return await send(context, entries, tty, request, reply);
}

async function* readLogs(
  manager: ManagerAccess,
  subject: LogSubject,
  options: LogOptions,
  signal: AbortSignal,
): AsyncGenerator<LogEntry> {
  for await (const entry of manager.logs({ subject, options }, signal)) if (isLogEntry(entry)) yield entry;
}

async function send(
  context: ApiContext,
  entries: (signal: AbortSignal) => AsyncIterable<LogEntry>,
  tty: boolean,
  request: LogRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const format = { details: flag(request.query, 'details'), timestamps: flag(request.query, 'timestamps') };
  // Older clients take every stream for raw by its name, whatever it is.
  const kind = tty || minorOf(request) < 42 ? 'raw' : 'multiplexed';
  const abort = openStream(reply, `application/vnd.docker.${kind}-stream`);
  const details = new Details(managerOf(context));
  // With nanoseconds, as the lines have them.
  const now = () => toTimestamp(context.clock.now()).replace('Z', '000000Z');
  try {
    for await (const entry of entries(abort.signal)) {
      const bytes = frame(entry, details, format, tty, now);
      if (!reply.raw.write(bytes)) await drained(reply, abort.signal);
      if (abort.signal.aborted) break;
    }
    reply.raw.end();
  } catch (error) {
    if (!abort.signal.aborted) context.log.warn({ error: String(error) }, 'log stream broke');
    reply.raw.destroy();
  }
  return reply;
}

/** Of a task that the managers have forgotten, what its node has kept; false when no node has. */
export async function sendKeptLogs(
  context: ApiContext,
  manager: ManagerAccess,
  { taskId, options }: { readonly taskId: string; readonly options: LogOptions },
  request: LogRequest,
  reply: FastifyReply,
): Promise<boolean> {
  const abort = new AbortController();
  reply.raw.once('close', () => abort.abort());
  const entries = readLogs(manager, { forgottenTaskId: taskId }, { ...options, follow: false }, abort.signal);
  const first: LogEntry[] = [];
  while (!first.some((entry) => 'line' in entry)) {
    const { done, value } = await entries.next();
    if (done) return false;
    first.push(value);
  }
  async function* all() {
    yield* first;
    yield* entries;
  }
  await send(context, all, false, request, reply);
  return true;
}

/** What a request asks for. Throws `unknown`, for which Docker answers with a 500. */
export function logOptions(query: Query, nowMs: number): LogOptions {
  const stdout = flag(query, 'stdout');
  const stderr = flag(query, 'stderr');
  if (!stdout && !stderr) throw new ClusterError('unknown', 'Bad parameters: you must choose at least one stream');
  const tail = single(query, 'tail') ?? 'all';
  if (/^-\d+$/.test(tail)) throw new ClusterError('unknown', `negative tail values not supported: ${tail}`);
  if (tail !== 'all' && tail !== '' && !/^\d+$/.test(tail)) {
    throw new ClusterError('unknown', `tail value must be a positive integer or "all", not '${tail}'`);
  }
  const since = bound('since', query, nowMs);
  const until = bound('until', query, nowMs);
  return {
    stdout,
    stderr,
    follow: flag(query, 'follow'),
    ...(tail !== 'all' && tail !== '' && { tail: Number(tail) }),
    ...(since !== undefined && { since: toUnixTime(since) }),
    ...(until !== undefined && { until: toUnixTime(until) }),
    ...(flag(query, 'details') && { details: true }),
  };
}

function bound(key: 'since' | 'until', query: Query, nowMs: number): Moment | undefined {
  try {
    return givenMoment(key, single(query, key), nowMs) || undefined;
  } catch (error) {
    throw new ClusterError('unknown', `could not parse ${key} timestamp: ${messageOf(error)}`);
  }
}

const streamNumber = { stdout: 1, stderr: 2 } as const;
const newline = Buffer.from('\n');

function frame(
  entry: LogEntry,
  details: Details,
  format: { details: boolean; timestamps: boolean },
  tty: boolean,
  now: () => string,
): Buffer {
  const { time, stream, attrs, line } = 'notice' in entry ? asLine(entry, now()) : entry;
  const prefix = `${format.timestamps ? `${time} ` : ''}${format.details ? `${details.of(entry.taskId, attrs)} ` : ''}`;
  const payload = [Buffer.from(prefix), line, newline];
  return tty ? Buffer.concat(payload) : withHead(streamNumber[stream], payload);
}

const asLine = ({ notice, taskId }: { notice: string; taskId: string }, time: string): LogLine => ({
  ...{ taskId, time, stream: 'stderr' },
  line: Buffer.from(notice),
});

/** Where lines come from, remembered for those that come after their task is gone. */
class Details {
  readonly #manager: Pick<ManagerAccess, 'view'>;
  readonly #known = new Map<string, string>();

  constructor(manager: Pick<ManagerAccess, 'view'>) {
    this.#manager = manager;
  }

  /** With what the log driver noted, which has no say about the ids. */
  of(taskId: string, attrs?: string): string {
    const ids = this.#known.get(taskId) ?? this.#idsOf(taskId);
    if (!attrs) return ids;
    const others = attrs.split(',').filter((attr) => !/^com\.docker\.swarm\.(node|service|task)\.id=/.test(attr));
    return [...others, ...ids.split(',')].sort().join(',');
  }

  #idsOf(taskId: string): string {
    const task = this.#manager.view().get('tasks', taskId);
    const text = `com.docker.swarm.node.id=${task?.NodeID ?? ''},com.docker.swarm.service.id=${task?.ServiceID ?? ''},com.docker.swarm.task.id=${taskId}`;
    this.#known.set(taskId, text);
    return text;
  }
}

function withHead(stream: number, parts: readonly Uint8Array[]): Buffer {
  const head = Buffer.alloc(8);
  head[0] = stream;
  head.writeUInt32BE(
    parts.reduce((sum, part) => sum + part.length, 0),
    4,
  );
  return Buffer.concat([head, ...parts]);
}
