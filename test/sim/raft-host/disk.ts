import { basename, dirname } from 'node:path';
import { below, type Random } from '@swarmctl/shared/kit';
import type { File, FileSystem } from '../../../packages/raft-ts/src/wal/file-system.ts';

// A simulated disk with its page cache: a power cut loses, mixes and tears what was not synced, the end of a process
// does not. Operations take effect when the world lets them finish.

export type DiskOperation = 'open' | 'write' | 'read' | 'sync' | 'truncate' | 'name' | 'syncDir';

/** Runs `act` in its time; what it throws is the operation's failure. */
export type Perform = <T>(operation: DiskOperation, path: string, act: () => T) => Promise<T>;

const sector = 512;

class Inode {
  current: Buffer;
  /** Never changed in place. */
  durable: Buffer;
  #own = false;
  #synced = 0;
  #syncs = 0;

  constructor(bytes: Buffer = Buffer.alloc(0)) {
    this.current = bytes;
    this.durable = bytes;
  }

  write(data: Uint8Array, position: number): void {
    this.resize(Math.max(this.current.length, position + data.length));
    if (!this.#own) this.current = Buffer.from(this.current);
    this.#own = true;
    this.current.set(data, position);
  }

  resize(length: number): void {
    if (length === this.current.length) return;
    const resized = Buffer.alloc(length);
    this.current.copy(resized);
    this.current = resized;
    this.#own = true;
  }

  /** What is written now; calling the result makes it durable. */
  beginSync(): () => void {
    const bytes = Buffer.from(this.current);
    const number = ++this.#syncs;
    return () => {
      if (number < this.#synced) return;
      this.#synced = number;
      this.durable = bytes;
    };
  }

  /** Each unsynced sector is the old one or the new one, up to one that may be half of each: sectors are whole but where a write was cut. */
  mix(random: Random): void {
    if (this.current.equals(this.durable)) return;
    const lengths = [this.current.length, this.durable.length];
    const mixed = Buffer.alloc(lengths[below(random, 2)]!);
    this.durable.copy(mixed);
    let cut = false;
    for (let at = 0; at < Math.min(mixed.length, this.current.length); at += sector) {
      const dice = random();
      const bytes = dice < 0.4 ? 0 : dice < 0.8 ? sector : below(random, sector);
      if (!cut) this.current.copy(mixed, at, at, Math.min(mixed.length, at + bytes));
      cut ||= dice >= 0.8;
    }
    this.settle(mixed);
  }

  settle(bytes: Buffer): void {
    this.current = bytes;
    this.durable = bytes;
    this.#own = false;
    this.#synced = ++this.#syncs;
  }

  /** A failed sync: some of the pages are dropped, and nobody writes the others again. */
  failSync(random: Random): void {
    const { durable } = this;
    this.mix(random);
    this.durable = durable;
  }
}

interface NameChange {
  readonly dir: string;
  apply(names: Map<string, Inode>): void;
}

export class SimDisk {
  /** Grows with each change of what a power cut would leave. */
  version = 0;
  readonly #random: Random;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #changes: NameChange[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** What a power cut that loses everything unsynced would leave. */
  durableCopy(): SimDisk {
    const copy = new SimDisk(() => 0);
    for (const [path, inode] of this.#durableNames) copy.#names.set(path, new Inode(inode.durable));
    return copy;
  }

  currentCopy(): SimDisk {
    const copy = new SimDisk(() => 0);
    for (const [path, inode] of this.#names) copy.#names.set(path, new Inode(Buffer.from(inode.current)));
    return copy;
  }

  /** The power goes. Names are journaled: a prefix of their changes survives. */
  powerLoss(): void {
    this.version++;
    const kept = below(this.#random, this.#changes.length + 1);
    for (const change of this.#changes.slice(0, kept)) change.apply(this.#durableNames);
    this.#changes = [];
    this.#names = new Map(this.#durableNames);
    for (const inode of new Set(this.#names.values())) inode.mix(this.#random);
  }

  /** The kernel writes back what the process left in the page cache. */
  writeBack(): void {
    this.version++;
    for (const change of this.#changes) change.apply(this.#durableNames);
    this.#changes = [];
    for (const inode of this.#names.values()) inode.settle(inode.current);
  }

  paths(dir: string): string[] {
    return [...this.#names.keys()].filter((path) => dirname(path) === dir).sort();
  }

  bytes(path: string): Buffer {
    return this.#find(path).current;
  }

  /** Rot: durable at once. */
  spoil(path: string, bytes: Buffer): void {
    this.#find(path).settle(bytes);
  }

  /** A file is lost, for good. */
  remove(path: string): void {
    this.version++;
    this.#names.delete(path);
    this.#durableNames.delete(path);
  }

  /** A new disk is put in the place of this one. */
  wipe(): void {
    this.version++;
    this.#names.clear();
    this.#durableNames.clear();
    this.#changes = [];
  }

  /** The failed sync of a path. */
  failSync(path: string): void {
    this.#names.get(path)?.failSync(this.#random);
  }

  mount(perform: Perform): FileSystem {
    return {
      open: (path, mode) =>
        perform('open', path, () => {
          if (mode === 'create') this.#create(path);
          return this.#file(path, this.#find(path), perform, (mode as string) === 'write-through');
        }),
      rename: (from, to) =>
        perform('name', from, () => {
          const inode = this.#find(from);
          this.#change(to, (names) => {
            names.delete(from);
            names.set(to, inode);
          });
        }),
      readdir: (path) => perform('read', path, () => this.paths(path).map((name) => basename(name))),
      unlink: (path) =>
        perform('name', path, () => {
          this.#find(path);
          this.#change(path, (names) => names.delete(path));
        }),
      mkdir: (path) => perform('read', path, () => {}),
      syncDir: (path) => perform('syncDir', path, () => this.#syncDir(path)),
    };
  }

  #create(path: string): void {
    const inode = new Inode();
    this.#change(path, (names) => names.set(path, inode));
  }

  #change(path: string, apply: (names: Map<string, Inode>) => void): void {
    apply(this.#names);
    this.#changes.push({ dir: dirname(path), apply });
  }

  #syncDir(dir: string): void {
    this.version++;
    for (const change of this.#changes) if (change.dir === dir) change.apply(this.#durableNames);
    this.#changes = this.#changes.filter((change) => change.dir !== dir);
  }

  #find(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw Object.assign(new Error(`ENOENT: no such file, ${path}`), { code: 'ENOENT' });
    return inode;
  }

  #file(path: string, inode: Inode, perform: Perform, through: boolean): File {
    const sync = (): Promise<void> => {
      const finish = inode.beginSync();
      return perform('sync', path, () => {
        finish();
        this.version++;
      });
    };
    return {
      write: (data, position) => {
        // In the page cache at once: a power cut before the end finds some of it.
        inode.write(data, position);
        const finish = through ? inode.beginSync() : undefined;
        return perform('write', path, () => {
          if (finish === undefined) return;
          finish();
          this.version++;
        });
      },
      read: (into, position) =>
        perform('read', path, () => inode.current.copy(into, 0, position, position + into.length)),
      datasync: sync,
      sync,
      truncate: (length) => perform('truncate', path, () => inode.resize(length)),
      size: () => perform('read', path, () => inode.current.length),
      close: () => perform('read', path, () => {}),
    };
  }
}

/** Of a copy, to look into: nothing takes time. */
export const instantly = async <T>(_operation: DiskOperation, _path: string, act: () => T): Promise<T> => act();
