import { describe, expect, test } from 'vitest';
import { ManagerList } from './manager-list.ts';

const peer = (nodeId: string) => ({ nodeId, addr: `${nodeId}:2377` });
const [a, b, c] = [peer('a'), peer('b'), peer('c')];

describe('the list of managers', () => {
  test('asks the one that led last first, then the others by lot', () => {
    const lots = [0.9, 0.1];
    const list = new ManagerList([b, a, c]);
    expect(list.inTurn(() => lots.shift() ?? 0)).toEqual([b, c, a]);
  });

  test('tells of changes alone, the leader first', () => {
    const heard: unknown[] = [];
    const list = new ManagerList([a], (peers) => heard.push(peers));
    list.update([a]);
    list.update([b, a]);
    list.prefer(a);
    list.prefer(b);
    list.update([]);
    list.prefer(c);
    expect(heard).toEqual([
      [a, b],
      [b, a],
      [c, b, a],
    ]);
    expect(list.peers).toEqual([c, b, a]);
  });
});
