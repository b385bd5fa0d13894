import { describe, expect, test } from 'vitest';
import { checkLinearizable } from './checker.ts';
import {
  explain,
  type KeyValueInput,
  type KeyValueOperation,
  type KeyValueOutput,
  keyValueModel,
} from './key-value.ts';

const get = (key = 'k'): KeyValueInput => ({ kind: 'get', key });
const put = (value: string, key = 'k'): KeyValueInput => ({ kind: 'put', key, value });
const cas = (from: string | null, to: string): KeyValueInput => ({ kind: 'cas', key: 'k', from, to });

/** [call, end, input, output]; end 0: open. */
const history = (...rows: [number, number, KeyValueInput, KeyValueOutput?][]): KeyValueOperation[] =>
  rows.map(([call, end, input, output], client) => ({ client, call, end: end || undefined, input, output }));

const check = (operations: KeyValueOperation[]) => checkLinearizable(operations, keyValueModel).result;

describe('histories by hand', () => {
  test.each<[string, KeyValueOperation[], string]>([
    ['nothing', [], 'linearizable'],
    ['a read of nothing', history([1, 2, get(), null]), 'linearizable'],
    ['a read of what was never written', history([1, 2, get(), 'x']), 'not-linearizable'],
    ['a stale read', history([1, 2, put('a'), true], [3, 4, put('b'), true], [5, 6, get(), 'a']), 'not-linearizable'],
    [
      'the old value while it is written',
      history([1, 2, put('a'), true], [3, 6, put('b'), true], [4, 5, get(), 'a']),
      'linearizable',
    ],
    [
      'the new value, then the old one',
      history([1, 2, put('a'), true], [3, 9, put('b'), true], [4, 5, get(), 'b'], [6, 7, get(), 'a']),
      'not-linearizable',
    ],
    [
      'two swaps from one value',
      history([1, 4, cas(null, 'a'), true], [2, 5, cas(null, 'b'), true]),
      'not-linearizable',
    ],
    ['one of two swaps', history([1, 4, cas(null, 'a'), true], [2, 5, cas(null, 'b'), false]), 'linearizable'],
    [
      'a swap that should have failed',
      history([1, 2, put('a'), true], [3, 4, cas('b', 'c'), true]),
      'not-linearizable',
    ],
    ['an open write that was seen', history([1, 0, put('a')], [5, 6, get(), 'a']), 'linearizable'],
    [
      'an open write that never was',
      history([1, 0, put('a')], [5, 6, get(), null], [7, 8, get(), null]),
      'linearizable',
    ],
    [
      'an open write that was, and was not',
      history([1, 0, put('a')], [5, 6, get(), 'a'], [7, 8, get(), null]),
      'not-linearizable',
    ],
    ['an open write before its call', history([1, 2, get(), 'a'], [3, 0, put('a')]), 'not-linearizable'],
    ['an open read', history([1, 2, put('a'), true], [3, 0, get()]), 'linearizable'],
    ['a lost write', history([1, 2, put('a'), true], [3, 4, get(), null]), 'not-linearizable'],
    ['what ends as another begins', history([1, 3, put('a'), true], [3, 4, get(), null]), 'linearizable'],
    [
      'a deletion',
      history([1, 2, put('a'), true], [3, 4, { kind: 'delete', key: 'k' }, true], [5, 6, get(), null]),
      'linearizable',
    ],
  ])('%s', (_, operations, result) => {
    expect(check(operations)).toBe(result);
  });

  test('each key by itself; the failure names the key and where the order ends', () => {
    const operations = [
      ...history([1, 2, put('a', 'good'), true], [3, 4, get('good'), 'a']),
      ...history([1, 2, put('a', 'bad'), true], [3, 4, put('b', 'bad'), true], [5, 6, get('bad'), 'a']),
    ];
    const verdict = checkLinearizable(operations, keyValueModel);
    expect(verdict).toMatchObject({ result: 'not-linearizable', stuck: [{ call: 5 }] });
    expect(explain(verdict)).toContain('key bad, 3 operations');
  });

  test('too few steps give no verdict', () => {
    const operations = history(
      ...Array.from({ length: 12 }, (_, i): [number, number, KeyValueInput, KeyValueOutput] => [
        1,
        50 + i,
        put(`${i}`),
        true,
      ]),
      [60, 70, get(), 'none'],
    );
    expect(checkLinearizable(operations, keyValueModel, 50).result).toBe('unknown');
    expect(checkLinearizable(operations, keyValueModel).result).toBe('not-linearizable');
  });
});

/** mulberry32 */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Of a store that does each operation at one moment within its time; `wrong` now and then answers a read out of the past. */
function made(random: () => number, count: number, clients: number, wrong: number): KeyValueOperation[] {
  const free = new Array<number>(clients).fill(0);
  const plan = Array.from({ length: count }, (_, i) => {
    const client = i % clients;
    const call = free[client]! + Math.floor(random() * 4);
    const end = call + 1 + Math.floor(random() * 8);
    free[client] = end + 1;
    return {
      client,
      call,
      end,
      moment: call + random() * (end - call),
      dice: random(),
      value: `${Math.floor(random() * 3)}`,
      open: random() < 0.08,
    };
  });
  let state: string | null = null;
  let before: string | null = null;
  return [...plan]
    .sort((a, b) => a.moment - b.moment)
    .map(({ client, call, end, dice, value, open }) => {
      const known = { client, call, end: open ? undefined : end };
      if (dice < 0.4) {
        const seen: string | null = random() < wrong ? before : state;
        return { ...known, input: get(), output: open ? undefined : seen };
      }
      if (dice < 0.75) {
        before = state;
        state = value;
        return { ...known, input: put(value), output: open ? undefined : true };
      }
      const from: string | null = random() < 0.5 ? state : '1';
      const swaps = from === state;
      if (swaps) {
        before = state;
        state = value;
      }
      return { ...known, input: cas(from, value), output: open ? undefined : swaps };
    });
}

/** By trying every order. */
function bruteForce(operations: readonly KeyValueOperation[]): boolean {
  const search = (left: readonly KeyValueOperation[], state: string | null): boolean => {
    if (left.every(({ end }) => end === undefined)) return true;
    return left.some((one, i) => {
      if (left.some((other) => other !== one && other.end !== undefined && other.end < one.call)) return false;
      const after = keyValueModel.step(state, one.input, one.output);
      return after !== undefined && search([...left.slice(0, i), ...left.slice(i + 1)], after);
    });
  };
  return search(operations, null);
}

describe('histories at random', () => {
  test('it agrees with trying every order', () => {
    const results = { right: 0, wrong: 0 };
    for (let seed = 1; seed <= 1_500; seed++) {
      const operations = made(generator(seed), 7, 3, 0.5);
      const expected = bruteForce(operations);
      results[expected ? 'right' : 'wrong']++;
      expect(check(operations) === 'linearizable', `seed ${seed}`).toBe(expected);
    }
    expect(results.wrong).toBeGreaterThan(100);
    expect(results.right).toBeGreaterThan(100);
  });

  test('ten thousand operations of eight clients', () => {
    const operations = made(generator(7), 10_000, 8, 0);
    expect(check(operations)).toBe('linearizable');
  });
});
