import { join } from 'node:path';
import type { Sealer } from '../host/types.ts';
import type { FileSystem } from './file-system.ts';
import type { LogId } from './log-items.ts';
import { SnapshotFileReader, SnapshotFileWriter } from './snapshot-file.ts';
import type { SnapshotHeader } from './snapshot-header.ts';

// The folder of snapshots: what has a final name is whole, and the log says which of these count.

export interface SnapshotEnv {
  readonly fileSystem: FileSystem;
  readonly dir: string;
  readonly sealer: Sealer;
}

/** A snapshot that is durable but has no name yet. */
export interface UnnamedSnapshot {
  readonly header: SnapshotHeader;
  /** Gives it a name by which a start finds it, should the log have taken it. */
  stage(): Promise<void>;
  /** Gives it its final name. */
  commit(): Promise<void>;
  discard(): Promise<void>;
}

/** A snapshot that is being received. */
export interface IncomingSnapshot {
  add(chunk: Uint8Array): Promise<void>;
  finish(): Promise<UnnamedSnapshot>;
  abort(): Promise<void>;
}

const hex = (value: number): string => value.toString(16).padStart(16, '0');
const namePattern = /^([0-9a-f]{16})-([0-9a-f]{16})\.snap$/;

const staged = '.received';

export const snapshotDir = (dir: string): string => join(dir, 'snap');

export class SnapshotStore {
  readonly #env: SnapshotEnv;
  #unnamed = 0;

  constructor(env: SnapshotEnv) {
    this.#env = env;
  }

  path({ index, term }: LogId): string {
    return join(this.#env.dir, `${hex(index)}-${hex(term)}.snap`);
  }

  #stagedPath({ index, term }: LogId): string {
    return join(this.#env.dir, `${hex(index)}-${hex(term)}${staged}`);
  }

  /** Of received snapshots that a crash left staged, the one that the log has taken gets its name; others go. */
  async adopt(id: LogId): Promise<void> {
    const { fileSystem, dir } = this.#env;
    for (const name of await fileSystem.readdir(dir)) {
      const path = join(dir, name);
      if (!name.endsWith(staged)) continue;
      if (path === this.#stagedPath(id)) await fileSystem.rename(path, this.path(id));
      else await fileSystem.unlink(path);
      await fileSystem.syncDir(dir);
    }
  }

  /** Newest first. */
  async list(): Promise<LogId[]> {
    const found: LogId[] = [];
    for (const name of await this.#env.fileSystem.readdir(this.#env.dir)) {
      const match = namePattern.exec(name);
      if (match !== null) found.push({ index: Number.parseInt(match[1]!, 16), term: Number.parseInt(match[2]!, 16) });
    }
    return found.sort((a, b) => b.index - a.index || b.term - a.term);
  }

  async receive(header: SnapshotHeader): Promise<IncomingSnapshot> {
    const { fileSystem, dir, sealer } = this.#env;
    await fileSystem.mkdir(dir);
    const path = join(dir, `${hex(header.meta.index)}-${this.#unnamed++}.tmp`);
    const remove = (): Promise<void> => fileSystem.unlink(path).catch(() => {});
    const writer = await SnapshotFileWriter.create(fileSystem, path, sealer, header).catch(async (error: unknown) => {
      await remove();
      throw error;
    });
    const abort = async (): Promise<void> => {
      await writer.abort();
      await remove();
    };
    const finish = async (): Promise<UnnamedSnapshot> => {
      try {
        await writer.finish();
      } catch (error) {
        await abort();
        throw error;
      }
      let at = path;
      const name = async (next: string): Promise<void> => {
        await fileSystem.rename(at, next);
        await fileSystem.syncDir(dir);
        at = next;
      };
      return {
        header,
        stage: () => name(this.#stagedPath(header.meta)),
        commit: () => name(this.path(header.meta)),
        discard: remove,
      };
    };
    return { add: (chunk) => writer.add(chunk), finish, abort };
  }

  /** Writes a snapshot that was taken here. */
  async write(header: SnapshotHeader, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const incoming = await this.receive(header);
    try {
      for await (const chunk of chunks) await incoming.add(chunk);
    } catch (error) {
      await incoming.abort();
      throw error;
    }
    await (await incoming.finish()).commit();
  }

  open(id: LogId): Promise<SnapshotFileReader> {
    return SnapshotFileReader.open(this.#env.fileSystem, this.path(id), this.#env.sealer);
  }

  /** Reads all of it; throws where it is damaged. */
  async verify(id: LogId): Promise<SnapshotHeader> {
    const reader = await this.open(id);
    for await (const _ of reader.chunks());
    return reader.header;
  }

  /** Removes all others. */
  async keepOnly(ids: readonly LogId[]): Promise<void> {
    const { fileSystem } = this.#env;
    const kept = new Set(ids.map((id) => this.path(id)));
    for (const id of await this.list()) if (!kept.has(this.path(id))) await fileSystem.unlink(this.path(id));
  }

  async removeUnfinished(): Promise<void> {
    const { fileSystem, dir } = this.#env;
    for (const name of await fileSystem.readdir(dir)) {
      if (name.endsWith('.tmp')) await fileSystem.unlink(join(dir, name));
    }
  }
}
