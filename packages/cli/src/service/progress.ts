import { type Clock, delay } from '@swarmctl/shared/kit';
import {
  isJob,
  isTerminal,
  type JobStatus,
  jobSizeOf,
  type Node,
  type Service,
  slotName,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';
import type { Client } from '../client.ts';

// Watches a service until it has converged, and says why when it cannot. What was seen goes in, what to print comes out: the judging is pure.

export const pollMs = 150;
/** How long a task may be without any suitable node before that is the answer. */
const unplacedMs = 10_000;
/** Failed tasks that end the wait of a new service. */
const failuresAllowed = 3;

export interface Seen {
  readonly service: Service;
  /** Every task of the service, history included. */
  readonly tasks: readonly Task[];
  /** Ids of those that run the current spec. */
  readonly current: ReadonlySet<string>;
  readonly nodes: readonly Node[];
  readonly nowMs: number;
}

export interface SlotLine {
  readonly label: string;
  readonly state: string;
  readonly error: string;
}

export interface Progress {
  readonly done: number;
  readonly wanted: number;
  readonly lines: readonly SlotLine[];
  readonly verdict:
    | { readonly kind: 'going' }
    | { readonly kind: 'running' }
    | { readonly kind: 'converged' }
    | { readonly kind: 'failed'; readonly reason: string };
}

export function judge(seen: Seen, since: { readonly startedMs: number; readonly rollback: boolean }): Progress {
  const { service } = seen;
  if (isJob(service)) return judgeJob(seen, service, since.startedMs);
  const down = new Set(seen.nodes.filter((node) => node.Status.State === 'down').map((node) => node.ID));
  const groups = groupBySlot(service, seen, down);
  const wanted = service.Spec.Mode?.Global ? groups.size : (service.Spec.Mode?.Replicated?.Replicas ?? 1);
  const lines = [...groups].map(([label, task]) => ({
    label,
    state: task ? task.Status.State : 'new',
    error: task?.Status.Err ?? '',
  }));
  const done = [...groups.values()].filter((task) => task && isRunning(task, down)).length;
  const surplus = seen.tasks.some(
    (task) =>
      !seen.current.has(task.ID) &&
      wantsLife(task.DesiredState) &&
      !isTerminal(task.Status.State) &&
      !down.has(task.NodeID ?? ''),
  );
  const allRun = done >= wanted && groups.size === wanted && !surplus;
  return { done, wanted, lines, verdict: verdictOf(seen, since, allRun) };
}

/** A job is through when each of its places has its completion. */
function judgeJob(seen: Seen, service: Service & { readonly JobStatus: JobStatus }, startedMs: number): Progress {
  // The API leaves index 0 and slot 0 out.
  const iteration = (of: Task['JobIteration']) => of?.Index ?? 0;
  const now = iteration(service.JobStatus.JobIteration);
  const tasks = seen.tasks.filter((task) => task.JobIteration && iteration(task.JobIteration) === now);
  const size = jobSizeOf(service.Spec);
  const places = new Map<string, Task>();
  for (const task of [...tasks].sort((a, b) => a.CreatedAt.localeCompare(b.CreatedAt)))
    places.set(size ? String((task.Slot ?? 0) + 1) : hostnameOf(seen, task), task);
  const done = [...places.values()].filter((task) => task.Status.State === 'complete').length;
  const wanted = size?.completions ?? places.size;
  const through = done >= wanted && (size !== undefined || places.size > 0);
  return {
    done,
    wanted,
    lines: [...places].map(([label, { Status }]) => ({ label, state: Status.State, error: Status.Err ?? '' })),
    verdict: through
      ? { kind: 'converged' }
      : (stuck({ ...seen, current: new Set(tasks.map(({ ID }) => ID)) }, startedMs) ?? { kind: 'going' }),
  };
}

const hostnameOf = ({ nodes }: Pick<Seen, 'nodes'>, { NodeID: id = '' }: Task): string =>
  nodes.find((node) => node.ID === id)?.Description?.Hostname ?? id;

const isRunning = (task: Task, down: ReadonlySet<string>) =>
  task.Status.State === 'running' && wantsLife(task.DesiredState) && !down.has(task.NodeID ?? '');

/** As many as are wanted, and more while more are alive. Scaling down leaves whichever slots it likes: not always the first. */
function slotsOf(service: Service, { tasks, current }: Seen): readonly number[] {
  const wanted = service.Spec.Mode?.Replicated?.Replicas ?? 1;
  const alive = tasks.filter((task) => current.has(task.ID) && wantsLife(task.DesiredState));
  const slots = new Set(alive.map(({ Slot }) => Slot ?? 0));
  for (let slot = 1; slots.size < wanted; slot++) slots.add(slot);
  return [...slots].sort((a, b) => a - b);
}

/** The task that speaks for each slot (or node): the current one that is meant to live, else the newest. */
function groupBySlot(service: Service, seen: Seen, down: ReadonlySet<string>): Map<string, Task | undefined> {
  const global = service.Spec.Mode?.Global !== undefined;
  const groups = new Map<string, Task | undefined>();
  const better = (a: Task, b: Task | undefined) =>
    !b ||
    Number(wantsLife(a.DesiredState)) > Number(wantsLife(b.DesiredState)) ||
    (wantsLife(a.DesiredState) === wantsLife(b.DesiredState) && a.CreatedAt >= b.CreatedAt);
  if (!global) for (const slot of slotsOf(service, seen)) groups.set(String(slot), undefined);
  for (const task of seen.tasks) {
    if (!seen.current.has(task.ID) || task.DesiredState === 'remove' || (global && down.has(task.NodeID ?? '')))
      continue;
    const label = global ? hostnameOf(seen, task) : String(task.Slot ?? 0);
    if (!global && !groups.has(label)) continue;
    if (better(task, groups.get(label))) groups.set(label, task);
  }
  return groups;
}

function verdictOf(seen: Seen, since: { startedMs: number; rollback: boolean }, allRun: boolean): Progress['verdict'] {
  const update = seen.service.UpdateStatus;
  const failed = (reason: string) => ({ kind: 'failed' as const, reason });
  const state = update?.State;
  switch (state) {
    case 'paused':
    case 'rollback_paused':
      return failed(`service ${state === 'paused' ? 'update' : 'rollback'} paused: ${update?.Message ?? ''}`);
    case 'rollback_completed':
      return since.rollback ? { kind: 'converged' } : failed(`service rolled back: ${update?.Message ?? ''}`);
    case 'completed':
      return allRun ? { kind: 'converged' } : { kind: 'going' };
    case 'updating':
    case 'rollback_started':
      return stuck(seen, since.startedMs) ?? { kind: 'going' };
    case undefined:
      return allRun ? { kind: 'running' } : (stuck(seen, since.startedMs) ?? { kind: 'going' });
    default:
      return state satisfies never;
  }
}

/** Why the service will not get there by waiting. */
function stuck(seen: Seen, startedMs: number): { kind: 'failed'; reason: string } | undefined {
  const current = seen.tasks.filter((task) => seen.current.has(task.ID));
  const broken = current.filter(
    (task) =>
      (task.Status.State === 'failed' || task.Status.State === 'rejected') &&
      Date.parse(task.CreatedAt) >= startedMs - 1000,
  );
  const worst = broken.at(-1);
  const policy = seen.service.Spec.TaskTemplate.RestartPolicy;
  const noMore = policy?.Condition === 'none' || usedUp(broken, policy?.MaxAttempts ?? 0);
  if (worst && (broken.length >= failuresAllowed || noMore)) {
    return {
      kind: 'failed',
      reason: `${broken.length} task${broken.length === 1 ? '' : 's'} failed: ${worst.Status.Err || worst.Status.Message || worst.Status.State}`,
    };
  }
  const unplaced = current.find(
    (task) => task.Status.State === 'pending' && task.Status.Err && wantsLife(task.DesiredState),
  );
  if (unplaced && seen.nowMs - startedMs >= unplacedMs) return { kind: 'failed', reason: unplaced.Status.Err ?? '' };
  return undefined;
}

/** Some slot (or node) had its first task and all the restarts that its policy grants. */
function usedUp(broken: readonly Task[], maxAttempts: number): boolean {
  if (maxAttempts === 0) return false;
  return broken.some((task) => broken.filter((other) => slotName(other) === slotName(task)).length > maxAttempts);
}

export interface Terminal {
  readonly isTty: boolean;
  readonly columns: number;
  write(text: string): void;
}

export interface Step {
  readonly progress: Progress;
  readonly converged: boolean;
  /** Until it counts as converged, while all that is wanted runs. */
  readonly leftMs: number | undefined;
}

/** Follows a service from look to look: one that just runs must go on doing so for as long as its update configuration says. */
export class Follower {
  readonly #since: { readonly startedMs: number; readonly rollback: boolean };
  #runningSince: number | undefined;

  constructor(since: { readonly startedMs: number; readonly rollback: boolean }) {
    this.#since = since;
  }

  see(seen: Seen): Step {
    const progress = judge(seen, this.#since);
    const monitorMs = (seen.service.Spec.UpdateConfig?.Monitor ?? 5e9) / 1e6;
    this.#runningSince = progress.verdict.kind === 'running' ? (this.#runningSince ?? seen.nowMs) : undefined;
    const leftMs =
      this.#runningSince === undefined ? undefined : Math.max(0, monitorMs - (seen.nowMs - this.#runningSince));
    return { progress, converged: progress.verdict.kind === 'converged' || leftMs === 0, leftMs };
  }
}

/** Resolves when the service has converged; rejects with the reason when it cannot. */
export async function watchService(
  client: Client,
  id: string,
  modules: { clock: Clock; terminal: Terminal; quiet: boolean; signal: AbortSignal; rollback?: boolean },
): Promise<void> {
  const { clock, signal } = modules;
  const follower = new Follower({ startedMs: clock.now(), rollback: modules.rollback ?? false });
  const print = printer(modules.terminal, modules.quiet);
  for (;;) {
    const { progress, converged, leftMs } = follower.see(await look(client, id, clock));
    print(progress, converged, leftMs);
    if (progress.verdict.kind === 'failed') throw new Error(progress.verdict.reason);
    if (converged) return;
    await delay(clock, pollMs, signal);
  }
}

async function look(client: Client, id: string, clock: Clock): Promise<Seen> {
  const filters = (more: object) => JSON.stringify({ service: { [id]: true }, ...more });
  const [service, tasks, upToDate, nodes] = await Promise.all([
    client.get<Service>(`/services/${id}`, { insertDefaults: false }),
    client.get<Task[]>('/tasks', { filters: filters({}) }),
    client.get<Task[]>('/tasks', { filters: filters({ '_up-to-date': { true: true } }) }),
    client.get<Node[]>('/nodes'),
  ]);
  return { service, tasks, current: new Set(upToDate.map((task) => task.ID)), nodes, nowMs: clock.now() };
}

/** Redraws in place on a terminal; prints only what changed elsewhere. */
function printer(
  terminal: Terminal,
  quiet: boolean,
): (progress: Progress, converged: boolean, leftMs: number | undefined) => void {
  let drawn = 0;
  let last = '';
  const shown = new Map<string, string>();
  const most = 20;
  return (progress, converged, leftMs) => {
    if (quiet) return;
    const overall = `overall progress: ${progress.done} out of ${progress.wanted} tasks`;
    const slots = progress.lines
      .slice(0, most)
      .map((line) => `${line.label}/${progress.wanted}: ${line.state}${line.error ? ` (${line.error})` : ''}`);
    const more = progress.lines.length > most ? [`… and ${progress.lines.length - most} more`] : [];
    const verify = converged
      ? ['verify: Service converged']
      : leftMs === undefined
        ? []
        : [`verify: Waiting ${Math.ceil(leftMs / 1000)} seconds to verify that tasks are stable...`];
    if (terminal.isTty) {
      const all = [overall, ...slots, ...more, ...verify].map((line) =>
        line.slice(0, Math.max(20, terminal.columns - 1)),
      );
      const frame = all.join('\n');
      if (frame === last) return;
      last = frame;
      terminal.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}${all.map((line) => `\x1b[2K${line}\n`).join('')}\x1b[J`);
      drawn = all.length;
      return;
    }
    const say = (key: string, line: string) => {
      if (shown.get(key) === line) return;
      shown.set(key, line);
      terminal.write(`${line}\n`);
    };
    for (const [i, line] of slots.entries()) say(`slot ${progress.lines[i]?.label}`, line);
    say('overall', overall);
    if (converged) say('verify', 'verify: Service converged');
  };
}
