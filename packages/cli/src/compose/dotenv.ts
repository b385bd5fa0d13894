import { type Lookup, substitute } from './interpolate.ts';
import type { Problems } from './problems.ts';
import type { Place } from './tree.ts';

// Files of variables, in Compose's form: NAME=value lines with comments, quotes, escapes and variables; in the form `raw`, all of the line is meant.

export interface DotenvOptions {
  /** For messages. */
  readonly file: string;
  /** What the file's own variables fall back to, and a name alone takes its value from. */
  readonly lookup: Lookup;
  readonly raw?: boolean;
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\', $: '$$' };

/** In the order of the file; a name alone that has no value anywhere is left out. */
export function parseDotenv(text: string, options: DotenvOptions, problems: Problems): Map<string, string> {
  const found = new Map<string, string>();
  const lookup: Lookup = (name) => options.lookup(name) ?? found.get(name);
  const missing = (variable: string, at: Place, name: string) =>
    problems.warn(at, [name], `the variable ${variable} is not set, and counts as empty`);
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] ?? '';
    if (/^\s*(#|$)/.test(line)) continue;
    const at: Place = { file: options.file, line: i + 1, column: line.search(/\S/) + 1 };
    const match = /^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*(?:([=:])(.*))?$/s.exec(line);
    if (!match) {
      problems.error(at, [], `expected NAME=value, not '${line.trim()}'`);
      continue;
    }
    const [, name = '', separator, rest = ''] = match;
    if (separator === undefined) {
      const value = options.lookup(name);
      if (value !== undefined) found.set(name, value);
      continue;
    }
    if (options.raw) {
      found.set(name, rest);
      continue;
    }
    const quote = rest.trimStart()[0];
    let value = rest.trim();
    if (quote === '"' || quote === "'") {
      const quoted = readQuoted(lines, i, quote);
      if (!quoted) {
        problems.error(at, [name], `the ${quote} is not closed`);
        return found;
      }
      value = quoted.text;
      i = quoted.lastLine;
    } else value = value.replace(/(^|\s+)#.*$/s, '');
    try {
      found.set(name, quote === "'" ? value : filled(value, quote === '"', lookup, (one) => missing(one, at, name)));
    } catch (error) {
      problems.error(at, [name], (error as Error).message);
    }
  }
  return found;
}

function filled(value: string, isQuoted: boolean, lookup: Lookup, missing: (name: string) => void): string {
  const text = isQuoted ? value.replace(/\\(.)/gs, (all, letter: string) => escapes[letter] ?? all) : value;
  return substitute(text, lookup, missing);
}

/** What stands between quotes, which may go on for lines. */
function readQuoted(
  lines: readonly string[],
  first: number,
  quote: string,
): { text: string; lastLine: number } | undefined {
  const start = (lines[first] ?? '').indexOf(quote, (lines[first] ?? '').search(/[=:]/)) + 1;
  let text = '';
  for (let i = first; i < lines.length; i++) {
    const line = i === first ? (lines[i] ?? '').slice(start) : (lines[i] ?? '');
    for (let at = 0; at < line.length; at++) {
      if (quote === '"' && line[at] === '\\') at++;
      else if (line[at] === quote) return { text: text + line.slice(0, at), lastLine: i };
    }
    text += `${line}\n`;
  }
  return undefined;
}
