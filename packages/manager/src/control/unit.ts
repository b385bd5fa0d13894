import {
  isAfter,
  isDirty,
  isTerminal,
  isUp,
  type Service,
  stateOrder,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { meetsConstraints } from './fit.ts';
import type { Place } from './task-draft.ts';
import type { Key } from './types.ts';

// A unit is the place of one copy of a service: a slot of a replicated one, a node of a global one, with all the tasks that were ever
// put there and are still known. Normally one of them lives.

/** `service/slot` or `service@node`. */
export const unitKey = (task: Pick<Task, 'ServiceID' | 'Slot' | 'NodeID'>): Key =>
  task.Slot !== undefined ? `${task.ServiceID}/${task.Slot}` : `${task.ServiceID}@${task.NodeID ?? ''}`;

export interface UnitPlace {
  readonly serviceId: string;
  readonly place: Place;
}

export function placeOf(key: Key): UnitPlace {
  const at = key.search(/[/@]/);
  const rest = key.slice(at + 1);
  return { serviceId: key.slice(0, at), place: key[at] === '/' ? { Slot: Number(rest) } : { NodeID: rest } };
}

export const placeName = (place: Place): string => ('Slot' in place ? String(place.Slot) : place.NodeID);

/** From the oldest to the newest. */
export function tasksAt(view: View, { serviceId, place }: UnitPlace): readonly Task[] {
  const tasks =
    'Slot' in place
      ? view.tasksOfSlot(serviceId, place.Slot)
      : view.tasksOfNode(place.NodeID).filter((task) => task.ServiceID === serviceId && task.Slot === undefined);
  return tasks.length > 1 ? [...tasks].sort(byAge) : tasks;
}

/** All tasks of a service by the name of their place, each list from the oldest to the newest. */
export function unitsOf(view: View, serviceId: string): Map<string, Task[]> {
  const units = new Map<string, Task[]>();
  for (const task of view.tasksOfService(serviceId)) {
    const name = task.Slot !== undefined ? String(task.Slot) : (task.NodeID ?? '');
    const unit = units.get(name);
    if (unit) unit.push(task);
    else units.set(name, [task]);
  }
  for (const unit of units.values()) if (unit.length > 1) unit.sort(byAge);
  return units;
}

const byAge = (a: Task, b: Task): number =>
  a.CreatedAt < b.CreatedAt ? -1 : a.CreatedAt > b.CreatedAt ? 1 : a.ID < b.ID ? -1 : 1;

/** Meant to live, whether or not it does. */
export const isWanted = (task: Task): boolean => wantsLife(task.DesiredState);

export const isLiving = (task: Task): boolean => isWanted(task) && !isTerminal(task.Status.State);

/** So many tasks of one service may be on their way to running, so that a wish that no cluster can meet does not fill the managers' memory. */
const mostOnTheWay = 5_000;
/** Who finds no room looks again after so long, ms: tasks that come up are no reason to look at their service. */
export const roomAgainMs = 1_000;

/** How many more tasks may be made for these units' service now: the rest follows as they come up. */
export function roomOnTheWay(units: ReadonlyMap<string, readonly Task[]>): number {
  let room = mostOnTheWay;
  for (const unit of units.values()) {
    for (const task of unit) if (isLiving(task) && task.Status.State !== 'running') room--;
  }
  return Math.max(0, room);
}

/** Has a copy, or had one that its restart policy lets nothing follow. */
export const isFilled = (unit: readonly Task[]): boolean => unit.some(isWanted) || finalOf(unit) !== undefined;

/** The newest task, when nothing may follow it. */
export function finalOf(unit: readonly Task[]): Task | undefined {
  const newest = unit.at(-1);
  return newest?.Final && newest.DesiredState !== 'remove' ? newest : undefined;
}

/** Nothing of the task runs any more, as far as anybody can wait for it. */
export function isStopped(view: View, task: Task): boolean {
  if (isTerminal(task.Status.State) || stateOrder[task.Status.State] < stateOrder.assigned) return true;
  const node = view.get('nodes', task.NodeID ?? '');
  return !node || node.Status.State === 'down';
}

export type Leaving = 'removed' | 'down' | 'drained' | 'unfit';

/** Why the task cannot stay where it is; undefined when it can, or is nowhere yet. */
export function leaving(view: View, task: Task): Leaving | undefined {
  if (task.NodeID === undefined) return undefined;
  const node = view.get('nodes', task.NodeID);
  if (!node) return 'removed';
  if (node.Status.State === 'down') return 'down';
  if (node.Spec.Availability === 'drain') return 'drained';
  return node.Spec.Availability === 'active' && !meetsConstraints(task.Spec, node) ? 'unfit' : undefined;
}

/** `isDirty` for many tasks of one service; the comparison of specs is made once a version. */
export function dirtyCheck(view: View, service: Service): (task: Task) => boolean {
  const bySpecVersion = new Map<string, boolean>();
  return (task) => {
    if (task.SpecVersion === service.SpecVersion) return false;
    const known = bySpecVersion.get(task.SpecVersion);
    if (known !== undefined) return known;
    let dependsOnNode = false;
    const dirty = isDirty(service, task, () => {
      dependsOnNode = true;
      const node = view.get('nodes', task.NodeID ?? '');
      return node !== undefined && meetsConstraints(service.Spec.TaskTemplate, node);
    });
    // Ports come with the allocation and a node with the assignment, so only a task that has both speaks for the others.
    if (!dependsOnNode && task.Ports !== undefined) bySpecVersion.set(task.SpecVersion, dirty);
    return dirty;
  };
}

/** Up first, then the furthest advanced, then the oldest. */
export function better(a: Task, b: Task): number {
  if (isUp(a) !== isUp(b)) return isUp(a) ? -1 : 1;
  if (a.Status.State !== b.Status.State) return isAfter(a.Status.State, b.Status.State) ? -1 : 1;
  return byAge(a, b);
}
