import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, inTime, type Logger, messageOf } from '@swarmctl/shared/kit';
import type { LogLine, LogOptions } from '@swarmctl/shared/wire';
import { Slots } from '../agent/slots.ts';
import type { Runtime } from '../runtime/types.ts';
import { formatLine, parseLines, Tail, wantedBy } from './line-file.ts';

// What tasks said whose containers are gone. When a container has ended, the end of its log is copied from the runtime into a file, `TASK.log`, so that
// neither the reaper nor a prune by hand takes it away. A daemon that was killed copies when it is back, as long as the container is there.
// Files appear whole or not at all, are for the daemon's user alone, and go a while after the cluster has forgotten their task, or to make room.

export interface LogHistoryOptions {
  readonly folder: string;
  /** Of all files together, bytes; 0: nothing is kept. */
  readonly totalBytes: number;
  /** Of one task's; 1 MiB. The oldest lines are left out. */
  readonly taskBytes?: number;
  /** After the cluster has forgotten the task; a day. */
  readonly keepMs?: number;
}

export interface LogHistoryModules {
  readonly clock: Clock;
  readonly log: Logger;
}

interface Kept {
  readonly bytes: number;
  /** ms since the epoch: when it was written, or the task forgotten. */
  at: number;
  forgotten: boolean;
}

const defaultTaskBytes = 1024 * 1024;
const defaultKeepMs = 24 * 3_600_000;
/** Read from the runtime, before the bound in bytes. */
const mostLines = 20_000;
/** At first, since runtimes count what a long line was written in, which is up to 16 KiB each: so many of those are enough, and read in time. */
const fewLines = 500;
/** A container's removal waits no longer for its log. */
const timeLimitMs = 5_000;
/** What a file takes on the disk at least, so that their number is bounded too. */
const blockBytes = 4_096;
const atOnce = 2;

export class LogHistory {
  readonly #options: Required<LogHistoryOptions>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #slots = new Slots(atOnce);
  readonly #keeping = new Map<string, Promise<void>>();
  #loaded: Promise<Map<string, Kept>> | undefined;

  constructor(options: LogHistoryOptions, { clock, log }: LogHistoryModules) {
    this.#options = { taskBytes: defaultTaskBytes, keepMs: defaultKeepMs, ...options };
    this.#clock = clock;
    this.#log = log;
  }

  /** Copies the log of a container that has ended, once. Resolves when that is done, has failed or has taken too long; never rejects. */
  keep(taskId: string, runtime: Pick<Runtime, 'logs'>): Promise<void> {
    if (this.#options.totalBytes === 0) return Promise.resolve();
    const running = this.#keeping.get(taskId) ?? this.#keepInTime(taskId, runtime);
    this.#keeping.set(taskId, running);
    return running;
  }

  async #keepInTime(taskId: string, runtime: Pick<Runtime, 'logs'>): Promise<void> {
    const limit = { what: 'copying it', ms: timeLimitMs };
    try {
      await inTime(this.#clock, limit, (signal) => this.#slots.run(() => this.#keep(taskId, runtime, signal), signal));
    } catch (error) {
      this.#log.warn({ task: taskId, error: messageOf(error) }, 'the log of a task is not kept');
    } finally {
      this.#keeping.delete(taskId);
    }
  }

  async #keep(taskId: string, runtime: Pick<Runtime, 'logs'>, signal: AbortSignal): Promise<void> {
    const kept = await this.#files();
    if (kept.has(taskId)) return;
    const bytes = await this.#lastBytes(taskId, runtime, signal);
    if (signal.aborted) return;
    await this.#write(taskId, bytes);
    kept.set(taskId, { bytes: bytes.length, at: this.#clock.now(), forgotten: false });
    await this.#makeRoom(kept);
  }

  async #lastBytes(taskId: string, runtime: Pick<Runtime, 'logs'>, signal: AbortSignal): Promise<Buffer> {
    const few = await this.#tail(taskId, runtime, fewLines, signal);
    // Much fewer: it is all, as parts of longer ones would have filled the file.
    if (few.isCut || few.lines < fewLines / 2) return few.bytes;
    return (await this.#tail(taskId, runtime, mostLines, signal)).bytes;
  }

  async #tail(taskId: string, runtime: Pick<Runtime, 'logs'>, tail: number, signal: AbortSignal) {
    const { taskBytes } = this.#options;
    const options = { follow: false, stdout: true, stderr: true, details: true, tail };
    const last = new Tail<Buffer>();
    let [size, lines, isCut] = [0, 0, false];
    for await (const line of runtime.logs(taskId, options, signal)) {
      const bytes = formatLine(line);
      last.push(bytes);
      lines++;
      size += bytes.length;
      for (; size > taskBytes; isCut = true) size -= last.shift()?.length ?? size;
    }
    return { bytes: Buffer.concat(last.items), lines, isCut };
  }

  async #write(taskId: string, bytes: Buffer): Promise<void> {
    const path = this.#path(taskId);
    const temporary = join(this.#options.folder, `.${taskId}.new`);
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(bytes);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  }

  async has(taskId: string): Promise<boolean> {
    await this.#keeping.get(taskId);
    return (await this.#files()).has(taskId);
  }

  async *read(taskId: string, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
    const isWanted = wantedBy(options);
    const tail = options.tail === undefined ? undefined : new Tail<LogLine>(options.tail);
    for await (const line of parseLines(createReadStream(this.#path(taskId)), taskId)) {
      if (signal.aborted) return;
      if (!isWanted(line)) continue;
      if (tail) tail.push(line);
      else yield line;
    }
    if (tail) yield* tail.items;
  }

  /** The cluster has forgotten the task: from now on its file is there for a while. */
  async forget(taskId: string): Promise<void> {
    await this.#keeping.get(taskId);
    const file = (await this.#files()).get(taskId);
    if (!file || file.forgotten) return;
    file.forgotten = true;
    file.at = this.#clock.now();
    await utimes(this.#path(taskId), file.at / 1000, file.at / 1000).catch(() => undefined);
  }

  /** Removes what was kept long enough; `isKnown`: the cluster has not forgotten the task. */
  async sweep(isKnown: (taskId: string) => boolean): Promise<void> {
    const kept = await this.#files();
    for (const [taskId, file] of kept) {
      file.forgotten = !isKnown(taskId);
      if (file.forgotten && this.#clock.now() - file.at > this.#options.keepMs) await this.#remove(kept, taskId);
    }
    await this.#makeRoom(kept);
  }

  /** The node has left. */
  async clear(): Promise<void> {
    await rm(this.#options.folder, { recursive: true, force: true });
    this.#loaded = undefined;
  }

  /** Those of forgotten tasks go first, then the oldest. */
  async #makeRoom(kept: Map<string, Kept>): Promise<void> {
    let total = 0;
    for (const file of kept.values()) total += Math.max(file.bytes, blockBytes);
    if (total <= this.#options.totalBytes) return;
    const byWorth = [...kept].sort(([, a], [, b]) => Number(b.forgotten) - Number(a.forgotten) || a.at - b.at);
    for (const [taskId, file] of byWorth) {
      if (total <= this.#options.totalBytes) return;
      total -= Math.max(file.bytes, blockBytes);
      await this.#remove(kept, taskId);
    }
  }

  async #remove(kept: Map<string, Kept>, taskId: string): Promise<void> {
    kept.delete(taskId);
    await rm(this.#path(taskId), { force: true });
  }

  #path(taskId: string): string {
    // Ids come from the managers; a path must not.
    if (!/^[\w-]+$/.test(taskId)) throw new Error(`'${taskId}' is no task id`);
    return join(this.#options.folder, `${taskId}.log`);
  }

  #files(): Promise<Map<string, Kept>> {
    this.#loaded ??= this.#load().catch((error) => {
      this.#loaded = undefined;
      throw error;
    });
    return this.#loaded;
  }

  async #load(): Promise<Map<string, Kept>> {
    const { folder } = this.#options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const kept = new Map<string, Kept>();
    for (const name of await readdir(folder)) {
      const taskId = /^([\w-]+)\.log$/.exec(name)?.[1];
      const path = join(folder, name);
      if (taskId === undefined) {
        // What a daemon that was killed had begun.
        await rm(path, { force: true });
        continue;
      }
      const { size, mtimeMs } = await stat(path);
      kept.set(taskId, { bytes: size, at: mtimeMs, forgotten: false });
    }
    return kept;
  }
}
