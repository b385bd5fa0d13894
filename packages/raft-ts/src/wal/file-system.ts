import { constants, write } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

// What the log and the snapshots need of a file system: a port, so that tests can lose and tear what was not synced.

export interface File {
  /** Writes all of it at `position`. */
  write(data: Uint8Array, position: number): Promise<void>;
  /** Fills what it can of `into` from `position`; less only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  datasync(): Promise<void>;
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** `create` makes or empties the file, 0600. With `write-through` a write may be durable already when it resolves; `datasync` makes sure. */
export type OpenMode = 'read' | 'write' | 'write-through' | 'create';

export interface FileSystem {
  open(path: string, mode: OpenMode): Promise<File>;
  rename(from: string, to: string): Promise<void>;
  /** Names, in no order; none when the folder is not there. */
  readdir(path: string): Promise<string[]>;
  unlink(path: string): Promise<void>;
  /** With its parents, 0700, all of it durable; fine when it is there. */
  mkdir(path: string): Promise<void>;
  /** Makes names that were created, renamed or removed in the folder durable. */
  syncDir(path: string): Promise<void>;
}

const flags = {
  read: 'r',
  write: 'r+',
  'write-through': constants.O_RDWR | constants.O_DSYNC,
  create: 'w+',
} as const;

export const nodeFileSystem: FileSystem = {
  open: async (path, mode) => nodeFile(path, await fs.open(path, flags[mode], 0o600), mode === 'write-through'),
  rename: (from, to) => fs.rename(from, to),
  readdir: async (path) => {
    try {
      return await fs.readdir(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  },
  unlink: (path) => fs.unlink(path),
  mkdir: async (path) => {
    const first = await fs.mkdir(path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    for (let made = resolve(path); ; made = dirname(made)) {
      await syncDir(dirname(made));
      if (made === resolve(first)) return;
    }
  },
  syncDir,
};

async function syncDir(path: string): Promise<void> {
  const handle = await fs.open(path, 'r');
  try {
    await named(path, () => handle.sync());
  } finally {
    await handle.close();
  }
}

function nodeFile(path: string, handle: fs.FileHandle, writesThrough: boolean): File {
  const writer = new Writer(path, handle.fd);
  return {
    write: (data, position) => writer.write(data, position),
    read: (into, position) =>
      named(path, async () => {
        let done = 0;
        while (done < into.length) {
          const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
        return done;
      }),
    datasync: async () => {
      if (!writesThrough) await named(path, () => handle.datasync());
    },
    sync: () => named(path, () => handle.sync()),
    truncate: (length) => named(path, () => handle.truncate(length)),
    size: async () => (await named(path, () => handle.stat())).size,
    close: async () => {
      await writer.close();
      await named(path, () => handle.close());
    },
  };
}

/** By callback: the promises of a handle take a third more of the time of a short write. */
class Writer {
  readonly #path: string;
  readonly #fd: number;
  #underWay = 0;
  #closing = false;
  #idle: () => void = () => {};

  constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  write(data: Uint8Array, position: number): Promise<void> {
    if (this.#closing) return Promise.reject(withPath(this.#path, new Error('the file is closed')));
    return new Promise((resolve, reject) => {
      this.#writeFrom(0, data, position, resolve, reject);
      this.#underWay++;
    });
  }

  #writeFrom(
    from: number,
    data: Uint8Array,
    position: number,
    resolve: () => void,
    reject: (error: unknown) => void,
  ): void {
    write(this.#fd, data, from, data.length - from, position + from, (error, written) => {
      const done = from + written;
      if (error === null && done < data.length) {
        this.#writeFrom(done, data, position, resolve, reject);
        return;
      }
      if (--this.#underWay === 0) this.#idle();
      if (error === null) resolve();
      else reject(withPath(this.#path, error));
    });
  }

  /** The handle does not know of writes, and another file may have its number next: none must be under way when it closes. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#underWay === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }
}

/** Errors of an open file do not say which one it is. */
export async function named<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw withPath(path, error);
  }
}

function withPath(path: string, error: unknown): unknown {
  if (error instanceof Error && !('path' in error)) {
    error.message += ` '${path}'`;
    Object.assign(error, { path });
  }
  return error;
}

/** The whole file. */
export async function readAll(fileSystem: FileSystem, path: string): Promise<Buffer> {
  const file = await fileSystem.open(path, 'read');
  try {
    const bytes = Buffer.alloc(await file.size());
    const got = await file.read(bytes, 0);
    return bytes.subarray(0, got);
  } finally {
    await file.close();
  }
}

const pieceBytes = 64 << 10;
/** Between two syncs; also what is written at once to a file that writes through, where each write is a sync. */
export const syncBytes = 2 << 20;
const zeros = Buffer.alloc(syncBytes);

/**
 * Zeros from `from` to `to`, really written, so that later syncs find no metadata to change. Synced now and then, so
 * that the disk never has much to do when another file waits for its sync. In small pieces, since Linux caches a file
 * in pieces as large as it was written in, and a short write goes through all blocks of the one that it changes.
 */
export async function zeroFill(file: File, from: number, to: number, piece: number = pieceBytes): Promise<void> {
  for (let at = from; at < to; at += syncBytes) {
    const end = Math.min(to, at + syncBytes);
    for (let next = at; next < end; next += piece) {
      await file.write(zeros.subarray(0, Math.min(piece, end - next)), next);
    }
    await file.datasync();
  }
}
