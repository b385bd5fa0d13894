import { engineFrames, type LogLine, type LogOptions } from '@swarmctl/shared/wire';
import type Docker from 'dockerode';

// The engine's log streams, taken apart: frames without a terminal, plain lines with one. Each line begins with
// its time, since it is asked for, and then what the log driver noted, if that is.

type Stream = LogLine['stream'];

/** A longer line comes in pieces, each as a line: what a container prints without a newline has no end. */
export const mostLineBytes = 256 * 1024;

interface Begun {
  readonly time: string;
  readonly attrs: string;
  readonly parts: Buffer[];
  bytes: number;
}

/** Through the modem, since dockerode would read a log that is not followed into memory as a whole. */
export function openLogs(
  { modem }: Docker,
  id: string,
  options: LogOptions,
  signal: AbortSignal,
): Promise<NodeJS.ReadableStream> {
  return new Promise((resolve, reject) => {
    modem.dial(
      {
        path: `/containers/${id}/logs?`,
        method: 'GET',
        isStream: true,
        abortSignal: signal,
        statusCodes: { 200: true, 404: 'no such container', 500: 'server error', 501: 'not supported' },
        options: {
          follow: options.follow,
          stdout: options.stdout,
          stderr: options.stderr,
          timestamps: true,
          details: options.details,
          tail: options.tail === undefined ? 'all' : String(options.tail),
          ...(options.since !== undefined && { since: options.since }),
          ...(options.until !== undefined && { until: options.until }),
        },
      },
      (error, stream) => (error ? reject(error) : resolve(stream as NodeJS.ReadableStream)),
    );
  });
}

export async function* parseLogs(
  chunks: AsyncIterable<Uint8Array>,
  tty: boolean,
  taskId: string,
  details = false,
): AsyncGenerator<LogLine> {
  const messages = tty ? lines(chunks) : frames(chunks);
  // The engine hands a long line over in parts, each with a time; only the last ends the line.
  const begun = new Map<Stream, Begun>();
  for await (const { stream, bytes } of messages) {
    const space = bytes.indexOf(0x20);
    const time = bytes.subarray(0, Math.max(space, 0)).toString('latin1');
    const from = details ? bytes.indexOf(0x20, space + 1) : space;
    const attrs = bytes.subarray(space + 1, Math.max(from, space + 1)).toString('latin1');
    const text = bytes.subarray(from + 1);
    const line = begun.get(stream) ?? { time, attrs, parts: [], bytes: 0 };
    begun.set(stream, line);
    const ends = text.at(-1) === 0x0a;
    line.parts.push(ends ? text.subarray(0, -1) : text);
    line.bytes += bytes.length;
    if (!ends && line.bytes < mostLineBytes) continue;
    begun.delete(stream);
    yield lineOf(taskId, stream, line);
  }
  for (const [stream, line] of begun) yield lineOf(taskId, stream, line);
}

const lineOf = (taskId: string, stream: Stream, { time, attrs, parts }: Begun): LogLine => ({
  taskId,
  stream,
  time,
  ...(attrs && { attrs }),
  line: Buffer.concat(parts),
});

/** The log driver's options that have it note something with each line. */
export const notes = ['labels', 'labels-regex', 'env', 'env-regex', 'tag'];

interface Message {
  readonly stream: Stream;
  readonly bytes: Buffer;
}

async function* frames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Message> {
  for await (const { stream, bytes } of engineFrames(chunks))
    yield { stream: stream === 2 ? 'stderr' : 'stdout', bytes };
}

/** Pieces of a line that is too long have its time, too. */
async function* lines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Message> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : Buffer.from(chunk);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      yield { stream: 'stdout', bytes: rest.subarray(0, end + 1) };
      rest = rest.subarray(end + 1);
    }
    if (rest.length < mostLineBytes) continue;
    yield { stream: 'stdout', bytes: rest };
    rest = Buffer.from(rest.subarray(0, rest.indexOf(0x20) + 1));
  }
  if (rest.length > 0) yield { stream: 'stdout', bytes: rest };
}
