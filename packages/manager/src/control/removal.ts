import type { StoreChange } from '@swarmctl/shared/model';
import type { Controller } from './types.ts';

// What is left of a service that was removed: all its tasks are to go.

const perDecision = 1_000;

export function serviceRemoval(): Controller {
  return {
    name: 'service-removal',
    marks(event) {
      if (event.table === 'services') return event.op === 'remove' ? [event.id] : [];
      return event.table === 'tasks' && event.op === 'create' && event.after ? [event.after.ServiceID] : [];
    },
    all: (view) => [
      ...new Set(
        view
          .list('tasks')
          .filter((task) => !view.get('services', task.ServiceID))
          .map((task) => task.ServiceID),
      ),
    ],
    decide(view, key, env) {
      if (view.get('services', key)) return { changes: [] };
      const left = view.tasksOfService(key).filter((task) => task.DesiredState !== 'remove');
      const changes = left.slice(0, perDecision).map(
        (task): StoreChange => ({
          op: 'update',
          table: 'tasks',
          id: task.ID,
          set: { DesiredState: 'remove' },
          ifExists: true,
        }),
      );
      return left.length > perDecision ? { changes, wakeAt: env.now } : { changes };
    },
  };
}
