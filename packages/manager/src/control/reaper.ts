import { defaultTaskHistory, isTerminal, type StoreChange, stateOrder, type Task } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { allUnits, unitKeyOf, unitsOfNode } from './marks.ts';
import type { Controller } from './types.ts';
import { finalOf, isWanted, placeOf, tasksAt } from './unit.ts';

// The task reaper deletes what nobody needs any more: tasks that are to be removed and have stopped, tasks that were given up before
// they got to a node, what lay on removed nodes, and history beyond the limit.

const perDecision = 1_000;

export function taskReaper(): Controller {
  return {
    name: 'reaper',
    marks(event, view) {
      // Tasks that live are no concern of the reaper's.
      if (event.table === 'tasks') return event.after && isWanted(event.after) ? [] : unitKeyOf(event);
      if (event.table === 'nodes') {
        return event.before?.Status.State !== event.after?.Status.State ? unitsOfNode(view, event.id) : [];
      }
      if (event.table !== 'cluster') return [];
      return historyLimit(event.before) === historyLimit(event.after) ? [] : allUnits(view);
    },
    all: allUnits,
    decide(view, key, env) {
      const tasks = tasksAt(view, placeOf(key));
      const gone = tasks.filter((task) => !isWanted(task) && isForgettable(view, task));
      const rest = tasks.filter((task) => !gone.includes(task));
      const limit = historyLimit(view.cluster());
      const final = finalOf(tasks);
      // A final task stands for its unit: without it, another would be started there.
      const history = rest.filter((task) => !isWanted(task) && isTerminal(task.Status.State) && task !== final);
      const room = final ? Math.max(0, limit - 1) : limit;
      const surplus = limit < 0 ? [] : history.slice(0, Math.max(0, history.length - room));
      const doomed = [...gone, ...surplus];
      const changes = doomed
        .slice(0, perDecision)
        .map((task): StoreChange => ({ op: 'remove', table: 'tasks', id: task.ID, ifExists: true }));
      return doomed.length > perDecision ? { changes, wakeAt: env.now } : { changes };
    },
  };
}

/** Below zero: keep all. */
const historyLimit = (cluster: ReturnType<View['cluster']>): number =>
  cluster?.Spec.Orchestration?.TaskHistoryRetentionLimit ?? defaultTaskHistory;

/** A task that is not to live any more, and that no agent will have to be told or asked about. */
function isForgettable(view: View, task: Task): boolean {
  if (stateOrder[task.Status.State] < stateOrder.assigned) return true;
  const node = view.get('nodes', task.NodeID ?? '');
  if (!node) return !task.Final || task.DesiredState === 'remove';
  return task.DesiredState === 'remove' && (isTerminal(task.Status.State) || node.Status.State === 'down');
}
