import type { FastifyInstance } from 'fastify';
import { filtersOf, type Query } from '../query.ts';
import { clusterLabel, filterText, queryText, type Row, warn } from './containers.ts';
import { missingOf, warningOf, workMs } from './engines.ts';
import type { DockerHost } from './host.ts';
import { mergeImages, sumOfPrune } from './image-routes.ts';
import { mergeVolumes, type Volume } from './volume-routes.ts';

// What the engines' disks hold, and their caches of builds.

const leaderOnly = { config: { leaderOnly: true } };

export function engineSystemRoutes(app: FastifyInstance, host: DockerHost): void {
  const { room } = host;

  app.get<{ Querystring: Query }>('/system/df', leaderOnly, async (request, reply) => {
    const engines = await room.engines();
    const path = `/system/df${queryText(request.query)}`;
    const each = await room.each(engines.all, 'GET', path, { timeoutMs: workMs });
    warn(reply, warningOf(missingOf(engines.away, each)));
    const { values } = each;
    const all = <T>(key: string) => values.flatMap(({ value }) => (value.json?.[key] ?? []) as readonly T[]);
    const isOurs = ({ Labels }: Row) => [undefined, engines.clusterId].includes(Labels?.[clusterLabel]);
    return {
      LayersSize: values.reduce((sum, { value }) => sum + Number(value.json?.LayersSize ?? 0), 0),
      Images: mergeImages(values.map(({ value }) => value.json?.Images ?? [])),
      Containers: all<Row>('Containers').filter(isOurs),
      Volumes: mergeVolumes(
        values.map(({ engine, value }) => ({ engine, volumes: (value.json?.Volumes ?? []) as Volume[] })),
      ),
      BuildCache: all('BuildCache'),
    };
  });

  app.post<{ Querystring: Query }>('/build/prune', leaderOnly, async (request, reply) => {
    const known = ['id', 'inuse', 'label', 'node', 'parent', 'private', 'shared', 'type', 'unused-for', 'until'];
    const filters = filtersOf(request.query, known);
    const engines = await room.engines(filters.get('node'));
    const query = queryText(request.query, { filters: filterText(filters, 'node') });
    const each = await room.each(engines.all, 'POST', `/build/prune${query}`, { timeoutMs: workMs });
    return sumOfPrune(each, engines.away, 'CachesDeleted', reply);
  });
}
