import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogLine, LogOptions } from '@swarmctl/shared/wire';
import { logFile } from './task-folder.ts';

// Reads what a shim writes: lines `TIME o|e TEXT` in `output.log`, the older ones in `.1` and `.2`. A file that is rotated while it is read
// is known by its inode and read to its end.

const names = [`${logFile}.2`, `${logFile}.1`, logFile];
const chunkBytes = 64 * 1024;

export interface LogSource {
  readonly folder: string;
  readonly taskId: string;
  /** True once nothing more will be written. */
  readonly ended: () => Promise<boolean>;
  /** Resolves when there may be more; at the latest after a while. */
  readonly more: () => Promise<void>;
}

export async function* readLogs(source: LogSource, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
  const wanted = (line: LogLine) => isWanted(line, options);
  const reader = new RotatedReader(source);
  try {
    let tail: LogLine[] | undefined = options.tail === undefined ? undefined : [];
    for (;;) {
      // Asked first, so that what was written before the end is surely read.
      const ended = !options.follow || (await source.ended());
      for await (const line of reader.lines()) {
        if (signal.aborted) return;
        if (!wanted(line)) continue;
        if (!tail) yield line;
        else if (tail.push(line) > (options.tail ?? 0)) tail.shift();
      }
      if (tail) yield* tail;
      tail = undefined;
      if (ended || signal.aborted) return;
      await source.more();
    }
  } finally {
    await reader.close();
  }
}

function isWanted(line: LogLine, { stdout, stderr, since, until }: LogOptions): boolean {
  if (!(line.stream === 'stdout' ? stdout : stderr)) return false;
  const time = Date.parse(line.time);
  return (since === undefined || time >= since) && (until === undefined || time <= until);
}

class RotatedReader {
  readonly #source: LogSource;
  #file: FileHandle | undefined;
  #inode = 0;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: LogSource) {
    this.#source = source;
  }

  /** Every whole line that is there by now. */
  async *lines(): AsyncGenerator<LogLine> {
    while (this.#file || (await this.#next())) {
      const chunk = await this.#read();
      if (chunk.length === 0) {
        if (await this.#next()) continue;
        return;
      }
      this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
      for (let end = this.#rest.indexOf(0x0a); end >= 0; end = this.#rest.indexOf(0x0a)) {
        const line = parseLine(this.#rest.subarray(0, end), this.#source.taskId);
        this.#rest = this.#rest.subarray(end + 1);
        if (line) yield line;
      }
    }
  }

  async #read(): Promise<Buffer> {
    if (!this.#file) return Buffer.alloc(0);
    const buffer = Buffer.allocUnsafe(chunkBytes);
    const { bytesRead } = await this.#file.read(buffer, 0, chunkBytes, null);
    return buffer.subarray(0, bytesRead);
  }

  /** Opens the file after the one at hand; false when that is the newest. */
  async #next(): Promise<boolean> {
    const inodes = await Promise.all(
      names.map(async (name) => (await stat(join(this.#source.folder, name)).catch(() => undefined))?.ino),
    );
    const at = this.#inode === 0 ? -1 : inodes.indexOf(this.#inode);
    const after = inodes.findIndex((inode, i) => i > at && inode !== undefined && inode !== this.#inode);
    if (after < 0) return false;
    // Between the reading at its end and the rotation more may have been written.
    if (this.#file && (await this.#hasMore())) return true;
    await this.#file?.close();
    this.#file = await open(join(this.#source.folder, names[after] ?? logFile)).catch(() => undefined);
    this.#inode = this.#file ? (await this.#file.stat()).ino : 0;
    this.#rest = Buffer.alloc(0);
    return this.#file !== undefined;
  }

  async #hasMore(): Promise<boolean> {
    const chunk = await this.#read();
    this.#rest = Buffer.concat([this.#rest, chunk]);
    return chunk.length > 0;
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}

export function parseLine(bytes: Buffer, taskId: string): LogLine | undefined {
  const space = bytes.indexOf(0x20);
  if (space < 0) return undefined;
  return {
    taskId,
    time: bytes.subarray(0, space).toString('latin1'),
    stream: bytes[space + 1] === 0x65 ? 'stderr' : 'stdout',
    line: Buffer.from(bytes.subarray(space + 3)),
  };
}
