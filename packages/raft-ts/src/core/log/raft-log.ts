import { panic } from '../assert.ts';
import type { LogLevel } from '../config.ts';
import { limitSize } from '../entry-size.ts';
import { isStorageError } from '../storage-error.ts';
import type { Entry, LogStorage, Snapshot } from '../types.ts';
import { Unstable } from './unstable.ts';

// One log over the stored entries and the unstable ones, with what is committed, being applied and applied.

type Log = ((level: LogLevel, message: string) => void) | undefined;

export interface EntryId {
  readonly term: number;
  readonly index: number;
}

/** Invariant: applied <= applying <= committed <= lastIndex. */
export class RaftLog {
  readonly unstable: Unstable;
  committed: number;
  applying: number;
  applied: number;
  readonly #storage: LogStorage;
  readonly #log: Log;
  /** Bytes of entries handed out to be applied and not yet reported applied; and the most of them. */
  #applyingSize = 0;
  readonly maxApplyingSize: number;
  #applyingPaused = false;

  constructor(storage: LogStorage, maxApplyingSize: number, log: Log) {
    this.#storage = storage;
    this.#log = log;
    this.maxApplyingSize = maxApplyingSize;
    this.unstable = new Unstable(storage.lastIndex() + 1, log);
    const compacted = storage.firstIndex() - 1;
    this.committed = compacted;
    this.applying = compacted;
    this.applied = compacted;
  }

  firstIndex(): number {
    return this.unstable.firstIndex() ?? this.#storage.firstIndex();
  }

  lastIndex(): number {
    return this.unstable.lastIndex() ?? this.#storage.lastIndex();
  }

  /** The term of an entry; undefined where it is compacted away or not there yet. */
  term(index: number): number | undefined {
    const unstable = this.unstable.term(index);
    if (unstable !== undefined) return unstable;
    // The entry before the first one is gone, but its term is kept for matching.
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    try {
      return this.#storage.term(index);
    } catch (error) {
      if (isStorageError(error, 'compacted', 'unavailable')) return undefined;
      throw error;
    }
  }

  lastId(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    if (term === undefined) return panic(`the term of the last entry, ${index}, is unknown`);
    return { term, index };
  }

  matchTerm({ term, index }: EntryId): boolean {
    return this.term(index) === term;
  }

  /** Whether a log that ends so is at least as recent as this one. */
  isUpToDate(their: EntryId): boolean {
    const ours = this.lastId();
    return their.term > ours.term || (their.term === ours.term && their.index >= ours.index);
  }

  /** Takes entries that follow `prev`: the last index they reach, or undefined when `prev` does not match. */
  maybeAppend(prev: EntryId, entries: readonly Entry[], leaderCommit: number): number | undefined {
    if (!this.matchTerm(prev)) return undefined;
    const last = prev.index + entries.length;
    const conflict = this.#findConflict(entries);
    if (conflict !== 0) {
      if (conflict <= this.committed) {
        panic(`entry ${conflict} conflict with committed entry [committed(${this.committed})]`);
      }
      this.append(entries.slice(conflict - prev.index - 1));
    }
    this.commitTo(Math.min(leaderCommit, last));
    return last;
  }

  append(entries: readonly Entry[]): void {
    const [first] = entries;
    if (first === undefined) return;
    if (first.index - 1 < this.committed) {
      panic(`after(${first.index - 1}) is out of range [committed(${this.committed})]`);
    }
    this.unstable.truncateAndAppend(entries);
  }

  /** The index of the first entry that this log lacks or has with another term; 0 for none. */
  #findConflict(entries: readonly Entry[]): number {
    for (const entry of entries) {
      if (this.matchTerm(entry)) continue;
      if (entry.index <= this.lastIndex()) {
        this.#log?.(
          'info',
          `found conflict at index ${entry.index} [existing term: ${this.term(entry.index) ?? 0}, conflicting term: ${entry.term}]`,
        );
      }
      return entry.index;
    }
    return 0;
  }

  /**
   * The largest index up to `index` whose term is at most `term`, or unknown: where this log may match another one of
   * which only the entry (index, term) is known. The returned term is 0 when unknown.
   */
  findConflictByTerm(index: number, term: number): EntryId {
    for (; index > 0; index--) {
      const ours = this.term(index);
      if (ours === undefined) return { index, term: 0 };
      if (ours <= term) return { index, term: ours };
    }
    return { index: 0, term: 0 };
  }

  commitTo(index: number): void {
    if (index <= this.committed) return;
    const last = this.lastIndex();
    if (index > last) {
      panic(`tocommit(${index}) is out of range [lastIndex(${last})]. Was the raft log corrupted, truncated, or lost?`);
    }
    this.committed = index;
  }

  /** Commits only an entry of the given term: an older one is committed by one of this term that follows it. */
  maybeCommit({ term, index }: EntryId): boolean {
    if (index <= this.committed || term === 0 || this.term(index) !== term) return false;
    this.commitTo(index);
    return true;
  }

  appliedTo(index: number, size: number): void {
    if (index > this.committed || index < this.applied) {
      panic(`applied(${index}) is out of range [prevApplied(${this.applied}), committed(${this.committed})]`);
    }
    this.applied = index;
    this.applying = Math.max(this.applying, index);
    this.#applyingSize = Math.max(0, this.#applyingSize - size);
    this.#applyingPaused = this.#applyingSize >= this.maxApplyingSize;
  }

  /** Entries up to `index`, `size` bytes of them, were handed out to be applied. */
  acceptApplying(index: number, size: number, allowUnstable: boolean): void {
    if (index > this.committed) {
      panic(`applying(${index}) is out of range [prevApplying(${this.applying}), committed(${this.committed})]`);
    }
    this.applying = index;
    this.#applyingSize += size;
    // Also pause when the batch was cut short, since the next entry would not fit.
    this.#applyingPaused = this.#applyingSize >= this.maxApplyingSize || index < this.#maxAppliableIndex(allowUnstable);
  }

  #maxAppliableIndex(allowUnstable: boolean): number {
    return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1);
  }

  hasNextCommitted(allowUnstable: boolean): boolean {
    // A snapshot on its way goes first, alone.
    if (this.#applyingPaused || this.hasSnapshot()) return false;
    return this.applying < this.#maxAppliableIndex(allowUnstable);
  }

  nextCommitted(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommitted(allowUnstable)) return [];
    const budget = this.maxApplyingSize - this.#applyingSize;
    const entries = this.slice(this.applying + 1, this.#maxAppliableIndex(allowUnstable) + 1, budget);
    return entries ?? panic(`committed entries from ${this.applying + 1} are compacted before they were applied`);
  }

  /** Whether a snapshot waits to be stored, or is being stored. */
  hasSnapshot(): boolean {
    return this.unstable.snapshot !== undefined;
  }

  snapshot(): Snapshot {
    return this.unstable.snapshot ?? this.#storage.snapshot();
  }

  restore(snapshot: Snapshot): void {
    this.#log?.(
      'info',
      `log [${this.describe()}] starts to restore snapshot [index: ${snapshot.meta.index}, term: ${snapshot.meta.term}]`,
    );
    this.committed = snapshot.meta.index;
    this.unstable.restore(snapshot);
  }

  /** Entries from `lo` on; undefined when they are compacted away. */
  entriesFrom(lo: number, maxBytes: number): readonly Entry[] | undefined {
    const last = this.lastIndex();
    return lo > last ? [] : this.slice(lo, last + 1, maxBytes);
  }

  /** Entries in [lo, hi), cut at `maxBytes` but never to none; undefined when `lo` is compacted away. */
  slice(lo: number, hi: number, maxBytes: number): readonly Entry[] | undefined {
    const first = this.firstIndex();
    if (lo > hi) panic(`invalid slice ${lo} > ${hi}`);
    if (lo < first) return undefined;
    if (hi > this.lastIndex() + 1) panic(`slice[${lo},${hi}) out of bound [${first},${this.lastIndex()}]`);
    if (lo === hi) return [];
    const offset = this.unstable.offset;
    if (lo >= offset) return limitSize(this.unstable.slice(lo, hi), maxBytes);
    const stored = this.#stored(lo, Math.min(hi, offset), maxBytes);
    if (stored === undefined || hi <= offset || stored.length < offset - lo) return stored;
    return limitSize([...stored, ...this.unstable.slice(offset, hi)], maxBytes);
  }

  #stored(lo: number, hi: number, maxBytes: number): readonly Entry[] | undefined {
    try {
      return this.#storage.entries(lo, hi, maxBytes);
    } catch (error) {
      if (isStorageError(error, 'compacted')) return undefined;
      if (isStorageError(error, 'unavailable')) return panic(`entries[${lo}:${hi}) is unavailable from storage`);
      throw error;
    }
  }

  describe(): string {
    const { offset, offsetInProgress, entries } = this.unstable;
    return (
      `committed=${this.committed}, applied=${this.applied}, applying=${this.applying}, unstable.offset=${offset}, ` +
      `unstable.offsetInProgress=${offsetInProgress}, len(unstable.Entries)=${entries.length}`
    );
  }
}
