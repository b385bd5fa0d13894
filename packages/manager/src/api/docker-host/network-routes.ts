import { ClusterError, isClusterError } from '@swarmctl/shared/kit';
import { type Node, parseJson } from '@swarmctl/shared/model';
import type { FastifyInstance } from 'fastify';
import { type ApiContext, clusterOf, leading } from '../context.ts';
import { hostnameOf } from './engines.ts';
import { type DockerHost, versionIn } from './host.ts';
import { attachableNetwork, networkIsAt, withoutId } from './network-names.ts';
import { endpointWithoutNodes, linksOf } from './references.ts';

// A container joins or leaves a network, wherever it is: an attachable one of the cluster's, which has its own name on each engine, or one of its engine's.

interface Given {
  readonly Container?: unknown;
  readonly EndpointConfig?: unknown;
}

const withEndpoint = (given: Given | null | undefined) =>
  given?.EndpointConfig === undefined ? {} : { EndpointConfig: endpointWithoutNodes(withoutId(given.EndpointConfig)) };

/** A network that its engine has for itself leads to containers there alone. Rejects `conflict` when one that it would be linked to is elsewhere. */
async function checkLinks(host: DockerHost, endpoint: unknown, node: Node): Promise<void> {
  for (const name of linksOf(endpoint)) {
    const other = await host.find(name).catch((error) => {
      // It may come later.
      if (isClusterError(error, 'not-found')) return undefined;
      throw error;
    });
    if (!other || other.node.ID === node.ID) continue;
    const where = [other.node, node].map(hostnameOf).join(', and the container on ');
    throw new ClusterError('conflict', `cannot be linked to ${name}: that is on ${where}`);
  }
}

export function containerNetworkRoutes(app: FastifyInstance, context: ApiContext, host: DockerHost): void {
  for (const verb of ['connect', 'disconnect']) {
    app.post<{ Params: { id: string } }>(
      `/networks/:id/${verb}`,
      { config: { leaderOnly: true } },
      async (request, reply) => {
        const given = parseJson(request.body as Buffer) as Given | null | undefined;
        const reference = typeof given === 'object' ? given?.Container : undefined;
        if (typeof reference !== 'string' || reference === '') {
          throw new ClusterError(
            'invalid-argument',
            `Container: the name or id of the container to ${verb} is missing`,
          );
        }
        const view = (await leading(context)).view();
        const network = attachableNetwork(view, request.params.id);
        const { node, id } = await host.find(reference);
        if (!network) await checkLinks(host, given?.EndpointConfig, node);
        if (network && verb === 'connect') await networkIsAt(host.room, { node }, network, clusterOf(view).ID);
        // The engine knows its own by whatever it is called.
        const name = encodeURIComponent(network?.Spec.Name ?? request.params.id);
        const path = `${versionIn(request)}/networks/${name}/${verb}`;
        const body = { ...given, ...withEndpoint(given), Container: id };
        const { status, json, text } = await host.room.ask(node, 'POST', path, { body });
        return status < 300 ? reply.status(status).send() : reply.status(status).send(json ?? { message: text });
      },
    );
  }
}
