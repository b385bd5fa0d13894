import { PassThrough } from 'node:stream';
import { ManualClock, settle, silentLogger } from '@swarmctl/shared/kit';
import { expect, test } from 'vitest';
import { type EngineEvent, followEngine } from './engine-events.ts';

test('a stream that cannot be made use of is let go', async () => {
  const clock = new ManualClock();
  const streams: PassThrough[] = [];
  const stop = new AbortController();
  const end = followEngine(
    {
      docker: { getEvents: async () => streams[streams.push(new PassThrough()) - 1] } as never,
      ...{ filters: {}, clock, log: silentLogger, event: () => undefined },
      opened: () => Promise.reject(new Error('the list cannot be had')),
    },
    stop.signal,
  );
  await settle();
  await clock.advance(100);
  stop.abort();
  await end;
  expect(streams.map(({ destroyed }) => destroyed)).toEqual([true, true]);
});

test('the stream is opened anew whenever it ends, later each time that it cannot be', async () => {
  const clock = new ManualClock();
  const streams: PassThrough[] = [];
  let isAway = false;
  let asked = 0;
  const told: string[] = [];
  const stop = new AbortController();
  const end = followEngine(
    {
      docker: {
        getEvents: async () => {
          asked++;
          if (isAway) throw new Error('connect ENOENT');
          const stream = new PassThrough();
          streams.push(stream);
          return stream;
        },
      } as never,
      ...{ filters: {}, clock, log: silentLogger },
      opened: () => void told.push('opened'),
      event: ({ Action }: EngineEvent) => void told.push(Action ?? ''),
    },
    stop.signal,
  );
  const flowed = () => new Promise((resolve) => setImmediate(resolve));
  await settle();
  streams[0]?.write('{"Action":"start"}\n{"Acti');
  streams[0]?.write('on":"die"}\n');
  await flowed();
  expect(told.splice(0)).toEqual(['opened', 'start', 'die']);
  isAway = true;
  streams[0]?.end();
  await flowed();
  expect(asked).toBe(1);
  for (const [i, ms] of [100, 200, 400, 800, 1_600, 2_000, 2_000].entries()) {
    await clock.advance(ms - 1);
    expect(asked).toBe(1 + i);
    await clock.advance(1);
    expect(asked).toBe(2 + i);
  }
  isAway = false;
  await clock.advance(2_000);
  expect(told).toEqual(['opened']);
  stop.abort();
  streams[1]?.destroy();
  await end;
});
