import { describe, expect, test } from 'vitest';
import { aTask } from '../../../../test/kit/builders.ts';
import { type NodeProgress, StopGate } from './stop-gate.ts';

const limits = { holdMs: 5_000, absentHoldMs: 2_000 };
const task = aTask({ id: 't1', node: 'n1' });
const stopping = { ...task, DesiredState: 'shutdown' as const };

describe('a hold of revision 10 from time 100', () => {
  const away = { applied: undefined };
  test.each<[string, NodeProgress[], number, boolean]>([
    ['nobody routes', [], 100, true],
    ['all are past it', [{ applied: 10 }, { applied: 12 }], 100, true],
    ['one is not', [{ applied: 10 }, { applied: 9 }], 4_000, false],
    ['one never is', [{ applied: 9 }], 5_100, true],
    ['one is away', [{ applied: 10 }, away], 2_099, false],
    ['one stays away', [{ applied: 10 }, away], 2_100, true],
    ['one stays away, another is behind', [{ applied: 9 }, away], 2_100, false],
  ])('%s', (_, nodes, now, over) => {
    const gate = new StopGate(limits);
    gate.hold(task, 10, 100);
    expect(gate.release(now, nodes).map(({ ID }) => ID)).toEqual(over ? ['t1'] : []);
    expect(gate.size).toBe(over ? 0 : 1);
  });
});

test('the agent is shown the wish that was, until the hold ends', () => {
  const gate = new StopGate(limits);
  expect(gate.shown('t1', stopping)).toBe(stopping);
  gate.hold(task, 10, 0);
  gate.hold(stopping, 20, 50);
  expect(gate.wantedRevision).toBe(10);
  expect(gate.shown('t1', stopping)).toEqual(task);
  expect(gate.shown('t1', undefined)).toBe(task);
  expect(gate.ghostsOf('n1')).toEqual([task]);
  expect(gate.ghostsOf('n2')).toEqual([]);
  gate.drop('t1');
  expect(gate.shown('t1', undefined)).toBeUndefined();
});
