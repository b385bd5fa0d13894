import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { realClock } from './clock.ts';

const dayMs = 24 * 3_600_000;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test.each([1, 30, 365])('a timer of %i days fires then, once', (days) => {
  const callback = vi.fn();
  realClock.after(days * dayMs, callback);
  vi.advanceTimersByTime(days * dayMs - 1);
  expect(callback).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(callback).toHaveBeenCalledOnce();
  expect(vi.getTimerCount()).toBe(0);
});

test.each([0, 40])('a timer of 60 days that is cancelled after %i days never fires', (days) => {
  const callback = vi.fn();
  const timer = realClock.after(60 * dayMs, callback);
  vi.advanceTimersByTime(days * dayMs);
  timer.cancel();
  expect(vi.getTimerCount()).toBe(0);
  vi.advanceTimersByTime(60 * dayMs);
  expect(callback).not.toHaveBeenCalled();
});
