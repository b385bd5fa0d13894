import { formatIp, parseIp, parseIpRange } from '@swarmctl/shared/model';
import type { MeshView } from '@swarmctl/shared/wire';

// What things of the mesh are called: all of it follows from a node's id, its number and the cluster's pools.

/** The kernel's limit is 15 characters. */
export const deviceName = (nodeId: string): string => `swm${nodeId.replace(/[^0-9A-Za-z]/g, '').slice(0, 8)}`;

export const isMeshDevice = (name: string): boolean => /^swm[0-9A-Za-z]{1,8}$/.test(name);

/** Locally administered, and never changing, so that neighbours need not ask for it. */
export function macOf(meshId: number): string {
  const [high, low] = [meshId >>> 8, meshId & 255].map((byte) => byte.toString(16).padStart(2, '0'));
  return `02:73:77:6d:${high}:${low}`;
}

/** The node's address in a pool; without its prefix. */
export function addressIn(pool: string, meshId: number): string {
  const range = parseIpRange(pool);
  if (!range) throw new Error(`'${pool}' is no range of addresses`);
  return formatIp({ family: range.family, value: range.first + BigInt(meshId) });
}

export const prefixOf = (pool: string): number => parseIpRange(pool)?.prefix ?? 0;

export const isInPool = (pool: string, addr: string): boolean => {
  const [range, ip] = [parseIpRange(pool), parseIp(addr)];
  return !!range && !!ip && ip.family === range.family && ip.value >= range.first && ip.value <= range.last;
};

/** Of both families; `v6` only where the node has it. */
export const addressesOf = (view: Pick<MeshView, 'pool4' | 'pool6'>, meshId: number) => ({
  v4: addressIn(view.pool4, meshId),
  v6: addressIn(view.pool6, meshId),
});

/** Marks of connections from a peer, and the number of the table that leads back to it. */
export const markOf = (mark: number, meshId: number): number => (mark | meshId) >>> 0;
