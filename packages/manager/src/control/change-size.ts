import { maxBatchBytes, maxBatchChanges, type StoreChange } from '@swarmctl/shared/model';

// How large changes will be in the log, roughly and from above, so that a pass can be cut into batches without encoding it twice.

/**
 * What one proposal may hold: less than the log takes, since a batch is applied in one go, and the bytes leave room for the estimate to be
 * wrong.
 */
export const batchLimits = { changes: maxBatchChanges / 4, bytes: maxBatchBytes * 0.6 } as const;

const known = new WeakMap<object, number>();

/** These are large, and many tasks share them. Objects are never changed, so a size is worked out once. */
const shared: ReadonlySet<string> = new Set(['Spec', 'PreviousSpec', 'Ports', 'Description']);

function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 5 + Buffer.byteLength(value);
  if (typeof value !== 'object' || value === null) return 9;
  let size = 5;
  if (Array.isArray(value)) for (const item of value) size += sizeOf(item);
  else {
    const members = value as Record<string, unknown>;
    for (const key in members) {
      const member = members[key];
      size += 5 + key.length + (shared.has(key) ? sizeOnce(member) : sizeOf(member));
    }
  }
  return size;
}

function sizeOnce(value: unknown): number {
  if (typeof value !== 'object' || value === null) return sizeOf(value);
  const size = known.get(value) ?? sizeOf(value);
  known.set(value, size);
  return size;
}

export const changeSize = (change: StoreChange): number => sizeOf(change);

/** So many changes that carry `payload` make one decision, which cannot be divided. */
export const changesPerDecision = (payload: object): number =>
  Math.max(1, Math.min(200, Math.floor(batchLimits.bytes / 2 / (600 + sizeOnce(payload)))));
