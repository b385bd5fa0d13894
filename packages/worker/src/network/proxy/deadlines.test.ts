import { ManualClock } from '@swarmctl/shared/kit';
import { expect, it } from 'vitest';
import { Deadlines } from './deadlines.ts';

it('tells what is overdue, in time and once, and not what was taken back', async () => {
  const clock = new ManualClock();
  const late: string[] = [];
  const deadlines = new Deadlines<string>(clock, (item) => late.push(item));
  deadlines.add('a', 100);
  await clock.advance(50);
  for (const item of ['b', 'c']) deadlines.add(item, 100);
  deadlines.delete('c');
  await clock.advance(50);
  expect(late).toEqual(['a']);
  await clock.advance(49);
  expect(late).toEqual(['a']);
  await clock.advance(1);
  expect(late).toEqual(['a', 'b']);
  expect(clock.untilNext()).toBeUndefined();
  deadlines.add('d', 100);
  deadlines.clear();
  expect(clock.untilNext()).toBeUndefined();
});
