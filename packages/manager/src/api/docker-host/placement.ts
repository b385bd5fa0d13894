import { ClusterError, isClusterError } from '@swarmctl/shared/kit';
import type { Network } from '@swarmctl/shared/model';
import { clusterLabel, findContainer, type Listing, type Place, taskLabel } from './containers.ts';
import { type Engine, type Engines, hostnameOf } from './engines.ts';
import { neededBeside, type Reference, withoutNodes } from './references.ts';
import { hardOf, isWish, type Wishes, wishesOf } from './wishes.ts';

// Where a container by hand goes: beside the containers that it refers to, else where the scheduler would put a task with its constraints.

/** As Docker's clients send it; what is not named here goes on as it came. */
export interface ContainerConfig {
  readonly Image?: unknown;
  readonly Env?: readonly string[] | null;
  readonly Labels?: Readonly<Record<string, string>> | null;
  readonly HostConfig?: {
    readonly VolumesFrom?: readonly string[] | null;
    readonly Links?: readonly string[] | null;
    readonly NetworkMode?: string;
    readonly IpcMode?: string;
    readonly PidMode?: string;
    readonly VolumeDriver?: string;
    readonly LogConfig?: { readonly Type?: string };
  } | null;
  readonly NetworkingConfig?: { readonly EndpointsConfig?: Readonly<Record<string, unknown>> | null } | null;
}

export interface Placed {
  readonly config: ContainerConfig;
  readonly engine: Engine;
}

/** `networks`: the cluster's that it is to be on. Throws `unavailable` when no node may have it, and says why. */
export function placeContainer(
  engines: Engines,
  listing: Listing,
  given: ContainerConfig,
  networks: readonly Network[] = [],
): Placed {
  const wishes = wishesOf(given);
  const needed = neededBeside(given, networks).map((one) => found(listing, one));
  const [first] = needed;
  const other = needed.find(({ engine }) => engine !== first?.engine);
  if (first && other) {
    const where = [first, other].map(({ node, row }) => `${row.Names[0]} on ${hostnameOf(node)}`).join(', ');
    throw new ClusterError('conflict', `it refers to containers on several nodes: ${where}`);
  }
  const config = asEngineKnows(given, engines.clusterId);
  const place = (some: Wishes) => ({
    config,
    engine: engineFor(engines, { listing, given, networks, wishes: some, first }),
  });
  const hard = hardOf(wishes);
  const isSoft = hard.nodes.length + hard.containers.length < wishes.nodes.length + wishes.containers.length;
  if (!isSoft) return place(wishes);
  try {
    return place(wishes);
  } catch (error) {
    // As in the first Swarm, soft ones give way together.
    if (isClusterError(error, 'unavailable')) return place(hard);
    throw error;
  }
}

interface Wanted {
  readonly listing: Listing;
  readonly given: ContainerConfig;
  readonly networks: readonly Network[];
  readonly wishes: Wishes;
  /** Whose node it must be. */
  readonly first: Place | undefined;
}

function engineFor(engines: Engines, { listing, given, networks, wishes, first }: Wanted): Engine {
  const others = wishes.containers.map((wish) => ({ wish, meant: listing.places.filter(wish.isMeant) }));
  for (const { wish, meant } of others) {
    if (!wish.isBeside || meant.length > 0) continue;
    if (wish.isSoft) throw new ClusterError('unavailable', `no container is meant by ${wish.text}`);
    throw new ClusterError('invalid-argument', `No such container: ${wish.text}`);
  }
  const candidates = (first ? [first.engine] : engines.all).filter((engine) =>
    others.every(({ wish, meant }) => meant.some((place) => place.engine === engine) === wish.isBeside),
  );
  const { nodes, why } = engines.manager.nodesForHandMade(engines.manager.view(), {
    constraints: wishes.constraints,
    logDriver: given.HostConfig?.LogConfig?.Type || undefined,
    volumeDriver: given.HostConfig?.VolumeDriver || undefined,
    others: countByNode(listing.places),
    among: (nodeId) =>
      candidates.some((engine) =>
        engine.nodes.some((node) => node.ID === nodeId && wishes.nodes.every(({ isMet }) => isMet(node))),
      ) && networks.every((network) => hasRoomAt(network, nodeId)),
  });
  const [best] = nodes;
  const engine = best && candidates.find((one) => one.nodes.some((node) => node.ID === best.ID));
  if (engine) return engine;
  const there = ({ node, row }: Place) => `${row.Names[0]} on ${hostnameOf(node)}`;
  const lacks = [
    ...(first ? [`it must be beside ${there(first)}`] : []),
    ...wishes.nodes.map(({ text }) => `it wants ${text}`),
    ...others.map(({ wish, meant }) => `it wants ${wish.text}: ${meant.map(there).join(', ') || 'none'}`),
    ...networks.flatMap((network) => roomProblem(network, candidates)),
  ];
  throw new ClusterError('unavailable', [`no suitable node${why && ` (${why})`}`, ...lacks].join('; '));
}

/** Whose block it is not known yet, the network may still come to. */
const hasRoomAt = ({ Blocks = {} }: Network, nodeId: string): boolean =>
  Object.keys(Blocks).length === 0 || Blocks[nodeId] !== undefined;

function roomProblem(network: Network, engines: readonly Engine[]): string[] {
  const without = engines.flatMap(({ nodes }) => nodes).filter(({ ID }) => !hasRoomAt(network, ID));
  if (without.length === 0) return [];
  const subnets = network.IPAM.Configs.map(({ Subnet }) => Subnet).join(', ');
  return [`network ${network.Spec.Name}: ${subnets} has no block left for ${without.map(hostnameOf).join(', ')}`];
}

/** Without what is for the cluster alone. */
const asEngineKnows = (given: ContainerConfig, clusterId: string): ContainerConfig => ({
  ...withoutNodes(given),
  ...(Array.isArray(given.Env) && { Env: given.Env.map(String).filter((text) => !isWish(text)) }),
  Labels: { ...given.Labels, [clusterLabel]: clusterId },
});

/** One that is missing is the request's error, as Docker says it: not what was asked for is missing. */
function found(listing: Listing, { by, name }: Reference): Place {
  try {
    return findContainer(listing, name);
  } catch (error) {
    if (!isClusterError(error, 'not-found')) throw error;
    const message = by === 'link' ? `could not get container for ${name}: ${error.message}` : error.message;
    throw new ClusterError('invalid-argument', message);
  }
}

/** Containers that are no tasks and that run, or have been made to: those of a project are all made before the first of them runs. */
function countByNode(places: readonly Place[]): (nodeId: string) => number {
  const counts = new Map<string, number>();
  for (const { node, row } of places) {
    if (!['created', 'running'].includes(row.State) || row.Labels?.[taskLabel] !== undefined) continue;
    counts.set(node.ID, (counts.get(node.ID) ?? 0) + 1);
  }
  return (nodeId) => counts.get(nodeId) ?? 0;
}
