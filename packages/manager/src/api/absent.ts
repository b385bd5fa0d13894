import { ClusterError } from '@swarmctl/shared/kit';
import type { FastifyInstance } from 'fastify';
import { filtersOf, type Query } from './query.ts';

// What the dialect has and this API does not yet: refused by name, never by silence.

export function absentRoutes(app: FastifyInstance): void {
  const refusePlugins = async () => {
    throw new ClusterError('unimplemented', 'plugins are not supported yet');
  };
  // Clients look here for drivers, beside those in /info.
  app.get<{ Querystring: Query }>('/plugins', async (request) => {
    filtersOf(request.query, ['capability', 'enabled']);
    return [];
  });
  app.all<{ Params: { '*': string } }>('/plugins/*', async ({ method, params }) => {
    const [, name] = /^(.+)\/json$/.exec(params['*']) ?? [];
    // `docker inspect NAME` asks for a plugin, too.
    if (method === 'GET' && name) throw new ClusterError('not-found', `plugin "${name}" not found`);
    return refusePlugins();
  });
}
