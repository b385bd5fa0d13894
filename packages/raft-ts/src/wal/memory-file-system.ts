import { basename, dirname } from 'node:path';
import type { File, FileSystem, OpenMode } from './file-system.ts';

// A file system in memory that forgets what was not synced when it crashes, wholly or in part: for tests.

type Operation = 'open' | 'write' | 'read' | 'datasync' | 'sync' | 'truncate' | 'rename' | 'unlink' | 'syncDir';

/** What a crash does to unsynced writes: none of them happened, all did, or each sector by the toss of `random`. */
export type CrashMode = 'lose' | 'keep' | 'tear';

const sector = 512;

class Inode {
  current: Buffer = Buffer.alloc(0);
  durable: Buffer = Buffer.alloc(0);

  resize(length: number): void {
    if (length <= this.current.length) this.current = Buffer.from(this.current.subarray(0, length));
    else this.current = Buffer.concat([this.current, Buffer.alloc(length - this.current.length)]);
  }

  crash(mode: CrashMode, random: () => number): void {
    if (mode === 'lose') this.current = Buffer.from(this.durable);
    if (mode === 'tear') this.#tear(random);
    this.durable = Buffer.from(this.current);
  }

  #tear(random: () => number): void {
    const torn = Buffer.alloc(this.current.length);
    this.durable.copy(torn, 0, 0, Math.min(torn.length, this.durable.length));
    for (let at = 0; at < torn.length; at += sector) {
      if (random() < 0.5) this.current.copy(torn, at, at, Math.min(torn.length, at + sector));
    }
    this.current = torn;
  }
}

export class MemoryFileSystem implements FileSystem {
  /** Called before each operation; what it throws is the operation's failure. */
  fault: (operation: Operation, path: string) => void = () => {};
  readonly #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  readonly #random: () => number;
  /** Handles of before a crash are dead. */
  #boot = 0;

  constructor(random: () => number = () => 0) {
    this.#random = random;
  }

  /** The power goes and comes back. */
  crash(mode: CrashMode): void {
    this.#boot++;
    if (mode === 'lose') {
      this.#names.clear();
      for (const [name, inode] of this.#durableNames) this.#names.set(name, inode);
    }
    for (const inode of this.#names.values()) inode.crash(mode, this.#random);
    this.#durableNames = new Map(this.#names);
  }

  /** The bytes of a file, to look at or to spoil: changes count as durable. */
  edit(path: string, change: (bytes: Buffer) => Buffer): void {
    const inode = this.#find(path);
    inode.current = change(Buffer.from(inode.current));
    inode.durable = Buffer.from(inode.current);
  }

  async open(path: string, mode: OpenMode): Promise<File> {
    this.#before('open', path);
    if (mode === 'create') this.#names.set(path, new Inode());
    return this.#file(path, this.#find(path));
  }

  async rename(from: string, to: string): Promise<void> {
    this.#before('rename', from);
    this.#names.set(to, this.#find(from));
    this.#names.delete(from);
  }

  async readdir(path: string): Promise<string[]> {
    return [...this.#names.keys()].filter((name) => dirname(name) === path).map((name) => basename(name));
  }

  async unlink(path: string): Promise<void> {
    this.#before('unlink', path);
    this.#find(path);
    this.#names.delete(path);
  }

  async mkdir(): Promise<void> {}

  async syncDir(path: string): Promise<void> {
    this.#before('syncDir', path);
    for (const name of this.#durableNames.keys()) if (dirname(name) === path) this.#durableNames.delete(name);
    for (const [name, inode] of this.#names) if (dirname(name) === path) this.#durableNames.set(name, inode);
  }

  #before(operation: Operation, path: string): void {
    this.fault(operation, path);
  }

  #find(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw Object.assign(new Error(`ENOENT: no such file, ${path}`), { code: 'ENOENT' });
    return inode;
  }

  #file(path: string, inode: Inode): File {
    const boot = this.#boot;
    const enter = (operation: Operation): void => {
      if (boot !== this.#boot) throw new Error(`${path} was open when the power went`);
      this.#before(operation, path);
    };
    return {
      write: async (data, position) => {
        enter('write');
        if (position + data.length > inode.current.length) inode.resize(position + data.length);
        inode.current.set(data, position);
      },
      read: async (into, position) => {
        enter('read');
        return inode.current.copy(into, 0, position, position + into.length);
      },
      datasync: async () => {
        enter('datasync');
        inode.durable = Buffer.from(inode.current);
      },
      sync: async () => {
        enter('sync');
        inode.durable = Buffer.from(inode.current);
      },
      truncate: async (length) => {
        enter('truncate');
        inode.resize(length);
      },
      size: async () => inode.current.length,
      close: async () => {},
    };
  }
}
