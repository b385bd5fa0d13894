import { limitSize } from '../core/entry-size.ts';
import { StorageError } from '../core/storage-error.ts';
import type { Entry } from '../core/types.ts';
import type { LogId } from './log-items.ts';

// The entries of the log that are kept in memory: from behind `before` to the end.

export class LogTail {
  #before: LogId;
  #entries: Entry[];

  constructor(before: LogId, entries: Entry[]) {
    this.#before = before;
    this.#entries = entries;
  }

  get before(): LogId {
    return this.#before;
  }

  get firstIndex(): number {
    return this.#before.index + 1;
  }

  get lastIndex(): number {
    return this.#before.index + this.#entries.length;
  }

  term(index: number): number {
    if (index === this.#before.index) return this.#before.term;
    if (index < this.#before.index) throw new StorageError('compacted');
    const entry = this.#entries[index - this.firstIndex];
    if (entry === undefined) throw new StorageError('unavailable');
    return entry.term;
  }

  slice(lo: number, hi: number, maxBytes: number): readonly Entry[] {
    if (lo <= this.#before.index) throw new StorageError('compacted');
    if (lo > this.lastIndex || hi > this.lastIndex + 1) throw new StorageError('unavailable');
    return limitSize(this.#entries.slice(lo - this.firstIndex, hi - this.firstIndex), maxBytes);
  }

  /** Replaces from the first given entry on. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    if (first.index > this.lastIndex + 1) throw new StorageError('unavailable');
    if (first.index < this.firstIndex) throw new StorageError('compacted');
    this.#entries.length = first.index - this.firstIndex;
    for (const entry of entries) this.#entries.push(entry);
  }

  compact(index: number): void {
    if (index <= this.#before.index) return;
    const before = { index, term: this.term(index) };
    this.#entries = this.#entries.slice(index - this.#before.index);
    this.#before = before;
  }

  reset(before: LogId): void {
    this.#before = before;
    this.#entries = [];
  }
}
