import { type Clock, delay, type Logger, messageOf } from '@swarmctl/shared/kit';
import { isPredefinedNetwork } from '@swarmctl/shared/model';
import type Docker from 'dockerode';
import type { EngineGuest, GuestEngine } from '../../network/guests/types.ts';
import { labelNames, ownLabels } from '../identity.ts';
import type { RuntimeNode } from '../types.ts';
import { connect, defaultDockerHost, parseDockerHost } from './connect.ts';
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
const firstDelayMs = 100;
const lastDelayMs = 2_000;

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

  async follow(tell: Parameters<GuestEngine['follow']>[0], signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#modules;
    let waitMs = firstDelayMs;
    while (!signal.aborted) {
      try {
        const stream = await this.#docker.getEvents({ filters, abortSignal: signal });
        waitMs = firstDelayMs;
        tell.changed();
        await readHints(stream, tell);
      } catch (error) {
        if (signal.aborted) return;
        log.debug({ error: messageOf(error), waitMs }, 'engine events lost');
      }
      await delay(clock, waitMs, signal).catch(() => {});
      waitMs = Math.min(waitMs * 2, lastDelayMs);
    }
  }

  /** Of this node: what it has on its networks comes from the managers. */
  #isTask = (labels: Readonly<Record<string, string>>): boolean =>
    labels[labelNames.taskId] !== undefined &&
    labels[labelNames.node] === this.#node.nodeId &&
    labels[labelNames.cluster] === this.#node.clusterId;
}

async function readHints(stream: NodeJS.ReadableStream, tell: Parameters<GuestEngine['follow']>[0]): Promise<void> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines.filter((one) => one.trim() !== '')) {
      const { Type, Action, Actor } = JSON.parse(line) as EngineHint;
      if (Type === 'network' && Action === 'destroy') tell.lost(Actor?.Attributes?.['name'] ?? '');
    }
    tell.changed();
  }
}

interface EngineHint {
  readonly Type?: string;
  readonly Action?: string;
  readonly Actor?: { readonly Attributes?: Readonly<Record<string, string>> };
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
      return [{ bridge, addresses, mac: endpoint.MacAddress.toLowerCase(), names }];
    }),
    isElsewhere: endpoints.some(([network, { NetworkID }]) => !own.has(NetworkID) && !isPredefinedNetwork(network)),
  };
}
