import type { Family } from '../address.ts';
import type { PortRule } from '../plan.ts';

// What a node's nftables table is called, and what its fixed part is told of the node.

export interface TableNames {
  readonly table: string;
  /** Empty: every local address. */
  readonly addresses: readonly string[];
  /** Kept in the table for whoever removes the last one: what `route_localnet` was. */
  readonly routeLocalnet: string;
  readonly mesh?: MeshNames | undefined;
}

/** What the table's fixed part knows of the mesh. */
export interface MeshNames {
  readonly device: string;
  readonly v4: string;
  readonly v6: string;
  readonly mark: number;
  readonly mtu: number;
  /** Its packets outside; undefined: unknown. */
  readonly vxlan?: { readonly vni: number; readonly port: number } | undefined;
  /** Families whose packets from the mesh are routed by the main table whatever their mark (a rule of routing says so). */
  readonly routedByMain: readonly Family[];
}

/** By node id, so that the daemons of one network namespace each have their own. */
export const tableName = (nodeId: string): string => `swarmd_${nodeId.replace(/[^0-9A-Za-z]/g, '_').slice(0, 12)}`;

/** With a prefix, since bare words may be keywords of nft. */
export const chainName = ({ protocol, port, address }: Pick<PortRule, 'protocol' | 'port' | 'address'>): string =>
  `s_${protocol}_${port}${address === undefined ? '' : `_at_${address.replace(/[.:]/g, '_')}`}`;
