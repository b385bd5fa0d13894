import type { Node, StoreEvent, Task } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import type { Key } from './types.ts';
import { unitKey } from './unit.ts';

// Which keys an event makes worth another look.

const none: readonly Key[] = [];

/** The services that an event concerns: by their own spec, or by one of their copies coming, going or being given up. */
export function serviceKeys(event: StoreEvent, on: { specs: boolean; copies: boolean }): readonly Key[] {
  if (event.table === 'services') {
    return on.specs && (event.op !== 'update' || event.before?.SpecVersion !== event.after?.SpecVersion)
      ? [event.id]
      : none;
  }
  if (event.table === 'tasks') {
    const task = event.after ?? event.before;
    const copies =
      event.op !== 'update' ||
      event.before?.DesiredState !== event.after?.DesiredState ||
      event.before?.Final !== event.after?.Final;
    return on.copies && copies && task ? [task.ServiceID] : none;
  }
  return none;
}

/** The unit that a task's event concerns. */
export const unitKeyOf = (event: StoreEvent): readonly Key[] => {
  if (event.table !== 'tasks') return none;
  const task = event.after ?? event.before;
  if (!task) return none;
  const before = event.before && unitKey(event.before);
  const key = unitKey(task);
  return before !== undefined && before !== key ? [before, key] : [key];
};

/** What of a node matters to where tasks are: its state, availability, role, labels, platform and runtimes. */
export function nodeMoved(before: Node | undefined, after: Node | undefined): boolean {
  if (!before || !after) return true;
  return (
    before.Status.State !== after.Status.State ||
    before.Status.Addr !== after.Status.Addr ||
    before.Spec !== after.Spec ||
    before.Description !== after.Description
  );
}

export const unitsOfNode = (view: View, nodeId: string): readonly Key[] => [
  ...new Set(view.tasksOfNode(nodeId).map(unitKey)),
];

export const allUnits = (view: View): readonly Key[] => [
  ...new Set(view.list('tasks').map((task: Task) => unitKey(task))),
];
