import { expect, test } from 'vitest';
import { jointCommitted, jointVote, voterIds } from './joint.ts';

const none: number[] = [];

test.each([
  // incoming, outgoing, acknowledged, committed
  [none, none, {}, Number.POSITIVE_INFINITY],
  [[1], none, {}, 0],
  [[1], none, { 1: 7 }, 7],
  [[1, 2], none, { 1: 7, 2: 5 }, 5],
  [[1, 2, 3], none, { 1: 7, 2: 5 }, 5],
  [[1, 2, 3], none, { 1: 7, 2: 5, 3: 6 }, 6],
  [[1, 2, 3, 4], none, { 1: 7, 2: 5, 3: 6, 4: 1 }, 5],
  [[1, 2, 3, 4, 5], none, { 1: 100, 2: 101, 3: 103, 4: 103, 5: 99 }, 101],
  [[1, 2, 3], [3, 4, 5], { 1: 7, 2: 5, 3: 6 }, 0],
  [[1, 2, 3], [3, 4, 5], { 1: 7, 2: 5, 3: 6, 4: 4 }, 4],
  [none, [1, 2, 3], { 1: 7, 2: 5 }, 5],
])('voters %j and %j with %j commit %j', (incoming, outgoing, acked: Record<number, number>, committed) => {
  const voters = { incoming: new Set(incoming), outgoing: new Set(outgoing) };
  const swapped = { incoming: voters.outgoing, outgoing: voters.incoming };
  expect(jointCommitted(voters, (id) => acked[id])).toBe(committed);
  expect(jointCommitted(swapped, (id) => acked[id])).toBe(committed);
});

test.each([
  [none, none, {}, 'won'],
  [[1], none, {}, 'pending'],
  [[1], none, { 1: false }, 'lost'],
  [[1, 2], none, { 1: true }, 'pending'],
  [[1, 2], none, { 1: true, 2: false }, 'lost'],
  [[1, 2, 3], none, { 1: true, 3: true }, 'won'],
  [[1, 2, 3], none, { 1: true, 2: false }, 'pending'],
  [[1, 2, 3, 4], none, { 1: false, 2: false }, 'lost'],
  [[1, 2, 3], [3, 4, 5], { 1: true, 2: true }, 'pending'],
  [[1, 2, 3], [3, 4, 5], { 1: true, 2: true, 3: true, 4: true }, 'won'],
  [[1, 2, 3], [3, 4, 5], { 1: true, 2: true, 4: false, 5: false }, 'lost'],
])('voters %j and %j with %j have %j', (incoming, outgoing, given: Record<number, boolean>, result) => {
  const votes = new Map(Object.entries(given).map(([id, vote]) => [Number(id), vote]));
  expect(jointVote({ incoming: new Set(incoming), outgoing: new Set(outgoing) }, votes)).toBe(result);
});

test('voters of both halves, once each and ascending', () => {
  expect(voterIds({ incoming: new Set([10, 2]), outgoing: new Set([2, 1]) })).toEqual([1, 2, 10]);
});
