import { suggestion } from '../units.ts';
import type { Problems } from './problems.ts';
import {
  type Entry,
  type Fields,
  fields,
  isNull,
  type Leaf,
  leaf,
  list,
  type Path,
  type Tree,
  toPlain,
} from './tree.ts';

// What a part of a compose file may look like. One description serves three ends: it checks a tree and brings it to its canonical form, it merges
// two that have that form, and it is the type of what comes out.

export interface Spot {
  readonly problems: Problems;
  readonly path: Path;
  /** Where relative paths start. */
  readonly folder: string;
  /** For `~`. */
  readonly home: string;
}

export interface Shape<T> {
  /** The canonical form; undefined when there is none to be had, which was reported. */
  read(tree: Tree, spot: Spot): Tree | undefined;
  /** Of two in canonical form; what `over` says counts. */
  merge(base: Tree, over: Tree): Tree;
  /** What `toPlain` makes of it: for types alone. */
  readonly of?: T;
}

export type Of<S> = S extends Shape<infer T> ? T : never;

export const inside = (spot: Spot, ...parts: Path): Spot => ({ ...spot, path: [...spot.path, ...parts] });

/** Reports that something else should stand there. */
export function expected(tree: Tree, spot: Spot, right: string): undefined {
  const shown =
    tree.kind === 'leaf'
      ? tree.value === null
        ? 'nothing'
        : `'${tree.text}'`
      : tree.kind === 'list'
        ? 'a list'
        : 'a map';
  spot.problems.error(tree.at, spot.path, `expected ${right}, not ${shown}`);
  return undefined;
}

const replaced = (_base: Tree, over: Tree): Tree => over;

/** One value. `convert` gives the canonical one, or undefined when it is none of these. */
export const single = <T extends string | number | boolean>(
  right: string,
  convert: (value: Leaf) => T | undefined,
): Shape<T> => ({
  read: (tree, spot) => {
    const value = tree.kind === 'leaf' && tree.value !== null ? convert(tree) : undefined;
    return value === undefined
      ? expected(tree, spot, right)
      : { ...leaf(tree.at, value, tree.tag), text: String(value) };
  },
  merge: replaced,
});

/** Text; a number counts as it was written. */
export const text: Shape<string> = single('a string', ({ value, text }) =>
  typeof value === 'boolean' ? undefined : text,
);

/** Text, numbers and booleans, all as they were written. */
export const anyText: Shape<string> = single('a single value', (one) => one.text);

export const word = <const T extends string>(...allowed: readonly T[]): Shape<T> =>
  single(`one of ${allowed.join(', ')}`, ({ text }) => allowed.find((one) => one === text));

const yes = ['true', 'yes', 'on', 'y'];
const no = ['false', 'no', 'off', 'n'];
export const yesOrNo: Shape<boolean> = single('true or false', ({ text }) =>
  yes.includes(text.toLowerCase()) ? true : no.includes(text.toLowerCase()) ? false : undefined,
);

export const whole = (least = 0, most = Number.MAX_SAFE_INTEGER): Shape<number> =>
  single(
    most === Number.MAX_SAFE_INTEGER
      ? `a whole number of at least ${least}`
      : `a whole number from ${least} to ${most}`,
    ({ text }) => {
      const value = /^[-+]?\d+$/.test(text) ? Number(text) : Number.NaN;
      return value >= least && value <= most ? value : undefined;
    },
  );

/** A text that `parse` understands; it stays as it was written. */
export const parsed = (right: string, parse: (text: string) => unknown): Shape<string> =>
  single(right, ({ text }) => (parse(text) === undefined ? undefined : text));

/** Any tree, for what is kept but has no meaning here. */
export const anything: Shape<unknown> = { read: (tree) => tree, merge: replaced };

/** A value that a short form stands for: `short` makes the long form from what is not that. */
export const shortened = <T>(shape: Shape<T>, short: (tree: Tree, spot: Spot) => Tree | undefined): Shape<T> => ({
  ...shape,
  read: (tree, spot) => {
    if (tree.kind === 'map') return shape.read(tree, spot);
    const long = short(tree, spot);
    return long && shape.read(long, spot);
  },
});

export interface ListOptions {
  /** An item of a later file takes the place of one with the same key. */
  readonly keyOf?: (item: never) => string;
  /** A later file's list takes the place of this one, whole. */
  readonly isOne?: boolean;
  /** A value alone is a list of it. */
  readonly orSingle?: boolean;
}

export function listOf<T>(item: Shape<T>, options: ListOptions = {}): Shape<readonly T[]> {
  const keyOf = (tree: Tree) => (options.keyOf ? options.keyOf(toPlain(tree) as never) : JSON.stringify(toPlain(tree)));
  return {
    read: (tree, spot) => {
      if (tree.kind === 'leaf' && options.orSingle && !isNull(tree)) {
        const only = item.read(tree, spot);
        return list(tree.at, only ? [only] : [], tree.tag);
      }
      if (tree.kind !== 'list') return expected(tree, spot, options.orSingle ? 'a string or a list' : 'a list');
      const items = tree.items.flatMap((one, i) => item.read(one, inside(spot, i)) ?? []);
      return list(tree.at, items, tree.tag);
    },
    merge: (base, over) => {
      if (options.isOne || base.kind !== 'list' || over.kind !== 'list') return over;
      const later = new Map(over.items.map((one) => [keyOf(one), one]));
      const items = base.items.map((one) => later.get(keyOf(one)) ?? one);
      const known = new Set(base.items.map(keyOf));
      return list(base.at, [...items, ...over.items.filter((one) => !known.has(keyOf(one)))]);
    },
  };
}

export interface MapOptions {
  /** What stands for nothing after a key; else that is refused. */
  readonly empty?: (tree: Tree) => Tree;
  /** What is wrong with a key. */
  readonly checkKey?: (key: string) => string | undefined;
}

/** Keys of the user's choice. */
export function mapOf<T>(member: Shape<T>, options: MapOptions = {}): Shape<Readonly<Record<string, T>>> {
  return {
    read: (tree, spot) => {
      if (tree.kind !== 'map') return expected(tree, spot, 'a map');
      const entries = new Map<string, Entry>();
      for (const [key, entry] of tree.entries) {
        const wrong = options.checkKey?.(key);
        if (wrong) spot.problems.error(entry.key, [...spot.path, key], wrong);
        const value = readMember(member, entry.value, inside(spot, key), options.empty);
        if (value) entries.set(key, { ...entry, value });
      }
      return fields(tree.at, entries, tree.tag);
    },
    merge: (base, over) => mergeEntries(base, over, () => member),
  };
}

function readMember(shape: Shape<unknown>, tree: Tree, spot: Spot, empty?: (tree: Tree) => Tree): Tree | undefined {
  // What stands there does not matter.
  if (tree.tag === 'reset') return tree;
  if (isNull(tree) && empty) return empty(tree);
  return shape.read(tree, spot);
}

type Known = Readonly<Record<string, Shape<unknown>>>;
type Members<K extends Known> = { readonly [P in keyof K]?: Of<K[P]> };

/** Keys that are known; `x-` ones are kept and mean nothing. A key without a value counts as absent. */
export function fieldsOf<K extends Known>(known: K): Shape<Members<K>> {
  const shapeOf = (key: string): Shape<unknown> | undefined =>
    Object.hasOwn(known, key) ? known[key] : key.startsWith('x-') ? anything : undefined;
  return {
    read: (tree, spot) => {
      if (tree.kind !== 'map') return expected(tree, spot, 'a map');
      const entries = new Map<string, Entry>();
      for (const [key, entry] of tree.entries) {
        const shape = shapeOf(key);
        if (!shape) {
          const near = suggestion(key, Object.keys(known));
          const help = near ? `did you mean ${near}?` : `known: ${Object.keys(known).join(', ')}`;
          spot.problems.error(entry.key, [...spot.path, key], `unknown key; ${help}`);
        } else if (!isNull(entry.value) || entry.value.tag) {
          const value = readMember(shape, entry.value, inside(spot, key));
          if (value) entries.set(key, { ...entry, value });
        }
      }
      return fields(tree.at, entries, tree.tag);
    },
    merge: (base, over) => mergeEntries(base, over, shapeOf),
  };
}

function mergeEntries(base: Tree, over: Tree, shapeOf: (key: string) => Shape<unknown> | undefined): Tree {
  if (base.kind !== 'map' || over.kind !== 'map') return over;
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    const before = entries.get(key);
    if (entry.value.tag === 'reset') entries.delete(key);
    else if (!before || entry.value.tag === 'override' || before.value.tag === 'reset') entries.set(key, entry);
    else if (!isNull(entry.value)) {
      const value = shapeOf(key)?.merge(before.value, entry.value) ?? entry.value;
      entries.set(key, { key: entry.key, value });
    }
  }
  return fields(base.at, entries);
}

/** Without what is reset. */
export function settled(tree: Tree): Tree {
  if (tree.kind === 'list') return list(tree.at, tree.items.map(settled));
  if (tree.kind === 'leaf') return { ...tree, tag: undefined };
  return fields(
    tree.at,
    new Map(
      [...tree.entries]
        .filter(([, { value }]) => value.tag !== 'reset')
        .map(([key, entry]) => [key, { ...entry, value: settled(entry.value) }]),
    ),
  ) satisfies Fields;
}

/** A key that cannot be honoured: refused with the reason, unless what it says is what is the case anyway. */
export const refused = (reason: string, harmless: readonly unknown[] = [false]): Shape<never> => ({
  read: (tree, spot) => {
    if (tree.kind === 'leaf' && harmless.some((one) => String(one) === tree.text)) return undefined;
    spot.problems.error(tree.at, spot.path, reason);
    return undefined;
  },
  merge: replaced,
});

/** A key for other tools, which changes nothing here. */
export const passedOver = (why: string): Shape<never> => ({
  read: (tree, spot) => {
    spot.problems.warn(tree.at, spot.path, why);
    return undefined;
  },
  merge: replaced,
});
