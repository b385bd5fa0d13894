import { sprintf } from './sprintf.ts';
import { byteText, isList, isMap, isTrue, Struct, show, typeOf, type Value } from './values.ts';

// The functions that every template of Go's has, and `join`, which Swarm's have as well.

export interface GoFunction {
  /** Throws Error: what is wrong with the arguments. */
  readonly run: (...values: readonly Value[]) => Value;
  readonly least: number;
  /** Absent: any number. */
  readonly most?: number;
  /** How many of its first arguments must be texts (none). */
  readonly texts?: number;
}

const of = (least: number, most: number | undefined, run: GoFunction['run'], texts = 0): GoFunction => ({
  ...{ run, least, texts },
  ...(most !== undefined && { most }),
});

/** A function of one text. */
export const ofText = (run: (text: string) => string): GoFunction => of(1, 1, (text) => run(text as string), 1);

const lengthOf = (value: Value): number => {
  if (typeof value === 'string' || isList(value)) return value.length;
  if (isMap(value)) return value.size;
  throw new Error(`len of type ${typeOf(value)}`);
};

function indexed(value: Value, key: Value): Value {
  if (isMap(value)) {
    if (typeof key !== 'string') throw new Error(`value has type ${typeOf(key)}; should be string`);
    // Go gives what is not there its type's empty value.
    return value.get(key) ?? '';
  }
  if (typeof value !== 'string' && !isList(value)) throw new Error(`can't index item of type ${typeOf(value)}`);
  if (typeof key !== 'number') throw new Error(`cannot index slice/array with type ${typeOf(key)}`);
  if (key < 0 || key >= value.length) throw new Error(`index out of range: ${key}`);
  return typeof value === 'string' ? value.charCodeAt(key) : (value[key] ?? null);
}

function sliced(value: Value, ...ends: readonly Value[]): Value {
  if (typeof value !== 'string' && !isList(value)) throw new Error(`can't slice item of type ${typeOf(value)}`);
  const [from = 0, to = value.length] = ends;
  for (const end of [from, to]) {
    if (typeof end !== 'number') throw new Error(`cannot index slice/array with type ${typeOf(end)}`);
    if (end < 0 || end > value.length) throw new Error(`index out of range: ${end}`);
  }
  const [first, last] = [from as number, to as number];
  if (first > last) throw new Error(`invalid slice index: ${first} > ${last}`);
  return value.slice(first, last);
}

const basic = (value: Value): string => {
  if (['string', 'number', 'boolean'].includes(typeof value)) return typeOf(value);
  throw new Error('invalid type for comparison');
};

function isEqual(a: Value, b: Value): boolean {
  if (a === null || b === null) return a === b;
  if (basic(a) !== basic(b)) throw new Error('incompatible types for comparison');
  return a === b;
}

function isLess(a: Value, b: Value): boolean {
  if (basic(a) !== basic(b)) throw new Error('incompatible types for comparison');
  if (typeof a === 'boolean') throw new Error('invalid type for comparison');
  return (a as string) < (b as string);
}

/** As Go's `Sprint`: a gap between two of which neither is a text. */
const printed = (values: readonly Value[]): string =>
  values
    .map((value, i) => {
      const before = values[i - 1];
      const gap = i > 0 && typeof value !== 'string' && typeof before !== 'string' ? ' ' : '';
      return gap + show(value, '<nil>');
    })
    .join('');

/** What escapes take: one text as it is, else as it is printed. */
const escaped = (convert: (text: string) => string): GoFunction =>
  of(1, undefined, (...values) =>
    convert(typeof values[0] === 'string' && values.length === 1 ? values[0] : printed(values)),
  );

const inHtml: Readonly<Record<string, string>> = {
  ...{ "'": '&#39;', '"': '&#34;', '&': '&amp;', '<': '&lt;', '>': '&gt;', '\0': byteText('\uFFFD') },
};
const inScript: Readonly<Record<string, string>> = {
  ...{ '\\': '\\\\', "'": "\\'", '"': '\\"', '<': '\\u003C', '>': '\\u003E', '&': '\\u0026', '=': '\\u003D' },
};
const control = (letter: string) => `\\u${letter.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;

export const builtins: Readonly<Record<string, GoFunction>> = {
  and: of(1, undefined, (...values) => values.find((one) => !isTrue(one)) ?? values.at(-1) ?? null),
  or: of(1, undefined, (...values) => values.find(isTrue) ?? values.at(-1) ?? null),
  not: of(1, 1, (value) => !isTrue(value ?? null)),
  len: of(1, 1, (value) => lengthOf(value ?? null)),
  index: of(1, undefined, (value, ...keys) => keys.reduce<Value>(indexed, value ?? null)),
  slice: of(1, 4, (value, ...ends) => sliced(value ?? null, ...ends)),
  print: of(0, undefined, (...values) => printed(values)),
  println: of(0, undefined, (...values) => `${values.map((one) => show(one, '<nil>')).join(' ')}\n`),
  printf: of(1, undefined, (format, ...values) => sprintf(format as string, values), 1),
  html: escaped((text) => text.replace(/['"&<>\0]/g, (letter) => inHtml[letter] ?? letter)),
  js: escaped((text) => text.replace(/[\\'"<>&=]|[^ -\xff]/g, (letter) => inScript[letter] ?? control(letter))),
  urlquery: escaped((text) =>
    text.replace(/[^\w.~-]/g, (letter) =>
      letter === ' ' ? '+' : `%${letter.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    ),
  ),
  eq: of(2, undefined, (first, ...others) => others.some((other) => isEqual(first ?? null, other))),
  ne: of(2, 2, (a, b) => !isEqual(a ?? null, b ?? null)),
  lt: of(2, 2, (a, b) => isLess(a ?? null, b ?? null)),
  le: of(2, 2, (a, b) => isLess(a ?? null, b ?? null) || isEqual(a ?? null, b ?? null)),
  gt: of(2, 2, (a, b) => isLess(b ?? null, a ?? null)),
  ge: of(2, 2, (a, b) => isLess(b ?? null, a ?? null) || isEqual(a ?? null, b ?? null)),
  call: of(1, undefined, (value) => {
    throw new Error(
      value instanceof Struct ? 'non-function of struct type' : `non-function of type ${typeOf(value ?? null)}`,
    );
  }),
  join: of(1, undefined, (separator, ...texts) => texts.join(separator as string), Number.POSITIVE_INFINITY),
};
