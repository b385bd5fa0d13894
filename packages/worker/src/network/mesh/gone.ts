import type { IngressEntry } from '@swarmctl/shared/wire';

// The ingress table without the tasks of nodes that stopped answering. A port whose tasks are all on such nodes keeps them: they may be back.

/** Entries that stay the same stay the same object, and what was made of one is made once. */
export type GoneCache = WeakMap<IngressEntry, { readonly left: string; readonly entry: IngressEntry }>;

export function withoutGone(
  entries: ReadonlyMap<string, IngressEntry>,
  gone: ReadonlySet<string>,
  cache: GoneCache,
): ReadonlyMap<string, IngressEntry> {
  if (gone.size === 0) return entries;
  return new Map([...entries].map(([key, entry]) => [key, present(entry, gone, cache)]));
}

function present(entry: IngressEntry, gone: ReadonlySet<string>, cache: GoneCache): IngressEntry {
  const backends = entry.backends.filter(({ nodeId }) => !gone.has(nodeId));
  if (backends.length === 0 || backends.length === entry.backends.length) return entry;
  const left = backends.map(({ taskId }) => taskId).join(' ');
  const { draining, ...rest } = entry;
  const known = cache.get(entry);
  if (known?.left === left) return known.entry;
  const made = { ...rest, backends, ...(draining && { draining: draining.filter(({ nodeId }) => !gone.has(nodeId)) }) };
  cache.set(entry, { left, entry: made });
  return made;
}
