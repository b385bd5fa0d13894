import { expect, test } from 'vitest';
import { Inflights } from '../tracker/inflights.ts';
import { confStateOf, emptyConfig } from '../tracker/tracker.ts';
import type { ConfChangeSingle, ConfState } from '../types.ts';
import { enterJoint, leaveJoint, type Membership, simpleChange } from './changer.ts';
import { restoreMembership, sameConfState } from './restore.ts';

const env = { lastIndex: 10, newInflights: () => new Inflights(1, 1) };
const kinds = { v: 'add-node', l: 'add-learner-node', r: 'remove-node', u: 'update-node' } as const;

const changes = (words: string): ConfChangeSingle[] =>
  words
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => ({ type: kinds[word[0] as keyof typeof kinds], nodeId: Number(word.slice(1)) }));

const conf = (
  voters: number[],
  votersOutgoing: number[] = [],
  learners: number[] = [],
  learnersNext: number[] = [],
  autoLeave = false,
): ConfState => ({ voters, votersOutgoing, learners, learnersNext, autoLeave });

const empty: Membership = { config: emptyConfig, progress: new Map() };
const from = (state: ConfState): Membership => restoreMembership(env, state);

test.each([
  [conf([1]), 'v2', conf([1, 2])],
  [conf([1]), 'l2 l3', conf([1], [], [2, 3])],
  [conf([1], [], [2]), 'v2', conf([1, 2])],
  [conf([1, 2]), 'l2', conf([1], [], [2])],
  [conf([1, 2]), 'r2', conf([1])],
  [conf([1, 2]), 'r2 v2 r2', conf([1])],
  [conf([1, 2], [], [3]), 'r3 r9 u1', conf([1, 2])],
  [conf([1]), 'v0', conf([1])],
])('%j by %s', (state, words, to) => {
  expect(confStateOf(simpleChange(from(state), env, changes(words)).config)).toEqual(to);
});

test.each([
  [conf([1]), 'r1', 'removed all voters'],
  [conf([1]), 'l1', 'removed all voters'],
  [conf([1]), 'v2 v3', 'more than one voter changed'],
  [conf([1, 2]), 'r1 v3', 'more than one voter changed'],
  [conf([1], [1, 2]), 'v3', 'in joint config'],
])('%j refuses %s', (state, words, why) => {
  expect(() => simpleChange(from(state), env, changes(words))).toThrow(why);
});

test.each([
  [conf([1]), 'v2 v3', conf([1, 2, 3], [1]), conf([1, 2, 3])],
  [conf([1, 2, 3]), 'r1 v4', conf([2, 3, 4], [1, 2, 3]), conf([2, 3, 4])],
  [conf([1, 2, 3]), 'l3', conf([1, 2], [1, 2, 3], [], [3]), conf([1, 2], [], [3])],
  [conf([1, 2], [], [3]), 'v3 l1 l4', conf([2, 3], [1, 2], [4], [1]), conf([2, 3], [], [1, 4])],
  [conf([1, 2, 3]), 'l3 v3', conf([1, 2, 3], [1, 2, 3]), conf([1, 2, 3])],
])('%j jointly by %s', (state, words, joint, left) => {
  const between = enterJoint(from(state), env, false, changes(words));
  expect(confStateOf(between.config)).toEqual(joint);
  expect(confStateOf(leaveJoint(between).config)).toEqual(left);
  expect([...leaveJoint(between).progress.keys()].sort()).toEqual([...left.voters, ...left.learners].sort());
});

test('joint configurations do not nest, nor start from nothing', () => {
  const joint = enterJoint(from(conf([1])), env, true, changes('v2'));
  expect(confStateOf(joint.config).autoLeave).toBe(true);
  expect(() => enterJoint(joint, env, true, [])).toThrow('already joint');
  expect(() => leaveJoint(from(conf([1])))).toThrow('non-joint');
  expect(() => enterJoint(empty, env, true, changes('v1'))).toThrow('zero-voter');
});

test('a refused change leaves the given membership as it was', () => {
  const before = from(conf([1, 2], [], [3]));
  expect(() => simpleChange(before, env, changes('v3 v4'))).toThrow();
  simpleChange(before, env, changes('v3'));
  expect(before.progress.get(3)?.isLearner).toBe(true);
  expect(confStateOf(before.config)).toEqual(conf([1, 2], [], [3]));
});

test.each([
  conf([]),
  conf([1, 2, 3], [], [4]),
  conf([1, 2, 3], [1, 2, 4, 6], [5], [4], true),
  conf([1], [2, 3], [], [2]),
])('%j is restored', (state) => {
  expect(sameConfState(confStateOf(from(state).config), state)).toBe(true);
});
