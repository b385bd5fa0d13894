import { type Moment, momentOf, parseMoment } from '@swarmctl/shared/model';
import type { LogLine, LogOptions } from '@swarmctl/shared/wire';

// Lines of a task's log in a file: `TIME o|e TEXT`, with what the log driver noted right after the `o` or `e`. And which of them a reader wants.

const newline = 0x0a;
const space = 0x20;

export function formatLine({ time, stream, attrs = '', line }: LogLine): Buffer {
  return Buffer.concat([Buffer.from(`${time} ${stream === 'stderr' ? 'e' : 'o'}${attrs} `), line, Buffer.of(newline)]);
}

/** Undefined for what is no line. */
export function parseLine(bytes: Buffer, taskId: string): LogLine | undefined {
  const afterTime = bytes.indexOf(space);
  const afterStream = bytes.indexOf(space, afterTime + 1);
  if (afterTime < 0 || afterStream < 0) return undefined;
  const attrs = bytes.subarray(afterTime + 2, afterStream).toString('latin1');
  return {
    taskId,
    time: bytes.subarray(0, afterTime).toString('latin1'),
    stream: bytes[afterTime + 1] === 0x65 ? 'stderr' : 'stdout',
    ...(attrs && { attrs }),
    line: Buffer.from(bytes.subarray(afterStream + 1)),
  };
}

/** Every whole line among chunks of bytes. */
export async function* parseLines(chunks: AsyncIterable<Buffer>, taskId: string): AsyncGenerator<LogLine> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    for (let end = rest.indexOf(newline); end >= 0; end = rest.indexOf(newline)) {
      const line = parseLine(rest.subarray(0, end), taskId);
      rest = rest.subarray(end + 1);
      if (line) yield line;
    }
  }
}

type Wish = Pick<LogOptions, 'stdout' | 'stderr' | 'since' | 'until'>;

export function wantedBy({ stdout, stderr, since, until }: Wish): (line: LogLine) => boolean {
  const from = bound(since);
  const to = bound(until);
  return ({ stream, time }) => {
    if (!(stream === 'stdout' ? stdout : stderr)) return false;
    if (from === undefined && to === undefined) return true;
    const at = momentOf(time) ?? 0n;
    return (from === undefined || at >= from) && (to === undefined || at <= to);
  };
}

const bound = (time: string | undefined): Moment | undefined =>
  time === undefined ? undefined : parseMoment(time, 0, 'utc');

/** The last lines that came, as many as wanted; all of them without a number. */
export class Tail<T> {
  readonly #most: number;
  #items: T[] = [];
  #first = 0;

  constructor(most = Number.POSITIVE_INFINITY) {
    this.#most = most;
  }

  push(item: T): void {
    this.#items.push(item);
    if (this.#items.length - this.#first > this.#most) this.shift();
  }

  /** Takes the first of them. */
  shift(): T | undefined {
    const item = this.#items[this.#first];
    this.#first++;
    // An array's own shift moves all that follow, each time.
    if (this.#first > 1_000 && this.#first * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }

  get items(): readonly T[] {
    return this.#items.slice(this.#first);
  }
}
