import { FrameStream } from '@swarmctl/shared/kit';
import type { Node } from '@swarmctl/shared/model';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import { afterEach, expect, test } from 'vitest';
import { aCluster, aNode } from '../../kit/builders.ts';
import { connection } from '../../kit/duplex-pair.ts';
import { World } from './world.ts';

// What nodes are shown of the mesh between them, spoken by hand at the dispatcher.

let world: World;
afterEach(() => world.end());

function meshNode(id: string, MeshID: number | undefined, addr: string): Node {
  const { Description, ...node } = aNode({ id, addr });
  if (!Description) throw new Error('not described');
  const Mesh = { up: true, dataPathAddr: addr };
  return { ...node, Description: { ...Description, Mesh }, ...(MeshID !== undefined && { MeshID }) };
}

const a = meshNode('a', 1, '10.0.0.1');
const b = meshNode('b', undefined, '10.0.0.2');

type Update = Extract<ManagerMessage, { type: 'update' }>;

function agentOf(node: Node): Update[] {
  const [near, far] = connection();
  const frames = new FrameStream<ManagerMessage, AgentMessage>(near);
  const updates: Update[] = [];
  frames.on('message', (message) => {
    if (message.type === 'update') updates.push(message);
  });
  world.leader?.dispatcher.accept(node.ID, far);
  if (!node.Description) throw new Error('not described');
  frames.send({
    type: 'hello',
    protocol: 1,
    instance: 'i',
    addr: node.Status.Addr,
    description: node.Description,
    statuses: [],
    revision: 0,
  });
  return updates;
}

test('a node gets the mesh with the whole, and anew when a peer joins it, goes down or leaves', async () => {
  world = new World({ cluster: aCluster(), nodes: [a, b, aNode({ id: 'plain' })] });
  world.lead();
  const shown = agentOf(a);
  const none = agentOf(aNode({ id: 'plain' }));
  await world.until(() => shown.length === 1 && none.length === 1, 100);
  expect(shown[0]).toMatchObject({ full: true, mesh: { self: 1, port: 4_789, peers: [] } });
  expect(none[0]?.mesh).toBeUndefined();

  world.write([{ op: 'update', table: 'nodes', id: 'b', set: { MeshID: 2 } }]);
  await world.until(() => shown.length === 2, 100);
  const peer = { nodeId: 'b', meshId: 2, addr: '10.0.0.2' };
  expect(shown[1]).toMatchObject({
    full: false,
    revision: world.store.index,
    mesh: { peers: [{ ...peer, up: true }] },
  });

  const Description = { ...b.Description!, Mesh: { up: false, dataPathAddr: '10.0.0.2', why: 'no device' } };
  world.write([{ op: 'update', table: 'nodes', id: 'b', set: { Description } }]);
  await world.until(() => shown.length === 3, 100);
  expect(shown[2]?.mesh?.peers).toEqual([{ ...peer, up: false }]);

  world.write([{ op: 'remove', table: 'nodes', id: 'b' }]);
  await world.until(() => shown.length === 4, 100);
  expect(shown[3]?.mesh?.peers).toEqual([]);
  expect(none.every(({ mesh }) => mesh === undefined)).toBe(true);
});
