import { ClusterError, isClusterError } from '@swarmctl/shared/kit';
import { parseJson } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import type { View } from '../../store/types.ts';
import { type ApiContext, leading } from '../context.ts';
import { findNetwork } from '../networks.ts';
import type { DockerHost } from './host.ts';

// A container joins or leaves a network, wherever it is: an attachable one of the cluster's, which has its own name on each engine, or one of its engine's.

export function containerNetworkRoutes(app: FastifyInstance, context: ApiContext, host: DockerHost): void {
  for (const verb of ['connect', 'disconnect']) {
    app.post<{ Params: { id: string } }>(
      `/networks/:id/${verb}`,
      { config: { leaderOnly: true } },
      async (request, reply) => {
        const given = parseJson(request.body as Buffer) as { readonly Container?: unknown } | null | undefined;
        const reference = typeof given === 'object' ? given?.Container : undefined;
        if (typeof reference !== 'string' || reference === '') {
          throw new ClusterError(
            'invalid-argument',
            `Container: the name or id of the container to ${verb} is missing`,
          );
        }
        const network = nameAtEngine((await leading(context)).view(), request.params.id);
        const { node, id } = await host.find(reference);
        const path = `/networks/${encodeURIComponent(network)}/${verb}`;
        const { status, json, text } = await host.room.ask(node, 'POST', path, { body: { ...given, Container: id } });
        return status < 300 ? reply.status(status).send() : reply.status(status).send(json ?? { message: text });
      },
    );
  }
}

function nameAtEngine(view: View, reference: string): string {
  const network = found(view, reference);
  // The engine knows its own.
  if (!network) return reference;
  if (network.Spec.Attachable) return network.Spec.Name;
  throw new ClusterError(
    'permission-denied',
    `rpc error: code = PermissionDenied desc = network ${network.Spec.Name} not manually attachable: make it with --attachable`,
  );
}

function found(view: View, reference: string) {
  try {
    return findNetwork(view, reference);
  } catch (error) {
    if (isClusterError(error) && error.code === 'not-found') return undefined;
    throw error;
  }
}
