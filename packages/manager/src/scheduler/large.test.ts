import { expect, it } from 'vitest';
import { aNode, aService, aStore, builtAt, tasksOf } from '../../../../test/kit/index.ts';
import { scheduler } from './index.ts';

// 10 000 tasks for 1 000 nodes: a few hundred milliseconds on an idle core, in decisions that each leave the event loop soon. The bound is
// ample for busy machines and far below what sorting the nodes anew for each task takes.

it.each([
  ['one service', { services: 1, spread: [] }],
  ['a hundred services, spread', { services: 100, spread: ['node.labels.zone', 'node.labels.rack'] }],
])(
  '%s',
  (_, { services: count, spread }) => {
    const constraints = ['node.role==worker', 'node.labels.zone!=z9'];
    const services = Array.from({ length: count }, (_, i) => aService({ id: `s${i}`, cpus: 0.1, constraints, spread }));
    const nodes = Array.from({ length: 1_000 }, (_, i) =>
      aNode({ id: `n${String(i).padStart(4, '0')}`, labels: { zone: `z${i % 5}`, rack: `r${i % 20}` } }),
    );
    const tasks = services.flatMap((service) => tasksOf(service, 10_000 / count));
    const store = aStore({ nodes, services, tasks });
    const controller = scheduler();
    let decisions = 0;
    let ms = 0;
    for (let going = true; going; decisions++) {
      const start = performance.now();
      const { changes, wakeAt } = controller.decide(store.view(), '*', { now: builtAt });
      ms += performance.now() - start;
      store.apply(store.index + 1, { now: builtAt, changes });
      going = wakeAt !== undefined;
    }
    expect(decisions).toBe(20);
    expect(new Set(nodes.map((node) => store.view().tasksOfNode(node.ID).length))).toEqual(new Set([10]));
    expect(ms).toBeLessThan(6_000);
  },
  60_000,
);
