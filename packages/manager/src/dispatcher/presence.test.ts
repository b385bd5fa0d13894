import type { Node, NodeDescription } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { aNode } from '../../../../test/kit/builders.ts';
import { Presence } from './presence.ts';

const grace = 3_250;
const everyMs = 250;
const at = (ms: number) => ({ now: 1_000_000 + ms, monotonic: ms });
const description = aNode().Description as NodeDescription;
const said = { description, addr: '10.0.0.7' };

function presenceOf(node: Node): Presence {
  const presence = new Presence(grace);
  presence.add(node, at(0));
  return presence;
}

/** Sweeps as a running manager does; the first time at which somebody was lost. */
function lostAt(presence: Presence, from: number, to: number): number | undefined {
  for (let ms = from; ms <= to; ms += everyMs) if (presence.sweep(at(ms), everyMs).length > 0) return ms;
  return undefined;
}

test('a node that was not heard of is lost after one whole grace and the time to come from another leader', () => {
  expect(lostAt(presenceOf(aNode({ id: 'n' })), 0, 10_000)).toBe(5_250);
});

test('it is awaited until then, or until it is heard of, unless it is down or said goodbye', () => {
  const isAwaited = (presence: Presence, ms: number) => presence.isAwaited('n', at(ms));
  const presence = presenceOf(aNode({ id: 'n' }));
  expect([isAwaited(presence, 0), isAwaited(presence, 5_249), isAwaited(presence, 5_250)]).toEqual([true, true, false]);
  presence.hello('n', said, at(1_000));
  expect(isAwaited(presence, 1_000)).toBe(false);
  expect(isAwaited(presenceOf(aNode({ id: 'n', state: 'down', set: { DownSince: 5 } })), 0)).toBe(false);
  expect(isAwaited(presenceOf(aNode({ id: 'n', set: { RestartGraceUntil: at(20_000).now } })), 0)).toBe(false);
  expect(presence.isAwaited('another', at(0))).toBe(false);
});

test('each message counts', () => {
  const presence = presenceOf(aNode({ id: 'n' }));
  presence.hello('n', said, at(0));
  expect(lostAt(presence, 0, 3_000)).toBeUndefined();
  presence.heard('n', at(3_000));
  expect(lostAt(presence, 3_250, 10_000)).toBe(6_250);
});

test('what is left of a restart grace is given by a new leader too', () => {
  const node = aNode({ id: 'n', set: { RestartGraceUntil: at(20_000).now } });
  expect(lostAt(presenceOf(node), 0, 30_000)).toBe(20_000);
});

test('a node that is down stays so until it is heard of', () => {
  const node = aNode({ id: 'n', state: 'down', set: { DownSince: 5 } });
  const presence = presenceOf(node);
  expect(lostAt(presence, 0, 10_000)).toBeUndefined();
  expect(presence.change(node, 0)).toBeUndefined();
  presence.hello('n', said, at(10_000));
  expect(presence.change(node, 0)).toMatchObject({
    set: { Status: { State: 'ready', Addr: '10.0.0.7' } },
    unset: ['DownSince'],
  });
});

test('nobody is lost while the manager itself stood still', () => {
  const presence = presenceOf(aNode({ id: 'n' }));
  expect(lostAt(presence, 0, 1_000)).toBeUndefined();
  expect(presence.sweep(at(9_000), everyMs)).toEqual([]);
  expect(lostAt(presence, 9_250, 20_000)).toBe(13_000);
});

test('heard of after it was lost: the state must be told', () => {
  const presence = presenceOf(aNode({ id: 'n' }));
  presence.hello('n', said, at(0));
  expect(lostAt(presence, 0, 5_000)).toBe(3_250);
  expect(presence.heard('n', at(5_000))).toBe(true);
  expect(presence.heard('n', at(5_001))).toBe(false);
});

test('only what differs is written', () => {
  const presence = presenceOf(aNode({ id: 'n' }));
  const node = aNode({ id: 'n', addr: '10.0.0.7', set: { Description: description } });
  presence.hello('n', said, at(0));
  expect(presence.change(node, 0)).toBeUndefined();
  presence.described('n', { ...said, description: { ...description, RuntimeReady: false } });
  expect(presence.change(node, 0)).toMatchObject({ set: { Description: { RuntimeReady: false } }, unset: [] });
});

test('a goodbye is written, lasts its grace, and ends with the next hello', () => {
  const node = aNode({ id: 'n', addr: '10.0.0.7', set: { Description: description } });
  const presence = presenceOf(node);
  presence.hello('n', said, at(0));
  presence.goodbye('n', 30_000, at(100));
  const until = at(30_100).now;
  expect(presence.change(node, 0)).toMatchObject({ set: { RestartGraceUntil: until } });
  presence.heard('n', at(200));
  expect(lostAt(presence, 250, 40_000)).toBe(30_250);
  expect(presence.change(node, 77)).toMatchObject({ set: { Status: { State: 'down' }, DownSince: 77 } });
  presence.hello('n', said, at(40_000));
  expect(presence.change({ ...node, RestartGraceUntil: until }, 0)).toMatchObject({ unset: ['RestartGraceUntil'] });
});
