import { ClusterError } from '@swarmctl/shared/kit';

// `--format`: the part of Go's templates that Docker users write: fields, json, index, len, join, upper, lower, title, println, eq, ne, range, if, else, end.

export type Row = Readonly<Record<string, unknown>>;

type Node =
  | { kind: 'text'; text: string }
  | { kind: 'value'; words: readonly Word[] }
  | { kind: 'range' | 'if'; words: readonly Word[]; body: Node[]; otherwise: Node[] };
type Word =
  | { kind: 'path'; path: readonly string[]; root: boolean }
  | { kind: 'literal'; value: unknown }
  | { kind: 'name'; name: string };

/** Compiles a template; throws `invalid-argument` saying what is wrong in it. */
export function compile(template: string): (data: unknown) => string {
  const source = template.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
  const nodes = parse(source);
  return (data) => render(nodes, data, data);
}

const fail = (message: string) => new ClusterError('invalid-argument', `template parsing error: ${message}`);

function parse(source: string): Node[] {
  const root: Node[] = [];
  const stack: { node: Extract<Node, { body: Node[] }>; target: Node[] }[] = [];
  const target = () => stack.at(-1)?.target ?? root;
  let at = 0;
  for (const match of source.matchAll(/\{\{-?\s*(.*?)\s*-?\}\}/gs)) {
    if (match.index > at) target().push({ kind: 'text', text: source.slice(at, match.index) });
    at = match.index + match[0].length;
    const words = wordsOf(match[1] ?? '');
    const [first, ...rest] = words;
    const keyword = first?.kind === 'name' ? first.name : '';
    const open = stack.at(-1);
    if (keyword === 'end') {
      if (!stack.pop()) throw fail('unexpected {{end}}');
    } else if (keyword === 'else') {
      if (!open) throw fail('unexpected {{else}}');
      open.target = open.node.otherwise;
    } else if (keyword === 'range' || keyword === 'if') {
      const node = { kind: keyword, words: rest, body: [], otherwise: [] } as Extract<Node, { body: Node[] }>;
      target().push(node);
      stack.push({ node, target: node.body });
    } else {
      if (!first) throw fail('missing value for command');
      target().push({ kind: 'value', words });
    }
  }
  if (stack.length > 0) throw fail('unexpected EOF: an {{end}} is missing');
  const tail = source.slice(at);
  if (tail.includes('{{')) throw fail('unclosed action');
  if (tail !== '') root.push({ kind: 'text', text: tail });
  return root;
}

function wordsOf(text: string): Word[] {
  const words: Word[] = [];
  for (const [word] of text.matchAll(/"(?:[^"\\]|\\.)*"|`[^`]*`|[^\s]+/g)) {
    if (word.startsWith('"')) words.push({ kind: 'literal', value: JSON.parse(word) });
    else if (word.startsWith('`')) words.push({ kind: 'literal', value: word.slice(1, -1) });
    else if (/^-?\d+(\.\d+)?$/.test(word)) words.push({ kind: 'literal', value: Number(word) });
    else if (/^\$?\.([\w-]+(\.[\w-]+)*)?$/.test(word) || word === '$') {
      words.push({
        kind: 'path',
        root: word.startsWith('$'),
        path: word
          .replace(/^\$?\.?/, '')
          .split('.')
          .filter(Boolean),
      });
    } else if (/^\w+$/.test(word) || word === '|') words.push({ kind: 'name', name: word });
    else throw fail(`unexpected ${JSON.stringify(word)}`);
  }
  return words;
}

function render(nodes: readonly Node[], data: unknown, root: unknown): string {
  return nodes
    .map((node) => {
      switch (node.kind) {
        case 'text':
          return node.text;
        case 'value':
          return show(evaluate(node.words, data, root));
        case 'if':
          return render(truthy(evaluate(node.words, data, root)) ? node.body : node.otherwise, data, root);
        case 'range': {
          const value = evaluate(node.words, data, root);
          const items = Array.isArray(value)
            ? value
            : typeof value === 'object' && value !== null
              ? Object.values(value)
              : [];
          return items.length > 0
            ? items.map((item) => render(node.body, item, root)).join('')
            : render(node.otherwise, data, root);
        }
        default:
          return node satisfies never;
      }
    })
    .join('');
}

function evaluate(words: readonly Word[], data: unknown, root: unknown): unknown {
  const pipes: Word[][] = [[]];
  for (const word of words) {
    if (word.kind === 'name' && word.name === '|') pipes.push([]);
    else pipes.at(-1)?.push(word);
  }
  return pipes.reduce<{ value: unknown } | undefined>(
    (piped, pipe) => ({ value: call(pipe, data, root, piped) }),
    undefined,
  )?.value;
}

function call(words: readonly Word[], data: unknown, root: unknown, piped: { value: unknown } | undefined): unknown {
  const [first, ...rest] = words;
  if (!first) throw fail('missing value for command');
  if (first.kind !== 'name') return resolveWord(first, data, root);
  const args = rest.map((word) => resolveWord(word, data, root));
  if (piped) args.push(piped.value);
  const run = functions[first.name];
  if (!run) throw fail(`function "${first.name}" not defined; known: ${Object.keys(functions).join(', ')}`);
  return run(...args);
}

function resolveWord(word: Word, data: unknown, root: unknown): unknown {
  if (word.kind === 'literal') return word.value;
  if (word.kind === 'name') throw fail(`function "${word.name}" cannot stand here`);
  let value: unknown = word.root ? root : data;
  for (const key of word.path) {
    if (typeof value !== 'object' || value === null) return undefined;
    if (!Object.hasOwn(value, key)) {
      // A row names its fields; a mistyped one is an error, as in Docker. Inside an object Go's zero value is shown.
      if (value === root && (root as { strictFields?: boolean }).strictFields) {
        throw fail(`no field .${key}; known: ${Object.keys(value).join(', ')}`);
      }
      return undefined;
    }
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

const functions: Record<string, (...args: unknown[]) => unknown> = {
  json: (value) => JSON.stringify(value),
  len: (value) => (Array.isArray(value) || typeof value === 'string' ? value.length : Object.keys(value ?? {}).length),
  index: (value, key) => (value as Record<string, unknown> | undefined)?.[String(key)],
  join: (value, separator) => (Array.isArray(value) ? value.join(String(separator)) : ''),
  upper: (value) => show(value).toUpperCase(),
  lower: (value) => show(value).toLowerCase(),
  title: (value) => show(value).replace(/\b\w/g, (letter) => letter.toUpperCase()),
  println: (value) => `${show(value)}\n`,
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
};

const truthy = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.length > 0
    : typeof value === 'object' && value !== null
      ? Object.keys(value).length > 0
      : Boolean(value);

function show(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  if (typeof value === 'object')
    return `map[${Object.entries(value)
      .map(([key, one]) => `${key}:${show(one)}`)
      .join(' ')}]`;
  return String(value);
}
