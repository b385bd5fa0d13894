import type { Clock, Logger, Random } from '@swarmctl/shared/kit';
import type { Guest, Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { NameResolver } from './dns/resolver.ts';
import { NodeGuests } from './guests/guests.ts';
import type { GuestEngine } from './guests/types.ts';
import { NodeOverlay } from './overlay/overlay.ts';
import type { OverlayEngine, OverlayTunnel } from './overlay/types.ts';
import type { PathMtus } from './path-mtu.ts';
import type { EngineEndpoints } from './types.ts';
import { ContainerVips } from './vip/vip.ts';

// The overlay networks of one node as one thing: devices, names and virtual addresses by the same views, and each task's part in them.

/** What a task's life needs of them. */
export interface TaskNetworks {
  /** Before its container is made. Undefined: it is on none. Rejects with ClusterError when one cannot be had. */
  attach(task: Task): Promise<EngineEndpoints | undefined>;
  /** Its container runs, also when it did so before this daemon; resolves when names and virtual addresses work there. */
  joined(task: Task, pid: number): Promise<void>;
  /** Its container does not run any more. Idempotent. */
  left(taskId: string): void;
}

export interface NodeNetworks extends TaskNetworks {
  /** The containers on its attachable networks that no service made. */
  guests(): readonly Guest[];
  /** Guests or problems may be others. */
  onChange(listener: () => void): void;
  /** The whole wanted set, by network id. Resolves when it is in force; later calls replace earlier ones. */
  apply(views: ReadonlyMap<string, NetworkView>): Promise<void>;
  problems(): readonly string[];
  /** What is there stays, for the containers that use it. */
  close(): Promise<void>;
}

export interface NodeNetworksOptions {
  readonly nodeId: string;
  readonly dataPathAddr: string;
}

export interface NodeNetworksModules {
  readonly engine: OverlayEngine;
  readonly guestEngine: GuestEngine;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Of the ways from this node. */
  readonly paths?: PathMtus;
  /** What encrypted networks go through. */
  readonly tunnel?: OverlayTunnel;
}

/** Of a node that is root over its kernel's network and has an engine on this machine. */
export function createNetworks(options: NodeNetworksOptions, modules: NodeNetworksModules): NodeNetworks {
  const resolver = new NameResolver(modules);
  const overlay = new NodeOverlay(options, { ...modules, resolver });
  const vips = new ContainerVips(modules);
  const guests = new NodeGuests({ ...modules, engine: modules.guestEngine, overlay, resolver, vips });
  return new Networks({ overlay, resolver, vips, guests });
}

/** The overlay network ids of a task. */
export const networkIdsOf = (task: Task): string[] =>
  (task.NetworksAttachments ?? []).filter(({ Addresses }) => Addresses.length > 0).map(({ Network }) => Network.ID);

export interface NetworkParts {
  readonly overlay: Pick<NodeOverlay, 'apply' | 'attach' | 'joined' | 'detached' | 'problems' | 'onTrouble' | 'close'>;
  readonly resolver: Pick<NameResolver, 'set' | 'close'>;
  readonly vips: Pick<ContainerVips, 'started' | 'ended' | 'apply' | 'problems' | 'close'>;
  readonly guests: Pick<NodeGuests, 'apply' | 'list' | 'onChange' | 'problems' | 'close'>;
}

export class Networks implements NodeNetworks {
  readonly #parts: NetworkParts;
  readonly #attached = new Set<string>();

  constructor(parts: NetworkParts) {
    this.#parts = parts;
  }

  async apply(views: ReadonlyMap<string, NetworkView>): Promise<void> {
    const { overlay, resolver, vips, guests } = this.#parts;
    resolver.set(views);
    await Promise.all([overlay.apply(views), vips.apply(views), guests.apply(views)]);
  }

  async attach(task: Task): Promise<EngineEndpoints | undefined> {
    if (networkIdsOf(task).length === 0) return undefined;
    const endpoints = await this.#parts.overlay.attach(task);
    this.#attached.add(task.ID);
    return endpoints;
  }

  async joined(task: Task, pid: number): Promise<void> {
    const networks = networkIdsOf(task);
    if (networks.length === 0) return;
    // One that ran before this daemon is not known yet.
    if (!this.#attached.has(task.ID)) await this.attach(task);
    const { overlay, vips } = this.#parts;
    await Promise.all([overlay.joined(task, pid), vips.started(task.ID, pid, networks)]);
  }

  left(taskId: string): void {
    if (!this.#attached.delete(taskId)) return;
    this.#parts.overlay.detached(taskId);
    this.#parts.vips.ended(taskId);
  }

  problems(): readonly string[] {
    const { overlay, vips, guests } = this.#parts;
    return [...overlay.problems(), ...vips.problems(), ...guests.problems()];
  }

  guests(): readonly Guest[] {
    return this.#parts.guests.list();
  }

  onChange(listener: () => void): void {
    this.#parts.guests.onChange(listener);
    this.#parts.overlay.onTrouble(listener);
  }

  async close(): Promise<void> {
    const { overlay, resolver, vips, guests } = this.#parts;
    await Promise.all([overlay.close(), resolver.close(), vips.close(), guests.close()]);
  }
}
