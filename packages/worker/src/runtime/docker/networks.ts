import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import type Docker from 'dockerode';
import type { EngineNetwork, EnsuredNetwork, OverlayEngine } from '../../network/overlay/types.ts';
import type { EngineEndpoints } from '../../network/types.ts';
import { labelNames } from '../identity.ts';
import type { RuntimeNode } from '../types.ts';
import { askTwice } from './calls.ts';
import { connect, defaultDockerHost, parseDockerHost } from './connect.ts';
import { engineText, isNotFound, isUnreachable } from './errors.ts';

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

  async ensure(network: EngineNetwork): Promise<EnsuredNetwork> {
    const { name, knownAs, bridge, mtu } = network;
    const all = await this.#list();
    const own = all.filter((one) => this.#isOwn(one) && bridgeOf(one) === bridge);
    const other = all.find((one) => one.Name === knownAs && !own.includes(one));
    // One of this node's is of a network that is gone: its name is another's now.
    const isTaken = other !== undefined && !(this.#isOwn(other) && (await this.#remove(other.Id)));
    const wanted = createOptions(network, isTaken ? name : (knownAs ?? name), this.#node);
    const problem = isTaken
      ? `the engine has another network of that name, and containers made by hand would be put there: docker network rm ${knownAs}`
      : undefined;
    const [found] = own.length === 1 ? own : [];
    const usable = found && isAs(found, wanted) ? found : undefined;
    if (usable && givesAs(usable, wanted)) {
      return { name: usable.Name, mtu: Number(usable.Options?.[optionNames.mtu]), ...(problem && { problem }) };
    }
    for (const old of own) {
      if (await this.#remove(old.Id)) continue;
      if (usable) return { name: usable.Name, mtu: Number(usable.Options?.[optionNames.mtu]), problem: staysOld };
      throw new ClusterError(
        'failed-precondition',
        `containers use the engine's network ${old.Name} as it was before it changed`,
      );
    }
    if (all.some((one) => one.Name === wanted.Name && !this.#isOwn(one)))
      throw new ClusterError(
        'failed-precondition',
        `the engine has the network ${wanted.Name} for another node: nodes that share an engine cannot share an overlay network`,
      );
    await this.#call(() => this.#docker.createNetwork(wanted));
    return { name: wanted.Name, mtu, ...(problem && { problem }) };
  }

  async remove(bridge: string): Promise<boolean> {
    let isGone = true;
    for (const one of await this.#list()) {
      if (this.#isOwn(one) && bridgeOf(one) === bridge) isGone = (await this.#remove(one.Id)) && isGone;
    }
    return isGone;
  }

  async list(): Promise<Pick<EngineNetwork, 'name' | 'bridge'>[]> {
    const own = (await this.#list()).filter((one) => this.#isOwn(one));
    return own.map((one) => ({ name: one.Name, bridge: bridgeOf(one) }));
  }

  #list(): Promise<Docker.NetworkInspectInfo[]> {
    return this.#call(() => this.#docker.listNetworks());
  }

  /** By both labels. */
  #isOwn = ({ Labels }: Docker.NetworkInspectInfo): boolean =>
    Labels?.[labelNames.node] === this.#node.nodeId && Labels[labelNames.cluster] === this.#node.clusterId;

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
      return await askTwice(request);
    } catch (error) {
      if (isUnreachable(error)) {
        const message = `the Docker engine at ${this.#dockerHost} does not answer: ${messageOf(error)}`;
        throw new ClusterError('unavailable', message, {}, error);
      }
      throw new ClusterError('failed-precondition', engineText(error), {}, error);
    }
  }
}

export const bridgeOf = ({ Options }: Docker.NetworkInspectInfo): string => Options?.[optionNames.bridge] ?? '';

const staysOld =
  'containers are on it as it was before containers made by hand could be: these are refused until the others have been replaced';

function createOptions(network: EngineNetwork, name: string, node: RuntimeNode): Docker.NetworkCreateOptions {
  return {
    Name: name,
    CheckDuplicate: true,
    Driver: 'bridge',
    Internal: network.internal,
    EnableIPv6: network.subnets.some(({ subnet }) => subnet.includes(':')),
    IPAM: {
      Driver: 'default',
      // Without a block the engine has none but the gateway to give: whom somebody else puts there is refused, not given a task's address.
      Config: network.subnets.map(({ subnet, gateway, block }) => ({
        Subnet: subnet,
        IPRange: block ?? `${gateway}/${gateway.includes(':') ? 128 : 32}`,
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

/** It gives containers made by hand what it should, by the name that it should have. */
function givesAs(found: Docker.NetworkInspectInfo, wanted: Docker.NetworkCreateOptions): boolean {
  const ranges = (configs: readonly { IPRange?: string | undefined }[] = []) =>
    configs
      .map(({ IPRange }) => IPRange)
      .sort()
      .join();
  return found.Name === wanted.Name && ranges(found.IPAM?.Config) === ranges(wanted.IPAM?.Config);
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
