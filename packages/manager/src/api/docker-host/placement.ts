import { ClusterError, isClusterError } from '@swarmctl/shared/kit';
import type { Network } from '@swarmctl/shared/model';
import { clusterLabel, findContainer, type Listing, namesOf, type Place, taskLabel } from './containers.ts';
import { type Engine, type Engines, hostnameOf } from './engines.ts';
import { isWish, type Wishes, wishesOf } from './wishes.ts';

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
  const beside = dependencies(given, wishes).map((one) => found(listing, one));
  const apart = listing.places.filter((place) => wishes.apart.some((name) => isCalled(place, name)));
  const [first] = beside;
  const other = beside.find(({ engine }) => engine !== first?.engine);
  if (first && other) {
    const where = [first, other].map(({ node, row }) => `${row.Names[0]} on ${hostnameOf(node)}`).join(', ');
    throw new ClusterError('conflict', `it refers to containers on several nodes: ${where}`);
  }
  const candidates = (first ? [first.engine] : engines.all).filter(
    (engine) => !apart.some((place) => place.engine === engine),
  );
  const { nodes, why } = engines.manager.nodesForHandMade(engines.manager.view(), {
    constraints: wishes.constraints,
    logDriver: given.HostConfig?.LogConfig?.Type || undefined,
    volumeDriver: given.HostConfig?.VolumeDriver || undefined,
    others: countByNode(listing.places),
    among: (nodeId) =>
      candidates.some((engine) => engine.nodes.some((node) => node.ID === nodeId)) &&
      networks.every((network) => hasRoomAt(network, nodeId)),
  });
  const [best] = nodes;
  const engine = best && candidates.find((one) => one.nodes.some((node) => node.ID === best.ID));
  if (!engine) {
    const lacks = networks.flatMap((network) => roomProblem(network, candidates));
    lacks.push(
      ...apart.map(({ node, row }) => `${row.Names[0]}, which it wants to be apart from, is on ${hostnameOf(node)}`),
    );
    throw new ClusterError('unavailable', [`no suitable node${why && ` (${why})`}`, ...lacks].join('; '));
  }
  return { config: withoutWishes(given, engines.clusterId), engine };
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

/** As its engine is told. */
const withoutWishes = (given: ContainerConfig, clusterId: string): ContainerConfig => ({
  ...given,
  ...(Array.isArray(given.Env) && { Env: textsOf(given.Env).filter((text) => !isWish(text)) }),
  Labels: { ...given.Labels, [clusterLabel]: clusterId },
});

const isCalled = ({ row }: Place, name: string): boolean => namesOf(row).includes(name) || row.Id === name;

interface Dependency {
  readonly by: 'volumes' | 'link' | 'mode' | 'affinity';
  readonly reference: string;
}

/** Containers that share something with it, or that it wants to be beside. */
function dependencies({ HostConfig }: ContainerConfig, { beside }: Wishes): readonly Dependency[] {
  const shared = [HostConfig?.NetworkMode, HostConfig?.IpcMode, HostConfig?.PidMode];
  const named = (by: Dependency['by'], texts: unknown) =>
    textsOf(texts).map((text) => ({ by, reference: text.split(':')[0] ?? '' }));
  return [
    ...named('volumes', HostConfig?.VolumesFrom),
    ...named('link', HostConfig?.Links),
    ...named('affinity', beside),
    ...shared.flatMap((mode) => {
      const reference = /^container:(.+)$/.exec(mode ?? '')?.[1];
      return reference === undefined ? [] : [{ by: 'mode' as const, reference }];
    }),
  ];
}

/** One that is missing is the request's error, as Docker says it: not what was asked for is missing. */
function found(listing: Listing, { by, reference }: Dependency): Place {
  try {
    return findContainer(listing, reference);
  } catch (error) {
    if (by === 'mode' || !isClusterError(error) || error.code !== 'not-found') throw error;
    const message = by === 'link' ? `could not get container for ${reference}: ${error.message}` : error.message;
    throw new ClusterError('invalid-argument', message);
  }
}

/** What is no list is the engine's to refuse. */
const textsOf = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : []);

/** Running containers that are no tasks. */
function countByNode(places: readonly Place[]): (nodeId: string) => number {
  const counts = new Map<string, number>();
  for (const { node, row } of places) {
    if (row.State !== 'running' || row.Labels?.[taskLabel] !== undefined) continue;
    counts.set(node.ID, (counts.get(node.ID) ?? 0) + 1);
  }
  return (nodeId) => counts.get(nodeId) ?? 0;
}
