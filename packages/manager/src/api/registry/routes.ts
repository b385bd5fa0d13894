import { ClusterError } from '@swarmctl/shared/kit';
import { checkRegistryAuth, parseImage, parseJson } from '@swarmctl/shared/model';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ApiContext } from '../context.ts';
import { registryAuthOf } from './pull-auth.ts';

// What registries say: of an image, and to somebody who logs in. Any node answers; nothing of it is kept.

export function registryRoutes(app: FastifyInstance, { registries }: ApiContext): void {
  app.get<{ Params: { '*': string } }>('/distribution/*', async (request, reply) => {
    const name = /^(.+)\/json$/.exec(request.params['*'])?.[1];
    if (name === undefined) return reply.callNotFound();
    const image = parseImage(name);
    if (!image) throw new ClusterError('invalid-argument', `invalid reference format: '${name}'`);
    return registries.distribution(image, registryAuthOf(request));
  });

  app.post('/auth', async (request: FastifyRequest) => {
    const wrong = (why: string) => new ClusterError('invalid-argument', `invalid credentials: ${why}`);
    const given = parseJson(request.body as Buffer);
    const auth = checkRegistryAuth(given, wrong);
    if (!auth) throw wrong('give username and password, or identitytoken');
    const IdentityToken = await registries.login(registryOf(auth.serveraddress ?? ''), auth);
    return { Status: 'Login Succeeded', IdentityToken: IdentityToken ?? '' };
  });
}

/** `host[:port]` of a server's address as clients write it; Docker's own has a path of old. */
function registryOf(address: string): string {
  const host = address.replace(/^https?:\/\//, '').split('/')[0] ?? '';
  if (host === '' || host === 'index.docker.io' || host === 'registry-1.docker.io') return 'docker.io';
  if (!/^(\[[\da-f:]+\]|[\w.-]+)(:\d{1,5})?$/i.test(host) || !URL.canParse(`http://${host}`)) {
    throw new ClusterError(
      'invalid-argument',
      `serveraddress: '${address}' is not a registry such as registry.example.com:5000`,
    );
  }
  return host;
}
