import { ClusterError } from '@swarmctl/shared/kit';
import { type Batch, maxBatchBytes, type StoreChange } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aService, aTask } from '../../../../test/kit/index.ts';
import { decodeBatch, encodeBatch, inBatches, pack } from './codec.ts';

const remove = (id: string): StoreChange => ({ op: 'remove', table: 'tasks', id });
const bulky = (bytes: number): StoreChange => ({
  op: 'create',
  table: 'services',
  object: aService({ labels: { text: 'x'.repeat(bytes) } }),
});

it('a batch comes out as it went in', () => {
  const task = aTask({ set: { Slot: 1, Restarts: { count: 2, times: [1_700_000_000_123, 5] } } });
  const spec = { ...task.Spec, Resources: { Limits: { NanoCPUs: 2 ** 52 + 1, MemoryBytes: 2 ** 33 } } };
  const batch: Batch = {
    now: 1_700_000_000_001,
    changes: [
      { op: 'create', table: 'tasks', object: { ...task, Spec: spec } },
      {
        op: 'update',
        table: 'tasks',
        id: 'x',
        version: 3,
        set: { DesiredState: 'remove' },
        unset: ['StartAt'],
        ifExists: true,
      },
      remove('x'),
    ],
  };
  expect(encodeBatch(batch)[0]).toBe(1);
  expect(decodeBatch(encodeBatch(batch))).toEqual(batch);
});

it('absent members stay absent, whatever the writer does', () => {
  const set = { Final: undefined, DesiredState: 'running' } as never;
  const batch: Batch = { now: 1, changes: [{ op: 'update', table: 'tasks', id: 'x', set }] };
  expect(decodeBatch(encodeBatch(batch)).changes[0]).toStrictEqual({
    op: 'update',
    table: 'tasks',
    id: 'x',
    set: { DesiredState: 'running' },
  });
});

describe('limits', () => {
  it.each([
    [
      '2001 changes',
      Array.from({ length: 2_001 }, (_, i) => remove(`t${i}`)),
      /^the change is too large: 2001 changes/,
    ],
    ['more bytes', [bulky(maxBatchBytes)], /^the change is too large: 15\d{5} bytes are too many for one write/],
  ])('%s are refused', (_, changes, message) => {
    expect(() => encodeBatch({ now: 1, changes })).toThrow(message);
    expect(() => encodeBatch({ now: 1, changes })).toThrow(ClusterError);
  });

  it('what is cut into batches fits, whole and in order', () => {
    const changes = [
      ...Array.from({ length: 4_100 }, (_, i) => remove(`t${i}`)),
      bulky(9e5),
      bulky(9e5),
      remove('last'),
    ];
    const batches = inBatches(changes);
    expect(batches.map((batch) => batch.length)).toEqual([2_000, 2_000, 101, 2]);
    expect(batches.flat()).toEqual(changes);
    for (const batch of batches) encodeBatch({ now: 1, changes: batch });
  });
});

describe('what is no batch', () => {
  const bytes = (value: unknown) => Buffer.concat([Buffer.from([1]), pack(value)]);
  it.each([
    ['noise', Buffer.from([1, 0xc1, 0xff, 0x00])],
    ['cut short', encodeBatch({ now: 1, changes: [remove('x')] }).subarray(0, 12)],
    ['another value', bytes('hello')],
    ['no time', bytes({ changes: [] })],
    ['an unknown table', bytes({ now: 1, changes: [{ op: 'remove', table: 'toString', id: 'x' }] })],
    ['an unknown operation', bytes({ now: 1, changes: [{ op: 'drop', table: 'tasks', id: 'x' }] })],
    ['no id', bytes({ now: 1, changes: [{ op: 'create', table: 'tasks', object: {} }] })],
  ])('%s is refused', (_, data) => {
    expect(() => decodeBatch(data)).toThrow(ClusterError);
  });

  it('a later schema version is no bad input: it ends the program', () => {
    expect(() => decodeBatch(Buffer.from([2, 0x80]))).toThrow(
      'log entry of schema version 2: this version of swarmd reads version 1',
    );
    expect(() => decodeBatch(Buffer.from([2, 0x80]))).not.toThrow(ClusterError);
  });
});
