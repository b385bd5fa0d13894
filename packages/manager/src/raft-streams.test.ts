import { Duplex } from 'node:stream';
import { settle } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { encodePreamble, readPreamble } from './raft-streams.ts';

const from = 2 ** 50 + 7;

/** What comes is pushed, as a socket does. */
const aStream = () => new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });

test('a preamble that comes in pieces is read, and nothing behind it', async () => {
  const stream = aStream();
  const read = readPreamble(stream);
  const bytes = encodePreamble(from, 'append');
  stream.push(bytes.subarray(0, 3));
  stream.push(Buffer.concat([bytes.subarray(3), Buffer.from('more')]));
  expect(await read).toEqual({ from, channel: 'append' });
  expect(String(stream.read())).toBe('more');
});

test.each([0, 1, 2, 7])('a stream that ends after %i bytes has none', async (length) => {
  const stream = aStream();
  const read = readPreamble(stream);
  stream.push(encodePreamble(from, 'control').subarray(0, length));
  await settle();
  stream.push(null);
  expect(await read).toBeUndefined();
});

test.each([
  ['of no channel', Buffer.from([9, 0, 0, 0, 0, 0, 0, 1])],
  ['of nobody', Buffer.alloc(8)],
])('a preamble %s is none', async (_, bytes) => {
  const stream = aStream();
  const read = readPreamble(stream);
  stream.push(bytes);
  expect(await read).toBeUndefined();
});

test('a stream that is destroyed has none', async () => {
  const stream = aStream();
  const read = readPreamble(stream);
  stream.destroy();
  expect(await read).toBeUndefined();
});
