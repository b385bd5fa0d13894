import { maxMeshId, type Node } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aNode, aService, aStore, aTask } from '../../../../../test/kit/index.ts';
import { apply, decide, settleState } from '../../../../../test/sim/control/decide.ts';
import { firstChoice, meshAllocator } from './mesh.ts';

const Mesh = { up: false, dataPathAddr: '10.0.0.1' };

function meshNode(id: string, MeshID?: number): Node {
  const { Description, ...node } = aNode({ id });
  if (!Description) throw new Error('not described');
  return { ...node, Description: { ...Description, Mesh }, ...(MeshID !== undefined && { MeshID }) };
}

const numbers = (nodes: readonly Node[]) => Object.fromEntries(nodes.map(({ ID, MeshID }) => [ID, MeshID]));

describe('mesh ids', () => {
  it('are given to nodes that have an end of the mesh, each its own', () => {
    const ids = Array.from({ length: 300 }, (_, i) => `n${i}`);
    const store = aStore({
      nodes: [...ids.map((id) => meshNode(id)), aNode({ id: 'plain' }), aNode({ id: 'new', described: false })],
    });
    settleState(store, [meshAllocator()]);
    const { plain, new: fresh, ...given } = numbers(store.view().list('nodes'));
    expect([plain, fresh]).toEqual([undefined, undefined]);
    const all = Object.values(given);
    expect(new Set(all).size).toBe(300);
    expect(all.every((id) => Number.isInteger(id) && id! >= 1 && id! <= maxMeshId)).toBe(true);
  });

  it('are given for the tunnels alone, too', () => {
    const { Description, ...node } = aNode({ id: 'a' });
    const Tunnel = { key: '', generation: 0, dataPathAddr: '10.0.0.1' };
    const store = aStore({ nodes: [{ ...node, Description: { ...Description!, Tunnel } }] });
    settleState(store, [meshAllocator()]);
    expect(store.view().get('nodes', 'a')?.MeshID).toBe(firstChoice('a'));
  });

  it('stay as they are, whatever the node reports', () => {
    const store = aStore({ nodes: [meshNode('a', 7)] });
    expect(meshAllocator().all(store.view())).toEqual([]);
    expect(decide(meshAllocator(), store, 'a').changes).toEqual([]);
  });

  it('are the next free ones where the first choice is taken, around the end', () => {
    const next = (firstChoice('a') % maxMeshId) + 1;
    const store = aStore({ nodes: [meshNode('a'), meshNode('x', firstChoice('a')), meshNode('y', next)] });
    settleState(store, [meshAllocator()]);
    expect(store.view().get('nodes', 'a')?.MeshID).toBe((next % maxMeshId) + 1);
  });

  it('of a removed node are nobody’s while a task of it lives', () => {
    const [first, second] = sameChoice();
    const service = aService({ id: 's' });
    const task = aTask({ id: 't', service, node: first, state: 'running' });
    const store = aStore({ nodes: [meshNode(second)], services: [service], tasks: [task] });
    settleState(store, [meshAllocator()]);
    const avoided = store.view().get('nodes', second)?.MeshID;
    expect(avoided).toBeDefined();
    expect(avoided).not.toBe(firstChoice(first));

    const ended = aStore({
      nodes: [meshNode(second)],
      services: [service],
      tasks: [{ ...task, Status: { ...task.Status, State: 'orphaned' } }],
    });
    settleState(ended, [meshAllocator()]);
    expect(ended.view().get('nodes', second)?.MeshID).toBe(firstChoice(first));
  });

  it('are decided anew when the node has changed meanwhile', () => {
    const store = aStore({ nodes: [meshNode('a')] });
    const { changes } = decide(meshAllocator(), store, 'a');
    apply(store, [{ op: 'update', table: 'nodes', id: 'a', set: { MeshID: 9 } }]);
    expect(() => apply(store, changes)).toThrow();
    expect(store.view().get('nodes', 'a')?.MeshID).toBe(9);
  });
});

/** Two node ids with the same first choice. */
function sameChoice(): [string, string] {
  const seen = new Map<number, string>();
  for (let i = 0; ; i++) {
    const other = seen.get(firstChoice(`n${i}`));
    if (other !== undefined) return [other, `n${i}`];
    seen.set(firstChoice(`n${i}`), `n${i}`);
  }
}
