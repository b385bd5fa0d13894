import { ClusterError, delay, isClusterError, messageOf } from '@swarmctl/shared/kit';
import type { Node } from '@swarmctl/shared/model';
import type { FastifyRequest } from 'fastify';
import { type Query, single } from '../query.ts';
import type { Turns } from '../turns.ts';
import { bodyObject, checkName, listContainers, queryText } from './containers.ts';
import { type EngineAnswer, type EngineRoom, type Engines, workMs } from './engines.ts';
import { type DockerHost, versionIn } from './host.ts';
import { enginesWith } from './image-routes.ts';
import { networkIsAt, withNetworkNames } from './network-names.ts';
import { type ContainerConfig, type Placed, placeContainer } from './placement.ts';

// A container by hand is made: where it would run best, or, when the image is not there, where that is; if it may be nowhere else, the image comes.

const notOfConfig = ['HostConfig', 'NetworkingConfig'];

type CreateRequest = FastifyRequest<{ Querystring: Query }>;

/** The only node where it may be is without its image, and nobody else who may have it has that. */
interface Lacking {
  readonly node: Node;
  readonly image: string;
  readonly answer: EngineAnswer;
}

/** What the engine answered. One after the other, but for the way of an image. Throws as `placeContainer` and `checkName`. */
export async function createContainer(host: DockerHost, request: CreateRequest, turns: Turns): Promise<EngineAnswer> {
  const create = () => turns.take(() => createWhereItIs(host, request));
  const first = await create();
  if (!('image' in first)) return first;
  const { node, image, answer } = first;
  try {
    await host.imageGiver.bring(node, image);
  } catch (error) {
    const why = messageOf(error);
    return why === '' ? answer : { ...answer, json: { message: `${answer.json?.message}; ${why}` } };
  }
  // Meanwhile its name may be another's, and another node the better one.
  const second = await create();
  return 'image' in second ? second.answer : second;
}

async function createWhereItIs(host: DockerHost, request: CreateRequest): Promise<EngineAnswer | Lacking> {
  const { room } = host;
  const given = bodyObject(request.body as Buffer | undefined);
  if (Object.keys(given).every((key) => notOfConfig.includes(key))) {
    throw new ClusterError('invalid-argument', 'config cannot be empty in order to create a container');
  }
  const name = single(request.query, 'name');
  const { engines, named, placed, first } = await firstPlaced(room, given as ContainerConfig, name);
  const create = async ({ engine, config }: Placed) => {
    for (const network of named.networks) await networkIsAt(room, engine, network, engines.clusterId);
    const path = `${versionIn(request)}/containers/create${queryText(request.query)}`;
    const answer = await room.ask(engine.node, 'POST', path, { body: config, timeoutMs: workMs });
    if (answer.status < 300 && typeof answer.json?.Id === 'string') host.made(answer.json.Id, engine);
    return answer;
  };
  const answer = await create(first);
  const { Image: image } = named.config;
  const isMissing = answer.status === 404 && /no such image/i.test(String(answer.json?.message));
  if (!isMissing || typeof image !== 'string') return answer;
  // Without it anywhere the client pulls, to all nodes, and asks again.
  const { having } = await enginesWith(host, image);
  const ids = new Set(having.map(({ info }) => info.ID));
  const all = engines.all.filter(({ info }) => ids.has(info.ID));
  const second = all.length > 0 ? placedAgain(() => placed({ ...engines, all })) : undefined;
  if (second && second.engine !== first.engine) return create(second);
  return { node: first.engine.node, image, answer };
}

/** A node that has only just come, or that a new leader has not heard of, soon says what it is. */
const comingMs = 10_000;
const lookAgainMs = 100;

/** Where it would run best. Rejects as `createContainer`, not before nodes that come have been waited for. */
async function firstPlaced(room: EngineRoom, given: ContainerConfig, name: string | undefined) {
  for (const end = room.clock.monotonic() + comingMs; ; await delay(room.clock, lookAgainMs)) {
    const engines = await room.engines();
    const listing = await listContainers(room, engines, '?all=1');
    if (name) checkName(listing, name);
    const view = engines.manager.view();
    const named = withNetworkNames(view, given);
    const placed = (among: Engines) => placeContainer(among, listing, named.config, named.networks);
    try {
      return { engines, named, placed, first: placed(engines) };
    } catch (error) {
      const isComing = view.list('nodes').some(({ Status }) => Status.State === 'unknown');
      if (!isComing || !isClusterError(error, 'unavailable') || room.clock.monotonic() >= end) throw error;
    }
  }
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
