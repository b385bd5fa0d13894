import type { Entry, HardState } from '../core/types.ts';
import type { LogId, LogItem } from './log-items.ts';

// What a log amounts to when its items are played one after the other.

const none: LogId = { index: 0, term: 0 };

/** Throws on an item that cannot follow what came before. */
export class LogState {
  member = 0;
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  /** The newest snapshot; index 0 for none. */
  snapshot: LogId = none;
  /** Entries up to here are compacted away. */
  before: LogId = none;
  /** All that the segments still have, without a gap; also some that are compacted. */
  entries: Entry[] = [];

  apply(item: LogItem): void {
    switch (item.kind) {
      case 'entry':
        this.#append(item.entry);
        return;
      case 'hard-state':
        this.hardState = item.hardState;
        return;
      case 'installed':
        this.snapshot = item.snapshot;
        this.before = item.snapshot;
        this.entries = [];
        return;
      case 'compacted':
        this.snapshot = item.snapshot;
        this.before = item.before;
        return;
      case 'member':
        if (this.member !== 0 && this.member !== item.id) throw new Error('segments of two members are mixed');
        this.member = item.id;
        return;
      case 'made':
        return;
      default:
        item satisfies never;
    }
  }

  #append(entry: Entry): void {
    const first = this.entries[0]?.index ?? entry.index;
    const at = entry.index - first;
    if (at > this.entries.length) {
      throw new Error(`entry ${entry.index} does not follow ${first + this.entries.length - 1}`);
    }
    // Below the first, whose forerunners went with a removed segment, it replaces them all.
    if (at < this.entries.length) this.entries.length = Math.max(0, at);
    this.entries.push(entry);
  }
}
