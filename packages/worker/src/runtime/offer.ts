import type { Resources } from '@swarmctl/shared/model';

/** What a node keeps for itself. */
export interface Reserved {
  readonly reservedNanoCpus?: number;
  readonly reservedMemoryBytes?: number;
}

/** What a machine offers to tasks: what it has, less what is reserved. */
export const offer = (nanoCpus: number, memoryBytes: number, reserved: Reserved): Resources => ({
  NanoCPUs: Math.max(0, nanoCpus - (reserved.reservedNanoCpus ?? 0)),
  MemoryBytes: Math.max(0, memoryBytes - (reserved.reservedMemoryBytes ?? 0)),
});
