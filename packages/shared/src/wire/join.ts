import type { NodeRole } from '../model/index.ts';
import type { Peer } from './dispatch.ts';

// The join protocol (ALPN `swarm-join/1`): one request, one answer, frames of at most 64 KiB, 5 s. The only protocol for which a client
// certificate is optional.

export const maxJoinFrameBytes = 64 * 1024;

export type JoinMessage =
  /** A new node asks for its certificate. */
  | {
      readonly type: 'join';
      readonly token: string;
      readonly csr: string;
      readonly hostname: string;
      readonly addr: string;
      readonly availability: 'active' | 'pause' | 'drain';
    }
  /** With its certificate: a manager-to-be asks to become a raft member reachable at `addr`. Answered once it is a member. */
  | { readonly type: 'raft-join'; readonly addr: string }
  /** With its certificate: renew (also the way to a new role). Any manager answers; expired certificates within the grace are accepted. */
  | { readonly type: 'renew'; readonly csr: string }
  /** With its certificate: this node leaves; a manager is demoted first, then marked down. */
  | { readonly type: 'leave'; readonly force: boolean };

export type JoinAnswer =
  | {
      readonly type: 'joined';
      readonly nodeId: string;
      readonly clusterId: string;
      readonly role: NodeRole;
      readonly certificate: string;
      readonly ca: string;
      readonly managers: readonly Peer[];
    }
  | { readonly type: 'raft-joined'; readonly raftId: number; readonly peers: readonly { id: number; addr: string }[] }
  | {
      readonly type: 'renewed';
      readonly role: NodeRole;
      readonly certificate: string;
      readonly ca: string;
      /** Of the cluster's object, whose roots these are. */
      readonly revision: number;
    }
  | { readonly type: 'left' }
  | { readonly type: 'redirect'; readonly leader?: Peer }
  | { readonly type: 'error'; readonly code: string; readonly message: string };

/** The protocols of port 2377, told apart by ALPN. */
export const alpn = {
  raft: 'swarm-raft/1',
  dispatch: 'swarm-dispatch/1',
  join: 'swarm-join/1',
  api: 'swarm-api/1',
  engine: 'swarm-engine/1',
} as const;
export type Protocol2377 = keyof typeof alpn;
