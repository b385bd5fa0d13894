import type { Clock, Logger } from '@swarmctl/shared/kit';
import type { NetworkView } from '@swarmctl/shared/wire';
import type { RunCommand } from '../command.ts';
import type { NodeResolver } from '../dns/resolver.ts';
import type { PathMtus } from '../path-mtu.ts';
import type { NodeTunnel } from '../wireguard/tunnel.ts';

// What overlay networks need of a node: its container engine, its resolver, its address.

export interface OverlayOptions {
  readonly nodeId: string;
  /** Where other nodes send the networks' packets to, and where they come from. */
  readonly dataPathAddr: string;
}

export interface OverlayModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly engine: OverlayEngine;
  readonly resolver: OverlayResolver;
  /** What encrypted networks go through; absent: there are none here. */
  readonly tunnel?: OverlayTunnel;
  readonly run?: RunCommand;
  /** Of the ways from this node. */
  readonly paths?: PathMtus;
}

export type OverlayTunnel = Pick<NodeTunnel, 'device' | 'hold' | 'onChange'>;

export type OverlayResolver = Pick<NodeResolver, 'listen' | 'attached' | 'detached' | 'machines'>;

/** A network as the engine knows it, on a bridge that is there already. */
export interface EngineNetwork {
  readonly name: string;
  /** What users call it, who may put containers on it: the engine's name of it, unless that is another network's. */
  readonly knownAs?: string;
  readonly bridge: string;
  /** `block`: what the engine gives of its own accord; absent: nothing. */
  readonly subnets: NetworkView['subnets'];
  readonly internal: boolean;
  readonly mtu: number;
}

export interface EnsuredNetwork {
  /** The engine's name of it. */
  readonly name: string;
  /** What containers get there: that of a network which was there already stays. */
  readonly mtu: number;
  /** Why users cannot put containers on it, where they should. Tasks can be there all the same. */
  readonly problem?: string;
}

/** The engine's networks of this node. */
export interface OverlayEngine {
  /** Makes it, or makes it anew when it is not as wanted; rejects with ClusterError. Idempotent. */
  ensure(network: EngineNetwork): Promise<EnsuredNetwork>;
  /** What is on that bridge. False: containers are on it still. True also when there was none. */
  remove(bridge: string): Promise<boolean>;
  list(): Promise<readonly Pick<EngineNetwork, 'name' | 'bridge'>[]>;
}
