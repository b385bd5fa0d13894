import { expect, test } from 'vitest';
import { ManualClock } from './clock.ts';
import { ifLate, inTime, LateError } from './in-time.ts';

const never = () => new Promise<never>(() => {});
const limit = { what: 'the answer', ms: 100 };

test('work that is done in time is what it comes to, and leaves no timer', async () => {
  const clock = new ManualClock();
  expect(await inTime(clock, limit, async () => 'done')).toBe('done');
  await expect(inTime(clock, limit, () => Promise.reject(new Error('refused')))).rejects.toThrow('refused');
  await expect(
    inTime(clock, limit, () => {
      throw new Error('refused at once');
    }),
  ).rejects.toThrow('refused at once');
  expect(clock.untilNext()).toBeUndefined();
});

test('work that is late is given up: it is said what was late, and the work is told', async () => {
  const clock = new ManualClock();
  let told: AbortSignal | undefined;
  const waiting = inTime(clock, limit, (signal) => {
    told = signal;
    return never();
  });
  const failure = expect(waiting).rejects.toThrow(new LateError('the answer', 100));
  await clock.advance(99);
  expect(told?.aborted).toBe(false);
  await clock.advance(1);
  await failure;
  expect(told?.reason).toMatchObject({ code: 'deadline-exceeded', message: 'the answer took longer than 100 ms' });
});

test('work that fails once it is given up is late all the same', async () => {
  const clock = new ManualClock();
  const waiting = inTime(
    clock,
    limit,
    (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('broken off')))),
  );
  const failure = expect(waiting).rejects.toThrow('the answer took longer than 100 ms');
  await clock.advance(100);
  await failure;
});

test('who goes ends the waiting and the work', async () => {
  const clock = new ManualClock();
  const gone = new AbortController();
  let told: AbortSignal | undefined;
  const waiting = inTime(clock, { ...limit, signal: gone.signal }, (signal) => {
    told = signal;
    return never();
  });
  gone.abort(new Error('nobody listens'));
  await expect(waiting).rejects.toThrow('nobody listens');
  expect([told?.reason, clock.untilNext()]).toEqual([gone.signal.reason, undefined]);
  await expect(inTime(clock, { ...limit, signal: gone.signal }, async () => 'done')).rejects.toThrow('nobody listens');
});

test('to be late may be no failure; everything else stays one', async () => {
  const clock = new ManualClock();
  const waiting = inTime(clock, limit, never).catch(ifLate('late'));
  await clock.advance(100);
  expect(await waiting).toBe('late');
  await expect(inTime(clock, limit, () => Promise.reject(new Error('refused'))).catch(ifLate('late'))).rejects.toThrow(
    'refused',
  );
});
