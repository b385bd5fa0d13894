import { createHash } from 'node:crypto';
import { tables } from '@swarmctl/shared/model';
import type { View } from './types.ts';

// A fingerprint of all objects, to check that managers agree. The index and the order in which members were written do not count.

const known = new WeakMap<object, string>();

export function hashOf(view: Pick<View, 'list'>): string {
  const hash = createHash('sha256');
  for (const table of tables) {
    hash.update(`${table}:`);
    for (const object of view.list(table)) hash.update(digestOf(object));
  }
  return hash.digest('hex').slice(0, 32);
}

/** Objects are never changed, so each is digested once. */
function digestOf(object: object): string {
  let digest = known.get(object);
  if (digest === undefined) {
    digest = createHash('sha256').update(JSON.stringify(object, inOrder)).digest('base64');
    known.set(object, digest);
  }
  return digest;
}

const inOrder = (_key: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;
