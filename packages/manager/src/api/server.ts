import { type ClusterError, isClusterError, messageOf, statusByCode } from '@swarmctl/shared/kit';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { absentRoutes } from './absent.ts';
import { clientRoutes } from './clients.ts';
import type { ApiContext } from './context.ts';
import { DockerHost } from './docker-host/host.ts';
import { dockerHostRoutes } from './docker-host/index.ts';
import { joinNodeName } from './docker-host/node-name-paths.ts';
import { eventRoutes } from './events/routes.ts';
import { forwardToLeader } from './forward.ts';
import { ApiRequest, serveHijacks } from './hijack.ts';
import { logRoutes } from './log-follow.ts';
import { networkRoutes } from './networks.ts';
import { nodeRoutes } from './nodes.ts';
import { openApiRoutes } from './openapi/routes.ts';
import { payloadRoutes } from './payloads.ts';
import { registryRoutes } from './registry/index.ts';
import { serviceRoutes } from './services.ts';
import { swarmRoutes } from './swarm.ts';
import { systemRoutes } from './system.ts';
import { taskRoutes } from './tasks.ts';
import { Turns } from './turns.ts';
import { apiVersion, refuseVersion, withoutVersion } from './version.ts';

// The API door: the Docker Engine API's swarm dialect over HTTP, versions 1.24 to 1.50, with or without the version in the path. Fastify's
// own coercion and validation are not used; bodies pass `normalise`.

const maxBodyBytes = 4 * 1024 * 1024;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Only the leader can serve it: a follower forwards the request as it came. */
    leaderOnly?: boolean;
  }
}

export async function createApi(context: ApiContext): Promise<FastifyInstance> {
  const app = fastify({
    bodyLimit: maxBodyBytes,
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    http: { IncomingMessage: ApiRequest },
    // Longer than a request line can be: what is too long for a name is simply not found.
    routerOptions: { maxParamLength: 65_536, ignoreTrailingSlash: true },
    frameworkErrors: (error, _request, reply) => badRequest(error, reply as unknown as FastifyReply),
    rewriteUrl: ({ method, url = '/' }) => joinNodeName(method, withoutVersion(url)),
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  const serialize = (data: unknown) => `${JSON.stringify(data)}\n`;
  app.setSerializerCompiler(() => serialize);
  app.setReplySerializer(serialize);
  app.options('*', async (_request, reply) => reply.status(200).send());
  app.addHook('onRequest', async (request, reply) => {
    // Some clients send the header with nothing in it.
    if (request.headers['content-type'] === '') delete request.headers['content-type'];
    reply.headers({
      'Api-Version': apiVersion,
      'Docker-Experimental': 'false',
      Ostype: 'linux',
      Server: `swarmd/${context.version} (linux)`,
    });
    const refused = refuseVersion(request, reply);
    if (refused) return refused;
    if (request.routeOptions.config.leaderOnly && context.local.manager()?.isLeader() === false) {
      await forwardToLeader(context, request, reply);
    }
    return undefined;
  });
  // Older clients read a message out of exactly this type, and print the body as it is for any other.
  app.addHook('onSend', async (_request, reply, payload) => {
    if (reply.getHeader('content-type') === 'application/json; charset=utf-8') {
      reply.header('content-type', 'application/json');
    }
    return payload;
  });
  app.setErrorHandler((error, request, reply) => sendError(context, error, request, reply));
  app.setNotFoundHandler((_request, reply) =>
    reply.status(404).type('application/json').serializer(serialize).send({ message: 'page not found' }),
  );
  openApiRoutes(app, context, apiVersion);
  const turns = new Turns();
  const host = new DockerHost(context);
  const all = [
    swarmRoutes,
    clientRoutes,
    nodeRoutes,
    networkRoutes,
    payloadRoutes,
    serviceRoutes,
    registryRoutes,
    taskRoutes,
    logRoutes,
    absentRoutes,
  ];
  for (const routes of all) await app.register(async (scope) => routes(scope, context, turns, host));
  for (const routes of [systemRoutes, eventRoutes, dockerHostRoutes]) {
    await app.register(async (scope) => routes(scope, context, host));
  }
  await app.ready();
  serveHijacks(app);
  return app;
}

/** For what fails before there is a route. */
function badRequest(error: { readonly statusCode?: number; readonly message: string }, reply: FastifyReply): void {
  reply.status(error.statusCode ?? 400).send({ message: error.message });
}

function sendError(context: ApiContext, error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (isClusterError(error)) return reply.status(statusByCode[error.code]).send({ message: textOf(error) });
  const status = (error as { statusCode?: number }).statusCode ?? 500;
  if (status >= 500)
    context.log.error(
      { error: messageOf(error), stack: (error as Error).stack, method: request.method, url: request.url },
      'request failed',
    );
  return reply.status(status).send({ message: messageOf(error) });
}

/** Clients compare the text of a lost race as Docker's managers say it. */
const textOf = ({ code, message }: ClusterError): string =>
  code === 'out-of-sequence' && !message.startsWith('rpc error')
    ? `rpc error: code = Unknown desc = ${message}`
    : message;
