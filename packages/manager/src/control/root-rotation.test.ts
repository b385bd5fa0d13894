import { caDigest, createRootCa, crossSign, parseJoinToken, tlsInfoOf } from '@swarmctl/shared/kit';
import type { Cluster, Node } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { aCluster, aNode, aStore } from '../../../../test/kit/index.ts';
import { rootRotation } from './root-rotation.ts';

const now = 1_800_000_000_000;
const [old, next] = [await createRootCa(now), await createRootCa(now)];
const Rotation = {
  Certificate: next.certificate,
  Key: next.key,
  CrossSigned: await crossSign(old, next.certificate),
};
const secret = 'a'.repeat(25);
const controller = rootRotation(() => secret);
const env = { now, newId: () => 'id', random: () => 0.5 };

const clusterIn = (more: Partial<Cluster['RootCA']>): Cluster => {
  const cluster = aCluster();
  const RootCA = { ...cluster.RootCA, Certificate: old.certificate, Key: old.key, LastForcedRotation: 2, ...more };
  return { ...cluster, RootCA };
};

/** A node with a certificate of this root; undefined: it has said nothing yet. */
const holding = (id: string, root: string | undefined, more: Parameters<typeof aNode>[0] = { id }): Node => {
  const node = aNode({ ...more, id });
  const { TLSInfo: _, ...Description } = node.Description as NonNullable<Node['Description']>;
  return { ...node, Description: { ...Description, ...(root && { TLSInfo: tlsInfoOf(old.certificate, root) }) } };
};

const decide = (nodes: readonly Node[], cluster = clusterIn({ Rotation })) =>
  controller.decide(aStore({ cluster, nodes }).view(), 'root', env).changes;

describe('a rotation of the root', () => {
  test('ends when all nodes have certificates of the next: it takes the place, and new tokens carry its digest', () => {
    const [change, ...more] = decide([holding('n1', next.certificate), holding('n2', next.certificate)]);
    expect(more).toEqual([]);
    if (change?.op !== 'update' || change.table !== 'cluster') throw new Error('no change of the cluster');
    const Digest = caDigest(next.certificate);
    const token = `SWMTKN-1-${Digest}-${secret}`;
    expect(change.set).toEqual({
      RootCA: {
        Certificate: next.certificate,
        Key: next.key,
        Digest,
        JoinTokens: { Worker: token, Manager: token },
        LastForcedRotation: 2,
      },
    });
    expect(change.version).toBeDefined();
    expect(parseJoinToken(token).digest).toBe(Digest);
  });

  test.each<[string, readonly Node[]]>([
    ['has one of the old root', [holding('n1', next.certificate), holding('n2', old.certificate)]],
    ['has said nothing yet', [holding('n1', next.certificate), holding('n2', undefined)]],
    ['is down', [holding('n1', next.certificate), holding('n2', old.certificate, { id: 'n2', state: 'down' })]],
  ])('waits while a node %s', (_, nodes) => {
    expect(decide(nodes)).toEqual([]);
  });

  test('nothing is decided where none is in progress', () => {
    expect(decide([holding('n1', old.certificate)], clusterIn({}))).toEqual([]);
  });

  test('is looked at when it begins, when a node has another certificate, and when one is removed', () => {
    const view = aStore({ cluster: clusterIn({ Rotation }), nodes: [] }).view();
    const event = { index: 1, id: 'n1' } as const;
    const [before, after] = [holding('n1', old.certificate), holding('n1', next.certificate)];
    const marks = (e: Parameters<typeof controller.marks>[0], at = view) => controller.marks(e, at).length;
    expect(marks({ ...event, table: 'nodes', op: 'update', before, after })).toBe(1);
    expect(marks({ ...event, table: 'nodes', op: 'update', before, after: { ...before } })).toBe(0);
    expect(marks({ ...event, table: 'nodes', op: 'remove', before })).toBe(1);
    const [idle, going] = [clusterIn({}), clusterIn({ Rotation })];
    expect(marks({ ...event, table: 'cluster', op: 'update', before: idle, after: going })).toBe(1);
    const still = aStore({ cluster: idle, nodes: [] }).view();
    expect(marks({ ...event, table: 'nodes', op: 'remove', before }, still)).toBe(0);
  });
});
