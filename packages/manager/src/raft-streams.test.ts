import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { encodePreamble, readPreamble } from './raft-streams.ts';

const from = 2 ** 50 + 7;

test('a preamble that comes in pieces is read, and nothing behind it', async () => {
  const stream = new PassThrough();
  const read = readPreamble(stream);
  const bytes = encodePreamble(from, 'append');
  stream.write(bytes.subarray(0, 3));
  stream.write(Buffer.concat([bytes.subarray(3), Buffer.from('more')]));
  expect(await read).toEqual({ from, channel: 'append' });
  expect(String(stream.read())).toBe('more');
});

test.each([0, 1, 2, 7])('a stream that ends after %i bytes has none', async (length) => {
  const stream = new PassThrough();
  const read = readPreamble(stream);
  stream.end(encodePreamble(from, 'control').subarray(0, length));
  expect(await read).toBeUndefined();
});

test.each([
  ['of no channel', Buffer.from([9, 0, 0, 0, 0, 0, 0, 1])],
  ['of nobody', Buffer.alloc(8)],
])('a preamble %s is none', async (_, bytes) => {
  const stream = new PassThrough();
  const read = readPreamble(stream);
  stream.write(bytes);
  expect(await read).toBeUndefined();
});

test('a stream that is destroyed has none', async () => {
  const stream = new PassThrough();
  const read = readPreamble(stream);
  stream.destroy();
  expect(await read).toBeUndefined();
});
