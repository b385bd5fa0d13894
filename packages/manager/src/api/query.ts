import { ClusterError } from '@swarmctl/shared/kit';

// Query strings as Docker's clients send them: booleans in many spellings, filters as maps and as arrays, object look-up by id, name or prefix.

export type Query = Readonly<Record<string, string | string[] | undefined>>;

export const single = (query: Query, key: string): string | undefined => {
  const value = query[key];
  return Array.isArray(value) ? value[0] : value;
};

/** True unless the lower-cased value is one of "", 0, no, false, none. */
export const flag = (query: Query, key: string): boolean =>
  !['', '0', 'no', 'false', 'none'].includes((single(query, key) ?? '').trim().toLowerCase());

/** The `version` of an update; `kind` names the object in the message, which for secrets and configs says no more. */
export function versionOf(query: Query, kind: 'service' | 'node' | 'swarm' | 'secret' | 'config'): number {
  const text = single(query, 'version') ?? '';
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  const reason = /^\d+$/.test(text) ? 'value out of range' : 'invalid syntax';
  const detail = ` '${text}': strconv.ParseUint: parsing ${JSON.stringify(text)}: ${reason}`;
  const isTerse = kind === 'secret' || kind === 'config';
  throw new ClusterError('invalid-argument', `invalid ${kind} version${isTerse ? '' : detail}`);
}

export type Filters = ReadonlyMap<string, ReadonlySet<string>>;

/** Parses `filters`; a key that is not among `known` is a 400. */
export function filtersOf(query: Query, known: readonly string[]): Filters {
  const text = single(query, 'filters');
  const filters = new Map<string, Set<string>>();
  if (!text) return filters;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new ClusterError('invalid-argument', 'invalid filter');
  }
  if (parsed === null) return filters;
  if (typeof parsed !== 'object' || Array.isArray(parsed)) {
    throw new ClusterError('invalid-argument', 'invalid filter');
  }
  for (const [key, value] of Object.entries(parsed)) {
    if (!known.includes(key)) throw new ClusterError('invalid-argument', `invalid filter '${key}'`);
    filters.set(key, valuesOf(value));
  }
  return filters;
}

function valuesOf(value: unknown): Set<string> {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return new Set(value);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return new Set(Object.entries(value).flatMap(([name, on]) => (on ? [name] : [])));
  }
  throw new ClusterError('invalid-argument', 'invalid filter');
}

/** True when the filter is absent or one of its values satisfies `test`. */
export const passes = (filters: Filters, key: string, test: (value: string) => boolean): boolean => {
  const values = filters.get(key);
  return !values || values.size === 0 || [...values].some(test);
};

/** Every `key` or `key=value` of a label filter must hold. */
export const passesLabels = (filters: Filters, key: string, labels: Readonly<Record<string, string>>): boolean =>
  [...(filters.get(key) ?? [])].every((expression) => {
    const at = expression.indexOf('=');
    if (at < 0) return Object.hasOwn(labels, expression);
    const name = expression.slice(0, at);
    return Object.hasOwn(labels, name) && labels[name] === expression.slice(at + 1);
  });

/** Throws for a value that the filter does not know, which Docker answers with a 500. Case does not matter. */
export function checkValues(filters: Filters, key: string, isKnown: (value: string) => boolean): void {
  for (const value of filters.get(key) ?? []) {
    if (value !== '' && !isKnown(value.toLowerCase())) {
      throw new ClusterError('unknown', `Invalid ${key} filter: '${value}'`);
    }
  }
}

/** By full id, then exact name, then unique prefix of the id. Throws `not-found`, or `invalid-argument` when several match. */
export function lookUp<T extends { readonly ID: string }>(
  kind: string,
  reference: string,
  byId: (id: string) => T | undefined,
  all: readonly T[],
  nameOf: (item: T) => string | undefined,
): T {
  const exact = byId(reference);
  if (exact) return exact;
  const named = all.filter((item) => nameOf(item) === reference);
  const matches =
    named.length > 0 ? named : reference === '' ? [] : all.filter((item) => item.ID.startsWith(reference));
  const [only] = matches;
  if (only && matches.length === 1) return only;
  if (matches.length > 1) {
    throw new ClusterError('invalid-argument', `${kind} ${reference} is ambiguous (${matches.length} matches found)`);
  }
  throw new ClusterError('not-found', `${kind} ${reference} not found`);
}
