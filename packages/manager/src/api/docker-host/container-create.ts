import { ClusterError, isClusterError } from '@swarmctl/shared/kit';
import { parseJson } from '@swarmctl/shared/model';
import type { FastifyRequest } from 'fastify';
import { type Query, single } from '../query.ts';
import { checkName, listContainers, queryText } from './containers.ts';
import { type EngineAnswer, type Engines, workMs } from './engines.ts';
import { type DockerHost, versionIn } from './host.ts';
import { enginesWith } from './image-routes.ts';
import { networkIsAt, withNetworkNames } from './network-names.ts';
import { type ContainerConfig, type Placed, placeContainer } from './placement.ts';

// A container by hand is made: where it would run best, or, when the image is not there, where that is.

/** What the engine answered. Throws as `placeContainer` and `checkName`. */
export async function createContainer(
  host: DockerHost,
  request: FastifyRequest<{ Querystring: Query }>,
): Promise<EngineAnswer> {
  const { room } = host;
  const given = parseJson(request.body as Buffer);
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ClusterError('invalid-argument', 'the body must be an object');
  }
  const engines = await room.engines();
  const listing = await listContainers(room, engines, '?all=1');
  const name = single(request.query, 'name');
  if (name) checkName(listing, name);
  const named = withNetworkNames(engines.manager.view(), given as ContainerConfig);
  const placed = (among: Engines) => placeContainer(among, listing, named.config, named.networks);
  const create = async ({ engine, config }: Placed) => {
    for (const network of named.networks) await networkIsAt(room, engine, network, engines.clusterId);
    const path = `${versionIn(request)}/containers/create${queryText(request.query)}`;
    const answer = await room.ask(engine.node, 'POST', path, { body: config, timeoutMs: workMs });
    if (answer.status < 300 && typeof answer.json?.Id === 'string') host.made(answer.json.Id, engine);
    return answer;
  };
  const first = placed(engines);
  const answer = await create(first);
  const { Image: image } = named.config;
  const isMissing = answer.status === 404 && /no such image/i.test(String(answer.json?.message));
  if (!isMissing || typeof image !== 'string') return answer;
  // Without it anywhere the client pulls, to all nodes, and asks again.
  const { having } = await enginesWith(host, image);
  const ids = new Set(having.map(({ info }) => info.ID));
  const all = engines.all.filter(({ info }) => ids.has(info.ID));
  const second = all.length > 0 ? placedAgain(() => placed({ ...engines, all })) : undefined;
  return second && second.engine !== first.engine ? create(second) : answer;
}

/** Undefined: none of those that have it may have the container. */
function placedAgain(place: () => Placed): Placed | undefined {
  try {
    return place();
  } catch (error) {
    if (isClusterError(error, 'unavailable')) return undefined;
    throw error;
  }
}
