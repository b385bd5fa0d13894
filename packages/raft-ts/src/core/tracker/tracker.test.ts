import { describe, expect, test } from 'vitest';
import { Inflights } from './inflights.ts';
import { Progress } from './progress.ts';

const progress = (match: number, next: number, count = 256): Progress =>
  new Progress({
    match,
    next,
    inflights: new Inflights(count, Number.POSITIVE_INFINITY),
    isLearner: false,
    recentActive: true,
  });

describe('inflights', () => {
  test('are limited by count', () => {
    const sent = new Inflights(2, Number.POSITIVE_INFINITY);
    sent.add(5, 1);
    expect(sent.full()).toBe(false);
    sent.add(8, 1);
    expect(sent.full()).toBe(true);
    expect(() => sent.add(9, 1)).toThrow('full');
    sent.freeUpTo(4);
    expect(sent.count).toBe(2);
    sent.freeUpTo(7);
    expect(sent.count).toBe(1);
  });

  test('are limited by bytes, which one message may exceed', () => {
    const sent = new Inflights(10, 100);
    sent.add(1, 99);
    expect(sent.full()).toBe(false);
    sent.add(2, 500);
    expect(sent.full()).toBe(true);
    sent.freeUpTo(2);
    expect(sent.full()).toBe(false);
    sent.add(3, 100);
    sent.reset();
    expect([sent.count, sent.full()]).toEqual([0, false]);
  });
});

describe('progress', () => {
  test('a probe waits for a heartbeat after entries were sent', () => {
    const pr = progress(0, 5);
    pr.sentEntries(0, 0);
    expect(pr.isPaused()).toBe(false);
    pr.sentEntries(2, 10);
    expect([pr.isPaused(), pr.next]).toEqual([true, 5]);
  });

  test('replication runs ahead until the inflights are full', () => {
    const pr = progress(3, 9, 2);
    pr.becomeReplicate();
    pr.sentEntries(2, 10);
    expect([pr.next, pr.isPaused()]).toEqual([6, false]);
    pr.sentEntries(1, 10);
    expect([pr.next, pr.isPaused()]).toEqual([7, true]);
  });

  test('probing after a snapshot starts behind it, unless it failed', () => {
    const pr = progress(2, 4);
    pr.becomeSnapshot(10);
    expect([pr.isPaused(), pr.next]).toEqual([true, 11]);
    pr.becomeProbe();
    expect(pr.next).toBe(11);
    pr.becomeSnapshot(20);
    pr.pendingSnapshot = 0;
    pr.becomeProbe();
    expect(pr.next).toBe(3);
    expect(() => {
      pr.becomeSnapshot(30);
      pr.sentEntries(1, 1);
    }).toThrow('snapshot');
  });

  test.each([
    // match, next, acknowledged: news, match, next
    [3, 5, 2, false, 3, 5],
    [3, 5, 3, false, 3, 5],
    [3, 5, 4, true, 4, 5],
    [3, 5, 9, true, 9, 10],
  ])('match %i next %i acknowledged %i', (match, next, index, news, toMatch, toNext) => {
    const pr = progress(match, next);
    expect([pr.maybeUpdate(index), pr.match, pr.next]).toEqual([news, toMatch, toNext]);
  });

  test.each([
    // state, match, next, rejected, hint: taken, next
    ['replicate', 5, 10, 5, 5, false, 10],
    ['replicate', 5, 10, 4, 4, false, 10],
    ['replicate', 5, 10, 9, 9, true, 6],
    ['probe', 0, 0, 0, 0, false, 0],
    ['probe', 0, 10, 5, 5, false, 10],
    ['probe', 0, 10, 9, 9, true, 9],
    ['probe', 0, 2, 1, 1, true, 1],
    ['probe', 0, 10, 9, 2, true, 3],
    ['probe', 4, 10, 9, 0, true, 5],
  ] as const)('%s match %i next %i rejected %i with hint %i', (state, match, next, rejected, hint, taken, to) => {
    const pr = progress(match, next);
    pr.state = state;
    expect([pr.maybeDecrTo(rejected, hint), pr.next]).toEqual([taken, to]);
  });

  test('a commit index is worth sending only if it can move the follower', () => {
    const pr = progress(5, 8);
    expect(pr.canBumpCommit(6)).toBe(true);
    pr.sentCommit(6);
    expect([pr.canBumpCommit(6), pr.canBumpCommit(7)]).toEqual([false, true]);
    pr.sentCommit(9);
    expect(pr.canBumpCommit(10)).toBe(false);
  });
});
