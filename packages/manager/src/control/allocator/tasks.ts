import { type StoreChange, toTimestamp } from '@swarmctl/shared/model';
import type { Controller } from '../types.ts';
import { isWanted } from '../unit.ts';
import { allocateEndpoint, endpointMatches } from './ports.ts';

// The port allocator, second half: new tasks get their service's ports and go on to the scheduler, once the service has got its own.

export function taskAllocator(): Controller {
  return {
    name: 'task-ports',
    marks(event, view) {
      if (event.table === 'tasks') return event.after?.Status.State === 'new' ? [event.id] : [];
      if (event.table !== 'services' || event.op === 'remove') return [];
      return view
        .tasksOfService(event.id)
        .filter((task) => task.Status.State === 'new')
        .map((task) => task.ID);
    },
    all: (view) =>
      view
        .list('tasks')
        .filter((task) => task.Status.State === 'new')
        .map((task) => task.ID),
    decide(view, key, env) {
      const task = view.get('tasks', key);
      const service = task && view.get('services', task.ServiceID);
      if (!task || !service || task.Status.State !== 'new' || !isWanted(task)) return { changes: [] };
      const Timestamp = toTimestamp(env.now);
      const update = (set: Extract<StoreChange, { op: 'update'; table: 'tasks' }>['set']): StoreChange => ({
        op: 'update',
        table: 'tasks',
        id: task.ID,
        set,
        ifExists: true,
      });
      // A task that comes back as it was before an update keeps the ports that it had.
      if (!task.Ports && !endpointMatches(service)) {
        const allocation = allocateEndpoint(view, service);
        const Err = allocation.ok ? undefined : allocation.conflict;
        if (Err === task.Status.Err || Err === undefined) return { changes: [] };
        return { changes: [update({ Status: { ...task.Status, Timestamp, Err } })] };
      }
      const ports = task.Ports ?? service.Endpoint.Ports ?? [];
      const Status = { Timestamp, State: 'pending' as const, Message: 'pending task scheduling' };
      return { changes: [update({ Status, Ports: ports })] };
    },
  };
}
