// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of compose files
import { describe, expect, test } from 'vitest';
import { parseDotenv } from './dotenv.ts';
import { substitute } from './interpolate.ts';
import { Problems } from './problems.ts';

const env: Record<string, string> = { A: 'one', EMPTY: '', B: 'two' };
const lookup = (name: string) => env[name];

describe('variables', () => {
  test.each([
    ['$A-${A}', 'one-one'],
    ['a$$b $${A}', 'a$b ${A}'],
    ['${NO:-x} ${EMPTY:-x} ${A:-x}', 'x x one'],
    ['${NO-x} ${EMPTY-x} ${A-x}', 'x  one'],
    ['${NO:+x}${EMPTY:+x}${A:+x}', 'x'],
    ['${NO+x}${EMPTY+x}${A+x}', 'xx'],
    ['${A?no}${EMPTY?no}', 'one'],
    ['${NO:-${EMPTY:-${A}${B}}}', 'onetwo'],
    ['${NO:-}', ''],
    ['${NO:-a:b-c?d+e}', 'a:b-c?d+e'],
    ['nothing', 'nothing'],
    ['$AB1', ''],
  ])('%s', (text, filled) => {
    expect(substitute(text, lookup, () => undefined)).toBe(filled);
  });

  test.each([
    ['${NO:?not there}', 'the variable NO must be set: not there'],
    ['${EMPTY:?}', 'the variable EMPTY must be set'],
    ['${NO?say $A}', 'the variable NO must be set: say one'],
    ['5$', "a lone '$': write $$"],
    ['$1', "a lone '$': write $$"],
    ['${A', "'$' and '{' without the '}'"],
    ['${A B}', "'${A B}' is no variable"],
    ['${}', "'${}' is no variable"],
  ])('%s is refused', (text, message) => {
    expect(() => substitute(text, lookup, () => undefined)).toThrow(message);
  });

  test('those without a value are told', () => {
    const missing: string[] = [];
    substitute('$NO ${ALSO} ${WITH:-x} $A', lookup, (name) => missing.push(name));
    expect(missing).toEqual(['NO', 'ALSO']);
  });
});

describe('files of variables', () => {
  const read = (text: string, raw = false) => {
    const problems = new Problems();
    const found = Object.fromEntries(parseDotenv(text, { file: '.env', lookup, raw }, problems));
    problems.throwIfAny();
    return found;
  };

  test.each([
    ['X=1', { X: '1' }],
    ['  # a comment\n\nexport X = 1 ', { X: '1' }],
    ['X=a b # comment', { X: 'a b' }],
    ['X=a#b', { X: 'a#b' }],
    ['X=', { X: '' }],
    ['X=#all', { X: '' }],
    ['X: 1', { X: '1' }],
    ["X='$A \\n'", { X: '$A \\n' }],
    ['X="$A \\n\\"q\\" \\$A"', { X: 'one \n"q" $A' }],
    ['X="two\nlines"\nY=2', { X: 'two\nlines', Y: '2' }],
    ['X=1\nY=${X}${B}', { X: '1', Y: '1two' }],
    ['A\nNO', { A: 'one' }],
    ['\uFEFFX=1\r\nY=2\r\n', { X: '1', Y: '2' }],
  ])('%j', (text, wanted) => {
    expect(read(text)).toEqual(wanted);
  });

  test('raw ones are taken as they are', () => {
    expect(read('X="$A" # all\n# not this', true)).toEqual({ X: '"$A" # all' });
  });

  test.each([
    ['X=1\n=2', ".env:2:1: expected NAME=value, not '=2'"],
    ['\n  X="a', '.env:2:3: X: the " is not closed'],
    ['X=${A', ".env:1:1: X: '$' and '{' without the '}'"],
  ])('%j is refused', (text, message) => {
    expect(() => read(text)).toThrow(message);
  });
});
