import { isTerminal, type StoreChange, type StoreEvent, stateOrder, wantsLife } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { isPending, pendingGroups } from './pending.ts';
import { type Budget, Round } from './round.ts';

// The scheduler gives waiting tasks a node, or says why there is none. One key stands for the whole cluster, since all tasks compete for the
// same nodes; much work is cut into several decisions.

const everything = ['*'] as const;
const nothing: readonly string[] = [];

/** Some milliseconds of work, including what the loop does with the changes. */
const standardBudget: Budget = { changes: 500, work: 20_000 };

export interface SchedulerOptions {
  readonly budget?: Partial<Budget>;
}

export const scheduler = (options: SchedulerOptions = {}) => new Scheduler({ ...standardBudget, ...options.budget });

/** A controller. What it remembers is only how far it got with the groups that wait; everything else comes from the view. */
class Scheduler {
  readonly name = 'scheduler';
  readonly #budget: Budget;
  /** Groups still to be looked at in this sweep; undefined when the next sweep has not begun. */
  #todo: readonly string[] | undefined;
  /** Groups that were looked at and changed in this sweep: looked at again, should the proposal have been lost. */
  readonly #changed = new Set<string>();
  /** Where the latest decision stopped, so that the next sweep begins behind it. */
  #cursor = '';
  /** Tasks wait that only a change of the nodes or of their tasks can help. */
  #waiting = true;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  marks(event: StoreEvent, view: View): readonly string[] {
    if (!this.#matters(event, view)) return nothing;
    this.#restart();
    return everything;
  }

  all(): readonly string[] {
    this.#restart();
    this.#waiting = true;
    return everything;
  }

  decide(
    view: View,
    _key: string,
    env: { readonly now: number },
  ): { readonly changes: readonly StoreChange[]; readonly wakeAt?: number } {
    const groups = pendingGroups(view);
    if (groups.size === 0) {
      this.#restart();
      this.#waiting = false;
      return { changes: [] };
    }
    const todo = this.#sweep(groups);
    const round = new Round(view, env.now, this.#budget);
    let unplaced = 0;
    let done = 0;
    for (const key of todo) {
      if (round.spent) break;
      const outcome = round.schedule(groups.get(key) as never);
      unplaced += outcome.unplaced;
      if (outcome.changed) this.#changed.add(key);
      if (!outcome.complete) break;
      this.#cursor = key;
      done++;
    }
    this.#todo = todo.slice(done);
    const more = this.#todo.length > 0;
    // Within a sweep, earlier decisions may have left tasks waiting.
    this.#waiting = this.#waiting || more || unplaced > 0;
    return { changes: round.changes, ...(more && { wakeAt: env.now }) };
  }

  #restart(): void {
    this.#todo = undefined;
    this.#changed.clear();
  }

  /** The groups to look at now: what is left of the sweep, or all of them, from where the last decision stopped. */
  #sweep(groups: ReadonlyMap<string, unknown>): readonly string[] {
    const left = [...new Set([...this.#changed, ...(this.#todo ?? [])])].filter((key) => groups.has(key));
    this.#changed.clear();
    if (left.length > 0) return left;
    this.#waiting = false;
    const keys = [...groups.keys()].sort();
    const from = keys.findIndex((key) => key > this.#cursor);
    return from > 0 ? [...keys.slice(from), ...keys.slice(0, from)] : keys;
  }

  #matters(event: StoreEvent, view: View): boolean {
    switch (event.table) {
      case 'tasks':
        return this.#taskMatters(event, view);
      case 'nodes':
        return this.#waiting && nodeMatters(event);
      case 'services':
      case 'cluster':
      case 'networks':
      case 'secrets':
      case 'configs':
        return false;
      default:
        return event satisfies never;
    }
  }

  #taskMatters({ id, before, after }: Extract<StoreEvent, { table: 'tasks' }>, view: View): boolean {
    if (after && isPending(after)) {
      // An event may be older than the view: the task may have been placed since.
      const now = view.get('tasks', id);
      return !(before && isPending(before)) && now !== undefined && isPending(now);
    }
    if (!this.#waiting || !before) return false;
    const held = stateOrder[before.Status.State] >= stateOrder.assigned && !isTerminal(before.Status.State);
    const freed = !after || isTerminal(after.Status.State);
    const givenUp = wantsLife(before.DesiredState) && after !== undefined && !wantsLife(after.DesiredState);
    return held && (freed || givenUp);
  }
}

function nodeMatters({ before, after }: Extract<StoreEvent, { table: 'nodes' }>): boolean {
  if (!before || !after) return true;
  return (
    before.Spec !== after.Spec ||
    before.Description !== after.Description ||
    before.Status.State !== after.Status.State ||
    before.Status.Addr !== after.Status.Addr
  );
}
