import type { TLSSocket } from 'node:tls';
import type { Clock, Logger, NewId, PeerCertificate, Random } from '@swarmctl/shared/kit';
import type { Draft } from '@swarmctl/shared/model';
import type { Protocol2377 } from '@swarmctl/shared/wire';
import type { Sealer } from 'raft-ts';
import type { ManagerAccess } from './api/ports.ts';
import type { StoreWatch } from './store/types.ts';

// What the daemon and the manager on its node know of each other. The daemon owns the identity, the port and the API's sockets; it starts
// a manager when the node's role says so, hands it accepted streams, and stops it.

export type { EngineFacts, LocalAccess as LocalControl, LocalState, ManagerAccess, NodeInfo } from './api/ports.ts';

/** The protocols whose streams end in the manager; the API's end in the daemon's HTTP server. */
export type ManagerProtocol = Exclude<Protocol2377, 'api'>;

export interface ManagerHandle extends ManagerAccess, StoreWatch {
  /** A stream that passed `authorise`; nothing was read from it yet. `peer` is absent only for `join`. */
  accept(protocol: ManagerProtocol, socket: TLSSocket, peer: PeerCertificate | undefined): void;
  /** `transfer` hands leadership over first, if it is ours. Idempotent. */
  stop(options: { readonly transfer: boolean }): Promise<void>;
  /** Resolves when it was stopped or its node left the raft group (then stopped by itself); rejects on what it cannot survive. */
  readonly done: Promise<'stopped' | 'removed'>;
}

export type ManagerStart =
  /** A new cluster: the draft's changes are the first proposal. Resolves once they are applied. */
  | { readonly kind: 'bootstrap'; readonly cluster: Draft<'cluster'>; readonly node: Draft<'nodes'> }
  /** An empty log: the leader, which has this member in its group already, will send everything. */
  | { readonly kind: 'join' }
  /** From the log; refused when there is none. */
  | { readonly kind: 'restart' };

export interface ManagerOptions {
  /** The raft folder is `dataDir/raft`. */
  readonly dataDir: string;
  readonly clusterId: string;
  readonly nodeId: string;
  readonly raftId: number;
  /** `host:port` where other managers reach this one. */
  readonly addr: string;
  readonly start: ManagerStart;
}

export interface ManagerModules {
  /** An authenticated stream to the manager `nodeId` at `addr` (`host:port`); without `nodeId`, to any manager of this cluster. */
  readonly dial: (
    protocol: ManagerProtocol | 'api',
    target: { readonly addr: string; readonly nodeId?: string },
    signal: AbortSignal,
  ) => Promise<TLSSocket>;
  readonly sealer: Sealer;
  readonly clock: Clock;
  readonly random: Random;
  readonly newId: NewId;
  readonly log: Logger;
}

export type StartManager = (options: ManagerOptions, modules: ManagerModules) => Promise<ManagerHandle>;
