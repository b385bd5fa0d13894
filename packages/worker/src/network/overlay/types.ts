import type { Clock, Logger } from '@swarmctl/shared/kit';
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

export type OverlayResolver = Pick<NodeResolver, 'listen' | 'attached' | 'detached'>;

/** A network as the engine knows it, on a bridge that is there already. */
export interface EngineNetwork {
  readonly name: string;
  readonly bridge: string;
  readonly subnets: readonly { readonly subnet: string; readonly gateway: string }[];
  readonly internal: boolean;
  readonly mtu: number;
}

/** The engine's networks of this node. */
export interface OverlayEngine {
  /**
   * Makes it, or makes it anew when it is not as wanted; rejects with ClusterError. Idempotent. Resolves with the MTU that containers get there:
   * that of a network which was there already stays.
   */
  ensure(network: EngineNetwork): Promise<number>;
  /** False: containers are on it still. True also when there was none. */
  remove(name: string): Promise<boolean>;
  list(): Promise<readonly Pick<EngineNetwork, 'name' | 'bridge'>[]>;
}
