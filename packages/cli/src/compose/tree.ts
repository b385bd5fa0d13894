// A compose file as a tree whose every node knows where it was written, also after files were merged: what errors point at.

export interface Place {
  /** As the user named it. */
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** What a node says of those that it is merged over: `!reset` removes them, `!override` takes their place. */
export type Tag = 'reset' | 'override';

interface Base {
  readonly at: Place;
  readonly tag?: Tag | undefined;
}

export type Scalar = string | number | boolean | null;

export interface Leaf extends Base {
  readonly kind: 'leaf';
  readonly value: Scalar;
  /** As written, without quotes: `0440`, where the value is a number. */
  readonly text: string;
}

export interface List extends Base {
  readonly kind: 'list';
  readonly items: readonly Tree[];
}

export interface Entry {
  readonly key: Place;
  readonly value: Tree;
}

export interface Fields extends Base {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, Entry>;
}

export type Tree = Leaf | List | Fields;

export const leaf = (at: Place, value: Scalar, tag?: Tag): Leaf => ({
  kind: 'leaf',
  at,
  value,
  text: value === null ? '' : String(value),
  tag,
});

export const list = (at: Place, items: readonly Tree[], tag?: Tag): List => ({ kind: 'list', at, items, tag });

export const fields = (at: Place, entries: ReadonlyMap<string, Entry>, tag?: Tag): Fields => ({
  kind: 'map',
  at,
  entries,
  tag,
});

/** From members that were all written at one place, as in `8080:80`; undefined ones are left out. */
export const fieldsAt = (at: Place, members: Readonly<Record<string, Tree | Scalar | undefined>>, tag?: Tag): Fields =>
  fields(
    at,
    new Map(
      Object.entries(members).flatMap(([key, member]) => {
        if (member === undefined) return [];
        return [[key, { key: at, value: typeof member === 'object' && member !== null ? member : leaf(at, member) }]];
      }),
    ),
    tag,
  );

export const isNull = (tree: Tree | undefined): boolean => tree?.kind === 'leaf' && tree.value === null;

export type Plain = Scalar | readonly Plain[] | { readonly [key: string]: Plain };

export function toPlain(tree: Tree): Plain {
  switch (tree.kind) {
    case 'leaf':
      return tree.value;
    case 'list':
      return tree.items.map(toPlain);
    case 'map':
      return Object.fromEntries([...tree.entries].map(([key, { value }]) => [key, toPlain(value)]));
    default:
      return tree satisfies never;
  }
}

export type Path = readonly (string | number)[];

/** `services.web.ports[0]`. */
export const showPath = (path: Path): string =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('');

/** Where `path` was written, or as much of it as there is. */
export function placeOf(tree: Tree, path: Path): Place {
  let [at, node]: [Place, Tree] = [tree.at, tree];
  for (const part of path) {
    const next: Entry | undefined =
      node.kind === 'map'
        ? node.entries.get(String(part))
        : node.kind === 'list'
          ? entryOf(node.items[Number(part)])
          : undefined;
    if (!next) break;
    // A key says more than where a map begins.
    [at, node] = [next.value.kind === 'leaf' && !isNull(next.value) ? next.value.at : next.key, next.value];
  }
  return at;
}

const entryOf = (value: Tree | undefined): Entry | undefined => value && { key: value.at, value };
