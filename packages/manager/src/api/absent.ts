import { ClusterError } from '@swarmctl/shared/kit';
import type { FastifyInstance } from 'fastify';

// What the dialect has and this API does not yet: refused by name, never by silence.

const engineKinds = ['plugins'] as const;

/** What changes files of one engine; there is no engine of the cluster. */
const ofOneEngine = [
  '/build',
  '/session',
  '/grpc',
  '/commit',
  '/images/load',
  '/images/search',
  '/containers/:id/attach/ws',
];

export function absentRoutes(app: FastifyInstance): void {
  const refuse = (what: string) => async () => {
    throw new ClusterError('unimplemented', `${what} not supported yet`);
  };
  for (const name of engineKinds) {
    app.all(`/${name}`, refuse(`${name} are`));
    app.all(`/${name}/*`, refuse(`${name} are`));
  }
  for (const path of ofOneEngine) {
    app.all(path, async () => {
      throw new ClusterError('unimplemented', `${path} is not served by the cluster: ask the engine of a node`);
    });
  }
  // `docker inspect NAME` asks for a plugin, too.
  app.get<{ Params: { name: string } }>('/plugins/:name/json', async (request) => {
    throw new ClusterError('not-found', `plugin "${request.params.name}" not found`);
  });
}
