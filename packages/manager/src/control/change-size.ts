import { maxBatchBytes, maxBatchChanges, type StoreChange } from '@swarmctl/shared/model';

// How large changes will be in the log, roughly and from above, so that a pass can be cut into batches without encoding it twice.

/** What one proposal may hold. The bytes leave room for the estimate to be wrong. */
export const batchLimits = { changes: maxBatchChanges, bytes: maxBatchBytes * 0.6 } as const;

const known = new WeakMap<object, number>();

/** Objects are never changed, so a size is worked out once for each. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 5 + Buffer.byteLength(value);
  if (typeof value !== 'object' || value === null) return 9;
  const seen = known.get(value);
  if (seen !== undefined) return seen;
  let size = 5;
  if (Array.isArray(value)) for (const item of value) size += sizeOf(item);
  else for (const [key, member] of Object.entries(value)) size += 5 + key.length + sizeOf(member);
  known.set(value, size);
  return size;
}

export const changeSize = (change: StoreChange): number => sizeOf(change);

/** So many changes that carry `payload` make one decision, which cannot be divided. */
export const changesPerDecision = (payload: object): number =>
  Math.max(1, Math.min(500, Math.floor(batchLimits.bytes / 2 / (600 + sizeOf(payload)))));
