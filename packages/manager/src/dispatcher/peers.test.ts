import type { Node } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { aCluster, aNode, aStore } from '../../../../test/kit/builders.ts';
import { apply } from '../../../../test/sim/control/decide.ts';
import { concernsMesh, MeshTracker, meshOf, meshPeers } from './peers.ts';

function meshNode(
  id: string,
  MeshID: number | undefined,
  dataPathAddr: string,
  words: { up?: boolean; addr?: string } = {},
): Node {
  const { Description, ...node } = aNode({ id, addr: words.addr ?? dataPathAddr });
  if (!Description) throw new Error('not described');
  const Mesh = { up: words.up ?? true, dataPathAddr };
  return { ...node, Description: { ...Description, Mesh }, ...(MeshID !== undefined && { MeshID }) };
}

test('peers are the nodes with a number and an end, by number; another address is told', () => {
  const store = aStore({
    nodes: [
      meshNode('a', 9, '10.0.0.1'),
      meshNode('b', 2, '10.1.0.2', { addr: '10.0.0.2', up: false }),
      meshNode('unnumbered', undefined, '10.0.0.3'),
      aNode({ id: 'off', set: { MeshID: 4 } }),
    ],
  });
  expect(meshPeers(store.view())).toEqual([
    { nodeId: 'b', meshId: 2, addr: '10.1.0.2', nodeAddr: '10.0.0.2', up: false },
    { nodeId: 'a', meshId: 9, addr: '10.0.0.1', up: true },
  ]);
});

test('two clusters on the same machines differ, and keep clear of VXLANs from 4096 on', () => {
  const all = Array.from({ length: 200 }, (_, i) => meshOf(`c${i}`, 4_789));
  expect(all.every(({ vni, port }) => vni >= 1 && vni < 4_096 && port === 4_789)).toBe(true);
  expect(new Set(all.map(({ pool6 }) => pool6)).size).toBe(200);
  expect(all.every(({ pool6 }) => /^fd[0-9a-f]{2}(:[0-9a-f]{4}){3}::\/64$/.test(pool6))).toBe(true);
  expect(meshOf('c1', 4_790)).toEqual({ ...meshOf('c1', 4_789), port: 4_790 });
});

describe('which changes of a node concern the mesh', () => {
  const node = meshNode('a', 1, '10.0.0.1');
  test.each<[string, Node | undefined, Node | undefined, boolean]>([
    ['a number', meshNode('a', undefined, '10.0.0.1'), node, true],
    ['its end came up', meshNode('a', 1, '10.0.0.1', { up: false }), node, true],
    ['another data path address', meshNode('a', 1, '10.0.0.9'), node, true],
    ['removed', node, undefined, true],
    ['a state', node, { ...node, Status: { ...node.Status, State: 'down' } }, false],
    ['a report of the same', node, structuredClone(node), false],
    ['a node without one', aNode({ id: 'x' }), aNode({ id: 'x', addr: '10.0.0.7' }), false],
  ])('%s', (_, before, after, concerns) => expect(concernsMesh(before, after)).toBe(concerns));
});

test('each session is shown the mesh once, without its own node, and again after a change', () => {
  const nodes = [meshNode('a', 1, '10.0.0.1'), meshNode('b', 2, '10.0.0.2')];
  const store = aStore({ cluster: aCluster(), nodes });
  const mesh = new MeshTracker();
  const session = {};
  const show = () => {
    mesh.refresh(store.view());
    const view = mesh.unshown(session, 'a');
    if (view) mesh.shown(session);
    return view;
  };
  expect(show()).toMatchObject({ self: 1, peers: [{ nodeId: 'b', meshId: 2 }] });
  expect(show()).toBeUndefined();
  mesh.touch();
  expect(show()).toBeUndefined();
  apply(store, [{ op: 'remove', table: 'nodes', id: 'b' }]);
  mesh.touch();
  expect(show()).toMatchObject({ self: 1, peers: [] });
  expect(mesh.unshown({}, 'nobody')).toBeUndefined();
});
