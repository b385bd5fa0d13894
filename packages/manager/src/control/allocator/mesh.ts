import { createHash } from 'node:crypto';
import { isTerminal, maxMeshId, type Node, type Task } from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import type { Controller } from '../types.ts';

// Numbers for the nodes that have an end of the mesh or of the tunnels. A number follows from the node's id, and is the next free one where another node has
// it: so it comes back to nobody else soon, and that of a removed node is still known while tasks of it live.

export function meshAllocator(): Controller {
  return {
    name: 'mesh-ids',
    marks(event, view) {
      if (event.table !== 'nodes') return [];
      // One that came free may be what others wait for, when all were given.
      if (!event.after) return unnumbered(view);
      return lacksNumber(event.after) ? [event.id] : [];
    },
    all: unnumbered,
    decide(view, key) {
      const node = view.get('nodes', key);
      const MeshID = node && lacksNumber(node) ? freeNumber(view, key) : undefined;
      if (!node || MeshID === undefined) return { changes: [] };
      // With the version: a proposal that was given up and came through all the same must not be followed by another number.
      const { Version } = node;
      return { changes: [{ op: 'update', table: 'nodes', id: key, version: Version.Index, set: { MeshID } }] };
    },
  };
}

const lacksNumber = ({ Description, MeshID }: Node): boolean =>
  MeshID === undefined && (Description?.Mesh ?? Description?.Tunnel) !== undefined;

const unnumbered = (view: View): string[] =>
  view
    .list('nodes')
    .filter(lacksNumber)
    .map((node) => node.ID);

/** How far from its first choice a removed node's number is looked for. */
const reach = 16;

/** Undefined when all are given. */
function freeNumber(view: View, nodeId: string): number | undefined {
  const taken = new Set(view.list('nodes').map((node) => node.MeshID));
  for (const task of view.list('tasks')) if (isLost(view, task)) for (const id of likelyOf(task)) taken.add(id);
  const first = firstChoice(nodeId);
  for (let i = 0; i < maxMeshId; i++) {
    const id = stepped(first, i);
    if (!taken.has(id)) return id;
  }
  return undefined;
}

/** It lives, on a node that the state does not know any more. */
const isLost = (view: View, task: Task): boolean =>
  task.NodeID !== undefined && !isTerminal(task.Status.State) && !view.get('nodes', task.NodeID);

const likelyOf = ({ NodeID = '' }: Task): number[] =>
  Array.from({ length: reach }, (_, i) => stepped(firstChoice(NodeID), i));

const stepped = (first: number, steps: number): number => ((first - 1 + steps) % maxMeshId) + 1;

export const firstChoice = (nodeId: string): number =>
  (createHash('sha256').update(nodeId).digest().readUInt32BE() % maxMeshId) + 1;
