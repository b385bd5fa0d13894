import {
  fromTimestamp,
  isJob,
  isTerminal,
  type JobStatus,
  jobSizeOf,
  type Node,
  restartPolicyOf,
  type Service,
  type StoreChange,
  type StoreEvent,
  type Task,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { changesPerDecision } from './change-size.ts';
import { suitsGlobal, takesTasks } from './fit.ts';
import { nodeMoved } from './marks.ts';
import { hasWayCleared, restartAllowed, restartDelayMs, restartsAfter, startsAt } from './restart-policy.ts';
import { newTask, type Place } from './task-draft.ts';
import type { Controller, Decision, Env } from './types.ts';
import { isLiving, isStopped, isWanted, leaving, placeName, roomAgainMs, roomOnTheWay, unitsOf } from './unit.ts';

// The job orchestrator, for both kinds: tasks that are to end well, once for each place. A replicated job has as many places as it wants
// completions, numbered from 0, and at most `MaxConcurrent` of them at work; a global one has the nodes that suit it and were there when it
// was started. Each change of the spec starts a job anew: the tasks of the iteration before go.

export function jobOrchestrator(): Controller {
  const jobs = (view: View) => view.list('services').filter(isJob);
  return {
    name: 'jobs',
    marks(event, view) {
      if (event.table === 'nodes') return nodeMoved(event.before, event.after) ? jobs(view).map(({ ID }) => ID) : [];
      if (event.table === 'services') return event.before?.JobStatus === event.after?.JobStatus ? [] : [event.id];
      if (event.table !== 'tasks' || isProgress(event)) return [];
      const task = event.after ?? event.before;
      return task?.JobIteration ? [task.ServiceID] : [];
    },
    all: (view) => jobs(view).map(({ ID }) => ID),
    decide(view, key, env) {
      const service = view.get('services', key);
      return service && isJob(service) ? new JobDecision(view, service, env).decide() : { changes: [] };
    },
  };
}

type Job = Service & { readonly JobStatus: JobStatus };

/** A task that goes on where it was meant to. */
const isProgress = ({ before, after }: StoreEvent & { readonly table: 'tasks' }): boolean =>
  before !== undefined &&
  after !== undefined &&
  before.DesiredState === after.DesiredState &&
  before.NodeID === after.NodeID &&
  !hasWayCleared(after) &&
  !isTerminal(after.Status.State);

type PlaceState =
  /** It has its completion, or its restart policy lets nothing follow. */
  | 'done'
  | 'busy'
  /** It wants a task. */
  | 'open'
  /** It would, but its node takes none now. */
  | 'waiting';

class JobDecision {
  readonly #view: View;
  readonly #service: Job;
  readonly #env: Env;
  readonly #limit: number;
  readonly #units: ReadonlyMap<string, readonly Task[]>;
  readonly #changes: StoreChange[] = [];
  #wakeAt = Number.POSITIVE_INFINITY;

  constructor(view: View, service: Job, env: Env) {
    this.#view = view;
    this.#service = service;
    this.#env = env;
    this.#limit = changesPerDecision(service.Spec.TaskTemplate);
    this.#units = unitsOf(view, service.ID);
  }

  decide(): Decision {
    const { places, concurrent } = this.#plan();
    this.#clear(new Set(places.map(placeName)));
    const open: Place[] = [];
    let busy = 0;
    for (const place of places) {
      if (this.#isFull()) break;
      const state = this.#settle(place);
      if (state === 'busy') busy++;
      else if (state === 'open') open.push(place);
    }
    const wanted = open.slice(0, Math.max(0, concurrent - busy));
    const room = roomOnTheWay(this.#units);
    for (const place of wanted.slice(0, room)) {
      if (this.#isFull()) break;
      this.#create(place);
    }
    if (wanted.length > room) this.#isDue(this.#env.now + roomAgainMs);
    return { changes: this.#changes, ...(Number.isFinite(this.#wakeAt) && { wakeAt: this.#wakeAt }) };
  }

  #plan(): { places: readonly Place[]; concurrent: number } {
    const size = jobSizeOf(this.#service.Spec);
    if (!size) {
      const nodes = this.#view.list('nodes').filter((node) => this.#takesPart(node));
      return { places: nodes.map(({ ID }) => ({ NodeID: ID })), concurrent: Number.POSITIVE_INFINITY };
    }
    const places = this.#slots(size.completions).map((Slot) => ({ Slot }));
    return { places, concurrent: size.concurrent };
  }

  /** Those that have tasks, and of the others more than one decision can fill: a job may want more than can be counted up. */
  #slots(completions: number): readonly number[] {
    const first = Math.min(completions, this.#units.size + this.#limit + 1);
    const beyond = [...this.#units.keys()].map(Number).filter((slot) => slot >= first && slot < completions);
    return [...Array(first).keys(), ...beyond.sort((a, b) => a - b)];
  }

  /** A node that joined after the job was started has no part in it. */
  #takesPart(node: Node): boolean {
    const started = fromTimestamp(this.#service.JobStatus.LastExecution);
    return suitsGlobal(this.#service, node) && fromTimestamp(node.CreatedAt) < started;
  }

  /** Tasks of earlier iterations, and those at places that are none any more. */
  #clear(places: ReadonlySet<string>): void {
    for (const [name, tasks] of this.#units) {
      for (const task of tasks) {
        if (this.#isFull()) return;
        if (!this.#isCurrent(task)) {
          if (task.DesiredState !== 'remove') this.#set(task, { DesiredState: 'remove' });
        } else if (!places.has(name) && isLiving(task)) this.#set(task, { DesiredState: 'shutdown' });
      }
    }
  }

  #settle(place: Place): PlaceState {
    const tasks = this.#tasksAt(place).filter((task) => this.#isCurrent(task));
    if (tasks.some(({ Final, Status }) => Final || Status.State === 'complete')) return 'done';
    const living = tasks.find(isLiving);
    if (living) return this.#watch(living, place);
    const ended = tasks.findLast(isWanted);
    return ended ? this.#restart(ended, place) : this.#whenFree(place);
  }

  #whenFree(place: Place): 'open' | 'waiting' {
    if ('Slot' in place) return 'open';
    const node = this.#view.get('nodes', place.NodeID);
    return node && takesTasks(node) ? 'open' : 'waiting';
  }

  /** A task that lives starts when its time has come, and is given up where it cannot stay. */
  #watch(task: Task, place: Place): PlaceState {
    // No other node has the place of one that is down.
    if ('Slot' in place && leaving(this.#view, task)) {
      const final = restartPolicyOf(task.Spec).condition === 'none';
      this.#set(task, { DesiredState: 'shutdown', ...(final && { Final: true }) });
      return final ? 'done' : 'open';
    }
    if (task.DesiredState === 'ready' && this.#isDue(startsAt(task)) && !this.#isOccupied(place, task)) {
      this.#set(task, { DesiredState: 'complete' });
    }
    return 'busy';
  }

  #restart(ended: Task, place: Place): PlaceState {
    const { now } = this.#env;
    if (!restartAllowed(ended, now)) {
      this.#set(ended, { DesiredState: 'shutdown', Final: true });
      return 'done';
    }
    // One that failed while it only got ready is followed no sooner than it would have started.
    if (!this.#isDue(ended.StartAt)) return 'busy';
    if (this.#whenFree(place) === 'waiting') return 'waiting';
    this.#set(ended, { DesiredState: 'shutdown' });
    const StartAt = leaving(this.#view, ended) ? now : now + restartDelayMs(ended);
    this.#create(place, { Restarts: restartsAfter(ended, now), ...(StartAt > now && { StartAt }) });
    return 'busy';
  }

  #create(place: Place, extra: Pick<Task, 'Restarts' | 'StartAt'> = {}): void {
    const desired = this.#isDue(extra.StartAt) && !this.#isOccupied(place) ? 'complete' : 'ready';
    const { JobIteration } = this.#service.JobStatus;
    const object = newTask(this.#service, place, desired, this.#env, { ...extra, JobIteration });
    this.#changes.push({ op: 'create', table: 'tasks', object });
  }

  /** Another task is there still: two never run at one place. */
  #isOccupied(place: Place, self?: Task): boolean {
    return this.#tasksAt(place).some((task) => task !== self && !isStopped(this.#view, task));
  }

  #isCurrent(task: Task): boolean {
    return task.JobIteration?.Index === this.#service.JobStatus.JobIteration.Index;
  }

  #tasksAt(place: Place): readonly Task[] {
    return this.#units.get(placeName(place)) ?? [];
  }

  #set(task: Task, set: Partial<Pick<Task, 'DesiredState' | 'Final'>>): void {
    this.#changes.push({ op: 'update', table: 'tasks', id: task.ID, set, ifExists: true });
  }

  /** True when the time has come; else the job is looked at again then. */
  #isDue(time: number | undefined): boolean {
    if (time === undefined || time <= this.#env.now) return true;
    this.#wakeAt = Math.min(this.#wakeAt, time);
    return false;
  }

  /** As many changes as one proposal may hold; the rest follows at once. */
  #isFull(): boolean {
    if (this.#changes.length < this.#limit) return false;
    this.#wakeAt = this.#env.now;
    return true;
  }
}
