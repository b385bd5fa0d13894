import { ClusterError } from '@swarmctl/shared/kit';
import { type Batch, maxBatchBytes, maxBatchChanges, type StoreChange, tables } from '@swarmctl/shared/model';
import { Packr } from 'msgpackr';

// The bytes of the log and of snapshots: a schema-version byte, then msgpack as plain maps, so that they describe themselves.

export const schemaVersion = 1;

const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  int64AsType: 'number',
  skipValues: [undefined],
} as ConstructorParameters<typeof Packr>[0]);

export const pack = (value: unknown): Buffer => packr.pack(value);
export const unpack = (bytes: Uint8Array): unknown => packr.unpack(bytes);

/** Throws `invalid-argument` when the batch is over the limits. */
export function encodeBatch(batch: Batch): Uint8Array {
  if (batch.changes.length > maxBatchChanges) {
    const count = batch.changes.length;
    throw tooLarge(`${count} changes are too many for one write, at most ${maxBatchChanges} are allowed`, { count });
  }
  const body = pack(batch);
  if (body.length + 1 > maxBatchBytes) {
    const bytes = body.length + 1;
    throw tooLarge(`${bytes} bytes are too many for one write, at most ${maxBatchBytes} are allowed`, { bytes });
  }
  const bytes = Buffer.allocUnsafe(body.length + 1);
  bytes[0] = schemaVersion;
  body.copy(bytes, 1);
  return bytes;
}

const tooLarge = (message: string, data: Record<string, unknown>) =>
  new ClusterError('invalid-argument', `the change is too large: ${message}`, data);

/** Throws ClusterError for what `encodeBatch` never made, and an ordinary Error for what only a newer version of this program can read. */
export function decodeBatch(bytes: Uint8Array): Batch {
  checkSchemaVersion(bytes[0], 'log entry');
  let batch: unknown;
  try {
    batch = unpack(bytes.subarray(1));
  } catch (cause) {
    throw new ClusterError('invalid-argument', 'the batch is not msgpack', {}, cause);
  }
  if (!isBatch(batch)) throw new ClusterError('invalid-argument', 'the batch has not the form of one');
  return batch;
}

/** Who skips what a newer version wrote no longer has the same state as the others, so this must end the program. */
export function checkSchemaVersion(version: number | undefined, what: string): void {
  if (version === schemaVersion) return;
  throw new Error(`${what} of schema version ${version}: this version of swarmd reads version ${schemaVersion}`);
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

const isBatch = (value: unknown): value is Batch =>
  isRecord(value) &&
  typeof value['now'] === 'number' &&
  Array.isArray(value['changes']) &&
  value['changes'].every(isChange);

function isChange(change: unknown): change is StoreChange {
  if (!isRecord(change) || !(tables as readonly unknown[]).includes(change['table'])) return false;
  switch (change['op']) {
    case 'create':
      return isRecord(change['object']) && isId(change['object']['ID']);
    case 'update':
      return isId(change['id']) && isRecord(change['set']);
    case 'remove':
      return isId(change['id']);
    default:
      return false;
  }
}

const isId = (value: unknown): boolean => typeof value === 'string' && value !== '';

/** Cuts independent changes, in their order, into batches that each fit into one log entry. */
export function inBatches(
  changes: readonly StoreChange[],
  limits: { readonly changes: number; readonly bytes: number } = { changes: maxBatchChanges, bytes: maxBatchBytes },
): StoreChange[][] {
  const batches: StoreChange[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const change of changes) {
    const size = pack(change).length;
    let batch = batches.at(-1);
    // The envelope takes up to 32 bytes.
    if (!batch || batch.length >= limits.changes || bytes + size > limits.bytes - 32) {
      batch = [];
      batches.push(batch);
      bytes = 0;
    }
    batch.push(change);
    bytes += size;
  }
  return batches;
}
