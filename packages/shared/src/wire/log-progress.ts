import { momentOf, parseMoment, toUnixTime } from '../model/index.ts';
import type { LogLine, LogOptions } from './dispatch.ts';

// How far the log of one task was read, so that it can be asked for again from there. Lines of one stream follow each other in time, those of
// the two streams only nearly; so each stream is counted by itself, and a little of the log is read once more.

interface Place {
  /** Of the last line. */
  readonly time: string;
  /** Lines of that time. */
  count: number;
}

/** As it is handed to another manager. */
export type LogPlaces = readonly (Readonly<Place> & Pick<LogLine, 'stream'>)[];

const overlap = 1_000_000_000n;

export class LogProgress {
  readonly #reached = new Map<LogLine['stream'], Place>();
  /** Lines up to there come again. */
  readonly #again = new Map<LogLine['stream'], Place>();

  constructor(places: LogPlaces = []) {
    for (const { stream, time, count } of places) this.#reached.set(stream, { time, count });
  }

  get places(): LogPlaces {
    return [...this.#reached].map(([stream, place]) => ({ stream, ...place }));
  }

  /** False for a line that came before the log was gone on with. */
  isNew({ stream, time }: Pick<LogLine, 'stream' | 'time'>): boolean {
    const again = this.#again.get(stream);
    if (again && (time < again.time || (time === again.time && again.count-- > 0))) return false;
    this.#again.delete(stream);
    const reached = this.#reached.get(stream);
    if (reached?.time === time) reached.count++;
    else this.#reached.set(stream, { time, count: 1 });
    return true;
  }

  /** What to ask for next; from now on, what came already is known again. */
  goOn({ tail, ...options }: LogOptions): LogOptions {
    let latest = '';
    for (const [stream, place] of this.#reached) {
      this.#again.set(stream, { ...place });
      if (place.time > latest) latest = place.time;
    }
    const reached = momentOf(latest);
    if (reached === undefined) return { ...options, ...(tail !== undefined && { tail }) };
    const asked = options.since === undefined ? undefined : parseMoment(options.since, 0, 'utc');
    const from = reached - overlap;
    return { ...options, since: toUnixTime(asked !== undefined && asked > from ? asked : from) };
  }
}
