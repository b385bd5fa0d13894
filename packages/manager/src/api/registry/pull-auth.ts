import { ClusterError, type NewId } from '@swarmctl/shared/kit';
import { type PullAuth, parseRegistryAuth, type RegistryAuth, type Service } from '@swarmctl/shared/model';
import type { FastifyRequest } from 'fastify';
import { type Query, single } from '../query.ts';

// The credentials that come with a request, and those that a service goes on with.

/** Undefined without the header, or with one that holds none. Throws `invalid-argument`. */
export function registryAuthOf(request: FastifyRequest): RegistryAuth | undefined {
  const header = headerOf(request);
  return header === undefined ? undefined : parseRegistryAuth(header);
}

function headerOf({ headers }: FastifyRequest): string | undefined {
  const header = [headers['x-registry-auth']].flat()[0];
  return header === '' ? undefined : header;
}

/**
 * What the header says, or else what the service has: with its spec, or with the one before (`registryAuthFrom`). A header without
 * credentials takes them away.
 */
export function nextPullAuth(
  request: FastifyRequest<{ Querystring: Query }>,
  newId: NewId,
  service?: Service,
): PullAuth | undefined {
  const { Spec: last, PreviousSpec: before } = service?.PullAuth ?? {};
  if (headerOf(request) !== undefined) {
    const auth = registryAuthOf(request);
    const Data = JSON.stringify(auth);
    return auth && (Data === last?.Data ? last : { ID: newId(), Data });
  }
  const from = single(request.query, 'registryAuthFrom') || 'spec';
  if (from === 'spec') return last;
  // Docker's texts and status.
  if (from !== 'previous-spec') throw new ClusterError('unknown', 'unsupported registryAuthFrom value');
  if (!service?.PreviousSpec) throw new ClusterError('unknown', 'service does not have a previous spec');
  return before;
}

export const authIn = (pullAuth: PullAuth | undefined): RegistryAuth | undefined =>
  pullAuth && (JSON.parse(pullAuth.Data) as RegistryAuth);
