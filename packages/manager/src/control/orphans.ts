import { isTerminal, type StoreChange, stateOrder, type Task, toTimestamp } from '@swarmctl/shared/model';
import type { Controller, Decision, Env } from './types.ts';

// Tasks that nobody will ever report on again: those of a node that was removed, at once, and those of one that is down, after a day.

export const orphanedAfterMs = 24 * 60 * 60 * 1000;
const perDecision = 1_000;

export function orphanSupervisor(): Controller {
  return {
    name: 'orphans',
    marks(event, view) {
      if (event.table === 'nodes') {
        const changed =
          event.op !== 'update' ||
          event.before?.Status.State !== event.after?.Status.State ||
          event.before?.DownSince !== event.after?.DownSince;
        return changed ? [event.id] : [];
      }
      if (event.table !== 'tasks' || event.after?.NodeID === undefined) return [];
      // A task that was given to a node while that went away.
      if (event.before?.NodeID === event.after.NodeID) return [];
      const node = view.get('nodes', event.after.NodeID);
      return node && node.Status.State !== 'down' ? [] : [event.after.NodeID];
    },
    all: (view) => [...new Set(view.list('tasks').flatMap((task) => task.NodeID ?? []))],
    decide(view, key, env) {
      const node = view.get('nodes', key);
      const open = view
        .tasksOfNode(key)
        .filter((task) => !isTerminal(task.Status.State) && stateOrder[task.Status.State] >= stateOrder.assigned);
      if (!node) return orphan(open, 'node was removed', env);
      if (open.length === 0 || node.Status.State !== 'down' || node.DownSince === undefined) return { changes: [] };
      const at = node.DownSince + orphanedAfterMs;
      return env.now < at ? { changes: [], wakeAt: at } : orphan(open, 'node has been down for 24 hours', env);
    },
  };
}

function orphan(tasks: readonly Task[], reason: string, env: Env): Decision {
  const changes = tasks.slice(0, perDecision).map((task): StoreChange => {
    const { Endpoints: _, ...status } = task.Status;
    return {
      op: 'update',
      table: 'tasks',
      id: task.ID,
      set: { Status: { ...status, State: 'orphaned', Timestamp: toTimestamp(env.now), Err: reason } },
      ifExists: true,
    };
  });
  return tasks.length > perDecision ? { changes, wakeAt: env.now } : { changes };
}
