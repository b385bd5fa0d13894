import { ClusterError, minCertificateLifeMs, rootLifeMs, signClientCertificate } from '@swarmctl/shared/kit';
import { ClientRequest, normalise, nsToMs, parseJson, signerOf, trustedRoots } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { type ApiContext, clusterOf, readView } from './context.ts';

// Ours: certificates for clients of the API over TCP. Who may ask for one may do everything already. Nothing is kept of them: they end with their time,
// or with the root that signed them: while the root is rotated, that is the next one.

export function clientRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/swarm/clients', async (request, reply) => {
    const body = normalise(ClientRequest, parseJson(request.body as Buffer) ?? {});
    const name = body.Name ?? '';
    if (!/^[A-Za-z0-9][A-Za-z0-9 @._-]{0,62}$/.test(name)) {
      throw invalid(`Name: '${name}' should be 1 to 63 letters, digits, spaces and @ . _ -, a letter or digit first`);
    }
    const lifeMs = body.Expiry ? nsToMs(body.Expiry) : undefined;
    if (lifeMs !== undefined && (lifeMs < minCertificateLifeMs || lifeMs > rootLifeMs)) {
      throw invalid(`Expiry must be between 1 hour and 20 years, in nanoseconds, not ${body.Expiry}`);
    }
    const cluster = clusterOf(await readView(context));
    const as = { clusterId: cluster.ID, name };
    const Certificate = await signClientCertificate(
      signerOf(cluster.RootCA),
      body.CSR ?? '',
      as,
      context.clock.now(),
      lifeMs,
    );
    return reply.status(201).send({ Certificate, CA: trustedRoots(cluster.RootCA) });
  });
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
