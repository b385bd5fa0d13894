import { createHash } from 'node:crypto';

// Numbers of VXLANs: the cluster's networks get theirs from 4096 on, as Docker's do; users may ask for any other.

export const firstVni = 4_096;
export const lastVni = 2 ** 24 - 1;

/** Of the nodes' mesh; another cluster on the same machines has another one. */
export const meshVniOf = (clusterId: string): number =>
  1 + (createHash('sha256').update(`mesh of ${clusterId}`).digest().readUInt32BE(8) % (firstVni - 1));
