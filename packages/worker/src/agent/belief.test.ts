import { expect, test } from 'vitest';
import { Belief, disbeliefMs } from './belief.ts';

test('a manager that is behind is believed only when none knew more for long', () => {
  const belief = new Belief();
  expect(belief.in(10, 10, 0)).toBe('yes');
  expect(belief.in(9, 10, 1_000)).toBe('not yet');
  expect(belief.in(9, 10, 1_000 + disbeliefMs - 1)).toBe('not yet');
  expect(belief.in(9, 10, 1_000 + disbeliefMs)).toBe('for want of better');
});

test('one that knows as much ends the wait', () => {
  const belief = new Belief();
  belief.in(9, 10, 0);
  expect(belief.in(11, 10, 5_000)).toBe('yes');
  expect(belief.in(10, 11, disbeliefMs)).toBe('not yet');
});
