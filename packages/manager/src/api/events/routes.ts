import { ClusterError } from '@swarmctl/shared/kit';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type ApiContext, managerOf } from '../context.ts';
import { type Filters, filtersOf, type Query, single } from '../query.ts';
import { drained, openStream } from '../stream.ts';
import type { EventJournal, JournalEvent, Revision } from './journal.ts';

// GET /events: what happens in the cluster, one JSON object a line, from any manager. `since` takes a time, or the `swarmctl.revision` of the last event that a client
// has seen, as `revision:120.3`; it then misses nothing, or is told (410) to look at everything anew.

const knownFilters = [
  ...['type', 'event', 'scope', 'label', 'node', 'service', 'network', 'secret', 'config', 'task'],
  ...['container', 'image', 'volume', 'plugin', 'daemon'],
];
const ofEngines = ['container', 'image', 'volume', 'plugin', 'daemon', 'builder'];
const objects = ['node', 'service', 'network', 'secret', 'config', 'task'] as const;

export function eventRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get<{ Querystring: Query }>('/events', async (request, reply) => {
    const filters = filtersOf(request.query, knownFilters);
    refuseEngines(filters);
    const journal = managerOf(context).events();
    const from = startOf(journal, single(request.query, 'since'));
    const until = timeOf('until', single(request.query, 'until'));
    return send(context, reply, { journal, from, until, filters });
  });
}

interface Wish {
  readonly journal: EventJournal;
  readonly from: number;
  /** ms since the epoch. */
  readonly until: number | undefined;
  readonly filters: Filters;
}

async function send(context: ApiContext, reply: FastifyReply, wish: Wish): Promise<FastifyReply> {
  const { journal, until, filters } = wish;
  const abort = openStream(reply, 'application/json');
  const timer =
    until === undefined
      ? undefined
      : context.clock.after(Math.min(Math.max(0, until - context.clock.now()), longestMs), () => abort.abort());
  try {
    for (let position = wish.from; ; ) {
      const events = journal.read(position);
      // A client that is overtaken, or whose manager goes, asks again.
      if (events === 'overtaken' || events === 'closed') break;
      const lines = events.filter((event) => isWanted(event, filters, until)).map(lineOf);
      if (lines.length > 0 && !reply.raw.write(lines.join(''))) await drained(reply, abort.signal);
      position += events.length;
      if (abort.signal.aborted) break;
      if (events.length > 0) continue;
      if (until !== undefined && until <= context.clock.now()) break;
      await journal.wait(position, abort.signal);
    }
  } finally {
    timer?.cancel();
    reply.raw.end();
  }
  return reply;
}

/** Of a timer. */
const longestMs = 2 ** 31 - 1;

/** Nanoseconds are beyond what a number holds. */
function lineOf({ Type, Action, Actor, time, revision }: JournalEvent): string {
  const head = { Type, Action, Actor, scope: 'swarm', 'swarmctl.revision': `${revision.index}.${revision.number}` };
  return `${JSON.stringify(head).slice(0, -1)},"time":${Math.floor(time / 1000)},"timeNano":${time}000000}\n`;
}

function isWanted({ Type, Action, Actor, time }: JournalEvent, filters: Filters, until: number | undefined): boolean {
  if (until !== undefined && time > until) return false;
  const types = filters.get('type');
  // Docker knows no events of tasks, so who does not name them is sent none.
  if (types ? !types.has(Type) : Type === 'task' && !filters.has('task')) return false;
  if (filters.has('event') && !filters.get('event')?.has(Action)) return false;
  if (filters.has('scope') && !filters.get('scope')?.has('swarm')) return false;
  const named = objects.filter((kind) => filters.has(kind));
  if (named.length > 0) {
    if (!named.includes(Type)) return false;
    const names = [...(filters.get(Type) ?? [])];
    if (!names.some((name) => Actor.ID.startsWith(name) || Actor.Attributes['name']?.startsWith(name))) return false;
  }
  const labels = [...(filters.get('label') ?? [])];
  return labels.every((label) => {
    const [key = '', value] = label.split(/=(.*)/s, 2);
    return key in Actor.Attributes && (value === undefined || Actor.Attributes[key] === value);
  });
}

/** What happens on engines is not told yet. */
function refuseEngines(filters: Filters): void {
  const types = [...(filters.get('type') ?? []), ...[...filters.keys()].filter((key) => ofEngines.includes(key))];
  const engines = types.filter((type) => ofEngines.includes(type));
  if (engines.length === 0 || types.some((type) => !ofEngines.includes(type))) return;
  throw new ClusterError(
    'unimplemented',
    `events of type ${engines[0]} are not supported yet; there are those of ${objects.join(', ')}`,
  );
}

/** From now on, without a `since`. */
function startOf(journal: EventJournal, since: string | undefined): number {
  const revision = /^revision:(\d{1,15})\.(\d{1,9})$/.exec(since ?? '');
  if (!revision) {
    const time = timeOf('since', since);
    return time === undefined ? journal.end : journal.after(time);
  }
  const cursor: Revision = { index: Number(revision[1]), number: Number(revision[2]) };
  const position = journal.behind(cursor);
  if (position !== undefined) return position;
  throw new ClusterError(
    'gone',
    `events since ${since} are not kept any more: list what you follow, and go on from now`,
  );
}

/** Unix seconds with a fraction, or RFC 3339. */
function timeOf(key: 'since' | 'until', text: string | undefined): number | undefined {
  if (!text) return undefined;
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (!Number.isNaN(ms)) return ms;
  const forms = key === 'since' ? 'a Unix time, RFC 3339 or revision:INDEX.NUMBER' : 'a Unix time or RFC 3339';
  throw new ClusterError('invalid-argument', `${key} must be ${forms}, not '${text}'`);
}
