import { describe, expect, test } from 'vitest';
import { syntaxErrorIn } from './json-syntax.ts';
import { parseJson } from './normalise.ts';

describe('where a text stops being JSON', () => {
  test.each([
    ['notjson', "invalid character 'o' in literal null (expecting 'u')"],
    ['hello', "invalid character 'h' looking for beginning of value"],
    ['{x', "invalid character 'x' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b"', `invalid character '"' after object key:value pair`],
    ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ['[1 2]', "invalid character '2' after array element"],
    ['[1,]', "invalid character ']' looking for beginning of value"],
    ['[01]', "invalid character '1' after array element"],
    ['"a\nb"', "invalid character '\\n' in string literal"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"],
    ['-a', "invalid character 'a' in numeric literal"],
    ['1.a', "invalid character 'a' after decimal point in numeric literal"],
    ['1ex', "invalid character 'x' in exponent of numeric literal"],
    ["'a'", "invalid character '\\'' looking for beginning of value"],
    ['{"a":', 'unexpected EOF'],
    ['{"a', 'unexpected EOF'],
    ['{} {}', 'unexpected content after JSON'],
  ])('%j', (text, message) => {
    expect(syntaxErrorIn(text)).toBe(message);
    expect(() => parseJson(text)).toThrow(`invalid JSON: ${message}`);
  });

  test('what is nested without end', () => {
    expect(syntaxErrorIn('['.repeat(1_000_000))).toBe('exceeded max depth');
  });

  test('what is JSON, but nested deeper than can be walked through', () => {
    const nested = (depth: number) => `${'{"a":['.repeat(depth / 2)}"[{\\"[["${']}'.repeat(depth / 2)}`;
    expect(JSON.stringify(parseJson(nested(1_000)))).toBe(nested(1_000));
    expect(() => parseJson(nested(1_002))).toThrow('invalid JSON: exceeded max depth');
    expect(() => parseJson(nested(100_000))).toThrow('invalid JSON: exceeded max depth');
    const wide = `[${'[[]],'.repeat(10_000)}"${'['.repeat(10_000)}"]`;
    expect(parseJson(wide)).toHaveLength(10_001);
  });

  test.each(['{}', ' [1, -0.5e+3, "a\\u00ffb", true, false, null, {"a": {"b": []}}] ', '0', '"\u00e9"'])(
    '%j is JSON',
    (text) => {
      expect(syntaxErrorIn(text)).toBeUndefined();
      expect(parseJson(text)).toEqual(JSON.parse(text));
    },
  );
});
