import { ManualClock } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { NamedTimers } from './timers.ts';

test('one of a name takes the place of another, and may set itself again', async () => {
  const clock = new ManualClock();
  const timers = new NamedTimers(clock);
  const fired: string[] = [];
  timers.after('sweep', 10, () => fired.push('early'));
  timers.after('sweep', 20, () => {
    fired.push(`late, ${timers.has('sweep')}`);
    timers.after('sweep', 5, () => fired.push('again'));
  });
  timers.after('retry', 12, () => fired.push('other'));
  await clock.advance(24);
  expect(fired).toEqual(['other', 'late, false']);
  expect([timers.has('sweep'), timers.has('retry')]).toEqual([true, false]);
  await clock.advance(1);
  expect(fired.at(-1)).toBe('again');
});

test('closed, nothing comes any more', async () => {
  const clock = new ManualClock();
  const timers = new NamedTimers(clock);
  const fired: string[] = [];
  timers.after('sweep', 10, () => fired.push('sweep'));
  timers.close();
  timers.after('retry', 10, () => fired.push('retry'));
  await clock.advance(100);
  expect(fired).toEqual([]);
  expect(timers.has('retry')).toBe(false);
});
