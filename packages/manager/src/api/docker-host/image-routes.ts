import type { Writable } from 'node:stream';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { filtersOf, type Query } from '../query.ts';
import { filterText, queryText, unlessAway, warn } from './containers.ts';
import {
  type Away,
  answerOver,
  asError,
  type Each,
  type Engine,
  type EngineAnswer,
  hostnameOf,
  textOf,
  warningOf,
  workMs,
} from './engines.ts';
import { type DockerHost, searchOf } from './host.ts';

// Images of all nodes: one row an image, wherever it is; pulled to all nodes, tagged and removed on all that have it, read from any of those.

const leaderOnly = { config: { leaderOnly: true } };
type Named = { Params: { '*': string }; Querystring: Query };

const listFilters = ['before', 'dangling', 'label', 'node', 'reference', 'since', 'until'];
const pruneFilters = ['dangling', 'label', 'label!', 'node', 'until'];

interface ImageRow {
  readonly Id: string;
  readonly Created: number;
  readonly RepoTags: readonly string[] | null;
  readonly RepoDigests: readonly string[] | null;
  readonly Containers: number;
}

export function imageRoutes(app: FastifyInstance, host: DockerHost): void {
  const { room } = host;

  app.get<{ Querystring: Query }>('/images/json', leaderOnly, async (request, reply) => {
    const filters = filtersOf(request.query, listFilters);
    const engines = await room.engines(filters.get('node'));
    const query = queryText(request.query, { filters: filterText(filters, 'node') });
    const { values, failures } = await room.each(engines.all, 'GET', `/images/json${query}`);
    warn(reply, warningOf([...engines.away, ...failures]));
    return mergeImages(values.map(({ value }) => value.json as readonly ImageRow[]));
  });

  app.post<{ Querystring: Query }>('/images/prune', leaderOnly, async (request, reply) => {
    const filters = filtersOf(request.query, pruneFilters);
    const engines = await room.engines(filters.get('node'));
    const query = queryText(request.query, { filters: filterText(filters, 'node') });
    const each = await room.each(engines.all, 'POST', `/images/prune${query}`, { timeoutMs: workMs });
    return sumOfPrune(each, engines.away, 'ImagesDeleted', reply);
  });

  app.post<{ Querystring: Query }>('/images/create', leaderOnly, (request, reply) => pull(host, request, reply));

  app.post<Named>('/images/*', leaderOnly, async (request, reply) => {
    const [, name, verb] = /^(.+)\/(tag|push)$/.exec(request.params['*']) ?? [];
    if (name === undefined) throw new ClusterError('not-found', 'page not found');
    const path = `${pathOf(name)}/${verb}${searchOf(request.raw)}`;
    const having = await findImage(host, name);
    // Any of them will do to push it.
    if (verb === 'push') return host.pass(request, reply, having[0].node, path);
    const { failures } = await room.each(having, 'POST', path);
    if (failures.length > 0) throw asError(failures);
    return reply.status(201).send();
  });

  app.get<{ Querystring: Query }>('/images/get', leaderOnly, async (request, reply) => {
    const names = [request.query['names'] ?? []].flat().flatMap((text) => text.split(','));
    if (names.length === 0) throw new ClusterError('invalid-argument', 'names: which images to save must be said');
    const having = await Promise.all(names.map((name) => findImage(host, name)));
    const hasAll = (engine: Engine) => having.every((some) => some.some(({ info }) => info.ID === engine.info.ID));
    const node = having[0]?.find(hasAll)?.node;
    if (!node) throw new ClusterError('conflict', `no node has all of ${names.join(', ')}`);
    return host.pass(request, reply, node, `/images/get${searchOf(request.raw)}`);
  });

  app.get<Named>('/images/*', leaderOnly, async (request, reply) => {
    const [, name, verb] = /^(.+)\/(json|history|get)$/.exec(request.params['*']) ?? [];
    if (name === undefined) throw new ClusterError('not-found', 'page not found');
    const [first] = await findImage(host, name);
    return host.pass(request, reply, first.node, `${pathOf(name)}/${verb}${searchOf(request.raw)}`);
  });

  app.delete<Named>('/images/*', leaderOnly, async (request) => {
    const name = request.params['*'];
    const having = await findImage(host, name);
    const path = `${pathOf(name)}${searchOf(request.raw)}`;
    const { values, failures } = await room.each(having, 'DELETE', path, { also: [404], timeoutMs: workMs });
    if (failures.length > 0) throw asError(failures, 'conflict');
    const said = values.flatMap(({ value }) => (value.status === 200 ? (value.json as readonly object[]) : []));
    return [...new Map(said.map((one) => [JSON.stringify(one), one])).values()];
  });
}

const pathOf = (name: string): string =>
  `/images/${name.split('/').map(encodeURIComponent).join('/').replace(/%3A/g, ':').replace(/%40/g, '@')}`;

/** Engines that have it. Throws `not-found` when none does. */
async function findImage(host: DockerHost, name: string): Promise<readonly [Engine, ...Engine[]]> {
  const { all, away } = await host.room.engines();
  const { values, failures } = await host.room.each(all, 'GET', `${pathOf(name)}/json`, { also: [404] });
  const [first, ...more] = values.filter(({ value }) => value.status === 200).map(({ engine }) => engine);
  if (first) return [first, ...more];
  throw new ClusterError('not-found', `No such image: ${name}${unlessAway([...away, ...failures])}`);
}

export function mergeImages(lists: readonly (readonly ImageRow[])[]): readonly ImageRow[] {
  const byId = new Map<string, ImageRow>();
  const union = (a: readonly string[] | null, b: readonly string[] | null) => [
    ...new Set([...(a ?? []), ...(b ?? [])]),
  ];
  for (const row of lists.flat()) {
    const known = byId.get(row.Id);
    byId.set(
      row.Id,
      known
        ? {
            ...known,
            RepoTags: union(known.RepoTags, row.RepoTags),
            RepoDigests: union(known.RepoDigests, row.RepoDigests),
            // -1: not counted.
            Containers: known.Containers < 0 || row.Containers < 0 ? -1 : known.Containers + row.Containers,
          }
        : row,
    );
  }
  return [...byId.values()].sort((a, b) => b.Created - a.Created || (a.Id < b.Id ? -1 : 1));
}

/** What all have removed; an error when one could not. */
export function sumOfPrune(
  { values, failures }: Each<EngineAnswer>,
  away: readonly Away[],
  list: 'ImagesDeleted' | 'VolumesDeleted' | 'CachesDeleted',
  reply: FastifyReply,
) {
  if (failures.length > 0) throw asError(failures);
  warn(reply, warningOf(away));
  const deleted = values.flatMap(({ value }) => (value.json?.[list] ?? []) as readonly unknown[]);
  return {
    [list]: deleted.length > 0 ? [...new Map(deleted.map((one) => [JSON.stringify(one), one])).values()] : null,
    SpaceReclaimed: values.reduce((sum, { value }) => sum + Number(value.json?.SpaceReclaimed ?? 0), 0),
  };
}

/** To all nodes at once; a line of progress carries its node's name. It fails, at its end, when a node could not. */
async function pull(host: DockerHost, request: FastifyRequest<{ Querystring: Query }>, reply: FastifyReply) {
  const { query } = request;
  if (query['fromSrc'] !== undefined) {
    throw new ClusterError('unimplemented', 'images are imported by the engine of a node, not by the cluster');
  }
  const filters = filtersOf(query, ['node']);
  const engines = await host.room.engines(filters.get('node'));
  if (engines.all.length === 0) throw new ClusterError('unavailable', `no node to pull to${unlessAway(engines.away)}`);
  const path = `/images/create${queryText(query, { filters: undefined })}`;
  const auth = request.headers['x-registry-auth'];
  const abort = new AbortController();
  reply.raw.once('close', () => abort.abort());
  // Until the first node has begun there may still be an answer of another status.
  const begin = () => {
    if (reply.sent) return;
    const own = Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]);
    reply.hijack();
    reply.raw.writeHead(200, { ...Object.fromEntries(own), 'content-type': 'application/json' });
    reply.raw.flushHeaders();
  };
  const failures: { node: string; reason: string; status: number }[] = [];
  await Promise.all(
    engines.all.map(async (engine) => {
      const node = hostnameOf(engine.node);
      try {
        const prefix = engines.all.length > 1 ? `${node}: ` : '';
        const headers = typeof auth === 'string' ? { 'x-registry-auth': auth } : {};
        await pullTo(host, engine, { path, headers, prefix, signal: abort.signal }, reply.raw, begin);
      } catch (error) {
        failures.push({ node, reason: messageOf(error), status: (error as { status?: number }).status ?? 503 });
      }
    }),
  );
  const [first] = failures;
  const message = failures.map(({ node, reason }) => `${node}: ${reason}`).join('; ');
  if (first && !reply.sent) return reply.status(first.status).send({ message });
  begin();
  if (first) reply.raw.write(`${JSON.stringify({ errorDetail: { message }, error: message })}\r\n`);
  reply.raw.end();
  return reply;
}

interface Pull {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Before the ids of layers. */
  readonly prefix: string;
  readonly signal: AbortSignal;
}

/** Rejects with what the engine said, and with its `status` if it began nothing. */
async function pullTo(host: DockerHost, engine: Engine, pull: Pull, to: Writable, begin: () => void): Promise<void> {
  const stream = await host.room.dial(engine.node.ID);
  const { path, headers, prefix, signal } = pull;
  const answer = await answerOver(stream, { method: 'POST', path, headers, signal });
  answer.setEncoding('utf8');
  if (answer.statusCode !== 200) {
    const said = await textOf(answer);
    throw Object.assign(new Error(messageIn(said)), { status: answer.statusCode });
  }
  begin();
  let rest = '';
  let failure: string | undefined;
  for await (const chunk of answer) {
    const lines = `${rest}${chunk}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines.filter((one) => one.trim() !== '')) {
      const said = JSON.parse(line) as { id?: string; status?: string; error?: string };
      if (said.error !== undefined) failure = said.error;
      else to.write(`${JSON.stringify(named(said, prefix))}\r\n`);
    }
  }
  if (failure !== undefined) throw new Error(failure);
}

function messageIn(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text;
  }
}

/** Lines of one id replace each other on a terminal. */
const named = (said: { readonly id?: string; readonly status?: string }, prefix: string) =>
  said.id === undefined ? { ...said, status: `${prefix}${said.status ?? ''}` } : { ...said, id: `${prefix}${said.id}` };
