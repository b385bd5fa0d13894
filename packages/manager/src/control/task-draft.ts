import {
  type Draft,
  type Service,
  type Task,
  type TaskState,
  toTimestamp,
  type UpdateRun,
} from '@swarmctl/shared/model';
import type { Env } from './types.ts';

// How a task comes to be: made from its service for one place, a slot or a node.

/** A slot of a replicated service (from 1) or job (from 0), or a node of a global one. */
export type Place = { readonly Slot: number } | { readonly NodeID: string };

type Extra = Pick<Task, 'Restarts' | 'StartAt' | 'Ports' | 'JobIteration'>;

export function newTask(
  service: Service,
  place: Place,
  desired: Extract<TaskState, 'ready' | 'running' | 'complete'>,
  env: Env,
  extra: Extra = {},
): Draft<'tasks'> {
  const run = activeRun(service);
  return {
    ID: env.newId(),
    Labels: {},
    Spec: service.Spec.TaskTemplate,
    ServiceID: service.ID,
    ...place,
    Status: { Timestamp: toTimestamp(env.now), State: 'new', Message: 'created' },
    DesiredState: desired,
    SpecVersion: service.SpecVersion,
    ServiceAnnotations: { Name: service.Spec.Name, Labels: service.Spec.Labels },
    ...(run && { UpdateID: run.ID }),
    ...extra,
  };
}

/** The same task again, as it was, for a service that is on its way to another spec. */
export function sameTask(
  old: Task,
  place: Place,
  desired: Extract<TaskState, 'ready' | 'running'>,
  env: Env,
  extra: Extra = {},
): Draft<'tasks'> {
  return {
    ID: env.newId(),
    Labels: old.Labels,
    Spec: old.Spec,
    ServiceID: old.ServiceID,
    ...place,
    Status: { Timestamp: toTimestamp(env.now), State: 'new', Message: 'created' },
    DesiredState: desired,
    SpecVersion: old.SpecVersion,
    ServiceAnnotations: old.ServiceAnnotations,
    ...(old.Ports && { Ports: old.Ports }),
    ...extra,
  };
}

/** The run that the service's UpdateStatus speaks of; undefined when a new spec has overtaken it. */
export function currentRun(service: Service): UpdateRun | undefined {
  const { Update: run, UpdateStatus: status } = service;
  return run && status && run.SpecVersion === service.SpecVersion && run.StartedAt === status.StartedAt
    ? run
    : undefined;
}

/** The run that is going on now. */
export const activeRun = (service: Service): UpdateRun | undefined =>
  isUpdating(service) ? currentRun(service) : undefined;

export const isUpdating = ({ UpdateStatus: status }: Service): boolean =>
  status?.State === 'updating' || status?.State === 'rollback_started';

export const isPaused = ({ UpdateStatus: status }: Service): boolean =>
  status?.State === 'paused' || status?.State === 'rollback_paused';
