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
  for (const task of tasks) {
    if (!isPending(task)) continue;
    const key = keyOf(task);
    const group = byKey.get(key);
    if (group) group.push(task);
    else byKey.set(key, [task]);
  }
  const groups = byKey.size === 0 ? none : [...byKey].map(([key, members]) => ({ key, tasks: members }));
  known.set(tasks, groups);
  return groups;
}

/** A node given beforehand is a matter of each task, so those tasks are kept apart. */
function keyOf(task: Task): string {
  const ports = task.Ports && task.Ports.length > 0 ? hostPortsOf(task.Ports).join() : '';
  return `${task.ServiceID} ${task.SpecVersion} ${task.NodeID === undefined ? 'any' : 'given'} ${ports}`;
}
