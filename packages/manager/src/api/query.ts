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

const yesOrNo = new Set(['', ...'1 t true yes 0 f false no none'.split(' ')]);

/** The same where Docker refuses what is neither yes nor no. Throws `invalid-argument`. */
export function strictFlag(query: Query, key: string): boolean {
  const text = single(query, key) ?? '';
  const word = text.trim().toLowerCase();
  if (yesOrNo.has(word)) return word !== 'f' && flag(query, key);
  const reason = `strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`;
  throw new ClusterError('invalid-argument', `invalid value for ${key}: ${text}: ${reason}; it must be true or false`);
}

/** The `version` of an update; `kind` names the object in the message, which for secrets and configs says no more. */
export function versionOf(query: Query, kind: 'service' | 'node' | 'swarm' | 'secret' | 'config'): number {
  const text = single(query, 'version') ?? '';
  // No object has a version that is not exact as a number: the update is out of sequence.
  if (/^\d+$/.test(text) && BigInt(text) < 2n ** 64n) return Math.min(Number(text), Number.MAX_SAFE_INTEGER);
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
  const parsed = parsedFilters(text);
  if (parsed === null) return filters;
  if (!isMap(parsed)) throw noFilter();
  for (const [key, value] of Object.entries(parsed)) filters.set(key, new Set(valuesOf(value ?? {})));
  for (const key of filters.keys()) {
    if (!known.includes(key)) throw new ClusterError('invalid-argument', `invalid filter '${key}'`);
  }
  return filters;
}

const noFilter = () => new ClusterError('invalid-argument', 'invalid filter');

function parsedFilters(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw noFilter();
  }
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Of `["web"]`, or of `{"web":true}`, where a name counts whatever is said of it. */
function valuesOf(value: unknown): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  if (isMap(value) && Object.values(value).every((on) => on === null || typeof on === 'boolean')) {
    return Object.keys(value);
  }
  throw noFilter();
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
