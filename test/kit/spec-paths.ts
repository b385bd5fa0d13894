import type { Schema } from '@swarmctl/shared/model';

// Paths through specs, to tell which fields a test does not speak of.

/** Each member of the schema that holds no others, by its path. */
export function leavesOf(schema: Schema): string[] {
  if (schema['type'] === 'array') return leavesOf(schema['items']);
  if (schema['type'] !== 'object' || !schema['properties']) return [''];
  const members = Object.entries(schema['properties'] as Record<string, Schema>);
  return members.length === 0 ? [''] : members.flatMap(([key, one]) => leavesOf(one).map((rest) => join(key, rest)));
}

const join = (key: string, rest: string) => (rest === '' ? key : `${key}.${rest}`);

/** Every path that leads to something in the value. */
export function pathsOf(value: unknown): string[] {
  if (Array.isArray(value)) return ['', ...value.flatMap(pathsOf)];
  if (typeof value !== 'object' || value === null) return [''];
  return ['', ...Object.entries(value).flatMap(([key, one]) => pathsOf(one).map((rest) => join(key, rest)))];
}
