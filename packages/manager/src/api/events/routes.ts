import { Bell, ClusterError } from '@swarmctl/shared/kit';
import type { Moment } from '@swarmctl/shared/model';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type ApiContext, managerOf, noLeader } from '../context.ts';
import type { DockerHost } from '../docker-host/host.ts';
import { forwardedBy } from '../forward.ts';
import { givenMoment } from '../moments.ts';
import { filtersOf, type Query, single } from '../query.ts';
import { drained, openStream } from '../stream.ts';
import { EngineEvents, type Follower, keyOf } from './engine-events.ts';
import { EventFilter, eventFilters } from './event-filter.ts';
import type { EventJournal, JournalEvent, Revision } from './journal.ts';
import { sourcesOf } from './source.ts';
import { lineOf, merged, nanoOf, type ToldEvent, toldOf } from './told-event.ts';

// GET /events: what happens in the cluster and on the engines of its nodes, one JSON object a line, from any manager. `since` takes a time, or the `swarmctl.revision`
// of the last event that a client has seen, as `revision:120.3`; of the cluster it then misses nothing, or is told (410) to look at everything anew.

export function eventRoutes(app: FastifyInstance, context: ApiContext, host: DockerHost): void {
  const { clock, log } = context;
  const engines = new EngineEvents({ sources: () => sourcesOf(context, host.room), clock, log });

  app.get<{ Querystring: Query }>('/events', async (request, reply) => {
    const { query, raw } = request;
    const filter = new EventFilter(filtersOf(query, eventFilters));
    const manager = managerOf(context);
    // One hop only, as of all that managers pass on.
    const isMine = () => raw.headers[forwardedBy] === undefined || manager.isLeader();
    if (!isMine()) throw noLeader();
    const journal = manager.events();
    const until = givenMoment('until', single(query, 'until'), clock.now());
    const start = startOf(journal, single(query, 'since'), until, clock.now());
    if (start.time !== undefined && until !== undefined && start.time > until) {
      const [first, last] = ['since', 'until'].map((key) => single(query, key));
      const text = `\`since\` time (${first}) cannot be after \`until\` time (${last})`;
      throw new ClusterError('invalid-argument', text);
    }
    return new Telling(context, engines, { journal, start, until, filter, isMine }).send(reply);
  });
}

interface Start {
  /** In the journal of the cluster. */
  readonly position: number;
  /** From which on the engines are asked; undefined: from now on. */
  readonly time: Moment | undefined;
}

interface Wish {
  readonly journal: EventJournal;
  readonly start: Start;
  readonly until: Moment | undefined;
  readonly filter: EventFilter;
  /** False: another manager is to be asked. */
  readonly isMine: () => boolean;
}

interface Positions {
  readonly cluster: number;
  readonly engines: number;
}

const chunkSize = 256;

/** One answer. */
class Telling {
  readonly #context: ApiContext;
  readonly #engines: EngineEvents;
  readonly #wish: Wish;

  constructor(context: ApiContext, engines: EngineEvents, wish: Wish) {
    this.#context = context;
    this.#engines = engines;
    this.#wish = wish;
  }

  async send(reply: FastifyReply): Promise<FastifyReply> {
    const { until, filter } = this.#wish;
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    const isPast = until !== undefined && until <= nanoOf(this.#context.clock.now());
    // Who has the head of the answer misses nothing any more.
    const follower = filter.wantsEngines && !isPast ? await this.#engines.follow() : undefined;
    try {
      const { past, positions } = await this.#past(follower, gone.signal);
      if (gone.signal.aborted) return reply.hijack();
      const abort = openStream(reply, 'application/json');
      await this.#write(reply, past, abort.signal);
      if (!isPast) await this.#follow(reply, positions, follower?.log, abort.signal);
      reply.raw.end();
    } finally {
      follower?.leave();
    }
    return reply;
  }

  /** What has been, and from where on to read what is to come. */
  async #past(
    follower: Follower | undefined,
    signal: AbortSignal,
  ): Promise<{ past: ToldEvent[]; positions: Positions }> {
    const { journal, start, until, filter } = this.#wish;
    const { time } = start;
    if (time === undefined) {
      return { past: [], positions: { cluster: start.position, engines: follower?.position ?? 0 } };
    }
    const sequences = filter.wantsEngines ? [...(await this.#engines.past(time, until, signal))] : [];
    if (follower) {
      const known = new Set(sequences.flat().map(keyOf));
      const followed = follower.log.since(follower.log.start);
      sequences.push(followed.filter((event) => event.nano >= time && !known.has(keyOf(event))));
    }
    sequences.push(journal.log.since(start.position).map(toldOf));
    return {
      past: merged(sequences.map((sequence) => sequence.filter((event) => this.#isWanted(event)))),
      positions: { cluster: journal.log.end, engines: follower?.log.end ?? 0 },
    };
  }

  async #follow(
    reply: FastifyReply,
    from: Positions,
    engineLog: Follower['log'] | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock } = this.#context;
    const { journal, until, isMine } = this.#wish;
    const bell = new Bell();
    const ring = () => bell.ring();
    const leftMs = () =>
      until === undefined ? undefined : Math.max(0, Number((until + 999_999n) / 1_000_000n) - clock.now());
    const unwatch = [journal.log.watch(ring), engineLog?.watch(ring)];
    signal.addEventListener('abort', ring);
    let { cluster, engines } = from;
    while (!signal.aborted && isMine()) {
      const ofCluster = journal.log.read(cluster);
      const ofEngines = engineLog?.read(engines) ?? [];
      // A client that is overtaken, or whose manager goes, asks again.
      if (typeof ofCluster === 'string' || typeof ofEngines === 'string') break;
      cluster += ofCluster.length;
      engines += ofEngines.length;
      const events = [...ofCluster.map(toldOf), ...ofEngines];
      await this.#write(
        reply,
        events.filter((event) => this.#isWanted(event)),
        signal,
      );
      if (events.length > 0) continue;
      if (leftMs() === 0) break;
      await bell.wait(clock, leftMs());
    }
    for (const end of unwatch) end?.();
  }

  #isWanted(event: ToldEvent): boolean {
    const { filter, until } = this.#wish;
    return filter.passes(event) && (until === undefined || event.nano <= until);
  }

  /** No more at once than the client takes. */
  async #write(reply: FastifyReply, events: readonly ToldEvent[], signal: AbortSignal): Promise<void> {
    for (let at = 0; at < events.length && !signal.aborted; at += chunkSize) {
      const lines = events.slice(at, at + chunkSize).map(lineOf);
      if (!reply.raw.write(lines.join(''))) await drained(reply, signal);
    }
  }
}

/** From now on without a time; all that is known with an `until` alone, as engines have it. */
function startOf(journal: EventJournal, since: string | undefined, until: Moment | undefined, nowMs: number): Start {
  const revision = /^revision:(\d{1,15})\.(\d{1,9})$/.exec(since ?? '');
  if (!revision) {
    const given = givenMoment('since', since, nowMs, 'revision:INDEX.NUMBER');
    const time = given ?? (until === undefined ? undefined : 0n);
    const isLater = (event: JournalEvent) => time !== undefined && nanoOf(event.time) >= time;
    return { position: journal.log.find(isLater), time };
  }
  const cursor: Revision = { index: Number(revision[1]), number: Number(revision[2]) };
  const position = journal.behind(cursor);
  if (position === undefined) {
    throw new ClusterError(
      'gone',
      `events since ${since} are not kept any more: list what you follow, and go on from now`,
    );
  }
  const [last] = journal.log.since(position - 1);
  return { position, time: last && nanoOf(last.time) };
}
