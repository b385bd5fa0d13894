import { watch } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, delay } from '@swarmctl/shared/kit';
import type { LogLine, LogOptions } from '@swarmctl/shared/wire';
import { parseLine, Tail, wantedBy } from '../../logs/line-file.ts';
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
  readonly clock: Clock;
}

const followPollMs = 1_000;

export async function* readLogs(source: LogSource, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
  const isWanted = wantedBy(options);
  const reader = new RotatedReader(source);
  const changes = options.follow ? new FolderChanges(source, signal) : undefined;
  try {
    let tail = options.tail === undefined ? undefined : new Tail<LogLine>(options.tail);
    for (;;) {
      // Asked first, so that what was written before the end is surely read.
      const ended = !options.follow || (await source.ended());
      for await (const line of reader.lines()) {
        if (signal.aborted) return;
        if (!isWanted(line)) continue;
        if (tail) tail.push(line);
        else yield line;
      }
      if (tail) yield* tail.items;
      tail = undefined;
      if (ended || signal.aborted) return;
      await changes?.next();
    }
  } finally {
    changes?.close();
    await reader.close();
  }
}

/** Wakes a follower when something in the folder changes; also now and then, should it not be told. */
class FolderChanges {
  readonly #source: LogSource;
  readonly #signal: AbortSignal;
  readonly #watcher: ReturnType<typeof watch> | undefined;
  #changed = false;
  #wake = () => {};

  constructor(source: LogSource, signal: AbortSignal) {
    this.#source = source;
    this.#signal = signal;
    try {
      this.#watcher = watch(source.folder, { persistent: false }, () => {
        this.#changed = true;
        this.#wake();
      }).on('error', () => {});
    } catch {
      // Too many watches on this machine, or the folder is gone: the poll tells.
    }
  }

  /** A change since the last call counts. */
  async next(): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    if (this.#changed) woken.abort();
    await delay(this.#source.clock, followPollMs, AbortSignal.any([woken.signal, this.#signal])).catch(() => {});
    this.#changed = false;
  }

  close(): void {
    this.#watcher?.close();
  }
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
    for (;;) {
      let chunk = await this.#read();
      if (chunk.length === 0) {
        const successor = await this.#successor();
        if (!successor) return;
        // Between the reading at its end and the rotation more may have been written.
        chunk = await this.#read();
        if (chunk.length === 0) {
          await this.#open(successor);
          continue;
        }
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

  /** The file after the one at hand (the oldest, at first); undefined when that is the newest. */
  async #successor(): Promise<{ name: string; inode: number } | undefined> {
    const files = await Promise.all(
      names.map(async (name) => ({
        name,
        inode: (await stat(join(this.#source.folder, name)).catch(() => undefined))?.ino ?? 0,
      })),
    );
    // One that is not there any more was rotated away: the oldest comes next.
    const at = this.#file ? files.findIndex(({ inode }) => inode === this.#inode) : -1;
    return files.find(({ inode }, i) => i > at && inode !== 0 && inode !== this.#inode);
  }

  async #open(successor: { name: string; inode: number }): Promise<void> {
    const file = await open(join(this.#source.folder, successor.name)).catch(() => undefined);
    if (!file) return;
    // Rotated in between: another look.
    if ((await file.stat()).ino !== successor.inode) return file.close();
    await this.#file?.close();
    this.#file = file;
    this.#inode = successor.inode;
    this.#rest = Buffer.alloc(0);
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}
