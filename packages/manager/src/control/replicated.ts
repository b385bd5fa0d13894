import { isUp, replicasOf, type Service, type StoreChange, type Task } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { changesPerDecision } from './change-size.ts';
import { serviceKeys } from './marks.ts';
import { newTask } from './task-draft.ts';
import type { Controller, Decision, Env } from './types.ts';
import { isFilled, isStopped, isWanted, roomAgainMs, roomOnTheWay, unitsOf } from './unit.ts';

// The replicated orchestrator: as many filled slots as the service wants replicas, numbered from 1.

export function replicatedOrchestrator(): Controller {
  return {
    name: 'replicated',
    marks: (event) => serviceKeys(event, { specs: true, copies: true }),
    all: (view) => view.list('services').map((service) => service.ID),
    decide(view, key, env) {
      const service = view.get('services', key);
      const replicas = service && replicasOf(service.Spec);
      return service && replicas !== undefined ? reconcile(view, service, replicas, env) : { changes: [] };
    },
  };
}

function reconcile(view: View, service: Service, replicas: number, env: Env): Decision {
  const units = unitsOf(view, service.ID);
  const filled = [...units].filter(([, unit]) => isFilled(unit)).map(([name, unit]) => ({ slot: Number(name), unit }));
  if (filled.length < replicas) return fill(view, service, replicas - filled.length, units, env);
  return { changes: filled.length > replicas ? shrink(filled, filled.length - replicas) : [] };
}

function fill(view: View, service: Service, missing: number, units: ReadonlyMap<string, Task[]>, env: Env): Decision {
  const room = roomOnTheWay(units);
  if (room === 0) return { changes: [], wakeAt: env.now + roomAgainMs };
  const limit = Math.min(room, changesPerDecision(service.Spec.TaskTemplate));
  const changes: StoreChange[] = [];
  for (let slot = 1; changes.length < Math.min(missing, limit); slot++) {
    const unit = units.get(String(slot)) ?? [];
    if (isFilled(unit)) continue;
    // Two tasks never run in one slot: where the last one is still stopping, the new one gets ready and waits.
    const desired = unit.every((task) => isStopped(view, task)) ? 'running' : 'ready';
    changes.push({ op: 'create', table: 'tasks', object: newTask(service, { Slot: slot }, desired, env) });
  }
  return missing > limit ? { changes, wakeAt: env.now } : { changes };
}

interface Filled {
  readonly slot: number;
  readonly unit: readonly Task[];
}

/**
 * Slots go from the nodes with most copies first, those that do not run before those that do, then the highest number: each copy is
 * numbered within its node, copies without a node count as the last, and the highest numbers go.
 */
function shrink(filled: readonly Filled[], surplus: number): StoreChange[] {
  const ordered = filled
    .map((one) => ({ ...one, wanted: one.unit.filter(isWanted) }))
    .sort((a, b) => rank(a.wanted) - rank(b.wanted) || a.slot - b.slot);
  const copies = new Map<string, number>();
  const numbered = ordered.map((one) => {
    const node = one.wanted.length === 1 ? one.wanted[0]?.NodeID : undefined;
    const nth = node === undefined ? Number.POSITIVE_INFINITY : (copies.get(node) ?? 0) + 1;
    if (node !== undefined) copies.set(node, nth);
    return { ...one, nth };
  });
  // Sorting is stable, so equals keep the order of running and slot.
  numbered.sort((a, b) => (a.nth === b.nth ? 0 : a.nth - b.nth));
  return numbered
    .slice(numbered.length - surplus)
    .flatMap(({ unit }) => unit)
    .filter((task) => task.DesiredState !== 'remove')
    .map((task) => ({ op: 'update', table: 'tasks', id: task.ID, set: { DesiredState: 'remove' }, ifExists: true }));
}

/** Running before starting before anything else. */
const rank = (wanted: readonly Task[]): number =>
  wanted.some(isUp) ? 0 : wanted.some((task) => task.Status.State === 'running') ? 1 : 2;
