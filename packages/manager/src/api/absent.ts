import { ClusterError } from '@swarmctl/shared/kit';
import type { FastifyInstance } from 'fastify';

// What the dialect has and this API does not yet: refused by name, never by silence.

const engineKinds = ['containers', 'images', 'volumes', 'exec', 'build', 'plugins', 'distribution'] as const;
const lone = ['/events', '/auth', '/system/df', '/session', '/commit'] as const;

export function absentRoutes(app: FastifyInstance): void {
  const refuse = (what: string) => async () => {
    throw new ClusterError('unimplemented', `${what} not supported yet`);
  };
  for (const name of engineKinds) {
    app.all(`/${name}`, refuse(`${name} are`));
    app.all(`/${name}/*`, refuse(`${name} are`));
  }
  for (const path of lone) app.all(path, refuse(`${path} is`));
}
