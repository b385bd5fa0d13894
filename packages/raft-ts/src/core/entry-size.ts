import type { Entry } from './types.ts';

// Sizes of entries, as their protobuf encoding has them: they decide where batches are cut.

/** Bytes of the encoded entry: kind (absent when normal), term, index, data (absent when empty). */
export function entrySize(entry: Entry): number {
  const kind = entry.type === 'normal' ? 0 : 2;
  const data = entry.data.length;
  return kind + 2 + varintSize(entry.term) + varintSize(entry.index) + (data === 0 ? 0 : 1 + varintSize(data) + data);
}

function varintSize(value: number): number {
  let size = 1;
  while (value >= 0x80) {
    value /= 0x80;
    size++;
  }
  return size;
}

export function entriesSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entrySize(entry);
  return size;
}

/** Bytes of data alone: an empty entry weighs nothing. */
export function payloadsSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entry.data.length;
  return size;
}

/** The longest prefix within `maxBytes`, and at least one entry if there is any. */
export function limitSize(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  if (maxBytes === Number.POSITIVE_INFINITY) return entries;
  let size = 0;
  for (let i = 0; i < entries.length; i++) {
    size += entrySize(entries[i]!);
    if (i > 0 && size > maxBytes) return entries.slice(0, i);
  }
  return entries;
}
