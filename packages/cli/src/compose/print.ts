import { stringify } from 'yaml';
import type { ComposeFile } from './file-shape.ts';

/** A compose file as text that comes to the same when it is read: a dollar sign is one there. */
export const printed = (file: ComposeFile): string => stringify(escaped(file), { lineWidth: 0 });

function escaped(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('$', '$$$$');
  if (Array.isArray(value)) return value.map(escaped);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, escaped(member)]));
}
