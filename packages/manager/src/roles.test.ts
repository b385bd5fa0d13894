import type { Node } from '@swarmctl/shared/model';
import type { NodeStatus } from 'raft-ts';
import { describe, expect, test } from 'vitest';
import { nextRoleStep } from './roles.ts';
import type { View } from './store/types.ts';

const node = (ID: string, role: string, raftId?: number) =>
  ({
    ID,
    Version: { Index: 9 },
    Spec: { Role: role },
    ...(raftId && { ManagerStatus: { RaftID: raftId, Addr: '' } }),
  }) as Node;
const view = (...nodes: Node[]) => ({ list: () => nodes }) as unknown as View;

/** Members as `1` (voter) or `2l` (learner); progress as [id, match, active]. */
function status(members: string, progress: [number, number, boolean][] = []): NodeStatus {
  return {
    id: 1,
    term: 1,
    role: 'leader',
    leader: 1,
    commit: 100,
    applied: 100,
    lastIndex: 100,
    members: members.split(' ').map((text) => ({
      id: Number.parseInt(text, 10),
      address: `a${Number.parseInt(text, 10)}`,
      learner: text.endsWith('l'),
    })),
    progress: new Map(progress.map(([id, match, active]) => [id, { match, active }])),
  };
}

const three = [node('a', 'manager', 1), node('b', 'manager', 2), node('c', 'manager', 3)];

describe('nextRoleStep', () => {
  test('nothing to do when roles and group agree', () => {
    expect(nextRoleStep(view(...three), status('1 2 3'))).toBeUndefined();
  });

  test.each([
    ['far behind', [2, 50, true], undefined],
    ['silent', [2, 100, false], undefined],
    ['caught up', [2, 95, true], { kind: 'change', change: { type: 'add', id: 2, address: 'a2' } }],
  ] as const)('a learner that is %s', (_, progress, step) => {
    expect(nextRoleStep(view(...three.slice(0, 2)), status('1 2l', [[...progress]]))).toEqual(step);
  });

  test('a demoted manager leaves the group, then forgets', () => {
    const nodes = [three[0] as Node, three[1] as Node, node('c', 'worker', 3)];
    const progress: [number, number, boolean][] = [
      [2, 100, true],
      [3, 100, true],
    ];
    expect(nextRoleStep(view(...nodes), status('1 2 3', progress))).toEqual({
      kind: 'change',
      change: { type: 'remove', id: 3 },
    });
    expect(nextRoleStep(view(...nodes), status('1 2', progress))).toEqual({
      kind: 'forget',
      nodeId: 'c',
      version: 9,
      raftId: 3,
    });
  });

  test('a member whose node is gone leaves the group', () => {
    expect(nextRoleStep(view(...three.slice(0, 2)), status('1 2 3', [[2, 100, true]]))).toEqual({
      kind: 'change',
      change: { type: 'remove', id: 3 },
    });
  });

  test('nobody goes when those that stay would be no majority', () => {
    const nodes = [three[0] as Node, three[1] as Node, node('c', 'worker', 3)];
    expect(
      nextRoleStep(
        view(...nodes),
        status('1 2 3', [
          [2, 100, false],
          [3, 100, true],
        ]),
      ),
    ).toBeUndefined();
  });

  test('a leader that is demoted hands over first', () => {
    const nodes = [node('a', 'worker', 1), three[1] as Node, three[2] as Node];
    expect(
      nextRoleStep(
        view(...nodes),
        status('1 2 3', [
          [2, 100, true],
          [3, 100, true],
        ]),
      ),
    ).toEqual({ kind: 'transfer' });
  });
});
