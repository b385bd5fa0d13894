import type { StoreChange, Task } from '@swarmctl/shared/model';
import type { Controller, Decision, Env } from '../../../packages/manager/src/control/types.ts';
import type { Store } from '../../../packages/manager/src/store/store.ts';
import { builtAt } from '../../kit/index.ts';

// Asking single controllers in tables: a decision as it is returned, and what becomes of the state when it is applied.

export function envAt(now = builtAt): Env {
  let made = 0;
  return { now, newId: () => `new${String(++made).padStart(3, '0')}`, random: () => 0.5 };
}

let made = 0;
/** Ids that go on from call to call, for states that see several decisions. */
const runningEnv = (now: number): Env => ({
  now,
  newId: () => `made${String(++made).padStart(5, '0')}`,
  random: () => 0.5,
});

export const decide = (controller: Controller, store: Store, key: string, now = builtAt): Decision =>
  controller.decide(store.view(), key, envAt(now));

export function apply(store: Store, changes: readonly StoreChange[], now = builtAt): void {
  if (changes.length === 0) return;
  const outcome = store.apply(store.index + 1, { now, changes });
  if (!outcome.ok) throw new Error(outcome.message);
}

/** Asks all controllers about everything until none has anything to change; returns the earliest time that one asked for. */
export function settleState(store: Store, controllers: readonly Controller[], now = builtAt): number | undefined {
  for (let round = 0; round < 30; round++) {
    let wakeAt: number | undefined;
    let changed = false;
    for (const controller of controllers) {
      for (const key of controller.all(store.view())) {
        const decision = controller.decide(store.view(), key, runningEnv(now));
        apply(store, decision.changes, now);
        changed ||= decision.changes.length > 0;
        if (decision.wakeAt !== undefined) wakeAt = Math.min(wakeAt ?? decision.wakeAt, decision.wakeAt);
      }
    }
    if (!changed) return wakeAt;
  }
  throw new Error('the controllers do not come to rest');
}

/** `1 n1 web:1 running/shutdown`: place, node, image, observed and desired state; sorted. */
export const describeTasks = (tasks: readonly Task[]): string[] =>
  tasks
    .map((task) => {
      const place = task.Slot ?? 'global';
      return `${place} ${task.NodeID ?? '-'} ${task.Spec.ContainerSpec?.Image} ${task.Status.State}/${task.DesiredState}`;
    })
    .sort();

/** As an agent would report it. */
export function report(store: Store, id: string, status: Partial<Task['Status']>, now = builtAt): void {
  const task = store.view().get('tasks', id);
  if (!task) throw new Error(`no task ${id}`);
  const Timestamp = new Date(now).toISOString();
  apply(store, [{ op: 'update', table: 'tasks', id, set: { Status: { ...task.Status, Timestamp, ...status } } }], now);
}
