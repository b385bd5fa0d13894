import { ManualClock, settle } from '@swarmctl/shared/kit';
import { beforeEach, describe, expect, it } from 'vitest';
import { firstToAnswer } from './first-to-answer.ts';

interface Asked {
  readonly signal: AbortSignal;
  answer(): void;
  fail(): void;
}

describe('firstToAnswer', () => {
  const clock = new ManualClock();
  const stop = new AbortController();
  let asked: Map<string, Asked>;
  let discarded: string[];
  let answer: Promise<string>;

  beforeEach(async () => {
    asked = new Map();
    discarded = [];
    answer = firstToAnswer(['a', 'b', 'c'], {
      ask: (name, signal) =>
        new Promise((resolve, reject) => {
          asked.set(name, { signal, answer: () => resolve(name), fail: () => reject(new Error(`no ${name}`)) });
        }),
      discard: (name) => discarded.push(name),
      clock,
      signal: stop.signal,
    });
    answer.catch(() => undefined);
    await settle();
  });

  it('asks one alone that answers soon', async () => {
    await clock.advance(200);
    asked.get('a')?.answer();
    expect(await answer).toBe('a');
    await clock.advance(1_000);
    expect([...asked.keys()]).toEqual(['a']);
  });

  it('asks the next as well when one is silent, and calls off the others once one has answered', async () => {
    await clock.advance(249);
    expect(asked.size).toBe(1);
    await clock.advance(1);
    asked.get('b')?.answer();
    expect(await answer).toBe('b');
    expect(asked.get('a')?.signal.aborted).toBe(true);
    asked.get('a')?.answer();
    await settle();
    expect(discarded).toEqual(['a']);
    expect(asked.size).toBe(2);
  });

  it('asks the next at once when one fails, and fails when all have', async () => {
    for (const name of ['a', 'b', 'c']) {
      asked.get(name)?.fail();
      await settle();
    }
    await expect(answer).rejects.toThrow('no c');
  });

  it('takes an answer from one that was silent for long', async () => {
    await clock.advance(500);
    expect(asked.size).toBe(3);
    asked.get('c')?.fail();
    asked.get('b')?.fail();
    await settle();
    asked.get('a')?.answer();
    expect(await answer).toBe('a');
  });
});
