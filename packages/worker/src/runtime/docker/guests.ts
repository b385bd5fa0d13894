import type { Clock, Logger } from '@swarmctl/shared/kit';
import { isPredefinedNetwork } from '@swarmctl/shared/model';
import type Docker from 'dockerode';
import type { EngineGuest, GuestEngine } from '../../network/guests/types.ts';
import { labelNames, ownLabels } from '../identity.ts';
import type { RuntimeNode } from '../types.ts';
import { connect, defaultDockerHost, parseDockerHost } from './connect.ts';
import { type EngineEvent, followEngine } from './engine-events.ts';
import { isNotFound } from './errors.ts';
import { bridgeOf } from './networks.ts';

// The containers that users put on this node's networks with its engine, without asking anybody else.

export const createDockerGuests = (
  options: { readonly dockerHost?: string },
  node: RuntimeNode,
  modules: { readonly clock: Clock; readonly log: Logger },
): GuestEngine => new DockerGuests(connect(parseDockerHost(options.dockerHost ?? defaultDockerHost)), node, modules);

/** After which others may be on the networks, or by other names. */
const hints = ['connect', 'disconnect', 'start', 'die', 'rename', 'destroy'];
const filters = { type: ['network' as const, 'container' as const], event: hints };

class DockerGuests implements GuestEngine {
  readonly #docker: Docker;
  readonly #node: RuntimeNode;
  readonly #modules: { readonly clock: Clock; readonly log: Logger };

  constructor(docker: Docker, node: RuntimeNode, modules: { readonly clock: Clock; readonly log: Logger }) {
    this.#docker = docker;
    this.#node = node;
    this.#modules = modules;
  }

  async list(bridges: ReadonlySet<string>): Promise<EngineGuest[]> {
    const filters = { label: ownLabels(this.#node) };
    const networks = await this.#docker.listNetworks({ filters: JSON.stringify(filters) });
    const own = new Map(networks.filter((one) => bridges.has(bridgeOf(one))).map((one) => [one.Id, bridgeOf(one)]));
    if (own.size === 0) return [];
    const there = { network: [...own.keys()], status: ['running', 'paused'] };
    const found = await this.#docker.listContainers({ all: true, filters: JSON.stringify(there) });
    const guests: EngineGuest[] = [];
    for (const { Id, Labels } of found) {
      if (this.#isTask(Labels)) continue;
      const info = await this.#docker
        .getContainer(Id)
        .inspect()
        .catch((error) => {
          // It ended meanwhile.
          if (isNotFound(error)) return undefined;
          throw error;
        });
      if (info && info.State.Pid > 0) guests.push(guestOf(info, own));
    }
    return guests;
  }

  follow(tell: Parameters<GuestEngine['follow']>[0], signal: AbortSignal): Promise<void> {
    const event = ({ Type, Action, Actor }: EngineEvent) => {
      if (Type === 'network' && Action === 'destroy') tell.lost(Actor?.Attributes?.['name'] ?? '');
      tell.changed();
    };
    const opened = () => tell.changed();
    return followEngine({ docker: this.#docker, filters, ...this.#modules, opened, event }, signal);
  }

  /** Of this node: what it has on its networks comes from the managers. */
  #isTask = (labels: Readonly<Record<string, string>>): boolean =>
    labels[labelNames.taskId] !== undefined &&
    labels[labelNames.node] === this.#node.nodeId &&
    labels[labelNames.cluster] === this.#node.clusterId;
}

/** `own`: bridges by the engine's id of a network. */
export function guestOf(info: Docker.ContainerInspectInfo, own: ReadonlyMap<string, string>): EngineGuest {
  const name = info.Name.replace(/^\//, '');
  const endpoints = Object.entries(info.NetworkSettings.Networks ?? {});
  return {
    containerId: info.Id,
    name,
    pid: info.State.Pid,
    nameservers: info.HostConfig.Dns ?? [],
    networks: endpoints.flatMap(([, endpoint]) => {
      const bridge = own.get(endpoint.NetworkID);
      const addresses = [endpoint.IPAddress, endpoint.GlobalIPv6Address].filter((addr) => addr !== '');
      if (bridge === undefined || addresses.length === 0) return [];
      const { Aliases, DNSNames } = endpoint as { Aliases?: string[] | null; DNSNames?: string[] | null };
      const names = [...new Set([name, ...(Aliases ?? []), ...(DNSNames ?? [])])];
      const links = linksOf((endpoint as { Links?: string[] | null }).Links ?? []);
      return [{ bridge, addresses, mac: endpoint.MacAddress.toLowerCase(), names, links }];
    }),
    isElsewhere: endpoints.some(([network, { NetworkID }]) => !own.has(NetworkID) && !isPredefinedNetwork(network)),
  };
}

/** Of `NAME:ALIAS`. */
const linksOf = (texts: readonly string[]) =>
  texts.map((text) => {
    const [name = '', alias = name] = text.toLowerCase().split(':');
    return [alias, name] as const;
  });
