import { panic } from './assert.ts';
import { limitSize } from './entry-size.ts';
import { StorageError } from './storage-error.ts';
import type { ConfState, Entry, HardState, LogStorage, Snapshot } from './types.ts';

// A LogStorage in memory, for tests, simulations and hosts that keep their log's tail there.

const noConf: ConfState = { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };

export class MemoryStorage implements LogStorage {
  #hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #snapshot: Snapshot = { meta: { index: 0, term: 0, confState: noConf }, data: new Uint8Array(0) };
  /** The entry before `#entries[0]` has this index and term; its data is gone. */
  #before = { index: 0, term: 0 };
  #entries: Entry[] = [];

  clone(): MemoryStorage {
    const copy = new MemoryStorage();
    copy.#hardState = this.#hardState;
    copy.#snapshot = this.#snapshot;
    copy.#before = this.#before;
    copy.#entries = [...this.#entries];
    return copy;
  }

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.meta.confState };
  }

  setHardState(state: HardState): void {
    this.#hardState = state;
  }

  firstIndex(): number {
    return this.#before.index + 1;
  }

  lastIndex(): number {
    return this.#before.index + this.#entries.length;
  }

  term(index: number): number {
    if (index < this.#before.index) throw new StorageError('compacted');
    if (index === this.#before.index) return this.#before.term;
    const entry = this.#entries[index - this.#before.index - 1];
    if (entry === undefined) throw new StorageError('unavailable');
    return entry.term;
  }

  entries(lo: number, hi: number, maxBytes: number): readonly Entry[] {
    if (lo <= this.#before.index) throw new StorageError('compacted');
    if (hi > this.lastIndex() + 1) panic(`entries' hi(${hi}) is out of bound lastindex(${this.lastIndex()})`);
    if (this.#entries.length === 0) throw new StorageError('unavailable');
    return limitSize(this.#entries.slice(lo - this.firstIndex(), hi - this.firstIndex()), maxBytes);
  }

  snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** Replaces everything by the snapshot; an older one than present is refused as compacted. */
  applySnapshot(snapshot: Snapshot): void {
    if (this.#snapshot.meta.index >= snapshot.meta.index) throw new StorageError('compacted');
    this.#snapshot = snapshot;
    this.#before = { index: snapshot.meta.index, term: snapshot.meta.term };
    this.#entries = [];
  }

  /** Takes a snapshot of what was applied up to `index`. */
  createSnapshot(index: number, confState: ConfState, data: Uint8Array): Snapshot {
    if (index <= this.#snapshot.meta.index) throw new StorageError('compacted');
    if (index > this.lastIndex()) panic(`snapshot ${index} is out of bound lastindex(${this.lastIndex()})`);
    this.#snapshot = { meta: { index, term: this.term(index), confState }, data };
    return this.#snapshot;
  }

  /** Drops entries up to and including `index`. */
  compact(index: number): void {
    if (index <= this.#before.index) throw new StorageError('compacted');
    if (index > this.lastIndex()) panic(`compact ${index} is out of bound lastindex(${this.lastIndex()})`);
    const term = this.term(index);
    this.#entries = this.#entries.slice(index - this.#before.index);
    this.#before = { index, term };
  }

  /** Appends, replacing from the first given entry on. Entries already compacted away are skipped. */
  append(entries: readonly Entry[]): void {
    const [first] = entries;
    if (first === undefined) return;
    if (first.index > this.lastIndex() + 1) {
      panic(`missing log entry [last: ${this.lastIndex()}, append at: ${first.index}]`);
    }
    const skipped = Math.max(0, this.firstIndex() - first.index);
    const rest = entries.slice(skipped);
    if (rest.length === 0) return;
    this.#entries.length = rest[0]!.index - this.firstIndex();
    for (const entry of rest) this.#entries.push(entry);
  }
}
