import type { StoreChange } from '@swarmctl/shared/model';
import { batchLimits, changeSize } from './change-size.ts';
import type { Controller, Key } from './types.ts';

// Decisions become batches for the log: in their order, as few as possible, and never one decision in two.

/** One decision. */
export interface Atom {
  readonly controller: Controller;
  readonly key: Key;
  readonly changes: readonly StoreChange[];
}

export interface PassBatch {
  readonly atoms: readonly Atom[];
  readonly changes: readonly StoreChange[];
}

export function batchesOf(
  atoms: readonly Atom[],
  limits: { readonly changes: number; readonly bytes: number } = batchLimits,
): PassBatch[] {
  const batches: { atoms: Atom[]; changes: StoreChange[]; bytes: number }[] = [];
  for (const atom of atoms) {
    const bytes = atom.changes.reduce((sum, change) => sum + changeSize(change), 0);
    const last = batches.at(-1);
    if (last && last.changes.length + atom.changes.length <= limits.changes && last.bytes + bytes <= limits.bytes) {
      last.atoms.push(atom);
      last.changes.push(...atom.changes);
      last.bytes += bytes;
    } else batches.push({ atoms: [atom], changes: [...atom.changes], bytes });
  }
  return batches;
}
