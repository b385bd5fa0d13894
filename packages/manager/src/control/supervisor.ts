import {
  fromTimestamp,
  isGlobal,
  isJob,
  isTerminal,
  isUp,
  restartPolicyOf,
  type Service,
  type StoreChange,
  type StoreEvent,
  stateOrder,
  type Task,
  updateConfigOf,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { allUnits, nodeMoved, unitKeyOf, unitsOfNode } from './marks.ts';
import { hasWayCleared, restartAllowed, restartDelayMs, restartsAfter, startsAt } from './restart-policy.ts';
import { isPaused, isUpdating, newTask, sameTask } from './task-draft.ts';
import type { Controller, Decision, Env } from './types.ts';
import {
  better,
  dirtyCheck,
  isLiving,
  isStopped,
  isWanted,
  type Leaving,
  leaving,
  placeOf,
  tasksAt,
  type UnitPlace,
  unitKey,
} from './unit.ts';

// The restart supervisor looks after one unit at a time: surplus copies go, copies on nodes that are lost move, ended copies are
// followed by another when the restart policy says so, and copies that wait start when their time has come.

/** How long a copy may linger on a drained node because its start-first replacement does not come up. */
export const moveDeadlineMs = 10 * 60 * 1000;

export function restartSupervisor(): Controller {
  return {
    name: 'restart',
    marks(event, view) {
      if (event.table === 'nodes') return nodeMoved(event.before, event.after) ? unitsOfNode(view, event.id) : [];
      if (event.table === 'services') {
        const changed = event.before?.SpecVersion !== event.after?.SpecVersion;
        return changed || event.before?.UpdateStatus?.State !== event.after?.UpdateStatus?.State
          ? [...new Set(view.tasksOfService(event.id).map(unitKey))]
          : [];
      }
      return isProgress(event) ? [] : unitKeyOf(event);
    },
    all: allUnits,
    decide(view, key, env) {
      const at = placeOf(key);
      const service = view.get('services', at.serviceId);
      return service && !isJob(service) ? new UnitDecision(view, service, at, env).decide() : { changes: [] };
    },
  };
}

/** A task on its way to running says nothing to the supervisor, unless it may start sooner for it. */
function isProgress(event: StoreEvent): boolean {
  if (event.table !== 'tasks' || !event.before || !event.after) return false;
  const { before, after } = event;
  const same = before.DesiredState === after.DesiredState && before.NodeID === after.NodeID;
  return same && isWanted(after) && stateOrder[after.Status.State] < stateOrder.running && !hasWayCleared(after);
}

/** One decision in the making: what it has settled so far about the unit's tasks. */
class UnitDecision {
  readonly #view: View;
  readonly #service: Service;
  readonly #at: UnitPlace;
  readonly #env: Env;
  readonly #tasks: readonly Task[];
  readonly #dirty: (task: Task) => boolean;
  readonly #changes: StoreChange[] = [];
  readonly #stopped = new Set<Task>();
  #wakeAt: number | undefined;
  /** The living copy that is as the service wants it, where it may stay. */
  #current: Task | undefined;
  /** The living copy that is out of date or must leave its node. */
  #old: Task | undefined;

  constructor(view: View, service: Service, at: UnitPlace, env: Env) {
    this.#view = view;
    this.#service = service;
    this.#at = at;
    this.#env = env;
    this.#tasks = tasksAt(view, at);
    this.#dirty = dirtyCheck(view, service);
  }

  decide(): Decision {
    this.#settleLiving();
    if (this.#old && !this.#current) this.#leave(this.#old);
    this.#followEnded();
    for (const task of [this.#current, this.#old]) if (task?.DesiredState === 'ready') this.#startWhenDue(task);
    return { changes: this.#changes, ...(this.#wakeAt !== undefined && { wakeAt: this.#wakeAt }) };
  }

  /** At most one current and one old copy live on, and the old one only until the current is up. */
  #settleLiving(): void {
    const current: Task[] = [];
    const old: Task[] = [];
    for (const task of this.#tasks) if (isLiving(task)) (this.#isOld(task) ? old : current).push(task);
    this.#current = this.#best(current);
    this.#old = this.#best(old);
    if (!this.#current || !this.#old) return;
    const lost = this.#leaving(this.#old);
    const deadline = lost ? this.#wakeBy(fromTimestamp(this.#current.CreatedAt) + moveDeadlineMs) : false;
    if (isUp(this.#current) || lost === 'down' || lost === 'removed' || deadline) {
      this.#shutDown(this.#old);
      this.#old = undefined;
    }
  }

  #best(tasks: Task[]): Task | undefined {
    const [best, ...surplus] = tasks.sort(better);
    for (const task of surplus) this.#shutDown(task);
    return best;
  }

  #isOld(task: Task): boolean {
    return this.#dirty(task) || this.#leaving(task) !== undefined;
  }

  /** Copies of a global service are tied to their node: whether they leave it, its orchestrator says. */
  #leaving(task: Task): Leaving | undefined {
    return isGlobal(this.#service) ? undefined : leaving(this.#view, task);
  }

  /** Moves a copy whose node is lost to it; one that is merely out of date is the updater's. */
  #leave(old: Task): void {
    const why = this.#leaving(old);
    if (!why) return;
    this.#old = undefined;
    if (restartPolicyOf(old.Spec).condition === 'none') {
      this.#shutDown(old, { Final: true });
      return;
    }
    // A pair needs a replacement that is better than the old copy, so one that comes back as it was goes stop-first.
    const onSite = why === 'drained' || why === 'unfit';
    const stays = onSite && isUp(old) && this.#startFirst() && !this.#comesBackAsItWas(old);
    if (!stays) this.#shutDown(old);
    const id = this.#create(old, this.#waits() ? 'ready' : 'running', old.Restarts && { Restarts: old.Restarts });
    if (stays) this.#set(old, { ReplacedBy: id });
  }

  #startFirst(): boolean {
    return updateConfigOf(this.#service.Spec).order === 'start-first';
  }

  #followEnded(): void {
    const ended = this.#tasks.filter((task) => isWanted(task) && isTerminal(task.Status.State));
    const last = ended.at(-1);
    for (const task of ended) if (task !== last) this.#shutDown(task);
    if (!last) return;
    const created = this.#changes.some((change) => change.op === 'create');
    const alone = !this.#current && !created && this.#mayFollow(last);
    // One that failed while it only got ready is followed no sooner than it would have started.
    if (alone && last.StartAt !== undefined && !this.#wakeBy(last.StartAt)) return;
    const final = alone && !restartAllowed(last, this.#env.now);
    this.#shutDown(last, final ? { Final: true } : {});
    if (alone && !final) this.#restart(last);
  }

  /** An ended replacement leaves the old copy alone in the unit, when the update is over or another spec is on its way. */
  #mayFollow(ended: Task): boolean {
    if (this.#old) return !isPaused(this.#service) && !this.#dirty(ended);
    if (!isGlobal(this.#service)) return true;
    const why = leaving(this.#view, ended);
    return why === undefined || why === 'unfit';
  }

  #restart(ended: Task): void {
    const { now } = this.#env;
    const wait = leaving(this.#view, ended) ? 0 : restartDelayMs(ended);
    const id = this.#create(ended, wait > 0 || this.#waits() ? 'ready' : 'running', {
      Restarts: restartsAfter(ended, now),
      ...(wait > 0 && { StartAt: now + wait }),
    });
    if (wait > 0) this.#wakeBy(now + wait);
    if (this.#old) this.#set(this.#old, { ReplacedBy: id });
  }

  /** While the service is on its way to another spec, a copy that is not reached yet comes back as it was. */
  #comesBackAsItWas(old: Task): boolean {
    return this.#dirty(old) && (isUpdating(this.#service) || isPaused(this.#service));
  }

  #create(old: Task, desired: 'ready' | 'running', extra: Pick<Task, 'Restarts' | 'StartAt'> = {}): string {
    const asItWas = this.#comesBackAsItWas(old);
    const { Restarts, ...rest } = extra;
    // Another spec starts with a clean slate.
    const kept = this.#dirty(old) && !asItWas ? rest : extra;
    const object = asItWas
      ? sameTask(old, this.#at.place, desired, this.#env, kept)
      : newTask(this.#service, this.#at.place, desired, this.#env, kept);
    this.#changes.push({ op: 'create', table: 'tasks', object });
    return object.ID;
  }

  #startWhenDue(task: Task): void {
    const time = startsAt(task);
    if (time !== undefined && !this.#wakeBy(time)) return;
    if (!this.#waits()) this.#set(task, { DesiredState: 'running' });
  }

  /** Something that was told to stop, now or before, is still there: two tasks never run in one slot. */
  #waits(): boolean {
    return this.#tasks.some((task) => (!isWanted(task) || this.#stopped.has(task)) && !isStopped(this.#view, task));
  }

  #shutDown(task: Task, extra: { Final?: true } = {}): void {
    this.#stopped.add(task);
    this.#set(task, { DesiredState: 'shutdown', ...extra });
  }

  #set(task: Task, set: Partial<Pick<Task, 'DesiredState' | 'Final' | 'ReplacedBy'>>): void {
    this.#changes.push({ op: 'update', table: 'tasks', id: task.ID, set, ifExists: true });
  }

  /** True when the time has come; else it will be looked at then. */
  #wakeBy(time: number): boolean {
    if (this.#env.now >= time) return true;
    this.#wakeAt = Math.min(this.#wakeAt ?? Number.POSITIVE_INFINITY, time);
    return false;
  }
}
