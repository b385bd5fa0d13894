import type { Clock } from '@swarmctl/shared/kit';
import type { StoreWatch } from '../../store/types.ts';
import { type ClusterEvent, clusterEventOf } from './derive.ts';

// The latest events of this manager's state, in memory, for whoever follows them. Readers keep a position of their own and read when they can, so a slow one costs
// nothing; one that is overtaken by the oldest event is told so.

/** A place among the events: the raft index of the change, and the number of the event within it. Text: `INDEX.NUMBER`. */
export interface Revision {
  readonly index: number;
  readonly number: number;
}

export interface JournalEvent extends ClusterEvent {
  readonly revision: Revision;
}

const mostEvents = 8_192;

export class EventJournal {
  readonly #clock: Clock;
  readonly #most: number;
  readonly #unwatch: () => void;
  #events: JournalEvent[] = [];
  /** Position of the first of them. */
  #first = 0;
  /** Everything after this raft index is there. */
  #since: number;
  #waiting = new Set<() => void>();
  #closed = false;

  constructor(store: StoreWatch & { view(): { readonly index: number } }, clock: Clock, most = mostEvents) {
    this.#clock = clock;
    this.#most = most;
    this.#since = store.view().index;
    this.#unwatch = store.watch((events, view) => {
      // A snapshot takes the place of changes that nobody here has seen.
      if (events === 'reset') this.#forget(view.index);
      else {
        let number = 0;
        for (const event of events) {
          const derived = clusterEventOf(event, this.#clock.now());
          if (derived) this.#events.push({ ...derived, revision: { index: event.index, number: number++ } });
        }
        this.#trim();
      }
      this.#wake();
    });
  }

  /** The position behind the newest event. */
  get end(): number {
    return this.#first + this.#events.length;
  }

  /** The position of the first event that was later than the time. */
  after(time: number): number {
    const at = this.#events.findIndex((event) => event.time > time);
    return at < 0 ? this.end : this.#first + at;
  }

  /** The position behind a revision; undefined when events behind it are gone, or are not known here yet. */
  behind({ index, number }: Revision): number | undefined {
    // Of the change itself some events may be gone.
    if (index <= this.#since) return undefined;
    const at = this.#events.findIndex(
      ({ revision }) => revision.index > index || (revision.index === index && revision.number > number),
    );
    return at < 0 ? this.end : this.#first + at;
  }

  /** What there is from a position; `overtaken` when some of it is gone, `closed` when nothing more will come. */
  read(position: number): readonly JournalEvent[] | 'overtaken' | 'closed' {
    if (position < this.#first) return 'overtaken';
    const events = this.#events.slice(position - this.#first, position - this.#first + 256);
    return events.length === 0 && this.#closed ? 'closed' : events;
  }

  /** Resolves when there is something behind the position, or nothing will be, or the signal aborts. */
  async wait(position: number, signal: AbortSignal): Promise<void> {
    if (position !== this.end || this.#closed || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener('abort', done);
    });
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#wake();
  }

  #trim(): void {
    const surplus = this.#events.length - this.#most;
    if (surplus <= 0) return;
    // Seldom, and many at once.
    const dropped = Math.max(surplus, Math.floor(this.#most / 8));
    const last = this.#events[dropped - 1];
    if (last) this.#since = last.revision.index;
    this.#events = this.#events.slice(dropped);
    this.#first += dropped;
  }

  /** Positions from before count as overtaken. */
  #forget(index: number): void {
    this.#first += this.#events.length + 1;
    this.#events = [];
    this.#since = index;
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
