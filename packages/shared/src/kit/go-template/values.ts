// What templates work with: texts, numbers, truth values, nothing, lists, maps, and structures of named fields. As in Go a text is bytes: each is one
// character here, so that what is no UTF-8 stays as it is, and lengths and places are Go's.

export const byteText = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
export const plainText = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8');

/** As a Go structure: a field that it has not is an error. */
export class Struct {
  /** As Go calls the type. */
  readonly type: string;
  readonly fields: ReadonlyMap<string, Value>;

  constructor(type: string, fields: Readonly<Record<string, Value>>) {
    this.type = type;
    this.fields = new Map(Object.entries(fields));
  }
}

export type Value = string | number | boolean | null | Struct | ReadonlyMap<string, Value> | readonly Value[];

export const isList = (value: Value): value is readonly Value[] => Array.isArray(value);
export const isMap = (value: Value): value is ReadonlyMap<string, Value> => value instanceof Map;

export const sortedEntries = (map: ReadonlyMap<string, Value>): [string, Value][] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

export function isTrue(value: Value): boolean {
  if (value === null) return false;
  if (isList(value)) return value.length > 0;
  if (isMap(value)) return value.size > 0;
  return value instanceof Struct || Boolean(value);
}

/** As Go calls it. */
export function typeOf(value: Value): string {
  if (value === null) return 'nil';
  if (typeof value === 'string') return 'string';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'float64';
  if (isList(value)) return '[]string';
  return isMap(value) ? 'map[string]string' : value.type;
}

/** As Go prints it. */
export function show(value: Value, missing = '<no value>'): string {
  if (value === null) return missing;
  if (isList(value)) return `[${value.map((one) => show(one)).join(' ')}]`;
  if (isMap(value))
    return `map[${sortedEntries(value)
      .map(([key, one]) => `${key}:${show(one)}`)
      .join(' ')}]`;
  if (value instanceof Struct) return `{${[...value.fields.values()].map((one) => show(one)).join(' ')}}`;
  return String(value);
}
