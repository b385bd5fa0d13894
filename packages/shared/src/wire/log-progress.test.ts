import { expect, test } from 'vitest';
import type { LogLine } from './dispatch.ts';
import { LogProgress } from './log-progress.ts';

const line = (place: string): Pick<LogLine, 'stream' | 'time'> => ({
  stream: place.startsWith('!') ? 'stderr' : 'stdout',
  time: `2026-01-01T00:00:0${place.replace('!', '')}.000000000Z`,
});
const options = { follow: true, stdout: true, stderr: true, tail: 3 };

test('lines that come again are told, those of one moment by their number, each stream by itself', () => {
  const progress = new LogProgress();
  const isNew = (...places: string[]) => places.map((place) => progress.isNew(line(place)));
  expect(isNew('1', '!3', '3', '3', '!4')).toEqual([true, true, true, true, true]);
  progress.goOn(options);
  expect(isNew('!3', '3', '3', '3', '!4', '4', '!5', '!4')).toEqual([
    ...[false, false, false, true],
    ...[false, true, true, true],
  ]);
});

test('it goes on a little before the last line, but not before what was asked for, and from the tail no more', () => {
  const progress = new LogProgress();
  expect(progress.goOn(options)).toEqual(options);
  progress.isNew(line('5'));
  progress.isNew(line('!3'));
  const { tail: _, ...rest } = options;
  expect(progress.goOn(options)).toEqual({ ...rest, since: '1767225604.000000000' });
  const since = '1767225604.500000000';
  expect(progress.goOn({ ...options, since })).toEqual({ ...rest, since });
});

test('another goes on from where one was', () => {
  const first = new LogProgress();
  for (const place of ['1', '2', '2', '!3']) first.isNew(line(place));
  const second = new LogProgress(JSON.parse(JSON.stringify(first.places)));
  expect(second.goOn(options).since).toBe('1767225602.000000000');
  expect(['2', '2', '!3', '2', '!4'].map((place) => second.isNew(line(place)))).toEqual([
    false,
    false,
    false,
    true,
    true,
  ]);
});
