import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import type Docker from 'dockerode';
import type { EngineNetwork, OverlayEngine } from '../../network/overlay/types.ts';
import type { EngineEndpoints } from '../../network/types.ts';
import { labelNames, ownLabels } from '../identity.ts';
import type { RuntimeNode } from '../types.ts';
import { connect, defaultDockerHost, parseDockerHost } from './connect.ts';
import { engineText, isNotFound, isStaleConnection, isUnreachable } from './errors.ts';

// An overlay network as the engine sees it: a bridge network of the usual kind, on a bridge that is there already, with this node's address as its
// gateway. Containers get their addresses from the managers, so the engine gives none by itself.

export const createDockerNetworks = (options: { readonly dockerHost?: string }, node: RuntimeNode): OverlayEngine =>
  new DockerNetworks(options.dockerHost ?? defaultDockerHost, node);

const optionNames = { bridge: 'com.docker.network.bridge.name', mtu: 'com.docker.network.driver.mtu' } as const;

class DockerNetworks implements OverlayEngine {
  readonly #docker: Docker;
  readonly #dockerHost: string;
  readonly #node: RuntimeNode;

  constructor(dockerHost: string, node: RuntimeNode) {
    this.#docker = connect(parseDockerHost(dockerHost));
    this.#dockerHost = dockerHost;
    this.#node = node;
  }

  async ensure(network: EngineNetwork): Promise<number> {
    const options = createOptions(network, this.#node);
    const [found, ...doubles] = (await this.#list()).filter(({ Name }) => Name === network.name);
    if (found && doubles.length === 0 && isAs(found, options)) return Number(found.Options?.[optionNames.mtu]);
    for (const old of [found, ...doubles]) {
      if (old && !(await this.#remove(old.Id)))
        throw new ClusterError(
          'failed-precondition',
          `containers use the engine's network ${network.name} as it was before it changed`,
        );
    }
    await this.#call(() => this.#docker.createNetwork(options));
    return network.mtu;
  }

  async remove(name: string): Promise<boolean> {
    let isGone = true;
    for (const { Id, Name } of await this.#list()) if (Name === name) isGone = (await this.#remove(Id)) && isGone;
    return isGone;
  }

  async list(): Promise<Pick<EngineNetwork, 'name' | 'bridge'>[]> {
    return (await this.#list()).map(({ Name, Options }) => ({
      name: Name,
      bridge: Options?.[optionNames.bridge] ?? '',
    }));
  }

  /** Ours, by both labels. */
  #list(): Promise<Docker.NetworkInspectInfo[]> {
    const filters = JSON.stringify({ label: ownLabels(this.#node) });
    return this.#call(() => this.#docker.listNetworks({ filters }));
  }

  /** False when containers are on it. */
  async #remove(id: string): Promise<boolean> {
    try {
      await this.#call(() => this.#docker.getNetwork(id).remove());
      return true;
    } catch (error) {
      if (isNotFound((error as ClusterError).cause)) return true;
      if (/active endpoints/.test(messageOf(error))) return false;
      throw error;
    }
  }

  async #call<T>(request: () => Promise<T>): Promise<T> {
    try {
      return await request().catch((error) => {
        if (!isStaleConnection(error)) throw error;
        return request();
      });
    } catch (error) {
      if (isUnreachable(error)) {
        const message = `the Docker engine at ${this.#dockerHost} does not answer: ${messageOf(error)}`;
        throw new ClusterError('unavailable', message, {}, error);
      }
      throw new ClusterError('failed-precondition', engineText(error), {}, error);
    }
  }
}

function createOptions(network: EngineNetwork, node: RuntimeNode): Docker.NetworkCreateOptions {
  return {
    Name: network.name,
    CheckDuplicate: true,
    Driver: 'bridge',
    Internal: network.internal,
    EnableIPv6: network.subnets.some(({ subnet }) => subnet.includes(':')),
    IPAM: {
      Driver: 'default',
      // The engine itself has none but the gateway to give: a container that somebody else puts there is refused, not given a task's address.
      Config: network.subnets.map(({ subnet, gateway }) => ({
        Subnet: subnet,
        IPRange: `${gateway}/${gateway.includes(':') ? 128 : 32}`,
        Gateway: gateway,
      })),
    },
    Options: { [optionNames.bridge]: network.bridge, [optionNames.mtu]: String(network.mtu) },
    Labels: { [labelNames.node]: node.nodeId, [labelNames.cluster]: node.clusterId },
  };
}

function isAs(found: Docker.NetworkInspectInfo, wanted: Docker.NetworkCreateOptions): boolean {
  const subnets = (configs: readonly { Subnet?: string | undefined; Gateway?: string | undefined }[] = []) =>
    configs
      .map(({ Subnet, Gateway }) => `${Subnet} ${Gateway}`)
      .sort()
      .join();
  return (
    found.Internal === wanted.Internal &&
    // Its MTU may be another: that is seen to in the containers.
    found.Options?.[optionNames.bridge] === wanted.Options?.[optionNames.bridge] &&
    subnets(found.IPAM?.Config) === subnets(wanted.IPAM?.Config)
  );
}

/** What a container is made with so that it is on the first of its networks; engines before API 1.44 take one alone. */
export function networkConfig({ networks, dns }: EngineEndpoints) {
  const [first] = Object.entries(networks);
  if (!first) return undefined;
  const [name, endpoint] = first;
  const networking: Docker.ContainerCreateOptions['NetworkingConfig'] = { EndpointsConfig: { [name]: endpoint } };
  return { mode: name, ...(dns.length > 0 && { dns: [...dns] }), networking };
}

/** Puts a container that was made, and does not run yet, on the other ones. Idempotent. */
export async function connectOthers(docker: Docker, id: string, { networks }: EngineEndpoints): Promise<void> {
  for (const [name, EndpointConfig] of Object.entries(networks).slice(1)) {
    try {
      await docker.getNetwork(name).connect({ Container: id, EndpointConfig });
    } catch (error) {
      if (!/already (exists in|attached to) network/.test(engineText(error))) throw error;
    }
  }
}
