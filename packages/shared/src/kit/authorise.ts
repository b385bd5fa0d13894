import type { NodeRole } from '../model/index.ts';
import type { Protocol2377 } from '../wire/index.ts';
import type { PeerCertificate } from './pki-verify.ts';

// Who may speak what on the cluster's port. Decided after each handshake, before the first byte is read, and again for open connections
// when the state changes. The state outranks the certificate.

/** What the replicated state says of a node. */
export interface KnownNode {
  readonly role: NodeRole;
  /** It is a member of the raft group: a demoted manager stays one until the group has let it go. */
  readonly member: boolean;
}

export interface AuthorityState {
  readonly clusterId: string;
  node(nodeId: string): KnownNode | undefined;
  /**
   * This manager may lack what the others have committed: it has only just joined, or knows no leader. It must then let a leader in that it
   * has never heard of, or it would never hear of it.
   */
  readonly behind: boolean;
}

export type RefusalCode = 'no-certificate' | 'other-cluster' | 'unknown-node' | 'role';

export interface Refusal {
  readonly code: RefusalCode;
  readonly reason: string;
}

/** Why this peer may not speak this protocol; undefined when it may. `peer` has been verified against the cluster's CA already. Pure. */
export function authorise(
  protocol: Protocol2377,
  peer: PeerCertificate | undefined,
  state: AuthorityState,
): Refusal | undefined {
  if (!peer) {
    return protocol === 'join' ? undefined : refuse('no-certificate', `${protocol} needs the certificate of a node`);
  }
  if (peer.clusterId !== state.clusterId) return refuse('other-cluster', `node ${peer.nodeId} is of another cluster`);
  const known = state.node(peer.nodeId);
  switch (protocol) {
    case 'join':
    case 'dispatch':
    case 'engine':
      return known || state.behind ? undefined : refuse('unknown-node', `node ${peer.nodeId} is not in the swarm`);
    case 'raft': {
      if (known?.role === 'manager' || known?.member) return undefined;
      // One that was a manager does not know yet that it is none: the raft group tells it, and hears nothing of it.
      if (peer.role === 'manager' && (known || state.behind)) return undefined;
      return notManager(peer, known);
    }
    case 'api':
      return known?.role === 'manager' ? undefined : notManager(peer, known);
    default:
      return protocol satisfies never;
  }
}

const notManager = (peer: PeerCertificate, known: KnownNode | undefined): Refusal =>
  known
    ? refuse('role', `node ${peer.nodeId} is not a manager`)
    : refuse('unknown-node', `node ${peer.nodeId} is not in the swarm`);

const refuse = (code: RefusalCode, reason: string): Refusal => ({ code, reason });
