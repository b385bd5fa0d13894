import type { FastifyInstance } from 'fastify';
import type { ApiContext } from '../context.ts';
import { builderStreams } from './builder-routes.ts';
import { containerRoutes, containerStreams } from './container-routes.ts';
import type { DockerHost } from './host.ts';
import { commitRoute, imageStreams } from './image-making.ts';
import { imageRoutes } from './image-routes.ts';
import { containerNetworkRoutes } from './network-routes.ts';
import { engineSystemRoutes } from './system-routes.ts';
import { volumeRoutes } from './volume-routes.ts';

// The cluster as one Docker host: containers, images and volumes of all nodes.

export async function dockerHostRoutes(app: FastifyInstance, context: ApiContext, host: DockerHost): Promise<void> {
  containerRoutes(app, host);
  commitRoute(app, host);
  imageRoutes(app, host);
  volumeRoutes(app, host);
  containerNetworkRoutes(app, context, host);
  engineSystemRoutes(app, host);
  await app.register(async (streams) => {
    streams.removeAllContentTypeParsers();
    streams.addContentTypeParser('*', (_request, body, done) => done(null, body));
    containerStreams(streams, host);
    imageStreams(streams, host);
    builderStreams(streams, host);
  });
}
