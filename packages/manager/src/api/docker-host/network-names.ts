import { ClusterError, delay, isClusterError } from '@swarmctl/shared/kit';
import {
  engineNetworkName,
  isAttachable,
  isPredefinedNetwork,
  type Network,
  networkIdOf,
} from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import { findNetwork } from '../networks.ts';
import { clusterLabel } from './containers.ts';
import { type Engine, type EngineRoom, hostnameOf } from './engines.ts';
import type { ContainerConfig } from './placement.ts';

// The cluster's networks as engines know them: an attachable one has its own name on each engine, but an id of the engine's.

/** Undefined for what is no network of the cluster's: the engine may have it. Throws ClusterError when containers by hand may not be on it. */
export function attachableNetwork(view: View, reference: string): Network | undefined {
  const network = isPredefinedNetwork(reference) ? undefined : found(view, reference);
  if (!network || isAttachable(network)) return network;
  throw new ClusterError(
    'permission-denied',
    `rpc error: code = PermissionDenied desc = network ${network.Spec.Name} not manually attachable: make it with --attachable`,
  );
}

/** Also by what engines call it: it is no network of theirs that anybody may be on. */
function found(view: View, reference: string): Network | undefined {
  try {
    return findNetwork(view, networkIdOf(reference) ?? reference);
  } catch (error) {
    if (isClusterError(error) && error.code === 'not-found') return undefined;
    throw error;
  }
}

/** Modes that name no network. */
const noNetwork = /^(default|none|host|bridge|container:.*|)$/s;

/** The cluster's networks that the container asks for; in `config` they are named as engines know them. Throws as `attachableNetwork`. */
export function withNetworkNames(view: View, config: ContainerConfig) {
  const networks = new Map<string, Network>();
  const nameOf = (reference: string): string => {
    const network = attachableNetwork(view, reference);
    if (network) networks.set(network.ID, network);
    return network?.Spec.Name ?? reference;
  };
  const { NetworkMode: mode } = config.HostConfig ?? {};
  const endpoints = config.NetworkingConfig?.EndpointsConfig;
  const named = {
    ...config,
    ...(typeof mode === 'string' &&
      !noNetwork.test(mode) && { HostConfig: { ...config.HostConfig, NetworkMode: nameOf(mode) } }),
    ...(endpoints && {
      NetworkingConfig: {
        ...config.NetworkingConfig,
        EndpointsConfig: Object.fromEntries(
          Object.entries(endpoints).map(([reference, one]) => [nameOf(reference), withoutId(one)]),
        ),
      },
    }),
  };
  return { config: named, networks: [...networks.values()] };
}

/** The cluster's id of a network is none that an engine knows. */
export function withoutId(endpoint: unknown): unknown {
  if (typeof endpoint !== 'object' || endpoint === null) return endpoint;
  const { NetworkID: _, ...rest } = endpoint as { readonly NetworkID?: unknown };
  return rest;
}

/** What engines say of a container's networks, and what is asked of them in lists. */
interface OnNetworks {
  readonly HostConfig?: { readonly NetworkMode?: string };
  readonly NetworkSettings?: { readonly Networks?: Readonly<Record<string, object>> | null };
}

/** The same with the cluster's networks by their own names and ids. */
export function withClusterNetworks<T extends OnNetworks>(view: View, shown: T): T {
  const { HostConfig: host, NetworkSettings: settings } = shown;
  const mode = host?.NetworkMode && networkCalled(view, host.NetworkMode);
  const networks = settings?.Networks && Object.entries(settings.Networks);
  return {
    ...shown,
    ...(mode && { HostConfig: { ...host, NetworkMode: mode.Spec.Name } }),
    ...(networks && {
      NetworkSettings: {
        ...settings,
        Networks: Object.fromEntries(
          networks.map(([name, one]) => {
            const network = networkCalled(view, name);
            if (network) return [network.Spec.Name, { ...one, NetworkID: network.ID }];
            // Each engine has an id of its own for these, and the cluster their name.
            return [name, isPredefinedNetwork(name) ? { ...one, NetworkID: name } : one];
          }),
        ),
      },
    }),
  };
}

function networkCalled(view: View, engineName: string): Network | undefined {
  const id = networkIdOf(engineName);
  if (id !== undefined) return view.get('networks', id);
  const network = view.networkByName(engineName);
  return network && isAttachable(network) ? network : undefined;
}

/** What engines call the network in filters; what is none of the cluster's stays. */
export function engineNamesOf(view: View, reference: string): readonly string[] {
  const network = found(view, reference);
  return network ? [engineNetworkName(network.ID), ...(isAttachable(network) ? [network.Spec.Name] : [])] : [reference];
}

/** A network that has just been made takes a moment to be on all nodes. */
const comingMs = 10_000;
const lookAgainMs = 100;

/** Resolves once the engine has the network. Rejects `unavailable` when it does not come, `conflict` when another has its name there. */
export async function networkIsAt(
  room: EngineRoom,
  { node }: Pick<Engine, 'node'>,
  network: Network,
  clusterId: string,
) {
  const { Name } = network.Spec;
  for (const end = room.clock.monotonic() + comingMs; ; await delay(room.clock, lookAgainMs)) {
    const { status, json } = await room.ask(node, 'GET', `/networks/${encodeURIComponent(Name)}`);
    if (status === 200 && json?.Labels?.[clusterLabel] === clusterId) return;
    if (status === 200) {
      const message = `${hostnameOf(node)}: the engine has another network called ${Name}, which is not the cluster's`;
      throw new ClusterError('conflict', message);
    }
    if (room.clock.monotonic() >= end) {
      throw new ClusterError('unavailable', `${hostnameOf(node)}: the network ${Name} is not there`);
    }
  }
}
