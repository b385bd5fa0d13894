import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ApiContext } from './context.ts';
import { ContainerCounts } from './docker-host/counts.ts';
import type { DockerHost } from './docker-host/host.ts';
import { showInfo } from './info.ts';
import { apiVersion, minApiVersion, minorOf } from './version.ts';

// What a client asks of the machine that it talks to: ping, version, info.

export function systemRoutes(app: FastifyInstance, context: ApiContext, host: DockerHost): void {
  const counts = new ContainerCounts(context, host.room);
  const ping = (request: FastifyRequest, reply: FastifyReply) => {
    const state = context.local.state();
    const swarm = state === 'active' ? `active/${context.local.manager() ? 'manager' : 'worker'}` : state;
    return reply.headers({
      'Cache-Control': 'no-cache, no-store, must-revalidate',
      Pragma: 'no-cache',
      'Content-Type': 'text/plain; charset=utf-8',
      // BuildKit, as engines of this version say it.
      'Builder-Version': '2',
      ...(minorOf(request) >= 42 && { Swarm: swarm }),
    });
  };
  app.get('/_ping', async (request, reply) => ping(request, reply).send('OK'));
  app.head('/_ping', async (request, reply) => ping(request, reply).send());
  app.get('/version', async () => versionInfo(context));
  app.get('/info', async (request) => {
    const info = context.local.info();
    const [engine, counted] = await Promise.all([context.local.engineFacts(), counts.of(request)]);
    return showInfo(context, { info, engine, counts: counted, minor: minorOf(request) });
  });
}

function versionInfo(context: ApiContext) {
  const info = context.local.info();
  const details = {
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    GitCommit: 'none',
    GoVersion: `node ${process.version}`,
    Os: 'linux',
    Arch: dockerArch(info.architecture),
    KernelVersion: info.kernel,
    BuildTime: '1970-01-01T00:00:00.000000000+00:00',
  };
  return {
    Platform: { Name: 'swarmd' },
    Components: [{ Name: 'Engine', Version: context.version, Details: { ...details, Experimental: 'false' } }],
    Version: context.version,
    ...details,
  };
}

export const dockerArch = (architecture: string): string =>
  ({ x86_64: 'amd64', aarch64: 'arm64' })[architecture] ?? architecture;
