import { type Driver, runtimeOf, type Service, type StoreChange, type Task, toTimestamp } from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import type { Controller, Env } from '../types.ts';
import { isWanted } from '../unit.ts';
import { Attacher, allocateVirtuals, mayFreeAddresses, virtualsMatch } from './attachments.ts';
import { allocateEndpoint, endpointMatches } from './ports.ts';
import { Rotation } from './rooms.ts';

// What a task needs before it is placed: new tasks get their service's ports and addresses on their networks, and go on to the scheduler,
// once the service has got its own.

const perDecision = 200;

export function taskAllocator(rotation = new Rotation()): Controller {
  /** Services with tasks that wait for an address to come free. */
  const short = new Set<string>();
  return {
    name: 'task-allocator',
    marks(event) {
      const waiting = short.size > 0 && mayFreeAddresses(event) ? [...short] : [];
      if (event.table === 'tasks') {
        return event.after?.Status.State === 'new' ? [...waiting, event.after.ServiceID] : waiting;
      }
      if (event.table !== 'services' || event.op !== 'update') return waiting;
      return event.before?.Spec !== event.after?.Spec || event.before?.Endpoint !== event.after?.Endpoint
        ? [...waiting, event.id]
        : waiting;
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
      short.delete(key);
      if (!service || waiting.length === 0) return { changes: [] };
      const err = unsettled(view, service, rotation);
      const attacher = new Attacher(view, rotation);
      const changes: StoreChange[] = [];
      for (const task of waiting) {
        if (changes.length >= perDecision) return { changes, wakeAt: env.now };
        // A task that comes back as it was before an update keeps the ports that it had, and needs nothing of its service's.
        if (err !== undefined && !task.Ports) changes.push(...explain(task, err, env));
        else {
          const attached = attacher.attach(task);
          if (attached.ok) {
            const LogDriver = defaultLogDriver(view, task);
            const more = { ...(LogDriver && { LogDriver }) };
            changes.push(allocate(task, service, attached.attachments, more, env));
          } else {
            short.add(key);
            changes.push(...explain(task, attached.err ?? '', env));
          }
        }
      }
      return { changes };
    },
  };
}

const isNew = (task: Task): boolean => task.Status.State === 'new';

/** Why the service has not got what its spec asks for; empty when that is only a matter of time. */
function unsettled(view: View, service: Service, rotation: Rotation): string | undefined {
  if (!endpointMatches(service)) {
    const allocation = allocateEndpoint(view, service);
    return allocation.ok ? '' : allocation.conflict;
  }
  if (virtualsMatch(view, service)) return undefined;
  const allocation = allocateVirtuals(view, service, rotation);
  return allocation.ok ? '' : allocation.conflict;
}

/** The cluster's, of tasks whose spec names none. */
function defaultLogDriver(view: View, { Spec, ServiceAnnotations }: Task): Driver | undefined {
  const found = view.cluster()?.Spec.TaskDefaults?.LogDriver;
  return found?.Name && !Spec.LogDriver?.Name && runtimeOf(ServiceAnnotations.Labels) === 'docker' ? found : undefined;
}

function allocate(
  task: Task,
  service: Service,
  attachments: Task['NetworksAttachments'],
  more: Pick<Task, 'LogDriver'>,
  env: Env,
): StoreChange {
  const Status = {
    Timestamp: toTimestamp(env.now),
    State: 'pending' as const,
    Message: 'pending task scheduling',
  };
  const Ports = task.Ports ?? service.Endpoint.Ports ?? [];
  if (!attachments?.length) return update(task, { Status, Ports, ...more });
  // With the version: a proposal that was given up and came through all the same must not be followed by other addresses.
  return { ...update(task, { Status, Ports, NetworksAttachments: attachments, ...more }), version: task.Version.Index };
}

function explain(task: Task, Err: string, env: Env): StoreChange[] {
  if (Err === '' || Err === task.Status.Err) return [];
  return [update(task, { Status: { ...task.Status, Timestamp: toTimestamp(env.now), Err } })];
}

const update = (task: Task, set: Partial<Pick<Task, 'Status' | 'Ports' | 'LogDriver' | 'NetworksAttachments'>>) =>
  ({ op: 'update', table: 'tasks', id: task.ID, set, ifExists: true }) as const;
