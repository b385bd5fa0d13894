import { type Clock, delay, type Logger, messageOf } from '@swarmctl/shared/kit';
import { EventLog } from './event-log.ts';
import { readEvents, type Source } from './source.ts';
import { nanoOf, secondsOf, type ToldEvent } from './told-event.ts';

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
  readonly #following = new Map<string, Following>();
  /** The engines that are followed, each by one source. */
  readonly #engines = new Map<string, string>();
  /** From when on a source is asked when it is there again. */
  readonly #from = new Map<string, bigint>();
  readonly #keys = new Set<string>();
  #log = this.#newLog();
  #followers = 0;
  #run: AbortController | undefined;
  #begunAt = 0;

  constructor(modules: EngineEventsModules) {
    this.#modules = modules;
  }

  /** Resolves when all sources have begun; those that do not are not waited for. */
  async follow(): Promise<Follower> {
    this.#followers++;
    if (!this.#run) this.#start();
    const log = this.#log;
    const position = log.end;
    await Promise.all([...this.#following.values()].map(({ begun }) => begun));
    let isHere = true;
    const leave = () => {
      if (isHere && --this.#followers === 0) this.#stop();
      isHere = false;
    };
    return { log, position, leave };
  }

  /** What the sources still know of that time, in ns since the epoch; a source that does not answer is left out. */
  async past(from: bigint, until: bigint | undefined, signal: AbortSignal): Promise<readonly (readonly ToldEvent[])[]> {
    const asked = new Map(this.#engines);
    return Promise.all(
      this.#modules.sources().map(async (source) => {
        const events: ToldEvent[] = [];
        await this.#patiently(source, signal, async (patience) => {
          const engine = await source.engine();
          if ((asked.get(engine) ?? source.key) !== source.key) return;
          asked.set(engine, source.key);
          const now = nanoOf(await source.now());
          const end = until !== undefined && until < now ? until : now;
          if (from > end) return;
          const query = { since: secondsOf(from), until: secondsOf(end) };
          for await (const event of readEvents(source, query, patience)) events.push(event);
        });
        return events;
      }),
    );
  }

  /** Never rejects. */
  async #patiently(source: Source, signal: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const patience = new AbortController();
    const all = AbortSignal.any([signal, patience.signal]);
    const timer = this.#modules.clock.after(source.patienceMs, () => patience.abort(new Error('no answer in time')));
    const late = new Promise<void>((_, reject) => all.addEventListener('abort', () => reject(all.reason)));
    try {
      await Promise.race([work(all), late]);
    } catch (error) {
      this.#modules.log.debug({ source: source.name, error: messageOf(error) }, 'past events are missing');
    } finally {
      timer.cancel();
      patience.abort();
      late.catch(() => {});
    }
  }

  #newLog(): EventLog<ToldEvent> {
    return new EventLog<ToldEvent>(undefined, (dropped) => {
      for (const event of dropped) this.#keys.delete(keyOf(event));
    });
  }

  #start(): void {
    const run = new AbortController();
    this.#run = run;
    this.#begunAt = this.#modules.clock.monotonic();
    this.#look(run.signal);
    const loop = async () => {
      while (!run.signal.aborted) {
        await delay(this.#modules.clock, lookMs, run.signal).catch(() => {});
        if (!run.signal.aborted) this.#look(run.signal);
      }
    };
    void loop();
  }

  #stop(): void {
    this.#run?.abort(new Error('nobody follows'));
    this.#run = undefined;
    this.#following.clear();
    this.#engines.clear();
    this.#from.clear();
    this.#keys.clear();
    this.#log = this.#newLog();
  }

  /** Takes up the sources that are new, and lets go of those that are no more. */
  #look(signal: AbortSignal): void {
    const sources = new Map(this.#modules.sources().map((source) => [source.key, source]));
    for (const [key, { abort }] of this.#following) {
      if (sources.has(key)) continue;
      abort.abort(new Error('it is no source any more'));
      this.#following.delete(key);
    }
    for (const source of sources.values()) {
      if (this.#following.has(source.key)) continue;
      const abort = new AbortController();
      const stopped = AbortSignal.any([signal, abort.signal]);
      let begin = () => {};
      const begun = new Promise<void>((resolve) => {
        begin = resolve;
      });
      const timer = this.#modules.clock.after(source.patienceMs, begin);
      stopped.addEventListener('abort', begin);
      this.#following.set(source.key, { abort, begun: begun.finally(() => timer.cancel()) });
      void this.#followOne(source, begin, stopped);
    }
  }

  async #followOne(source: Source, begin: () => void, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#modules;
    let hasFailed = false;
    while (!signal.aborted) {
      try {
        await this.#once(source, begin, signal);
        hasFailed = false;
      } catch (error) {
        if (!hasFailed && !signal.aborted)
          log.info({ source: source.name, error: messageOf(error) }, 'no events from it');
        hasFailed = true;
      }
      begin();
      await delay(clock, lookMs, signal).catch(() => {});
    }
  }

  async #once(source: Source, begin: () => void, signal: AbortSignal): Promise<void> {
    const engine = await source.engine();
    // Another node on the same engine is followed.
    if (this.#engines.has(engine)) return;
    this.#engines.set(engine, source.key);
    const log = this.#log;
    try {
      const from = this.#from.get(source.key) ?? (await this.#firstOf(source));
      signal.throwIfAborted();
      this.#from.set(source.key, from);
      for await (const event of readEvents(source, { since: secondsOf(from) }, signal, begin)) {
        const key = keyOf(event);
        if (this.#keys.has(key)) continue;
        this.#keys.add(key);
        log.add([event]);
        const next = event.nano - overlap;
        if (next > (this.#from.get(source.key) ?? 0n)) this.#from.set(source.key, next);
      }
    } finally {
      if (this.#engines.get(engine) === source.key) this.#engines.delete(engine);
    }
  }

  /** One that comes later may have told something before it was noticed. */
  async #firstOf(source: Source): Promise<bigint> {
    const followedMs = this.#modules.clock.monotonic() - this.#begunAt;
    const now = nanoOf(await source.now());
    const followed = nanoOf(followedMs);
    return now - (followed < overlap ? followed : overlap);
  }
}

/** By which an event that comes twice is known. */
export const keyOf = ({ Type, Action, Actor, nano }: ToldEvent): string =>
  `${nano} ${Type} ${Action} ${Actor.ID} ${Actor.Attributes['swarmctl.node.id'] ?? ''}`;
