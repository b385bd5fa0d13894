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
  #space: Buffer = Buffer.alloc(0);
  /** Sectors whose sync failed: the kernel takes them for clean, and no later sync writes them. */
  readonly #dropped = new Set<number>();

  write(data: Uint8Array, position: number): void {
    if (position + data.length > this.current.length) this.resize(position + data.length);
    this.current.set(data, position);
    for (let at = Math.floor(position / sector); at * sector < position + data.length; at++) this.#dropped.delete(at);
  }

  resize(length: number): void {
    if (length <= this.current.length) {
      this.current = Buffer.from(this.current.subarray(0, length));
    } else if (length <= this.#space.length && this.current.buffer === this.#space.buffer) {
      this.current = this.#space.subarray(0, length);
    } else {
      // With room to grow, which stays zeros.
      this.#space = Buffer.alloc(2 * length);
      this.current.copy(this.#space);
      this.current = this.#space.subarray(0, length);
    }
  }

  sync(): void {
    const durable = Buffer.from(this.current);
    for (const at of this.#dropped) this.#copy(this.durable, durable, at);
    this.durable = durable;
  }

  failSync(): void {
    for (let at = 0; at * sector < this.current.length; at++) this.#dropped.add(at);
  }

  crash(mode: CrashMode, random: () => number): void {
    this.#dropped.clear();
    if (mode === 'lose') this.current = Buffer.from(this.durable);
    if (mode === 'tear') this.#tear(random);
    this.durable = Buffer.from(this.current);
  }

  #tear(random: () => number): void {
    const torn = Buffer.alloc(this.current.length);
    this.durable.copy(torn, 0, 0, Math.min(torn.length, this.durable.length));
    for (let at = 0; at * sector < torn.length; at++) if (random() < 0.5) this.#copy(this.current, torn, at);
    this.current = torn;
  }

  #copy(from: Buffer, to: Buffer, at: number): void {
    const start = Math.min(to.length, at * sector);
    to.fill(0, start, Math.min(to.length, start + sector));
    if (start < from.length) from.copy(to, start, start, start + sector);
  }
}

/** A change of names that no sync of its folder has made durable. */
interface NameChange {
  readonly dir: string;
  apply(names: Map<string, Inode>): void;
}

export class MemoryFileSystem implements FileSystem {
  /** Called before each operation; what it throws is the operation's failure. */
  fault: (operation: Operation, path: string) => void = () => {};
  readonly #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #changes: NameChange[] = [];
  readonly #random: () => number;
  /** Handles of before a crash are dead. */
  #boot = 0;

  constructor(random: () => number = () => 0) {
    this.#random = random;
  }

  /** The power goes and comes back. */
  crash(mode: CrashMode): void {
    this.#boot++;
    for (const change of this.#changes) {
      if (mode === 'keep' || (mode === 'tear' && this.#random() < 0.5)) change.apply(this.#durableNames);
    }
    this.#changes = [];
    this.#names.clear();
    for (const [name, inode] of this.#durableNames) this.#names.set(name, inode);
    for (const inode of new Set(this.#names.values())) inode.crash(mode, this.#random);
  }

  /** The process ends, and what it wrote stays in the page cache. */
  kill(): void {
    this.#boot++;
  }

  /** Bytes of all files. */
  get size(): number {
    return [...this.#names.values()].reduce((sum, { current }) => sum + current.length, 0);
  }

  /** As it is now, all of it durable. */
  copy(): MemoryFileSystem {
    const copy = new MemoryFileSystem(this.#random);
    for (const [name, { current }] of this.#names) {
      const inode = new Inode();
      inode.current = Buffer.from(current);
      inode.durable = current;
      copy.#names.set(name, inode);
      copy.#durableNames.set(name, inode);
    }
    return copy;
  }

  /** The bytes of a file, to look at or to spoil: changes count as durable. */
  edit(path: string, change: (bytes: Buffer) => Buffer): void {
    const inode = this.#find(path);
    inode.current = change(Buffer.from(inode.current));
    inode.durable = Buffer.from(inode.current);
  }

  async open(path: string, mode: OpenMode): Promise<File> {
    this.#before('open', path);
    if (mode === 'create') {
      const inode = new Inode();
      this.#change(path, (names) => names.set(path, inode));
    }
    return this.#file(path, this.#find(path));
  }

  async rename(from: string, to: string): Promise<void> {
    this.#before('rename', from);
    const inode = this.#find(from);
    this.#change(to, (names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  async readdir(path: string): Promise<string[]> {
    return [...this.#names.keys()].filter((name) => dirname(name) === path).map((name) => basename(name));
  }

  async unlink(path: string): Promise<void> {
    this.#before('unlink', path);
    this.#find(path);
    this.#change(path, (names) => names.delete(path));
  }

  async mkdir(): Promise<void> {}

  async syncDir(path: string): Promise<void> {
    this.#before('syncDir', path);
    for (const change of this.#changes) if (change.dir === path) change.apply(this.#durableNames);
    this.#changes = this.#changes.filter(({ dir }) => dir !== path);
  }

  #change(path: string, apply: (names: Map<string, Inode>) => void): void {
    apply(this.#names);
    this.#changes.push({ dir: dirname(path), apply });
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
    const sync = (operation: 'sync' | 'datasync') => async (): Promise<void> => {
      try {
        enter(operation);
      } catch (error) {
        inode.failSync();
        throw error;
      }
      inode.sync();
    };
    return {
      write: async (data, position) => {
        enter('write');
        inode.write(data, position);
      },
      read: async (into, position) => {
        enter('read');
        return inode.current.copy(into, 0, position, position + into.length);
      },
      datasync: sync('datasync'),
      sync: sync('sync'),
      truncate: async (length) => {
        enter('truncate');
        inode.resize(length);
      },
      size: async () => inode.current.length,
      close: async () => {},
    };
  }
}
