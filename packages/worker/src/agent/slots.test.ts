import { settle } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { Slots } from './slots.ts';

test('so many at a time, in their order; who leaves the queue takes no turn', async () => {
  const slots = new Slots(2);
  const never = new AbortController().signal;
  const leaver = new AbortController();
  const began: string[] = [];
  const ends = new Map<string, () => void>();
  const job = (name: string, signal = never) =>
    slots.run(() => {
      began.push(name);
      return new Promise<void>((resolve) => ends.set(name, resolve));
    }, signal);
  const jobs = [job('a'), job('b'), job('c', leaver.signal), job('d')];
  const left = expect(jobs[2]).rejects.toThrow();
  await settle();
  expect(began).toEqual(['a', 'b']);
  leaver.abort();
  await left;
  ends.get('a')?.();
  await settle();
  expect(began).toEqual(['a', 'b', 'd']);
  ends.get('b')?.();
  ends.get('d')?.();
  await Promise.all([jobs[0], jobs[1], jobs[3]]);
  await expect(slots.run(async () => 'free', never)).resolves.toBe('free');
});
