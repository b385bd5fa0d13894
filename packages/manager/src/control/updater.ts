import {
  isGlobal,
  isJob,
  isUp,
  type Service,
  type StoreChange,
  toTimestamp,
  type UpdateRun,
  type UpdateState,
  withPullAuth,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { changesPerDecision } from './change-size.ts';
import { suitsGlobal } from './fit.ts';
import { nodeMoved } from './marks.ts';
import { currentRun, isPaused, isUpdating, newTask } from './task-draft.ts';
import type { Controller, Decision, Env } from './types.ts';
import { dirtyCheck, isFilled, isLiving, isStopped, isWanted, unitsOf } from './unit.ts';
import { configOf, type Progress, progressOf, type UpdatableUnit } from './update-progress.ts';

// The rolling updater, for updates and rollbacks alike: replaces units that are out of date, a few at a time, watches the new tasks, and
// acts when too many fail. All that it knows is in the service and its tasks.

export function updater(): Controller {
  return {
    name: 'updater',
    marks(event, view) {
      if (event.table === 'services') {
        const { before, after } = event;
        const same =
          before?.SpecVersion === after?.SpecVersion &&
          before?.UpdateStatus === after?.UpdateStatus &&
          before?.Update === after?.Update &&
          before?.Endpoint === after?.Endpoint;
        return same ? [] : [event.id];
      }
      if (event.table === 'tasks') {
        const service = view.get('services', (event.after ?? event.before)?.ServiceID ?? '');
        return service?.Update ? [service.ID] : [];
      }
      if (event.table !== 'nodes' || !nodeMoved(event.before, event.after)) return [];
      return view
        .list('services')
        .filter((service) => service.Update && isGlobal(service))
        .map((service) => service.ID);
    },
    all: (view) => view.list('services').map((service) => service.ID),
    decide(view, key, env) {
      const service = view.get('services', key);
      if (!service || isJob(service) || isPaused(service)) return { changes: [] };
      const units = updatableUnits(view, service);
      const progress = progressOf(view, service, units, currentRun(service), env.now);
      const run = currentRun(service);
      if (!run || !isUpdating(service)) return begin(view, service, progress, env);
      return proceed(view, service, run, progress, env);
    },
  };
}

function updatableUnits(view: View, service: Service): UpdatableUnit[] {
  const global = isGlobal(service);
  const units: UpdatableUnit[] = [];
  for (const [name, tasks] of unitsOf(view, service.ID)) {
    if (!isFilled(tasks)) continue;
    if (global && !reachable(view, service, name)) continue;
    units.push({ name, place: global ? { NodeID: name } : { Slot: Number(name) }, tasks });
  }
  return global ? units : units.sort((a, b) => Number(a.name) - Number(b.name));
}

/** A copy on a paused, drained or lost node waits until the node is back. */
function reachable(view: View, service: Service, nodeId: string): boolean {
  const node = view.get('nodes', nodeId);
  return (
    node !== undefined &&
    node.Spec.Availability === 'active' &&
    node.Status.State !== 'down' &&
    suitsGlobal(service, node)
  );
}

/** No run is going on: starts one when tasks are out of date, or mends what the last one left. */
function begin(view: View, service: Service, progress: Progress, env: Env): Decision {
  const mending = currentRun(service) !== undefined;
  if (mending) return { changes: replaceNext(view, service, progress, env), ...wake(progress.wakeAt) };
  if (progress.dirty.length === 0 && !isUpdating(service)) return { changes: [] };
  const status = isUpdating(service) ? service.UpdateStatus : undefined;
  const StartedAt = status?.StartedAt ?? toTimestamp(env.now);
  const Update: UpdateRun = {
    ID: env.newId(),
    SpecVersion: service.SpecVersion,
    StartedAt,
    Total: progress.dirty.length,
    Failed: {},
  };
  const UpdateStatus = {
    State: status?.State ?? ('updating' as const),
    StartedAt,
    Message: status?.Message ?? 'update in progress',
  };
  const started = { ...service, Update, UpdateStatus };
  return { changes: [write(service, { Update, UpdateStatus }), ...replaceNext(view, started, progress, env)] };
}

/** A run is going on: notes what came up and what failed, acts on too many failures, goes on with the next units. */
function proceed(view: View, service: Service, run: UpdateRun, progress: Progress, env: Env): Decision {
  const changes: StoreChange[] = progress.newlyUp.map((task) => ({
    op: 'update',
    table: 'tasks',
    id: task.ID,
    set: { UpSince: env.now },
    ifExists: true,
  }));
  const Failed = { ...run.Failed, ...progress.newlyFailed };
  const set: ServiceSet = progress.lastFailed === undefined ? {} : { Update: { ...run, Failed } };
  const config = configOf(service);
  const tooMany = Object.keys(Failed).length / Math.max(1, run.Total) > config.maxFailureRatio;
  if (progress.lastFailed !== undefined && tooMany && config.failureAction !== 'continue') {
    return { changes: [...changes, write(service, { ...set, ...failed(service, progress.lastFailed, env) })] };
  }
  if (progress.newlyUp.length === 0 && progress.settled) return { changes: [...changes, complete(service, env, set)] };
  if (progress.lastFailed !== undefined) changes.push(write(service, set));
  return { changes: [...changes, ...replaceNext(view, service, progress, env)], ...wake(progress.wakeAt) };
}

type ServiceSet = Partial<
  Pick<
    Service,
    'Spec' | 'SpecVersion' | 'PreviousSpec' | 'PreviousSpecVersion' | 'PullAuth' | 'UpdateStatus' | 'Update'
  >
>;

const wake = (wakeAt: number | undefined) => (wakeAt === undefined ? {} : { wakeAt });

/** The API writes the same fields, so these writes are lost rather than lay themselves over a newer spec. */
const write = (service: Service, set: ServiceSet): StoreChange => ({
  op: 'update',
  table: 'services',
  id: service.ID,
  version: service.Version.Index,
  set,
});

function complete(service: Service, env: Env, set: ServiceSet = {}): StoreChange {
  const rollback = service.UpdateStatus?.State === 'rollback_started';
  return write(service, {
    ...set,
    UpdateStatus: {
      ...service.UpdateStatus,
      State: rollback ? 'rollback_completed' : 'completed',
      CompletedAt: toTimestamp(env.now),
      Message: rollback ? 'rollback completed' : 'update completed',
    },
  });
}

function failed(service: Service, taskId: string, env: Env): ServiceSet {
  const because = `due to failure or early termination of task ${taskId}`;
  const status = (State: UpdateState, Message: string) => ({
    UpdateStatus: { ...service.UpdateStatus, State, Message },
  });
  if (service.UpdateStatus?.State === 'rollback_started')
    return status('rollback_paused', `rollback paused ${because}`);
  const { PreviousSpec, PreviousSpecVersion } = service;
  if (configOf(service).failureAction !== 'rollback' || !PreviousSpec) {
    return status('paused', `update paused ${because}`);
  }
  return {
    Spec: PreviousSpec,
    SpecVersion: PreviousSpecVersion ?? env.newId(),
    PreviousSpec: service.Spec,
    PreviousSpecVersion: service.SpecVersion,
    ...withPullAuth(service, service.PullAuth?.PreviousSpec),
    ...status('rollback_started', `update rolled back ${because}`),
  };
}

function replaceNext(view: View, service: Service, progress: Progress, env: Env): StoreChange[] {
  const { parallelism } = configOf(service);
  const free = parallelism === 0 ? progress.dirty.length : Math.max(0, parallelism - progress.busy);
  const limit = changesPerDecision(service.Spec.TaskTemplate);
  return progress.dirty.slice(0, Math.min(free, limit)).flatMap((unit) => replace(view, service, unit, env));
}

/**
 * Start-first: the new task runs before the old one stops (the restart supervisor stops it when the new one is up). Stop-first: the
 * old one stops, while the new one is already placed and prepared, and starts when the old one is gone.
 */
function replace(view: View, service: Service, unit: UpdatableUnit, env: Env): StoreChange[] {
  const dirty = dirtyCheck(view, service);
  const old = unit.tasks.filter((task) => isWanted(task) && dirty(task));
  const startFirst = configOf(service).order === 'start-first' && old.some(isUp) && !boundToOldPorts(service);
  const waits = unit.tasks.some((task) => !(startFirst && isLiving(task)) && !isStopped(view, task));
  const object = newTask(service, unit.place, waits ? 'ready' : 'running', env);
  return [
    ...old.map(
      (task): StoreChange => ({
        op: 'update',
        table: 'tasks',
        id: task.ID,
        set: startFirst && isLiving(task) ? { ReplacedBy: object.ID } : { DesiredState: 'shutdown' },
        ifExists: true,
      }),
    ),
    { op: 'create', table: 'tasks', object },
  ];
}

/** A global service's new task cannot bind a host port beside the old one. */
const boundToOldPorts = (service: Service): boolean =>
  isGlobal(service) &&
  (service.Spec.EndpointSpec?.Ports ?? []).some((port) => port.PublishMode === 'host' && port.PublishedPort);
