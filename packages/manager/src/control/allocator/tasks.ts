import { type Service, type StoreChange, type Task, toTimestamp } from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import type { Controller, Env } from '../types.ts';
import { isWanted } from '../unit.ts';
import { allocateEndpoint, endpointMatches } from './ports.ts';

// The port allocator, second half: new tasks get their service's ports and go on to the scheduler, once the service has got its own.

const perDecision = 200;

export function taskAllocator(): Controller {
  return {
    name: 'task-ports',
    marks(event) {
      if (event.table === 'tasks') return event.after?.Status.State === 'new' ? [event.after.ServiceID] : [];
      if (event.table !== 'services' || event.op !== 'update') return [];
      return event.before?.Spec !== event.after?.Spec || event.before?.Endpoint !== event.after?.Endpoint
        ? [event.id]
        : [];
    },
    all: (view) => [
      ...new Set(
        view
          .list('tasks')
          .filter(isNew)
          .map((task) => task.ServiceID),
      ),
    ],
    decide(view, key, env) {
      const service = view.get('services', key);
      const waiting = service ? view.tasksOfService(key).filter((task) => isNew(task) && isWanted(task)) : [];
      if (!service || waiting.length === 0) return { changes: [] };
      const advance = endpointMatches(service) ? allocate : explain(view, service);
      const changes = waiting.slice(0, perDecision).flatMap((task) => advance(task, service, env));
      return waiting.length > perDecision && changes.length > 0 ? { changes, wakeAt: env.now } : { changes };
    },
  };
}

const isNew = (task: Task): boolean => task.Status.State === 'new';

/** A task that comes back as it was before an update keeps the ports that it had. */
function allocate(task: Task, service: Service, env: Env): StoreChange[] {
  const Status = {
    Timestamp: toTimestamp(env.now),
    State: 'pending' as const,
    Message: 'pending task scheduling',
  };
  return [update(task, { Status, Ports: task.Ports ?? service.Endpoint.Ports ?? [] })];
}

/** The service's endpoint is not what its spec asks for; the tasks say why, when it is for good. */
function explain(view: View, service: Service): typeof allocate {
  const allocation = allocateEndpoint(view, service);
  const Err = allocation.ok ? undefined : allocation.conflict;
  return (task, _, env) => {
    if (task.Ports) return allocate(task, service, env);
    if (Err === undefined || Err === task.Status.Err) return [];
    return [update(task, { Status: { ...task.Status, Timestamp: toTimestamp(env.now), Err } })];
  };
}

const update = (task: Task, set: Partial<Pick<Task, 'Status' | 'Ports'>>): StoreChange => ({
  op: 'update',
  table: 'tasks',
  id: task.ID,
  set,
  ifExists: true,
});
