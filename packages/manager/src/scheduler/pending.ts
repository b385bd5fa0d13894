import { type Task, wantsLife } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { hostPortsOf } from './load.ts';

// The tasks that wait for a node, in groups of equal ones: what is true of one task of a group is true of all.

export interface Group {
  readonly key: string;
  /** Not empty. */
  readonly tasks: readonly Task[];
}

export const isPending = (task: Task): boolean => task.Status.State === 'pending' && wantsLife(task.DesiredState);

const none: readonly Group[] = [];
/** A view hands out the same list as long as nothing in it changes. */
const known = new WeakMap<readonly Task[], readonly Group[]>();

/** Tasks without a service are on their way out. */
export function pendingGroups(view: View): Map<string, Group> {
  const groups = new Map<string, Group>();
  for (const service of view.list('services')) {
    for (const group of groupsOf(view.tasksOfService(service.ID))) groups.set(group.key, group);
  }
  return groups;
}

function groupsOf(tasks: readonly Task[]): readonly Group[] {
  const seen = known.get(tasks);
  if (seen) return seen;
  const byKey = new Map<string, Task[]>();
  let last: { readonly key: string; readonly task: Task; readonly members: Task[] } | undefined;
  for (const task of tasks) {
    if (!isPending(task)) continue;
    const key = last && isAlike(last.task, task) ? last.key : keyOf(task);
    const members = key === last?.key ? last.members : (byKey.get(key) ?? []);
    if (members.length === 0) byKey.set(key, members);
    members.push(task);
    last = { key, task, members };
  }
  const groups = byKey.size === 0 ? none : [...byKey].map(([key, members]) => ({ key, tasks: members }));
  known.set(tasks, groups);
  return groups;
}

/** Surely of the same key; spares making the key again. */
const isAlike = (a: Task, b: Task): boolean =>
  a.SpecVersion === b.SpecVersion &&
  (a.NodeID === undefined) === (b.NodeID === undefined) &&
  !a.Ports?.length &&
  !b.Ports?.length;

/** A node given beforehand is a matter of each task, so those tasks are kept apart. */
function keyOf(task: Task): string {
  const ports = task.Ports && task.Ports.length > 0 ? hostPortsOf(task.Ports).join() : '';
  return `${task.ServiceID} ${task.SpecVersion} ${task.NodeID === undefined ? 'any' : 'given'} ${ports}`;
}
