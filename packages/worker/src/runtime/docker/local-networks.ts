import { isPredefinedNetwork, type Network, type Task } from '@swarmctl/shared/model';
import type Docker from 'dockerode';
import type { EngineEndpoints } from '../../network/types.ts';
import { RuntimeError, type RuntimeNode } from '../types.ts';
import { engineText, isNotFound, isUnreachable } from './errors.ts';

// The networks of a task that are its engine's alone: the three that every engine has, and those that the engine makes by itself from what
// the cluster's network says. Such a one is made for the first container on it, and goes with the last.

type Endpoints = EngineEndpoints['networks'];
type Spec = Network['Spec'];

/** By the node, since engines take no labels of a network that has its settings from another one. */
const prefixOf = ({ nodeId }: RuntimeNode): string => `swarmd-${nodeId.slice(0, 12)}-`;

export class LocalNetworks {
  readonly #docker: Docker;
  readonly #prefix: string;
  /** Those that a container is being made for, and how many; a container that is there speaks for itself. */
  readonly #held = new Map<string, number>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(docker: Docker, node: RuntimeNode) {
    this.#docker = docker;
    this.#prefix = prefixOf(node);
  }

  /** Where a task is on networks of its engine. They are there while `make` runs, which makes its container. Rejects as the engine does. */
  async during<T>(task: Task, make: (endpoints: Endpoints) => Promise<T>): Promise<T> {
    const wanted = (task.NetworksAttachments ?? []).flatMap(({ Network: { ID }, Local }) =>
      Local ? [{ name: this.#prefix + ID, spec: Local, endpoint: endpointAt(task, ID) }] : [],
    );
    const predefined = (task.NetworksAttachments ?? []).flatMap(({ Network: { ID } }) =>
      isPredefinedNetwork(ID) ? [[ID, endpointAt(task, ID)] as const] : [],
    );
    const endpoints = Object.fromEntries([...wanted.map(({ name, endpoint }) => [name, endpoint]), ...predefined]);
    const names = wanted.map(({ name }) => name);
    for (const name of names) this.#held.set(name, (this.#held.get(name) ?? 0) + 1);
    try {
      for (const { name, spec } of wanted) await this.#inTurn(() => this.#ensure(name, spec));
      return await make(endpoints);
    } finally {
      for (const name of names) {
        const left = (this.#held.get(name) ?? 1) - 1;
        if (left > 0) this.#held.set(name, left);
        else this.#held.delete(name);
      }
    }
  }

  /** A container that was on these is gone, or runs no more: what nobody needs goes. */
  async left(names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (name.startsWith(this.#prefix)) await this.#inTurn(() => this.#tidy(name));
    }
  }

  /** One thing at a time. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #ensure(name: string, spec: Spec): Promise<void> {
    const own = await this.#own();
    if (own.includes(name)) return;
    // What an earlier daemon left may be in the way of another one on the same device.
    for (const other of own) await this.#tidy(other);
    try {
      await this.#docker.createNetwork(createOptions(name, spec));
    } catch (error) {
      if (isUnreachable(error)) throw error;
      throw new RuntimeError(`network ${spec.Name}: ${reason(spec, error)}`, { permanent: true, cause: error });
    }
  }

  async #own(): Promise<string[]> {
    const filters = JSON.stringify({ name: [this.#prefix] });
    const found = await this.#docker.listNetworks({ filters });
    return found.map(({ Name }) => Name).filter((name) => name.startsWith(this.#prefix));
  }

  async #tidy(name: string): Promise<void> {
    if (this.#held.has(name)) return;
    const filters = { network: [name], status: ['created', 'running', 'paused', 'restarting'] };
    const users = await this.#docker.listContainers({ all: true, filters: JSON.stringify(filters) });
    if (users.length > 0) return;
    try {
      await this.#docker.getNetwork(name).remove();
    } catch (error) {
      if (!isNotFound(error) && !/active endpoints/.test(engineText(error))) throw error;
    }
  }
}

/** What the task asks for on that network. */
function endpointAt({ Spec }: Task, networkId: string): Endpoints[string] {
  const { Aliases, DriverOpts } = Spec.Networks?.find(({ Target }) => Target === networkId) ?? {};
  return { ...(Aliases && { Aliases }), ...(DriverOpts && { DriverOpts }) };
}

/** A network that has its settings from another one takes none of its own, not even labels. */
function createOptions(name: string, spec: Spec): Docker.NetworkCreateOptions {
  const { DriverConfiguration: driver, ConfigFrom: from } = spec;
  const options = {
    Name: name,
    CheckDuplicate: true,
    Driver: driver?.Name ?? 'bridge',
    Internal: spec.Internal ?? false,
  };
  if (from?.Network) return { ...options, ConfigFrom: { Network: from.Network } };
  const configs = spec.IPAMOptions?.Configs ?? [];
  return {
    ...options,
    EnableIPv6: spec.IPv6Enabled ?? false,
    ...(driver?.Options && { Options: driver.Options }),
    ...(configs.length > 0 && {
      IPAM: { Driver: 'default', Config: configs.map((config) => ({ ...config })) },
    }),
  };
}

function reason(spec: Spec, error: unknown): string {
  const text = engineText(error);
  const from = spec.ConfigFrom?.Network;
  if (from === undefined || !/configuration network .* does not exist/.test(text)) return text;
  return `this node's engine has no config-only network '${from}'; make it there with docker network create --config-only`;
}
