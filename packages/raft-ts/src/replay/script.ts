// Test scripts in the datadriven form: `command args key=val key=(a,b)`, input lines, `----`, the expected output up to
// a blank line, or between doubled `----` where it has blank lines itself. `#` starts a comment.

export interface Argument {
  readonly key: string;
  /** Empty for a bare word. */
  readonly values: readonly string[];
}

export interface Command {
  readonly name: string;
  readonly args: readonly Argument[];
}

export interface Directive extends Command {
  readonly input: readonly string[];
  readonly expected: string;
  /** The line of the command, from 1. */
  readonly line: number;
  readonly text: string;
}

export function parseScript(source: string): Directive[] {
  const lines = source.split('\n');
  const directives: Directive[] = [];
  let at = 0;
  while (at < lines.length) {
    let text = lines[at]!.trim();
    const line = ++at;
    // Subtests only group what is between `subtest NAME` and `subtest end`.
    if (text === '' || text.startsWith('#') || /^subtest\s/.test(text)) continue;
    // A backslash continues the command on the next line.
    while (text.endsWith('\\') && at < lines.length) text = `${text.slice(0, -1).trim()} ${lines[at++]!.trim()}`;
    const input: string[] = [];
    while (at < lines.length && lines[at]!.trim() !== '----') input.push(lines[at++]!);
    at++;
    const [expected, next] = readExpected(lines, at);
    at = next;
    directives.push({ ...parseCommand(text), input: withoutMargins(input), expected, line, text });
  }
  return directives;
}

/** Blank lines around the input are not part of it. */
function withoutMargins(lines: readonly string[]): readonly string[] {
  const text = lines.join('\n').trim();
  return text === '' ? [] : text.split('\n');
}

function readExpected(lines: readonly string[], at: number): [string, number] {
  const expected: string[] = [];
  if (lines[at] === '----') {
    at++;
    while (at < lines.length && !(lines[at] === '----' && lines[at + 1] === '----')) expected.push(lines[at++]!);
    return [asText(expected), at + 2];
  }
  while (at < lines.length && lines[at]!.trim() !== '') expected.push(lines[at++]!);
  return [asText(expected), at];
}

const asText = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

const word = /([^\s=()]+)(?:=(?:\(([^)]*)\)|([^\s]*)))?/g;

export function parseCommand(text: string): Command {
  const [first, ...args] = [...text.matchAll(word)].map(([, key, list, value]) => ({
    key: key!,
    values: list === undefined ? (value === undefined ? [] : [value]) : splitList(list),
  }));
  if (first === undefined) throw new SyntaxError(`no command in ${JSON.stringify(text)}`);
  return { name: first.key, args };
}

const splitList = (list: string): string[] =>
  list.trim() === '' ? [] : list.split(/[\s,]+/).filter((item) => item !== '');

/** The values of an argument; undefined when it is absent. */
export const valuesOf = (command: Command, key: string): readonly string[] | undefined =>
  command.args.find((arg) => arg.key === key && arg.values.length > 0)?.values;

export const argument = (command: Command, key: string): string | undefined => valuesOf(command, key)?.[0];

const truths: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(['1', 't', 'T', 'true', 'TRUE', 'True'].map((text) => [text, true])),
  ...Object.fromEntries(['0', 'f', 'F', 'false', 'FALSE', 'False'].map((text) => [text, false])),
};

/** True or false in all of Go's spellings; undefined for anything else. */
export const truth = (text: string): boolean | undefined => truths[text];

/** Whether an argument is there and true. */
export const isSet = (command: Command, key: string): boolean => truth(argument(command, key) ?? 'false') === true;

/** The bare words, as numbers. */
export const bareNumbers = (command: Command): number[] =>
  command.args.filter((arg) => arg.values.length === 0).map((arg) => integer(arg.key));

export function integer(text: string | undefined): number {
  const value = Number(text);
  if (text === undefined || !Number.isSafeInteger(value)) throw new SyntaxError(`not an integer: ${text}`);
  return value;
}
