import { expect, test } from 'vitest';
import { MemoryStorage } from './memory-storage.ts';
import type { Entry } from './types.ts';

const conf = { voters: [1], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
const entry = (index: number, term: number): Entry => ({ type: 'normal', index, term, data: new Uint8Array(0) });
const all = (storage: MemoryStorage): string =>
  storage
    .entries(storage.firstIndex(), storage.lastIndex() + 1, Number.POSITIVE_INFINITY)
    .map((e) => `${e.index}:${e.term}`)
    .join(' ');

function storage(): MemoryStorage {
  const it = new MemoryStorage();
  it.append([entry(1, 1), entry(2, 1), entry(3, 2), entry(4, 2), entry(5, 3)]);
  return it;
}

test('appending replaces from the first given entry on', () => {
  const it = storage();
  it.append([entry(4, 4)]);
  expect(all(it)).toBe('1:1 2:1 3:2 4:4');
  expect(() => it.append([entry(6, 4)])).toThrow('missing');
});

test('compaction drops entries but keeps the term of the last dropped', () => {
  const it = storage();
  it.compact(3);
  expect([it.firstIndex(), it.lastIndex(), it.term(3), all(it)]).toEqual([4, 5, 2, '4:2 5:3']);
  expect(() => it.term(2)).toThrow('compacted');
  expect(() => it.entries(3, 5, 100)).toThrow('compacted');
  expect(() => it.compact(3)).toThrow('compacted');
  expect(() => it.term(6)).toThrow('unavailable');
  it.append([entry(2, 1), entry(3, 2), entry(4, 5)]);
  expect(all(it)).toBe('4:5');
});

test('snapshots, own and foreign', () => {
  const it = storage();
  it.createSnapshot(4, conf, new Uint8Array(2));
  expect(it.snapshot().meta).toEqual({ index: 4, term: 2, confState: conf });
  expect(it.initialState().confState).toEqual(conf);
  const copy = it.clone();
  it.applySnapshot({ meta: { index: 9, term: 4, confState: conf }, data: new Uint8Array(0) });
  expect([it.firstIndex(), it.lastIndex(), it.term(9)]).toEqual([10, 9, 4]);
  expect(copy.lastIndex()).toBe(5);
  expect(() => it.applySnapshot(copy.snapshot())).toThrow('compacted');
});
