import { X509Certificate } from 'node:crypto';
import {
  ClusterError,
  isClusterError,
  minCertificateLifeMs,
  rootLifeMs,
  signClientCertificate,
} from '@swarmctl/shared/kit';
import {
  type ApiClient,
  ClientRequest,
  type Cluster,
  normalise,
  nsToMs,
  parseJson,
  signerOf,
  toTimestamp,
  trustedRoots,
} from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { type ApiContext, clusterOf, leading, readView } from './context.ts';
import type { ManagerAccess } from './ports.ts';

// Ours: certificates for clients of the API over TCP. Who may ask for one may do everything already. They end with their time, with the root that signed
// them (while the root is rotated, that is the next one), or when they are taken back: which there are is kept until they would have ended.

/** All are in the cluster's own object. */
const mostClients = 2_000;
const attempts = 5;

export function clientRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/swarm/clients', { config: { leaderOnly: true } }, async (request, reply) => {
    const body = normalise(ClientRequest, parseJson(request.body as Buffer) ?? {});
    const name = body.Name ?? '';
    if (!/^[A-Za-z0-9][A-Za-z0-9 @._-]{0,62}$/.test(name)) {
      throw invalid(`Name: '${name}' should be 1 to 63 letters, digits, spaces and @ . _ -, a letter or digit first`);
    }
    const lifeMs = body.Expiry ? nsToMs(body.Expiry) : undefined;
    if (lifeMs !== undefined && (lifeMs < minCertificateLifeMs || lifeMs > rootLifeMs)) {
      throw invalid(`Expiry must be between 1 hour and 20 years, in nanoseconds, not ${body.Expiry}`);
    }
    const manager = await leading(context);
    const { ID: clusterId, RootCA } = clusterOf(manager.view());
    const now = context.clock.now();
    const Certificate = await signClientCertificate(signerOf(RootCA), body.CSR ?? '', { clusterId, name }, now, lifeMs);
    const { serialNumber: Serial, validTo } = new X509Certificate(Certificate);
    const client = { Serial, Name: name, IssuedAt: now, ExpiresAt: Date.parse(validTo) };
    // Nobody has a certificate that nobody could take back.
    await change(manager, now, (clients) => {
      if (clients.length < mostClients) return [...clients, client];
      throw new ClusterError(
        'failed-precondition',
        `there are ${mostClients} certificates of clients already, and their time is not over`,
      );
    });
    return reply.status(201).send({ Certificate, CA: trustedRoots(RootCA), Serial });
  });

  app.get('/swarm/clients', async () => {
    const now = context.clock.now();
    return alive(clusterOf(await readView(context)), now).map(
      ({ IssuedAt, ExpiresAt, Revoked = false, ...client }) => ({
        ...client,
        IssuedAt: toTimestamp(IssuedAt),
        ExpiresAt: toTimestamp(ExpiresAt),
        Revoked,
      }),
    );
  });

  app.delete<{ Params: { client: string } }>(
    '/swarm/clients/:client',
    { config: { leaderOnly: true } },
    async (request, reply) => {
      const wanted = request.params.client;
      const isMeant = ({ Serial, Name }: ApiClient) => Name === wanted || Serial === wanted.toUpperCase();
      await change(await leading(context), context.clock.now(), (clients) => {
        if (!clients.some(isMeant))
          throw new ClusterError(
            'not-found',
            `no client has a certificate of the name or serial ${wanted} that is still valid`,
          );
        return clients.map((client) => (isMeant(client) ? { ...client, Revoked: true as const } : client));
      });
      return reply.status(204).send();
    },
  );
}

const alive = ({ Clients = [] }: Cluster, now: number): readonly ApiClient[] =>
  Clients.filter(({ ExpiresAt }) => ExpiresAt > now);

/** Again when somebody else has changed them, or the cluster, meanwhile. */
async function change(
  manager: ManagerAccess,
  now: number,
  next: (clients: readonly ApiClient[]) => readonly ApiClient[],
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const cluster = clusterOf(manager.view());
    const { ID: id, Version } = cluster;
    const set = { Clients: next(alive(cluster, now)) };
    try {
      await manager.propose([{ op: 'update', table: 'cluster', id, version: Version.Index, set }]);
      return;
    } catch (error) {
      if (!isClusterError(error, 'out-of-sequence') || attempt === attempts) throw error;
    }
  }
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
