import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, test } from 'vitest';
import { leadingBody } from './http-body.ts';

const chunked = { 'transfer-encoding': 'chunked' };
const found = (headers: IncomingHttpHeaders, text: string) => {
  const split = leadingBody(headers, Buffer.from(text));
  return split && [String(split.body), String(split.rest)];
};

describe('the body that bytes begin with', () => {
  test.each<[string, IncomingHttpHeaders, string, [string, string] | undefined]>([
    ['none', {}, 'raw', ['', 'raw']],
    ['of a length', { 'content-length': '2' }, '{}raw', ['{}', 'raw']],
    ['of a length that is not there yet', { 'content-length': '3' }, '{}', undefined],
    ['in chunks', chunked, '2\r\n{}\r\nA ;x=y\r\n0123456789\r\n0\r\n\r\nraw', ['{}0123456789', 'raw']],
    ['of no chunks', chunked, '0\r\n\r\n', ['', '']],
    ['with trailers', chunked, '0\r\nA: b\r\nC: d\r\n\r\n\r\n', ['', '\r\n']],
  ])('%s', (_, headers, text, expected) => expect(found(headers, text)).toEqual(expected));

  test('is not there before its last byte', () => {
    const whole = '2\r\n{}\r\n0\r\nA: b\r\n\r\n';
    for (let length = 0; length < whole.length; length++)
      expect(found(chunked, whole.slice(0, length))).toBe(undefined);
    expect(found(chunked, whole)).toEqual(['{}', '']);
  });

  test.each<[IncomingHttpHeaders, string, string]>([
    [{ 'content-length': '16385' }, '', 'at most 16384 bytes'],
    [{ 'transfer-encoding': 'gzip, chunked' }, '', 'at most 16384 bytes'],
    [chunked, '4001\r\n', 'at most 16384 bytes'],
    [chunked, '1\r\na\r\n'.repeat(2_731), 'at most 16384 bytes'],
    [chunked, 'x\r\n', "begin with its size, not with 'x'"],
    [chunked, '-2\r\n', "begin with its size, not with '-2'"],
    [chunked, '2\r\n{}raw\r\n', 'longer than it says'],
    [chunked, '1'.repeat(5_000), 'longer than 4096 bytes'],
    [chunked, `0\r\n${'A: b\r\n'.repeat(1_000)}`, 'longer than 4096 bytes'],
  ])('refuses %j with %j', (headers, text, message) => expect(() => found(headers, text)).toThrow(message));
});
