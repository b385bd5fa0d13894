import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { textOf } from './over-stream.ts';
import { type Line, readProgress } from './progress.ts';

// What an engine answers, read within bounds: it may be anybody's.

const answerOf = () => Object.assign(new PassThrough(), { statusCode: 200 }) as PassThrough & IncomingMessage;
const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

test('an engine waits for who listens slowly', async () => {
  const answer = answerOf();
  const said: Line[] = [];
  let take = () => {};
  const taken = new Promise<void>((resolve) => {
    take = resolve;
  });
  const reading = readProgress(answer, { begin: () => {}, say: (line) => said.push(line), drained: () => taken });
  const line = `${JSON.stringify({ status: 'x'.repeat(1_000) })}\n`;
  let written = 0;
  while (answer.write(line)) written++;
  await turns();
  const before = said.length;
  while (answer.write(line) && written < 10_000) written++;
  await turns();
  expect([said.length, written < 10_000]).toEqual([before, true]);
  take();
  await turns();
  expect(said.length).toBeGreaterThan(before);
  answer.destroy();
  await expect(reading).rejects.toThrow();
});

test('a line without an end is given up, and the engine with it', async () => {
  const answer = answerOf();
  const reading = readProgress(answer, { begin: () => {}, say: () => {}, drained: async () => {} });
  answer.write('x'.repeat((8 << 20) + 1));
  await expect(reading).rejects.toThrow('a line of more than 8388608 bytes');
  expect(answer.destroyed).toBe(true);
});

test('an answer beyond all measure is given up', async () => {
  const answer = answerOf();
  const reading = textOf(answer, 10);
  answer.write('12345');
  answer.write('678901');
  await expect(reading).rejects.toThrow('an answer of more than 10 bytes');
  expect(answer.destroyed).toBe(true);
});
