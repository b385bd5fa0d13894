import { expect, test } from 'vitest';
import { linesOf } from './lines.ts';

async function* pieces(...all: (Uint8Array | string)[]) {
  yield* all;
}
const read = async (...all: (Uint8Array | string)[]) => {
  const lines: string[] = [];
  for await (const line of linesOf(pieces(...all))) lines.push(line);
  return lines;
};

test('lines are put together from pieces, and a part is none', async () => {
  expect(await read('one\ntw', 'o', '\n\n \nthree\nfour')).toEqual(['one', 'two', 'three']);
});

test('a character may be in two pieces', async () => {
  const bytes = Buffer.from('größe\n');
  expect(await read(bytes.subarray(0, 3), bytes.subarray(3))).toEqual(['größe']);
});
