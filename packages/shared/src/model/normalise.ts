import { Kind, OptionalKind, type Static, type TSchema } from '@sinclair/typebox';
import { ClusterError, messageOf } from '../kit/errors.ts';
import { isTooDeep, syntaxErrorIn } from './json-syntax.ts';

// The one edge that foreign JSON passes: null counts as absent, unknown keys are dropped (or refused, when strict), numbers that JavaScript
// cannot hold are refused, and `__proto__` is just a key that nobody reads.

export interface NormaliseOptions {
  /** Refuse unknown keys: for our own files and tools. Docker clients send such, so the API drops them. */
  readonly strict?: boolean;
}

/** A fresh value that fits `schema`. Throws `invalid-argument` naming the place, what stands there and what would be right. */
export function normalise<T extends TSchema>(schema: T, value: unknown, options: NormaliseOptions = {}): Static<T> {
  const result = visit(schema, value, '', options);
  if (result === undefined) throw bad('', 'an object', value);
  return result as Static<T>;
}

/** Parses a request's body; an empty one is undefined. */
export function parseJson(body: Uint8Array | string | undefined): unknown {
  if (body === undefined) return undefined;
  const text =
    typeof body === 'string' ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8');
  if (text.trim() === '') return undefined;
  if (isTooDeep(text)) throw new ClusterError('invalid-argument', 'invalid JSON: exceeded max depth');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ClusterError('invalid-argument', `invalid JSON: ${syntaxErrorIn(text) ?? messageOf(error)}`);
  }
}

function visit(schema: TSchema, value: unknown, path: string, options: NormaliseOptions): unknown {
  if (value === null || value === undefined) return undefined;
  if (schema[Kind] === 'Unknown') return value;
  // The `type` is read rather than TypeBox's kind where both say the same, because enumerations are unsafe strings.
  switch (schema[Kind] === 'Record' ? 'record' : schema['type']) {
    case 'object':
      return visitObject(schema, value, path, options);
    case 'record':
      return visitRecord(schema, value, path, options);
    case 'array': {
      if (!Array.isArray(value)) throw bad(path, 'an array', value);
      return value.map((item, i) => {
        const result = visit(schema['items'], item, `${path}[${i}]`, options);
        if (result === undefined) throw bad(`${path}[${i}]`, expected(schema['items']), item);
        return result;
      });
    }
    case 'string':
      return visitString(schema, value, path);
    case 'integer':
    case 'number':
      return visitNumber(schema, value, path);
    case 'boolean':
      if (typeof value !== 'boolean') throw bad(path, 'true or false', value);
      return value;
    default:
      throw new Error(`no normaliser for the schema at ${path}`);
  }
}

function visitObject(schema: TSchema, value: unknown, path: string, options: NormaliseOptions): unknown {
  if (typeof value !== 'object' || Array.isArray(value)) throw bad(path, 'an object', value);
  const properties: Record<string, TSchema> = schema['properties'];
  const names = namesOf(properties);
  const result: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value as object)) {
    // Go's decoder matches keys without regard to case, and clients have come to lean on it.
    const name = Object.hasOwn(properties, key) ? key : names.get(key.toLowerCase());
    if (name === undefined || (name !== key && Object.hasOwn(value as object, name))) {
      if (options.strict && name === undefined) {
        throw new ClusterError(
          'invalid-argument',
          `unknown field ${join(path, key)}; known: ${Object.keys(properties).join(', ')}`,
        );
      }
      continue;
    }
    const property = properties[name];
    const normal = property && visit(property, member, join(path, name), options);
    if (normal !== undefined) result[name] = normal;
  }
  for (const [name, property] of Object.entries(properties)) {
    if (!(OptionalKind in property) && result[name] === undefined) {
      throw new ClusterError('invalid-argument', `${join(path, name)} is required`);
    }
  }
  return result;
}

function visitRecord(schema: TSchema, value: unknown, path: string, options: NormaliseOptions): unknown {
  if (typeof value !== 'object' || Array.isArray(value)) throw bad(path, 'an object of strings', value);
  const member = Object.values(schema['patternProperties'] as Record<string, TSchema>)[0];
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value as object)) {
    if (key === '__proto__') continue;
    // A map's null is Go's zero value: an empty string.
    const normal = item === null ? '' : member && visit(member, item, join(path, key), options);
    if (normal !== undefined) result[key] = normal;
  }
  return result;
}

function visitString(schema: TSchema, value: unknown, path: string): unknown {
  if (typeof value !== 'string') throw bad(path, expected(schema), value);
  const allowed: string[] | undefined = schema['enum'];
  const text = schema['x-any-case'] ? value.toLowerCase() : value;
  if (allowed && !allowed.includes(text)) throw unfit(schema, path, value);
  return text;
}

function visitNumber(schema: TSchema, value: unknown, path: string): unknown {
  if (typeof value !== 'number') throw bad(path, expected(schema), value);
  if (schema['type'] === 'integer') {
    if (!Number.isInteger(value)) throw bad(path, expected(schema), value);
    if (!Number.isSafeInteger(value)) {
      if (schema['x-wraps'] && value > 0 && value < 2 ** 64) return value % 2 ** 53;
      throw bad(path, `an integer below 2^${schema['x-wraps'] ? 64 : 53}`, value);
    }
  }
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number };
  if ((minimum !== undefined && value < minimum) || (maximum !== undefined && value > maximum))
    throw unfit(schema, path, value);
  return value;
}

const lowerCased = new WeakMap<object, Map<string, string>>();
function namesOf(properties: Record<string, TSchema>): Map<string, string> {
  let names = lowerCased.get(properties);
  if (!names) {
    names = new Map(Object.keys(properties).map((name) => [name.toLowerCase(), name]));
    lowerCased.set(properties, names);
  }
  return names;
}

function expected(schema: TSchema): string {
  const { type, minimum, maximum } = schema as { type?: string; minimum?: number; maximum?: number };
  const allowed: string[] | undefined = schema['enum'];
  if (allowed) return `one of ${allowed.filter((one) => one !== '').join(', ')}`;
  const range =
    minimum !== undefined && maximum !== undefined
      ? ` from ${minimum} to ${maximum}`
      : minimum !== undefined
        ? ` of at least ${minimum}`
        : '';
  if (type === 'integer') return `an integer${range}`;
  if (type === 'number') return `a number${range}`;
  if (type === 'array') return 'an array';
  if (type === 'boolean') return 'true or false';
  return type === 'object' ? 'an object' : 'a string';
}

const join = (path: string, key: string) => (path === '' ? key : `${path}.${key}`);

/** Of the right type, but not among the values that there are: in Docker's words, where the schema has them. */
function unfit(schema: TSchema, path: string, value: string | number): ClusterError {
  const words: string | undefined = schema['x-refused'];
  if (words === undefined) return bad(path, expected(schema), value);
  const said = words.replace('%s', () => shown(value));
  return new ClusterError('invalid-argument', `${said}: ${path} must be ${expected(schema)}`, { path });
}

const shown = (value: string | number): string => {
  const text = String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

function bad(path: string, right: string, value: unknown): ClusterError {
  const text = JSON.stringify(value) ?? 'nothing';
  const shown = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return new ClusterError(
    'invalid-argument',
    `invalid JSON: ${path === '' ? 'the body' : path} must be ${right}, not ${shown}`,
    { path },
  );
}
