import {
  type EffectiveUpdateConfig,
  fromTimestamp,
  isTerminal,
  isUp,
  nsToMs,
  rollbackConfigOf,
  type Service,
  stateOrder,
  type Task,
  type UpdateRun,
  updateConfigOf,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import type { Place } from './task-draft.ts';
import { dirtyCheck, finalOf, isLiving, isWanted } from './unit.ts';

// Where an update stands, read off the units.

/** A replacement that is not up after this long counts as failed, instead of holding the update for ever. */
export const progressDeadlineMs = 10 * 60 * 1000;

/** A unit that the updater may touch, from the oldest task to the newest. */
export interface UpdatableUnit {
  readonly name: string;
  readonly place: Place;
  readonly tasks: readonly Task[];
}

export interface Progress {
  /** Units still to be replaced: those that serve nobody first, then in their order. */
  readonly dirty: readonly UpdatableUnit[];
  /** Units that hold a place of `parallelism`: their new task is not up yet, or was so for less than the delay. */
  readonly busy: number;
  /** New tasks seen up for the first time. */
  readonly newlyUp: readonly Task[];
  readonly newlyFailed: UpdateRun['Failed'];
  readonly lastFailed: string | undefined;
  /** Nothing left to replace, to wait for or to monitor. */
  readonly settled: boolean;
  readonly wakeAt: number | undefined;
}

/** The settings that the update goes by: a rollback has its own. */
export const configOf = (service: Service): EffectiveUpdateConfig =>
  service.UpdateStatus?.State.startsWith('rollback') ? rollbackConfigOf(service.Spec) : updateConfigOf(service.Spec);

export function progressOf(
  view: View,
  service: Service,
  units: readonly UpdatableUnit[],
  run: UpdateRun | undefined,
  now: number,
): Progress {
  const config = configOf(service);
  const isDirty = dirtyCheck(view, service);
  const dirty: UpdatableUnit[] = [];
  const newlyUp: Task[] = [];
  const newlyFailed: Record<string, { TaskID: string; At: number }> = {};
  let lastFailed: string | undefined;
  let busy = 0;
  let open = 0;
  let wakeAt = Number.POSITIVE_INFINITY;
  const isPast = (time: number) => {
    if (now < time) wakeAt = Math.min(wakeAt, time);
    return now >= time;
  };

  for (const unit of units) {
    const failure = run?.Failed[unit.name];
    if (failure) {
      if (!isPast(failure.At + config.delayMs)) busy++;
      continue;
    }
    const verdict = verdictOf(unit, isDirty, run, config.monitorMs);
    if (verdict.state === 'dirty') dirty.push(unit);
    else if (verdict.state === 'failed' || (verdict.state === 'coming' && isPast(verdict.deadline))) {
      lastFailed = verdict.task.ID;
      newlyFailed[unit.name] = { TaskID: lastFailed, At: now };
      if (!isPast(now + config.delayMs)) busy++;
    } else if (verdict.state === 'coming') {
      busy++;
      open++;
    } else if (verdict.state === 'watched') {
      const since = verdict.task.UpSince ?? now;
      if (verdict.task.UpSince === undefined) newlyUp.push(verdict.task);
      if (!isPast(since + config.delayMs)) busy++;
      if (!isPast(since + config.monitorMs)) open++;
    }
  }
  const serves = (unit: UpdatableUnit) => (unit.tasks.some((task) => isWanted(task) && isUp(task)) ? 1 : 0);
  // Sorting is stable.
  dirty.sort((a, b) => serves(a) - serves(b));
  return {
    dirty,
    busy,
    newlyUp,
    newlyFailed,
    lastFailed,
    settled: dirty.length === 0 && open === 0,
    wakeAt: Number.isFinite(wakeAt) ? wakeAt : undefined,
  };
}

type Verdict =
  | { readonly state: 'dirty' | 'done' }
  /** The new task is not up yet; at `deadline` that is a failure. */
  | { readonly state: 'coming'; readonly task: Task; readonly deadline: number }
  /** It is up, and this run watches it. */
  | { readonly state: 'watched'; readonly task: Task }
  | { readonly state: 'failed'; readonly task: Task };

function verdictOf(
  unit: UpdatableUnit,
  isDirty: (task: Task) => boolean,
  run: UpdateRun | undefined,
  monitorMs: number,
): Verdict {
  const clean = unit.tasks.filter((task) => isWanted(task) && !isDirty(task));
  const living = clean.filter(isLiving);
  const up = living.find(isUp);
  const mine = (task: Task) => run !== undefined && task.UpdateID === run.ID;
  const ended = clean.findLast((task) => isTerminal(task.Status.State));
  if (ended && mine(ended) && endedEarly(ended, monitorMs)) return { state: 'failed', task: ended };
  if (up) return mine(up) ? { state: 'watched', task: up } : { state: 'done' };
  const coming = living.at(-1);
  if (coming) return { state: 'coming', task: coming, deadline: deadlineOf(coming) };
  // The restart supervisor is about to follow it with another.
  if (ended) return { state: 'coming', task: ended, deadline: Number.POSITIVE_INFINITY };
  const final = finalOf(unit.tasks);
  return !final || unit.tasks.some(isWanted) || isDirty(final) ? { state: 'dirty' } : { state: 'done' };
}

/** Within the monitoring time of when it came up; one that never did counts too. */
const endedEarly = (task: Task, monitorMs: number): boolean =>
  task.UpSince === undefined || fromTimestamp(task.UpdatedAt) - task.UpSince <= monitorMs;

/** A task that waits for its time or its predecessor is not late, and one that starts has its healthcheck's time. */
function deadlineOf(task: Task): number {
  const state = stateOrder[task.Status.State];
  if (state < stateOrder.ready) return fromTimestamp(task.CreatedAt) + progressDeadlineMs;
  if (task.DesiredState === 'ready') return Number.POSITIVE_INFINITY;
  const startPeriod = nsToMs(task.Spec.ContainerSpec?.Healthcheck?.StartPeriod ?? 0);
  return fromTimestamp(task.UpdatedAt) + startPeriod + progressDeadlineMs;
}
