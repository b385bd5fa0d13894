import { Bell, ClusterError } from '@swarmctl/shared/kit';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type ApiContext, managerOf, noLeader } from '../context.ts';
import type { DockerHost } from '../docker-host/host.ts';
import { forwardedBy } from '../forward.ts';
import { filtersOf, type Query, single } from '../query.ts';
import { drained, openStream } from '../stream.ts';
import { EngineEvents, type Follower, keyOf } from './engine-events.ts';
import { EventFilter, eventFilters } from './event-filter.ts';
import type { EventJournal, JournalEvent, Revision } from './journal.ts';
import { sourcesOf } from './source.ts';
import { lineOf, merged, nanoOf, parseNano, secondsOf, type ToldEvent, toldOf } from './told-event.ts';

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
    const until = timeOf('until', single(query, 'until'));
    const start = startOf(journal, single(query, 'since'), until);
    if (start.time !== undefined && until !== undefined && start.time > until) {
      const text = `\`since\` time (${secondsOf(start.time)}) cannot be after \`until\` time (${secondsOf(until)})`;
      throw new ClusterError('invalid-argument', text);
    }
    return new Telling(context, engines, { journal, start, until, filter, isMine }).send(reply);
  });
}

interface Start {
  /** In the journal of the cluster. */
  readonly position: number;
  /** ns since the epoch, from which on the engines are asked; undefined: from now on. */
  readonly time: bigint | undefined;
}

interface Wish {
  readonly journal: EventJournal;
  readonly start: Start;
  readonly until: bigint | undefined;
  readonly filter: EventFilter;
  /** False: another manager is to be asked. */
  readonly isMine: () => boolean;
}

const chunkSize = 256;
/** Of a timer. */
const longestMs = 2 ** 31 - 1;

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
      if (gone.signal.aborted) return reply.hijack();
      const { past, positions } = await this.#past(follower, gone.signal);
      await this.#tell(reply, past, isPast ? undefined : positions, follower);
    } finally {
      follower?.leave();
    }
    return reply;
  }

  /** What has been, and from where on to read what is to come. */
  async #past(follower: Follower | undefined, signal: AbortSignal) {
    const { journal, start, until, filter } = this.#wish;
    const asked =
      start.time !== undefined && filter.wantsEngines ? await this.#engines.past(start.time, until, signal) : [];
    const positions = { cluster: start.position, engines: follower?.position ?? 0 };
    const wanted = (event: ToldEvent) => filter.passes(event) && (until === undefined || event.nano <= until);
    if (start.time === undefined) return { past: [], positions };
    const { time } = start;
    const sequences = asked.map((sequence) => sequence.filter(wanted));
    if (follower) {
      const known = new Set(sequences.flat().map(keyOf));
      const followed = follower.log.since(follower.log.start).filter((event) => event.nano >= time && wanted(event));
      sequences.push(followed.filter((event) => !known.has(keyOf(event))));
      positions.engines = follower.log.end;
    }
    sequences.push(journal.log.since(start.position).map(toldOf).filter(wanted));
    positions.cluster = journal.log.end;
    return { past: merged(sequences), positions };
  }

  async #tell(
    reply: FastifyReply,
    past: readonly ToldEvent[],
    positions: { readonly cluster: number; readonly engines: number } | undefined,
    follower: Follower | undefined,
  ): Promise<void> {
    const { clock } = this.#context;
    const { journal, until, filter, isMine } = this.#wish;
    const abort = openStream(reply, 'application/json');
    const bell = new Bell();
    const ring = () => bell.ring();
    const leftMs = until === undefined ? undefined : Number(until / 1_000_000n) - clock.now();
    const timer = leftMs === undefined ? undefined : clock.after(Math.min(leftMs, longestMs), () => abort.abort());
    const unwatch = [journal.log.watch(ring), follower?.log.watch(ring)];
    abort.signal.addEventListener('abort', ring);
    const write = async (events: readonly ToldEvent[]) => {
      if (events.length > 0 && !reply.raw.write(events.map(lineOf).join(''))) await drained(reply, abort.signal);
    };
    const wanted = (event: ToldEvent) => filter.passes(event) && (until === undefined || event.nano <= until);
    try {
      for (let at = 0; at < past.length && !abort.signal.aborted; at += chunkSize) {
        await write(past.slice(at, at + chunkSize));
      }
      if (!positions) return;
      let { cluster, engines } = positions;
      while (!abort.signal.aborted && isMine()) {
        const ofCluster = journal.log.read(cluster);
        const ofEngines = follower?.log.read(engines) ?? [];
        // A client that is overtaken, or whose manager goes, asks again.
        if (typeof ofCluster === 'string' || typeof ofEngines === 'string') break;
        cluster += ofCluster.length;
        engines += ofEngines.length;
        await write([...ofCluster.map(toldOf), ...ofEngines].filter(wanted));
        if (ofCluster.length + ofEngines.length === 0) await bell.wait();
      }
    } finally {
      timer?.cancel();
      for (const end of unwatch) end?.();
      reply.raw.end();
    }
  }
}

/** From now on without a time; all that is known with an `until` alone, as engines have it. */
function startOf(journal: EventJournal, since: string | undefined, until: bigint | undefined): Start {
  const revision = /^revision:(\d{1,15})\.(\d{1,9})$/.exec(since ?? '');
  if (!revision) {
    const time = timeOf('since', since) ?? (until === undefined ? undefined : 0n);
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

/** ns since the epoch. */
function timeOf(key: 'since' | 'until', text: string | undefined): bigint | undefined {
  if (!text) return undefined;
  const nano = parseNano(text);
  if (nano !== undefined) return nano;
  const forms = key === 'since' ? 'a Unix time, RFC 3339 or revision:INDEX.NUMBER' : 'a Unix time or RFC 3339';
  throw new ClusterError('invalid-argument', `${key} must be ${forms}, not '${text}'`);
}
