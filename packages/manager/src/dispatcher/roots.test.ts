import { createRootCa, crossSign, tlsInfoOf } from '@swarmctl/shared/kit';
import { type Cluster, type Node, trustedRoots } from '@swarmctl/shared/model';
import type { ManagerMessage } from '@swarmctl/shared/wire';
import { describe, expect, test } from 'vitest';
import { aCluster, aNode, aStore } from '../../../../test/kit/index.ts';
import { batchSize, patienceMs, RootTeller } from './roots.ts';

const now = 1_800_000_000_000;
const [old, next] = [await createRootCa(now), await createRootCa(now)];
const CrossSigned = await crossSign(old, next.certificate);
const before = { ...aCluster().RootCA, Certificate: old.certificate, Key: old.key };
const during = { ...before, Rotation: { Certificate: next.certificate, Key: next.key, CrossSigned } };
const after = { ...before, Certificate: next.certificate, Key: next.key };

const count = batchSize + 5;
const ids = Array.from({ length: count }, (_, i) => `n${i}`);

/** The first `renewed` nodes have certificates of the next root. */
const viewOf = (RootCA: Cluster['RootCA'], renewed = 0) => {
  const nodes = ids.map((id, i): Node => {
    const node = aNode({ id });
    const TLSInfo = tlsInfoOf(old.certificate, i < renewed ? next.certificate : old.certificate);
    return { ...node, Description: { ...(node.Description as NonNullable<Node['Description']>), TLSInfo } };
  });
  return aStore({ cluster: { ...aCluster(), RootCA }, nodes }).view();
};

function world() {
  const sent: { readonly nodeId: string; readonly message: ManagerMessage }[] = [];
  const open = (nodeId: string) => ({ nodeId, send: (message: ManagerMessage) => void sent.push({ nodeId, message }) });
  return { teller: new RootTeller(), sessions: ids.map(open), open, taken: () => sent.splice(0) };
}

describe('the roots', () => {
  test('are told to all at once, and once, where nobody has to renew', () => {
    const { teller, sessions, open, taken } = world();
    teller.tell(viewOf(before), sessions, 0);
    expect(taken()).toHaveLength(count);
    teller.tell(viewOf(before), [...sessions, open('n0')], 1);
    expect(taken()).toMatchObject([{ nodeId: 'n0', message: { type: 'roots', ca: old.certificate } }]);
    teller.tell(viewOf(after, count), sessions, 2);
    expect(taken().map(({ message }) => message)).toEqual(
      ids.map(() => expect.objectContaining({ type: 'roots', ca: next.certificate })),
    );
  });

  test('go to some at a time where all have to: to the next as soon as others have renewed, or took too long', () => {
    const { teller, sessions, taken } = world();
    teller.tell(viewOf(before), sessions, 0);
    taken();
    teller.tell(viewOf(during), sessions, 10);
    expect(taken().map(({ nodeId }) => nodeId)).toEqual(ids.slice(0, batchSize));
    teller.tell(viewOf(during), sessions, 11);
    expect(taken()).toEqual([]);
    teller.tell(viewOf(during, 2), sessions, 12);
    const second = taken();
    expect(second.map(({ nodeId }) => nodeId)).toEqual(ids.slice(batchSize, batchSize + 2));
    expect(second[0]?.message).toMatchObject({ type: 'roots', ca: trustedRoots(during) });
    teller.tell(viewOf(during, 2), sessions, 10 + patienceMs);
    expect(taken().map(({ nodeId }) => nodeId)).toEqual(ids.slice(batchSize + 2));
  });
});
