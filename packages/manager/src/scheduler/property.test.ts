import { below, seededRandom } from '@swarmctl/shared/kit';
import {
  isTerminal,
  nodeMeets,
  parseConstraints,
  type Service,
  type StoreChange,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';
import { expect, it } from 'vitest';
import { aNode, aService, aStore, aTask, builtAt, tasksOf } from '../../../../test/kit/index.ts';
import type { Controller } from '../control/types.ts';
import type { Store } from '../store/store.ts';
import type { View } from '../store/types.ts';
import { scheduler } from './index.ts';

// Random clusters. A failing seed replays with: SEED=<seed> npx vitest run --project unit packages/manager/src/scheduler/property.test.ts

const seeds = process.env['SEED'] ? [Number(process.env['SEED'])] : Array.from({ length: 40 }, (_, i) => i + 1);
const env = { now: builtAt, newId: () => 'id', random: () => 0 };

function aRandomStore(seed: number) {
  const random = seededRandom(seed);
  const pick = <T>(...items: T[]): T => items[below(random, items.length)] as T;
  const nodes = Array.from({ length: 1 + below(random, 12) }, (_, i) =>
    aNode({
      id: `n${i}`,
      cpus: 1 + below(random, 6),
      state: pick('ready', 'ready', 'ready', 'down'),
      availability: pick('active', 'active', 'active', 'drain'),
      labels: { zone: pick('a', 'b', 'c') },
      runtimes: pick(['docker'], ['docker', 'process']),
    }),
  );
  const services = Array.from({ length: 1 + below(random, 6) }, (_, i) =>
    aService({
      id: `s${i}`,
      cpus: below(random, 3),
      maxReplicas: below(random, 4),
      constraints: pick([], [], ['node.labels.zone==a'], ['node.labels.zone!=b']),
      spread: pick([], ['node.labels.zone']),
      labels: pick({}, {}, { 'swarmctl.runtime': 'process' }),
      ...pick<Partial<Parameters<typeof aService>[0]>>(
        {},
        {},
        {
          ports: [{ TargetPort: 80, PublishedPort: 8000 + below(random, 2), PublishMode: 'host' }],
        },
      ),
    }),
  );
  const there = services.flatMap((service) =>
    Array.from({ length: below(random, 4) }, (_, i) =>
      aTask({
        id: `${service.ID}.old${i}`,
        service,
        slot: 100 + i,
        node: pick(...nodes),
        state: pick('running', 'failed', 'assigned'),
        desired: pick('running', 'shutdown'),
      }),
    ),
  );
  return aStore({
    nodes,
    services,
    tasks: [...there, ...services.flatMap((service) => tasksOf(service, below(random, 12)))],
  });
}

/** What the node holds, summed up the slow way. */
function heldBy(view: View, nodeId: string) {
  const tasks = view.tasksOfNode(nodeId).filter((task) => !isTerminal(task.Status.State));
  const ports = tasks.flatMap((task) => (task.Ports ?? []).map((port) => port.PublishedPort));
  return {
    cpus: tasks.reduce((sum, task) => sum + (task.Spec.Resources?.Reservations?.NanoCPUs ?? 0), 0),
    ports,
    living: (service: string) =>
      tasks.filter((task) => task.ServiceID === service && wantsLife(task.DesiredState)).length,
  };
}

/** Whether the task could still be put somewhere. */
const couldGo = (view: View, task: Task): boolean =>
  view.list('nodes').some((node) => {
    const held = heldBy(view, node.ID);
    const { Placement, Resources } = task.Spec;
    return (
      node.Status.State === 'ready' &&
      node.Spec.Availability === 'active' &&
      held.cpus + (Resources?.Reservations?.NanoCPUs ?? 0) <= (node.Description?.Resources.NanoCPUs ?? 0) &&
      nodeMeets(node, parseConstraints(Placement?.Constraints)) &&
      !(task.Ports ?? []).some((port) => held.ports.includes(port.PublishedPort)) &&
      (!Placement?.MaxReplicas || held.living(task.ServiceID) < Placement.MaxReplicas) &&
      node.Description?.Runtimes.includes(
        task.ServiceAnnotations.Labels['swarmctl.runtime'] === 'process' ? 'process' : 'docker',
      )
    );
  });

it.each(seeds)('places all that it can, and nothing that it must not (seed %i)', (seed) => {
  const store = aRandomStore(seed);
  const before = store.view();
  const controller: Controller = scheduler({ budget: { changes: 1 + (seed % 7), work: 10 + seed } });
  for (let turn = 0, going = true; going; turn++) {
    expect(turn).toBeLessThan(500);
    const { changes, wakeAt } = controller.decide(store.view(), '*', env);
    expect(changes.length).toBeLessThanOrEqual(1 + (seed % 7));
    store.apply(store.index + 1, { now: env.now, changes });
    going = wakeAt !== undefined;
  }
  const view = store.view();
  for (const task of view.list('tasks')) {
    const old = before.get('tasks', task.ID);
    if (task.Status.State === 'pending') {
      expect(couldGo(view, task)).toBe(false);
      expect(task.Status.Err).toMatch(/^no suitable node \([^()]+\)(: .+)?$/);
    } else if (old?.Status.State === 'pending') {
      const node = view.get('nodes', task.NodeID ?? '');
      expect([node?.Status.State, node?.Spec.Availability, task.Status.State]).toEqual(['ready', 'active', 'assigned']);
      expect(node && nodeMeets(node, parseConstraints(task.Spec.Placement?.Constraints))).toBe(true);
      const held = heldBy(view, task.NodeID ?? '');
      const { MaxReplicas } = (view.get('services', task.ServiceID) as Service).Spec.TaskTemplate.Placement ?? {};
      if (task.Spec.Resources?.Reservations?.NanoCPUs)
        expect(held.cpus).toBeLessThanOrEqual(node?.Description?.Resources.NanoCPUs ?? 0);
      if (MaxReplicas) expect(held.living(task.ServiceID)).toBeLessThanOrEqual(MaxReplicas);
      for (const port of task.Ports ?? [])
        expect(held.ports.filter((one) => one === port.PublishedPort).length).toBe(1);
    } else expect(task).toBe(old);
  }
  // What was placed last may have changed the reasons of those before; then all is said.
  sweep(store, controller);
  expect(sweep(store, controller)).toEqual([]);
});

/** Decides and applies from the beginning to the end. */
function sweep(store: Store, controller: Controller): StoreChange[] {
  const all: StoreChange[] = [];
  controller.all(store.view());
  for (let turn = 0, going = true; going && turn < 500; turn++) {
    const { changes, wakeAt } = controller.decide(store.view(), '*', { ...env, now: env.now + 1_000 });
    all.push(...changes);
    store.apply(store.index + 1, { now: env.now, changes });
    going = wakeAt !== undefined;
  }
  return all;
}
