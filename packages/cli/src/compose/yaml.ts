import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import type { Problems } from './problems.ts';
import { type Entry, fields, isNull, leaf, list, type Path, type Place, type Tag, type Tree } from './tree.ts';

// From YAML to trees: anchors and merge keys are resolved, and a document more is a file more to merge.

/** Anchors that name each other may grow beyond all bounds. */
const mostNodes = 100_000;
const mostLevels = 100;

/** The documents that are not empty. What is no YAML is reported, and gives none. */
export function parseYaml(text: string, file: string, problems: Problems): Tree[] {
  const lines = new LineCounter();
  const documents = [...parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })] as Document[];
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const errors = documents.flatMap((document) => document.errors);
  for (const error of errors) problems.error(place(error.pos[0]), [], error.message);
  if (errors.length > 0) return [];
  return documents.flatMap((document) => {
    const converter = new Converter(document, place, problems);
    const tree = converter.tree(document.contents as Node | null, [], 0);
    return converter.isBeyondBounds || isNull(tree) ? [] : [tree];
  });
}

class Converter {
  readonly #document: Document;
  readonly #place: (offset: number) => Place;
  readonly #problems: Problems;
  #left = mostNodes;
  /** Its tree is not whole. */
  isBeyondBounds = false;

  constructor(document: Document, place: (offset: number) => Place, problems: Problems) {
    this.#document = document;
    this.#place = place;
    this.#problems = problems;
  }

  tree(node: Node | null, path: Path, level: number): Tree {
    const at = this.#place(node?.range?.[0] ?? 0);
    if (this.isBeyondBounds) return leaf(at, null);
    if (this.#left-- <= 0 || level > mostLevels) {
      this.isBeyondBounds = true;
      this.#problems.error(at, path.slice(0, 2), 'the aliases of this file name too much, or each other');
      return leaf(at, null);
    }
    if (isAlias(node)) return this.tree(node.resolve(this.#document) ?? null, path, level + 1);
    const tag = this.#tag(node, at, path);
    if (isMap(node)) return fields(at, this.#entries(node.items as Pairs, path, level), tag);
    if (isSeq(node)) {
      const items = node.items.map((item, i) => this.tree(item as Node, [...path, i], level + 1));
      return list(at, items, tag);
    }
    if (!isScalar(node)) return leaf(at, null, tag);
    const { value, source = '' } = node;
    const known = ['string', 'number', 'boolean'].includes(typeof value) || value === null;
    return { ...leaf(at, known ? (value as string) : source, tag), text: value === null ? '' : source };
  }

  #tag(node: Node | null, at: Place, path: Path): Tag | undefined {
    const tag = (node as { tag?: string } | null)?.tag;
    if (tag === '!reset' || tag === '!override') return tag.slice(1) as Tag;
    if (tag?.startsWith('!')) this.#problems.error(at, path, `unknown tag ${tag}; known: !reset, !override`);
    return undefined;
  }

  #entries(pairs: Pairs, path: Path, level: number): Map<string, Entry> {
    const own = new Map<string, Entry>();
    const merged = new Map<string, Entry>();
    for (const { key, value } of pairs) {
      const at = this.#place(key?.range?.[0] ?? 0);
      if (!isScalar(key)) {
        this.#problems.error(at, path, 'a key must be a single word');
        continue;
      }
      const name = key.source ?? String(key.value);
      const tree = this.tree(value, [...path, name], level + 1);
      if (name !== '<<') own.set(name, { key: at, value: tree });
      // Of several, the first that has a key counts.
      else for (const [one, entry] of this.#mergedIn(tree, path)) if (!merged.has(one)) merged.set(one, entry);
    }
    return new Map([...merged, ...own]);
  }

  #mergedIn(tree: Tree, path: Path): [string, Entry][] {
    if (tree.kind === 'map') return [...tree.entries];
    if (tree.kind === 'list') return tree.items.flatMap((item) => this.#mergedIn(item, path));
    this.#problems.error(tree.at, [...path, '<<'], 'expected a map to merge in, or a list of maps');
    return [];
  }
}

type Pairs = readonly { readonly key: Node | null; readonly value: Node | null }[];
