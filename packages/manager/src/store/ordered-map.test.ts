import { below, seededRandom } from '@swarmctl/shared/kit';
import { expect, it } from 'vitest';
import { OrderedMap } from './ordered-map.ts';

it('keeps what it is given, in the order of the keys', () => {
  const owner = {};
  const map = OrderedMap.empty<number>().set(owner, 'b', 2).set(owner, 'a', 1).set(owner, 'c', 3).delete(owner, 'b');
  expect(map.values()).toEqual([1, 3]);
  expect([map.get('a'), map.get('b'), map.get('c'), map.size]).toEqual([1, undefined, 3, 2]);
});

it('leaves what others hold as it was', () => {
  const before = OrderedMap.empty<number>().set({}, 'a', 1);
  const seen = before.values();
  const after = before.set({}, 'a', 2).set({}, 'b', 3);
  expect([before.get('a'), before.get('b'), before.size, seen]).toEqual([1, undefined, 1, [1]]);
  expect(after.values()).toEqual([2, 3]);
});

it('hands out the same list until something changes, also to its owner', () => {
  const owner = {};
  const map = OrderedMap.empty<number>().set(owner, 'a', 1);
  const list = map.values();
  expect(map.values()).toBe(list);
  expect(map.delete({}, 'absent').values()).toBe(list);
  expect(map.set(owner, 'b', 2).values()).toEqual([1, 2]);
  expect(list).toEqual([1]);
});

it.each([1, 2, 3])('agrees with a plain map over many random edits, every version (seed %i)', (seed) => {
  const random = seededRandom(seed);
  const versions: { map: OrderedMap<number>; model: Map<string, number> }[] = [];
  let map = OrderedMap.empty<number>();
  let model = new Map<string, number>();
  for (let edit = 0; edit < 40; edit++) {
    const owner = {};
    model = new Map(model);
    const growing = edit % 20 < 12;
    for (let step = 0; step < 150; step++) {
      const key = String(below(random, 2_000)).padStart(4, '0');
      if (random() < (growing ? 0.8 : 0.15)) {
        map = map.set(owner, key, step);
        model.set(key, step);
      } else {
        map = map.delete(owner, key);
        model.delete(key);
      }
    }
    versions.push({ map, model });
  }
  for (const version of versions) {
    const sorted = [...version.model].sort(([a], [b]) => (a < b ? -1 : 1));
    expect(version.map.values()).toEqual(sorted.map(([, value]) => value));
    expect(version.map.size).toBe(version.model.size);
    for (const [key, value] of sorted) if (version.map.get(key) !== value) throw new Error(`wrong value of ${key}`);
  }
});
