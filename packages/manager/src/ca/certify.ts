import { ClusterError, signNodeCertificate } from '@swarmctl/shared/kit';
import {
  type Cluster,
  type Node,
  type NodeRole,
  nsToMs,
  signerOf,
  trustedRoots,
  withCrossSigned,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';

// Signs for nodes that the state knows, in the role that the state gives them.

export interface Certified {
  readonly role: NodeRole;
  /** The leaf, then what leads from it to the cluster's root. */
  readonly certificate: string;
  /** The roots to trust, PEM; the last one signs. */
  readonly ca: string;
  /** Of the cluster's object. */
  readonly revision: number;
}

/** Throws `not-found` for a node that is not in the state. */
export async function certify(view: View, nodeId: string, csr: string, now: number): Promise<Certified> {
  const cluster = view.cluster();
  const node = view.get('nodes', nodeId);
  if (!cluster || !node) throw new ClusterError('not-found', `node ${nodeId} is not in the swarm`);
  const role = certifiedRole(node);
  return { role, revision: cluster.Version.Index, ...(await signFor(cluster, { nodeId, role }, csr, now)) };
}

/** A demoted manager is one until the raft group has let it go: so it learns when it may stop. */
export const certifiedRole = (node: Pick<Node, 'Spec' | 'ManagerStatus'>): NodeRole =>
  node.ManagerStatus ? 'manager' : node.Spec.Role;

export async function signFor(
  cluster: Pick<Cluster, 'ID' | 'RootCA' | 'Spec'>,
  name: { readonly nodeId: string; readonly role: NodeRole },
  csr: string,
  now: number,
): Promise<{ readonly certificate: string; readonly ca: string }> {
  const { RootCA } = cluster;
  const lifeMs = nsToMs(cluster.Spec.CAConfig?.NodeCertExpiry ?? 0) || undefined;
  const leaf = await signNodeCertificate(signerOf(RootCA), csr, { ...name, clusterId: cluster.ID }, now, lifeMs);
  return { certificate: withCrossSigned(leaf, RootCA), ca: trustedRoots(RootCA) };
}
