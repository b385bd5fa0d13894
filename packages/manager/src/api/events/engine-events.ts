import { type Clock, delay, inTime, type Logger, messageOf } from '@swarmctl/shared/kit';
import { type Moment, toUnixTime } from '@swarmctl/shared/model';
import { nodeIdAttribute } from './event-filter.ts';
import { EventLog } from './event-log.ts';
import { readEvents, type Source } from './source.ts';
import { nanoOf, type ToldEvent } from './told-event.ts';

// What happens on the engines of all nodes, for all who follow it on this manager: one stream a source, as long as somebody follows. Sources come and go; one that
// breaks off is asked for what was missed. Who does not read in time is overtaken, and costs no memory.

export interface EngineEventsModules {
  /** Whom to ask at this moment. */
  readonly sources: () => readonly Source[];
  readonly clock: Clock;
  readonly log: Logger;
}

const lookMs = 1_000;
/** How far back a source is asked, for what it told another while nobody listened, and for clocks that differ. What is known already is told once. */
const overlap = 10_000_000_000n;

interface Following {
  readonly abort: AbortController;
  /** Until when all was heard, by the monotonic clock. */
  readonly heardAt: () => number;
  /** Resolves when it has answered for the first time, or has not. */
  readonly begun: Promise<void>;
}

export interface Follower {
  readonly log: EventLog<ToldEvent>;
  /** From here on it is new. */
  readonly position: number;
  leave(): void;
}

export class EngineEvents {
  readonly #modules: EngineEventsModules;
  #round: Round | undefined;
  #followers = 0;

  constructor(modules: EngineEventsModules) {
    this.#modules = modules;
  }

  /** Resolves when all sources have begun; those that do not are not waited for. */
  async follow(): Promise<Follower> {
    this.#followers++;
    this.#round ??= new Round(this.#modules);
    const { log } = this.#round;
    const position = log.end;
    await this.#round.begun();
    let isHere = true;
    const leave = () => {
      if (isHere && --this.#followers === 0) {
        this.#round?.stop();
        this.#round = undefined;
      }
      isHere = false;
    };
    return { log, position, leave };
  }

  /** What the sources still know of that time, each in a sequence; a source that does not answer is left out. */
  async past(from: Moment, until: Moment | undefined, signal: AbortSignal): Promise<readonly (readonly ToldEvent[])[]> {
    const asked = new Map(this.#round?.engines);
    return Promise.all(
      this.#modules.sources().map(async (source) => {
        const events: ToldEvent[] = [];
        await this.#patiently(source, signal, async (patience) => {
          const engine = await source.engine();
          if ((asked.get(engine) ?? source.key) !== source.key) return;
          asked.set(engine, source.key);
          // To the end: of what has just happened nothing is missed.
          const now = nanoOf((await source.now()).most);
          const end = until !== undefined && until < now ? until : now;
          if (from > end) return;
          const query = { since: toUnixTime(from), until: toUnixTime(end) };
          for await (const event of readEvents(source, query, patience)) events.push(event);
        });
        return events;
      }),
    );
  }

  /** Never rejects. */
  async #patiently(source: Source, signal: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, log } = this.#modules;
    try {
      await inTime(clock, { what: 'its answer', ms: source.patienceMs, signal }, work);
    } catch (error) {
      log.debug({ source: source.name, error: messageOf(error) }, 'past events are missing');
    }
  }
}

/** From the first follower to the last. */
class Round {
  readonly log: EventLog<ToldEvent>;
  /** The engines that are followed, each by one source. */
  readonly engines = new Map<string, string>();
  readonly #modules: EngineEventsModules;
  readonly #following = new Map<string, Following>();
  /** Until when all was heard, while no source has taken the place of those that are no more: another manager leads, or none. */
  #lostAt: number | undefined;
  /** From when on a source is asked when it is there again. */
  readonly #from = new Map<string, Moment>();
  /** Of what is in the log. */
  readonly #keys = new Set<string>();
  readonly #stop = new AbortController();
  readonly #begunAt: number;

  constructor(modules: EngineEventsModules) {
    this.#modules = modules;
    this.log = new EventLog<ToldEvent>({
      onDrop: (dropped) => {
        for (const event of dropped) this.#keys.delete(keyOf(event));
      },
    });
    this.#begunAt = modules.clock.monotonic();
    void this.#run();
  }

  async begun(): Promise<void> {
    await Promise.all([...this.#following.values()].map(({ begun }) => begun));
  }

  stop(): void {
    this.#stop.abort(new Error('nobody follows'));
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#look();
      await delay(this.#modules.clock, lookMs, signal).catch(() => {});
    }
  }

  /** Takes up the sources that are new, and lets go of those that are no more. */
  #look(): void {
    const sources = new Map(this.#modules.sources().map((source) => [source.key, source]));
    const lost: number[] = [];
    for (const [key, { abort, heardAt }] of this.#following) {
      if (sources.has(key)) continue;
      abort.abort(new Error('it is no source any more'));
      this.#following.delete(key);
      lost.push(heardAt());
    }
    if (lost.length > 0 && this.#following.size === 0) this.#lostAt = Math.min(...lost);
    for (const source of sources.values()) {
      if (!this.#following.has(source.key)) this.#following.set(source.key, this.#take(source, this.#lostAt));
    }
    if (sources.size > 0) this.#lostAt = undefined;
  }

  /** `lostAt`: it takes the place of others, which told all until then. */
  #take(source: Source, lostAt?: number): Following {
    const { clock } = this.#modules;
    if (lostAt !== undefined) this.#from.delete(source.key);
    const heard = new Hearing(clock, lostAt);
    const abort = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, abort.signal]);
    const begun = new Promise<void>((resolve) => {
      const timer = clock.after(source.patienceMs, resolve);
      const begin = () => {
        timer.cancel();
        resolve();
      };
      signal.addEventListener('abort', begin);
      void this.#follow(source, heard, begin, signal);
    });
    return { abort, begun, heardAt: () => heard.until };
  }

  async #follow(source: Source, heard: Hearing, begin: () => void, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#modules;
    let isTold = false;
    const onBegun = () => {
      isTold = false;
      heard.begins();
      begin();
    };
    while (!signal.aborted) {
      try {
        await this.#once(source, heard.until, onBegun, signal);
      } catch (error) {
        const words = { source: source.name, error: messageOf(error) };
        if (!isTold && !signal.aborted) log.info(words, 'its events are missing for now');
        isTold = true;
      }
      heard.ends();
      begin();
      await delay(clock, lookMs, signal).catch(() => {});
    }
  }

  async #once(source: Source, heardAt: number, onBegun: () => void, signal: AbortSignal): Promise<void> {
    const engine = await source.engine();
    // Another node on the same engine is followed.
    if (this.engines.has(engine) || signal.aborted) return;
    this.engines.set(engine, source.key);
    try {
      const from = this.#from.get(source.key) ?? (await this.#firstOf(source, heardAt));
      this.#from.set(source.key, from);
      for await (const event of readEvents(source, { since: toUnixTime(from) }, signal, onBegun)) {
        this.#add(event);
        const next = event.nano - overlap;
        if (next > (this.#from.get(source.key) ?? 0n)) this.#from.set(source.key, next);
      }
    } finally {
      this.engines.delete(engine);
    }
  }

  #add(event: ToldEvent): void {
    const key = keyOf(event);
    if (this.#keys.has(key)) return;
    this.#keys.add(key);
    this.log.add([event]);
  }

  /** One that comes later may have told something before it was noticed. */
  async #firstOf(source: Source, heardAt: number): Promise<Moment> {
    const { clock } = this.#modules;
    const now = nanoOf((await source.now()).least);
    const followed = nanoOf(clock.monotonic() - this.#begunAt);
    const missed = nanoOf(clock.monotonic() - heardAt) + overlap;
    return now - (followed < missed ? followed : missed);
  }
}

/** Whether a source tells what happens, and until when it did; what it takes the place of counts. */
class Hearing {
  readonly #clock: Clock;
  /** Undefined: it tells. */
  #endedAt: number | undefined;

  constructor(clock: Clock, lostAt = clock.monotonic()) {
    this.#clock = clock;
    this.#endedAt = lostAt;
  }

  begins(): void {
    this.#endedAt = undefined;
  }

  ends(): void {
    this.#endedAt ??= this.#clock.monotonic();
  }

  get until(): number {
    return this.#endedAt ?? this.#clock.monotonic();
  }
}

/** By which an event that comes twice is known. */
export const keyOf = ({ Type, Action, Actor, nano }: ToldEvent): string =>
  `${nano} ${Type} ${Action} ${Actor.ID} ${Actor.Attributes[nodeIdAttribute] ?? ''}`;
