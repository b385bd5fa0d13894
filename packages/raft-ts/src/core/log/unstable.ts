import { panic } from '../assert.ts';
import type { LogLevel } from '../config.ts';
import type { Entry, Snapshot } from '../types.ts';

// Entries and a snapshot that the storage does not have yet: some handed out to be written, the rest still to be handed out.

type Log = ((level: LogLevel, message: string) => void) | undefined;

export class Unstable {
  snapshot: Snapshot | undefined;
  /** `entries[i]` has index `offset + i`. The storage may have entries at and behind `offset`: they are superseded. */
  entries: Entry[] = [];
  offset: number;
  /** Entries before this index are being written. Invariant: offset <= offsetInProgress. */
  offsetInProgress: number;
  #snapshotInProgress = false;
  readonly #log: Log;

  constructor(offset: number, log: Log) {
    this.offset = offset;
    this.offsetInProgress = offset;
    this.#log = log;
  }

  firstIndex(): number | undefined {
    return this.snapshot === undefined ? undefined : this.snapshot.meta.index + 1;
  }

  lastIndex(): number | undefined {
    if (this.entries.length > 0) return this.offset + this.entries.length - 1;
    return this.snapshot?.meta.index;
  }

  term(index: number): number | undefined {
    if (index < this.offset) return this.snapshot?.meta.index === index ? this.snapshot.meta.term : undefined;
    return this.entries[index - this.offset]?.term;
  }

  hasNextEntries(): boolean {
    return this.entries.length > this.offsetInProgress - this.offset;
  }

  nextEntries(): Entry[] {
    return this.entries.slice(this.offsetInProgress - this.offset);
  }

  nextSnapshot(): Snapshot | undefined {
    return this.#snapshotInProgress ? undefined : this.snapshot;
  }

  /** Everything present has been handed out to be written. */
  acceptInProgress(): void {
    if (this.entries.length > 0) this.offsetInProgress = this.offset + this.entries.length;
    if (this.snapshot !== undefined) this.#snapshotInProgress = true;
  }

  /** Entries up to (index, term) are stored, and no write in progress can overwrite them. */
  stableTo(index: number, term: number): void {
    const ours = this.term(index);
    if (ours === undefined) {
      this.#log?.('info', `entry at index ${index} missing from unstable log; ignoring`);
    } else if (index < this.offset) {
      this.#log?.('info', `entry at index ${index} matched unstable snapshot; ignoring`);
    } else if (ours !== term) {
      // Replaced by other entries while it was being written.
      this.#log?.(
        'info',
        `entry at (index,term)=(${index},${term}) mismatched with entry at (${index},${ours}) in unstable log; ignoring`,
      );
    } else {
      this.entries = this.entries.slice(index + 1 - this.offset);
      this.offset = index + 1;
      this.offsetInProgress = Math.max(this.offsetInProgress, this.offset);
    }
  }

  stableSnapshotTo(index: number): void {
    if (this.snapshot?.meta.index !== index) return;
    this.snapshot = undefined;
    this.#snapshotInProgress = false;
  }

  restore(snapshot: Snapshot): void {
    this.offset = snapshot.meta.index + 1;
    this.offsetInProgress = this.offset;
    this.entries = [];
    this.snapshot = snapshot;
    this.#snapshotInProgress = false;
  }

  /** Appends, dropping what conflicts: everything from the first of `entries` on. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const from = entries[0]!.index;
    if (from === this.offset + this.entries.length) {
      for (const entry of entries) this.entries.push(entry);
    } else if (from <= this.offset) {
      this.#log?.('info', `replace the unstable entries from index ${from}`);
      this.entries = [...entries];
      this.offset = from;
      this.offsetInProgress = from;
    } else {
      this.#log?.('info', `truncate the unstable entries before index ${from}`);
      this.entries = [...this.slice(this.offset, from), ...entries];
      this.offsetInProgress = Math.min(this.offsetInProgress, from);
    }
  }

  /** Entries in [lo, hi), which must all be here. */
  slice(lo: number, hi: number): Entry[] {
    const end = this.offset + this.entries.length;
    if (lo > hi || lo < this.offset || hi > end) {
      panic(`unstable.slice[${lo},${hi}) out of bound [${this.offset},${end}]`);
    }
    return this.entries.slice(lo - this.offset, hi - this.offset);
  }
}
