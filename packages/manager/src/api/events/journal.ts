import type { Clock } from '@swarmctl/shared/kit';
import type { StoreWatch } from '../../store/types.ts';
import { type ClusterEvent, clusterEventOf } from './derive.ts';
import { EventLog } from './event-log.ts';

// The latest events of this manager's state.

/** A place among the events: the raft index of the change, and the number of the event within it. Text: `INDEX.NUMBER`. */
export interface Revision {
  readonly index: number;
  readonly number: number;
}

export interface JournalEvent extends ClusterEvent {
  readonly revision: Revision;
}

export class EventJournal {
  readonly log: EventLog<JournalEvent>;
  readonly #unwatch: () => void;
  /** Everything after this raft index is there. */
  #since: number;

  constructor(store: StoreWatch & { view(): { readonly index: number } }, clock: Clock, most?: number) {
    this.log = new EventLog({
      most,
      onDrop: (dropped) => {
        this.#since = dropped.at(-1)?.revision.index ?? this.#since;
      },
    });
    this.#since = store.view().index;
    this.#unwatch = store.watch((events, view) => {
      // A snapshot takes the place of changes that nobody here has seen.
      if (events === 'reset') {
        this.log.forget();
        this.#since = view.index;
        return;
      }
      let number = 0;
      this.log.add(
        events.flatMap((event) => {
          const derived = clusterEventOf(event, clock.now());
          return derived ? [{ ...derived, revision: { index: event.index, number: number++ } }] : [];
        }),
      );
    });
  }

  /** The position behind a revision; undefined when events behind it are gone. */
  behind({ index, number }: Revision): number | undefined {
    // Of the change itself some events may be gone.
    if (index <= this.#since) return undefined;
    return this.log.find(
      ({ revision }) => revision.index > index || (revision.index === index && revision.number > number),
    );
  }

  close(): void {
    this.#unwatch();
    this.log.close();
  }
}
