import { expect, test } from 'vitest';
import { type LineOptions, linesOf } from './lines.ts';

async function* given(...pieces: (Uint8Array | string)[]) {
  yield* pieces;
}
const read = async (pieces: (Uint8Array | string)[], options?: LineOptions) => {
  const lines: string[] = [];
  for await (const line of linesOf(given(...pieces), options)) lines.push(line);
  return lines;
};

test('lines are put together from pieces, and a part is none', async () => {
  expect(await read(['one\ntw', 'o', '\n\n \nthree\nfour'])).toEqual(['one', 'two', 'three']);
});

test('a last line without an end is one where that is wished', async () => {
  expect(await read(['one\ntw', 'o'], { unended: 'keep' })).toEqual(['one', 'two']);
  expect(await read(['one\n'], { unended: 'keep' })).toEqual(['one']);
});

test('a character may be in two pieces, and one that is broken off takes nothing of the next line', async () => {
  const bytes = Buffer.from('größe\n');
  expect(await read([bytes.subarray(0, 3), bytes.subarray(3)])).toEqual(['größe']);
  expect(await read([bytes.subarray(0, 3), '\nnext\n'])).toEqual(['gr\ufffd', 'next']);
});

test('a line is longer than it may be by its bytes, and as soon as that is seen', async () => {
  expect(await read(['größe\n'], { maxBytes: 7 })).toEqual(['größe']);
  await expect(read(['größe\n'], { maxBytes: 6 })).rejects.toThrow('a line of more than 6 bytes');
  async function* endless() {
    for (;;) yield 'more'.repeat(10_000);
  }
  await expect(linesOf(endless(), { maxBytes: 10 }).next()).rejects.toThrow('a line of more than 10 bytes');
  await expect(linesOf(endless()).next()).rejects.toThrow('a line of more than 1048576 bytes');
});

test('a line that is too long may be passed over, also as the last one', async () => {
  const options = { maxBytes: 4, longer: 'skip', unended: 'keep' } as const;
  expect(await read(['one\nlonger\ntwo\nlo', 'ng', 'est\nfour\n', 'longer'], options)).toEqual(['one', 'two', 'four']);
});
