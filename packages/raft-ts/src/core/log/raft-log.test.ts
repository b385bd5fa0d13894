import { describe, expect, test } from 'vitest';
import { entrySize } from '../entry-size.ts';
import { MemoryStorage } from '../memory-storage.ts';
import type { Entry } from '../types.ts';
import { RaftLog } from './raft-log.ts';

const none = { voters: [1], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
const entry = (index: number, term: number, data = ''): Entry => ({
  type: 'normal',
  index,
  term,
  data: Buffer.from(data),
});

/** A log after a snapshot at index 10 and term 1, with stored entries of these terms behind it. */
function log(
  terms: readonly number[],
  unstableTerms: readonly number[] = [],
  maxApplying = Number.POSITIVE_INFINITY,
): RaftLog {
  const storage = new MemoryStorage();
  storage.applySnapshot({ meta: { index: 10, term: 1, confState: none }, data: new Uint8Array(0) });
  storage.append(terms.map((term, i) => entry(11 + i, term)));
  const it = new RaftLog(storage, maxApplying, undefined);
  it.append(unstableTerms.map((term, i) => entry(11 + terms.length + i, term)));
  return it;
}

const termsOf = (it: RaftLog): (number | undefined)[] =>
  Array.from({ length: it.lastIndex() - 10 }, (_, i) => it.term(11 + i));

describe('appending', () => {
  test.each([
    // what follows: terms after it, or undefined when it does not match
    [{ index: 13, term: 2 }, [], 13, [1, 2, 2, 3]],
    [{ index: 13, term: 2 }, [3], 14, [1, 2, 2, 3]],
    [{ index: 14, term: 3 }, [3, 4], 16, [1, 2, 2, 3, 3, 4]],
    [{ index: 12, term: 2 }, [2, 4], 14, [1, 2, 2, 4]],
    [{ index: 11, term: 1 }, [5], 12, [1, 5]],
    [{ index: 10, term: 1 }, [7, 7], 12, [7, 7]],
    [{ index: 13, term: 1 }, [4], undefined, [1, 2, 2, 3]],
    [{ index: 15, term: 3 }, [4], undefined, [1, 2, 2, 3]],
    [{ index: 9, term: 1 }, [4], undefined, [1, 2, 2, 3]],
  ])('after %j terms %j', (prev, terms, last, after) => {
    for (const it of [log([1, 2, 2, 3]), log([1, 2], [2, 3]), log([], [1, 2, 2, 3])]) {
      const entries = terms.map((term, i) => entry(prev.index + 1 + i, term));
      expect(it.maybeAppend(prev, entries, 0)).toBe(last);
      expect(termsOf(it)).toEqual(after);
    }
  });

  test('commits up to what was appended', () => {
    const it = log([1]);
    it.maybeAppend({ index: 11, term: 1 }, [entry(12, 1)], 99);
    expect(it.committed).toBe(12);
  });

  test('a conflict with what is committed is a panic', () => {
    const it = log([1, 1]);
    it.commitTo(12);
    expect(() => it.maybeAppend({ index: 11, term: 1 }, [entry(12, 2)], 0)).toThrow('committed');
    expect(() => it.commitTo(13)).toThrow('out of range');
  });
});

test.each([
  // index, term: where the logs may match, and the term there
  [14, 9, { index: 14, term: 3 }],
  [14, 2, { index: 13, term: 2 }],
  [14, 1, { index: 11, term: 1 }],
  [13, 0, { index: 9, term: 0 }],
  [20, 2, { index: 20, term: 0 }],
])('a conflict at %i of term %i', (index, term, found) => {
  expect(log([1, 2, 2, 3]).findConflictByTerm(index, term)).toEqual(found);
});

test.each([
  [{ term: 2, index: 20 }, false],
  [{ term: 3, index: 13 }, false],
  [{ term: 3, index: 14 }, true],
  [{ term: 4, index: 11 }, true],
])('a candidate at %j', (their, upToDate) => {
  expect(log([1, 2, 2, 3]).isUpToDate(their)).toBe(upToDate);
});

test('only an entry of the given term is committed', () => {
  const it = log([1, 2, 2, 3]);
  expect(it.maybeCommit({ index: 13, term: 3 })).toBe(false);
  expect(it.maybeCommit({ index: 14, term: 3 })).toBe(true);
  expect(it.maybeCommit({ index: 14, term: 3 })).toBe(false);
});

describe('handing out', () => {
  test('unstable entries once, and again what replaced them', () => {
    const it = log([1], [1, 1]);
    expect(it.unstable.nextEntries()).toHaveLength(2);
    it.unstable.acceptInProgress();
    expect(it.unstable.hasNextEntries()).toBe(false);
    it.append([entry(13, 2)]);
    expect(it.unstable.nextEntries().map((e) => e.term)).toEqual([2]);
    // The word about the replaced entry comes too late.
    it.unstable.stableTo(13, 1);
    expect(it.unstable.offset).toBe(12);
    it.unstable.stableTo(12, 1);
    expect(it.unstable.offset).toBe(13);
  });

  test('committed entries, stored ones only if asked to', () => {
    const it = log([1], [1, 1]);
    it.commitTo(13);
    expect(it.nextCommitted(false).map((e) => e.index)).toEqual([11]);
    expect(it.nextCommitted(true).map((e) => e.index)).toEqual([11, 12, 13]);
    it.acceptApplying(12, 0, true);
    expect(it.nextCommitted(true)).toEqual([]);
    it.appliedTo(12, 0);
    expect(it.nextCommitted(true).map((e) => e.index)).toEqual([13]);
  });

  test('no more bytes than allowed until they are applied', () => {
    const size = entrySize(entry(11, 1));
    const it = log([1, 1, 1], [], 2 * size);
    it.commitTo(13);
    const first = it.nextCommitted(true);
    expect(first).toHaveLength(2);
    it.acceptApplying(12, 2 * size, true);
    expect(it.hasNextCommitted(true)).toBe(false);
    it.appliedTo(11, size);
    expect(it.nextCommitted(true)).toHaveLength(1);
  });

  test('nothing while a snapshot waits', () => {
    const it = log([1, 1]);
    it.commitTo(12);
    it.restore({ meta: { index: 20, term: 2, confState: none }, data: new Uint8Array(0) });
    expect([it.firstIndex(), it.lastIndex(), it.committed, it.term(20)]).toEqual([21, 20, 20, 2]);
    expect(it.hasNextCommitted(true)).toBe(false);
    it.unstable.acceptInProgress();
    expect(it.unstable.nextSnapshot()).toBeUndefined();
  });
});

test('a slice spans stored and unstable entries, and is cut by size', () => {
  const it = log([1, 1], [2, 2]);
  expect(it.slice(11, 15, Number.POSITIVE_INFINITY)).toHaveLength(4);
  expect(it.slice(12, 14, Number.POSITIVE_INFINITY)?.map((e) => e.term)).toEqual([1, 2]);
  const size = entrySize(entry(11, 1));
  expect(it.slice(11, 15, 3 * size)).toHaveLength(3);
  expect(it.slice(11, 15, 0)).toHaveLength(1);
  expect(it.slice(10, 12, 100)).toBeUndefined();
  expect(() => it.slice(11, 16, 100)).toThrow('out of bound');
});
