import { expect, test } from 'vitest';
import { patternOf } from './pattern.ts';

test.each([
  ['web', 'web', true],
  ['web', 'WEB', false],
  ['web', 'web-1', false],
  ['web*', 'web-1', true],
  ['web*', 'a-web-1', false],
  ['*.example', 'a.example', true],
  ['a*b*c', 'a-b-c', true],
  ['a*b*c', 'acb', false],
  ['a*a', 'a', false],
  ['*b*b*', 'abab', true],
  ['*b*b*', 'aba', false],
  ['*.example', 'a-example', false],
  ['/^node[12]$/', 'node2', true],
  ['/^node[12]$/', 'node3', false],
  ['/node[12]/', 'a-node1-b', true],
  ['/(?i)EAST/', 'us-east', true],
  ['/EAST/', 'us-east', false],
])('%s is compared with %s: %s', (value, text, is) => expect(patternOf(value, false)(text)).toBe(is));

test('without regard to case when that does not matter', () => {
  for (const value of ['EAST', 'E*T', '/^EA/']) expect(patternOf(value, true)('east')).toBe(true);
});

test.each([
  ['/[/', 'Unterminated'],
  ['/^(a+)+$/', 'groups cannot repeat'],
  ['/^(?:a|b){2,}$/', 'groups cannot repeat'],
  ['/^(a)\\1$/', 'or be referred to'],
  ['/^.*a.*b.*$/', 'no more than 2 of * + {}'],
])('%s is refused, as it is none, or could take for ever', (value, why) => {
  expect(() => patternOf(value, false)).toThrow(`${value} cannot be compared with: `);
  expect(() => patternOf(value, false)).toThrow(why);
});

test('what only looks like repeating is not', () => {
  expect(patternOf('/^[)*+{]{3}\\)\\*$/', false)('+*{)*')).toBe(true);
  expect(() => patternOf('/a/', false)('b'.repeat(257))).toThrow('more than 256 characters');
});
