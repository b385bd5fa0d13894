import type { Sealer } from '../../../packages/raft-ts/src/host/types.ts';

// The sealer of the simulated members.

/** Leaves everything as it is: the simulation is about other things. */
export const plainSealer: Sealer = {
  keyId: 'plain',
  seal: (plain) => plain,
  open: (sealed) => sealed,
};
