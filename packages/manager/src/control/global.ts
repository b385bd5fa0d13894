import { isGlobal, type Service, type StoreChange, type Task } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { changesPerDecision } from './change-size.ts';
import { suitsGlobal, takesTasks } from './fit.ts';
import { nodeMoved, serviceKeys } from './marks.ts';
import { newTask } from './task-draft.ts';
import type { Controller, Decision, Env } from './types.ts';
import { finalOf, isStopped, isWanted, unitsOf } from './unit.ts';

// The global orchestrator: one copy on each node that suits the service. A node that is down keeps its copy's place, since no other
// node can have it; a drained, unsuitable or removed one loses it.

export function globalOrchestrator(): Controller {
  const globals = (view: View) =>
    view
      .list('services')
      .filter(isGlobal)
      .map((service) => service.ID);
  return {
    name: 'global',
    marks(event, view) {
      if (event.table === 'nodes') return nodeMoved(event.before, event.after) ? globals(view) : [];
      return serviceKeys(event, { specs: true, copies: true });
    },
    all: globals,
    decide(view, key, env) {
      const service = view.get('services', key);
      return service && isGlobal(service) ? reconcile(view, service, env) : { changes: [] };
    },
  };
}

function reconcile(view: View, service: Service, env: Env): Decision {
  const units = unitsOf(view, service.ID);
  const limit = changesPerDecision(service.Spec.TaskTemplate);
  const changes: StoreChange[] = [];
  for (const node of view.list('nodes')) {
    const unit = units.get(node.ID) ?? [];
    units.delete(node.ID);
    if (!suitsGlobal(service, node)) changes.push(...stop(unit));
    else if (takesTasks(node) && !unit.some(isWanted) && !finalOf(unit)) {
      const desired = unit.every((task) => isStopped(view, task)) ? 'running' : 'ready';
      changes.push({ op: 'create', table: 'tasks', object: newTask(service, { NodeID: node.ID }, desired, env) });
    }
    if (changes.length >= limit) return { changes, wakeAt: env.now };
  }
  for (const unit of units.values()) changes.push(...stop(unit));
  return { changes };
}

const stop = (unit: readonly Task[]): StoreChange[] =>
  unit
    .filter(isWanted)
    .map((task) => ({ op: 'update', table: 'tasks', id: task.ID, set: { DesiredState: 'shutdown' }, ifExists: true }));
