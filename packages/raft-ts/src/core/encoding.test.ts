import { describe, expect, test } from 'vitest';
import { decodeConfChange, encodeConfChange } from './conf-change-codec.ts';
import { entriesSize, entrySize, limitSize } from './entry-size.ts';
import { message } from './message.ts';
import { ReadOnly } from './read-only.ts';
import type { ConfChange, Entry } from './types.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const none = new Uint8Array(0);

const change = (
  transition: ConfChange['transition'],
  changes: ConfChange['changes'],
  context: Uint8Array = none,
): ConfChange => ({
  transition,
  changes,
  context,
});

describe('conf changes', () => {
  test.each([
    ['conf-change', change('auto', [{ type: 'add-node', nodeId: 3 }]), [0x10, 0, 0x18, 3]],
    [
      'conf-change',
      change('auto', [{ type: 'add-learner-node', nodeId: 300 }], bytes(7, 8)),
      [0x10, 3, 0x18, 0xac, 2, 0x22, 2, 7, 8],
    ],
    [
      'conf-change-v2',
      change('joint-explicit', [
        { type: 'remove-node', nodeId: 1 },
        { type: 'add-node', nodeId: 4 },
      ]),
      [0x08, 2, 0x12, 4, 0x08, 1, 0x10, 1, 0x12, 4, 0x08, 0, 0x10, 4],
    ],
    ['conf-change-v2', change('auto', [], bytes(9)), [0x08, 0, 0x1a, 1, 9]],
  ] as const)('%s %j', (type, value, encoded) => {
    expect(encodeConfChange(value)).toEqual({ type, data: Uint8Array.from(encoded) });
    expect(decodeConfChange(type, Uint8Array.from(encoded))).toEqual(value);
  });

  test('ids up to 2^53 survive', () => {
    const value = change('auto', [{ type: 'add-node', nodeId: Number.MAX_SAFE_INTEGER }]);
    const { type, data } = encodeConfChange(value);
    expect(decodeConfChange(type, data)).toEqual(value);
  });

  test('no data leaves a joint configuration', () => {
    expect(decodeConfChange('conf-change-v2', none)).toEqual(change('auto', []));
  });

  test('one change may go in the newer form, several may not in the older', () => {
    const one = change('auto', [{ type: 'add-node', nodeId: 3 }]);
    expect(encodeConfChange(one, false).type).toBe('conf-change-v2');
    expect(() => encodeConfChange(change('auto', []), true)).toThrow('exactly one');
  });

  test.each([
    ['conf-change', [0x18], 'truncated'],
    ['conf-change', [0x22, 5, 1], 'truncated'],
    ['conf-change', [0x10, 9], 'unknown conf change type'],
    ['conf-change-v2', [0x08, 7], 'transition'],
    ['conf-change-v2', [0x0d, 7], 'wire type'],
    ['conf-change-v2', [0x10, 7], 'wrong kind'],
  ] as const)('%s %j is refused', (type, data, why) => {
    expect(() => decodeConfChange(type, Uint8Array.from(data))).toThrow(why);
  });
});

describe('sizes of entries', () => {
  const entry = (index: number, term: number, length: number, type: Entry['type'] = 'normal'): Entry => ({
    type,
    index,
    term,
    data: new Uint8Array(length),
  });

  test.each([
    [entry(1, 1, 0), 4],
    [entry(127, 1, 1), 7],
    [entry(128, 300, 127), 6 + 2 + 127],
    [entry(2 ** 40, 1, 128), 9 + 3 + 128],
    [entry(1, 1, 4, 'conf-change'), 12],
  ])('%#', (value, size) => {
    expect(entrySize(value)).toBe(size);
  });

  test('a limit keeps at least one', () => {
    const entries = [entry(4, 4, 0), entry(5, 5, 0), entry(6, 6, 0)];
    const [a, b, c] = entries.map(entrySize) as [number, number, number];
    expect([0, a + b, a + b + c - 1, a + b + c].map((max) => limitSize(entries, max).length)).toEqual([1, 2, 2, 3]);
    expect(entriesSize(entries)).toBe(a + b + c);
  });
});

test('reads are confirmed in order, by the number that a quorum has answered', () => {
  const voters = { incoming: new Set([1, 2, 3]), outgoing: new Set<number>() };
  const reads = new ReadOnly();
  const request = (from: number) => message({ type: 'read-index', to: 1, from });
  expect(reads.heartbeatContext()).toHaveLength(0);
  reads.add(request(1), 10);
  const first = reads.heartbeatContext();
  reads.acknowledge(1, first);
  reads.add(request(2), 11);
  const second = reads.heartbeatContext();
  reads.acknowledge(1, second);
  expect(reads.takeConfirmed(voters)).toEqual([]);
  reads.acknowledge(3, first);
  expect(reads.takeConfirmed(voters).map((read) => read.index)).toEqual([10]);
  reads.acknowledge(2, second);
  reads.acknowledge(2, first);
  expect(reads.takeConfirmed(voters).map((read) => read.index)).toEqual([11]);
  expect(reads.heartbeatContext()).toHaveLength(0);
});
