import { PassThrough, Readable, Writable } from 'node:stream';
import { ManualClock } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { feed } from './image-archives.ts';

// One body for several at once.

/** Takes a chunk when it is told to. */
function slow() {
  const taken: string[] = [];
  let next: (() => void) | undefined;
  const target = new Writable({
    highWaterMark: 1,
    write(chunk, _encoding, done) {
      taken.push(String(chunk));
      next = done;
    },
  });
  target.on('error', () => {});
  return { target, taken, take: () => next?.() };
}
const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};
const textOf = async (stream: Readable) => {
  let text = '';
  for await (const chunk of stream) text += chunk;
  return text;
};

test('all get all of it, no faster than the slowest takes it', async () => {
  const fast = new PassThrough();
  const { target, taken, take } = slow();
  const fed = feed(Readable.from(['a', 'b']), [fast, target], new ManualClock());
  await turns();
  expect([fast.read(), taken]).toEqual([Buffer.from('a'), ['a']]);
  take();
  await turns();
  expect([fast.read(), taken]).toEqual([Buffer.from('b'), ['a', 'b']]);
  take();
  await fed;
  expect([fast.writableEnded, target.writableEnded]).toEqual([true, true]);
});

test('one that takes nothing for two minutes is given up, and the others go on', async () => {
  const clock = new ManualClock();
  const fast = new PassThrough();
  const { target } = slow();
  const fed = feed(Readable.from(['a', 'b']), [fast, target], clock);
  await turns();
  await clock.advance(119_000);
  expect(target.destroyed).toBe(false);
  await clock.advance(1_000);
  await fed;
  expect(target.errored?.message).toBe('it took nothing for 120 s');
  expect(await textOf(fast)).toBe('ab');
});

test('when none is left, what comes is thrown away, and its sender may still be answered', async () => {
  const source = new PassThrough();
  const { target } = slow();
  const fed = feed(source, [target], new ManualClock());
  source.write('a');
  await turns();
  target.destroy();
  await fed;
  source.end('much more');
  await turns();
  expect([source.readableEnded, source.errored]).toEqual([true, null]);
});

test('a body that breaks off ends for all as broken', async () => {
  const source = new PassThrough();
  const target = new PassThrough();
  target.on('error', () => {});
  const fed = feed(source, [target], new ManualClock());
  source.write('a');
  await turns();
  source.destroy(new Error('the client is gone'));
  await fed;
  expect(target.errored?.message).toBe('the client is gone');
});
