import { ClusterError } from '@swarmctl/shared/kit';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { filtersOf, type Query, single } from '../query.ts';
import { filterText, queryText, unlessAway, warn } from './containers.ts';
import {
  type Away,
  asError,
  type Each,
  type Engine,
  type EngineAnswer,
  missingOf,
  warningOf,
  workMs,
} from './engines.ts';
import { type DockerHost, searchOf } from './host.ts';
import { pathOf } from './image-archives.ts';

// Images of all nodes: one row an image, wherever it is; tagged and removed on all that have it, read from any of those.

const leaderOnly = { config: { leaderOnly: true } };
type Named = { Params: { '*': string }; Querystring: Query };

const listFilters = ['before', 'dangling', 'label', 'node', 'reference', 'since', 'until'];
const pruneFilters = ['dangling', 'label', 'label!', 'node', 'until'];

export interface ImageRow {
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
    const each = await room.each(engines.all, 'GET', `/images/json${query}`);
    warn(reply, warningOf(missingOf(engines.away, each)));
    return mergeImages(each.values.map(({ value }) => value.json as readonly ImageRow[]));
  });

  app.post<{ Querystring: Query }>('/images/prune', leaderOnly, async (request, reply) => {
    const filters = filtersOf(request.query, pruneFilters);
    const engines = await room.engines(filters.get('node'));
    const query = queryText(request.query, { filters: filterText(filters, 'node') });
    const each = await room.each(engines.all, 'POST', `/images/prune${query}`, { timeoutMs: workMs });
    return sumOfPrune(each, engines.away, 'ImagesDeleted', reply);
  });

  app.post<Named>('/images/*', leaderOnly, async (request, reply) => {
    const [, name, verb] = /^(.+)\/(tag|push)$/.exec(request.params['*']) ?? [];
    if (name === undefined) throw new ClusterError('not-found', 'page not found');
    const path = `${pathOf(name)}/${verb}${searchOf(request.raw)}`;
    if (verb === 'push') {
      const engine = await pushedBy(host, name, single(request.query, 'tag'));
      return host.pass(request, reply, engine.node, path);
    }
    const having = await findImage(host, name);
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

  app.get('/images/search', leaderOnly, async (request, reply) => {
    const { all, away } = await room.engines();
    const [first] = all;
    if (!first) throw new ClusterError('unavailable', `no node that could search${unlessAway(away)}`);
    return host.pass(request, reply, first.node, `/images/search${searchOf(request.raw)}`);
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

/** Engines that have it. Throws `not-found` when none does. */
async function findImage(host: DockerHost, name: string): Promise<readonly [Engine, ...Engine[]]> {
  const { having, missing } = await enginesWith(host, name);
  const [first, ...more] = having;
  if (first) return [first, ...more];
  throw new ClusterError('not-found', `No such image: ${name}${unlessAway(missing)}`);
}

/** Any that has the tag; of all tags, the engine that has the most. Throws `not-found` when none does. */
async function pushedBy(host: DockerHost, name: string, tag: string | undefined): Promise<Engine> {
  const { room } = host;
  if (tag) {
    const { having, missing } = await enginesWith(host, `${name}:${tag}`);
    if (having[0]) return having[0];
    throw notPushed(`${name}:${tag}`, missing);
  }
  const { all, away } = await room.engines();
  const names = [name, familiar(name)];
  const query = queryText({ filters: JSON.stringify({ reference: names }) });
  const { values, failures } = await room.each(all, 'GET', `/images/json${query}`);
  const tagsOf = (rows: readonly ImageRow[]) => rows.reduce((sum, { RepoTags }) => sum + (RepoTags?.length ?? 0), 0);
  const [best] = values
    .map(({ engine, value }) => ({ engine, count: tagsOf(value.json as ImageRow[]) }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count);
  if (best) return best.engine;
  throw notPushed(name, [...away, ...failures]);
}

/** As engines list it. */
const familiar = (name: string): string => name.replace(/^docker\.io\/(library\/)?/, '');

const notPushed = (name: string, missing: readonly Away[]) =>
  new ClusterError(
    'not-found',
    `An image does not exist locally with the tag: ${familiar(name)}${unlessAway(missing)}`,
  );

/** Engines that have the image, and those that did not say. */
export async function enginesWith(
  { room }: DockerHost,
  name: string,
): Promise<{ readonly having: readonly Engine[]; readonly missing: readonly Away[] }> {
  const { all, away } = await room.engines();
  const { values, failures } = await room.each(all, 'GET', `${pathOf(name)}/json`, { also: [404] });
  const having = values.filter(({ value }) => value.status === 200).map(({ engine }) => engine);
  return { having, missing: [...away, ...failures] };
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
  each: Each<EngineAnswer>,
  away: readonly Away[],
  list: 'ImagesDeleted' | 'VolumesDeleted' | 'CachesDeleted',
  reply: FastifyReply,
) {
  const { values, failures } = each;
  if (failures.length > 0) throw asError(failures);
  warn(reply, warningOf(missingOf(away, each)));
  const deleted = values.flatMap(({ value }) => (value.json?.[list] ?? []) as readonly unknown[]);
  return {
    [list]: deleted.length > 0 ? [...new Map(deleted.map((one) => [JSON.stringify(one), one])).values()] : null,
    SpaceReclaimed: values.reduce((sum, { value }) => sum + Number(value.json?.SpaceReclaimed ?? 0), 0),
  };
}
