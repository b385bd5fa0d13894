import type { Network, Node, NodeDescription } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { aNetwork, aNode, aStore } from '../../../../test/kit/index.ts';
import { networksWithoutRoom } from './guests.ts';

const attachable = (id: string, words: Parameters<typeof aNetwork>[0] = {}): Network =>
  aNetwork({ id, name: id, ...words, spec: { Attachable: true } });
/** A node that can have overlay networks. */
function able(id: string, set: Partial<NodeDescription> = {}): Node {
  const { Description, ...node } = aNode({ id });
  if (!Description) throw new Error('not described');
  return { ...node, Description: { ...Description, Ingress: { Kind: 'nftables' }, ...set } };
}

test('a node that no block is left for does not have the network for containers made by hand', () => {
  // Of this one, half is for blocks: one of four addresses.
  const full = attachable('full', { subnets: ['10.0.1.0/29'], set: { Blocks: { n1: ['10.0.1.4/30'] } } });
  const tiny = attachable('a-tiny-one', { subnets: ['10.0.2.0/30'] });
  const wide = attachable('wide', { subnets: ['10.0.3.0/24'], set: { Blocks: { n1: ['10.0.3.128/28'] } } });
  const closed = aNetwork({ id: 'closed', name: 'closed', subnets: ['10.0.4.0/30'] });
  const nodes = [able('n1'), able('n2'), able('n3', { Ingress: { Kind: 'proxy' } })];
  const view = aStore({ nodes, networks: [full, wide, tiny, closed] }).view();
  const of = (node: Node) => networksWithoutRoom(view, node).map(({ ID }) => ID);
  expect(nodes.map(of)).toEqual([['a-tiny-one'], ['a-tiny-one', 'full'], []]);
});
