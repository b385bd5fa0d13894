import type { Problems } from './problems.ts';
import { fields, leaf, list, type Path, type Tree } from './tree.ts';

// Variables in values: $VAR, ${VAR}, ${VAR:-default}, ${VAR-default}, ${VAR:?error}, ${VAR?error}, ${VAR:+other}, ${VAR+other}, $$ for a dollar sign.
// With a colon, an empty variable counts as one that is not set. What stands behind the operator may have variables itself.

export type Lookup = (name: string) => string | undefined;

/** `missing`: called with each variable that has neither a value nor a default. Throws Error saying what is wrong. */
export function substitute(text: string, lookup: Lookup, missing: (name: string) => void): string {
  let result = '';
  for (let at = 0; at < text.length; ) {
    const letter = text[at] ?? '';
    if (letter !== '$') {
      result += letter;
      at++;
      continue;
    }
    if (text[at + 1] === '$') {
      result += '$';
      at += 2;
      continue;
    }
    const bare = nameAt(text, at + 1);
    if (bare) {
      result += value(bare, lookup, missing);
      at += 1 + bare.length;
      continue;
    }
    if (text[at + 1] !== '{') throw new Error("a lone '$': write $$ for a dollar sign, or $NAME for a variable");
    const end = closing(text, at + 2);
    result += braced(text.slice(at + 2, end), lookup, missing);
    at = end + 1;
  }
  return result;
}

const nameAt = (text: string, at: number): string => /^[A-Za-z_][A-Za-z0-9_]*/.exec(text.slice(at))?.[0] ?? '';

function value(name: string, lookup: Lookup, missing: (name: string) => void): string {
  const found = lookup(name);
  if (found === undefined) missing(name);
  return found ?? '';
}

function closing(text: string, from: number): number {
  let depth = 1;
  for (let at = from; at < text.length; at++) {
    if (text.startsWith('${', at)) depth++;
    else if (text[at] === '}' && --depth === 0) return at;
  }
  throw new Error("'$' and '{' without the '}'");
}

function braced(inner: string, lookup: Lookup, missing: (name: string) => void): string {
  const name = nameAt(inner, 0);
  const [, operator = '', rest = ''] = /^(:?[-?+]|)(.*)$/s.exec(inner.slice(name.length)) ?? [];
  if (name === '' || (operator === '' && rest !== '')) {
    throw new Error(`'\${${inner}}' is no variable; expected one such as \${NAME} or \${NAME:-default}`);
  }
  const found = lookup(name);
  const has = found !== undefined && !(operator.startsWith(':') && found === '');
  switch (operator.at(-1)) {
    case '-':
      return has ? found : substitute(rest, lookup, missing);
    case '+':
      return has ? substitute(rest, lookup, missing) : '';
    case '?': {
      if (has) return found;
      const why = substitute(rest, lookup, missing);
      throw new Error(`the variable ${name} must be set${why === '' ? '' : `: ${why}`}`);
    }
    default:
      return value(name, lookup, missing);
  }
}

/** Every value with its variables filled in; keys stay as they are. */
export function interpolate(tree: Tree, lookup: Lookup, problems: Problems, path: Path = []): Tree {
  switch (tree.kind) {
    case 'map':
      return fields(
        tree.at,
        new Map(
          [...tree.entries].map(([key, entry]) => [
            key,
            { ...entry, value: interpolate(entry.value, lookup, problems, [...path, key]) },
          ]),
        ),
        tree.tag,
      );
    case 'list':
      return list(
        tree.at,
        tree.items.map((item, i) => interpolate(item, lookup, problems, [...path, i])),
        tree.tag,
      );
    case 'leaf': {
      if (typeof tree.value !== 'string' || !tree.value.includes('$')) return tree;
      try {
        const missing = (name: string) =>
          problems.warn(tree.at, path, `the variable ${name} is not set, and counts as empty`);
        return leaf(tree.at, substitute(tree.value, lookup, missing), tree.tag);
      } catch (error) {
        problems.error(tree.at, path, (error as Error).message);
        return tree;
      }
    }
    default:
      return tree satisfies never;
  }
}
