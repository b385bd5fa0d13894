import type { StoreChange, Task } from '@swarmctl/shared/model';
import { describe, expect, it } from 'vitest';
import { aNode, aService, aStore, aTask, tasksOf } from '../../../../test/kit/index.ts';
import { apply, decide, report } from '../../../../test/sim/control/decide.ts';
import { replicatedOrchestrator } from './replicated.ts';

const controller = replicatedOrchestrator();
const nodes = ['n1', 'n2', 'n3'].map((id) => aNode({ id }));

const created = (changes: readonly StoreChange[]) =>
  changes.flatMap((change) =>
    change.op === 'create' && change.table === 'tasks' ? `${change.object.Slot} ${change.object.DesiredState}` : [],
  );
const removed = (changes: readonly StoreChange[]) =>
  changes.flatMap((change) =>
    change.op === 'update' && change.table === 'tasks' && change.set.DesiredState === 'remove' ? change.id : [],
  );

describe('filling slots', () => {
  it('makes tasks from slot 1', () => {
    const service = aService({ id: 's', replicas: 3, labels: { a: 'b' }, name: 'web' });
    const { changes } = decide(controller, aStore({ services: [service] }), 's');
    expect(created(changes)).toEqual(['1 running', '2 running', '3 running']);
    expect(changes[0]).toMatchObject({
      object: {
        Status: { State: 'new' },
        Spec: service.Spec.TaskTemplate,
        SpecVersion: service.SpecVersion,
        ServiceAnnotations: { Name: 'web', Labels: { a: 'b' } },
      },
    });
  });

  it('takes the lowest free slots, and waits where the last task still stops', () => {
    const service = aService({ id: 's', replicas: 4 });
    const tasks = [
      aTask({ service, slot: 2, node: 'n1' }),
      aTask({ service, slot: 3, node: 'n1', desired: 'remove' }),
      aTask({ service, slot: 4, node: 'n1', state: 'shutdown', desired: 'shutdown' }),
    ];
    const { changes } = decide(controller, aStore({ nodes, services: [service], tasks }), 's');
    expect(created(changes)).toEqual(['1 running', '3 ready', '4 running']);
  });

  it('does not wait for a task on a node that is down', () => {
    const service = aService({ id: 's', replicas: 1 });
    const down = aNode({ id: 'n1', state: 'down' });
    const tasks = [aTask({ service, node: down, desired: 'remove' })];
    const { changes } = decide(controller, aStore({ nodes: [down], services: [service], tasks }), 's');
    expect(created(changes)).toEqual(['1 running']);
  });

  it('counts a slot whose last task nothing may follow', () => {
    const service = aService({ id: 's', replicas: 2 });
    const tasks = [
      aTask({ service, slot: 1, node: 'n1', state: 'complete', desired: 'shutdown', set: { Final: true } }),
      aTask({ service, slot: 2, node: 'n1', state: 'failed', desired: 'shutdown' }),
    ];
    const { changes } = decide(controller, aStore({ nodes, services: [service], tasks }), 's');
    expect(created(changes)).toEqual(['2 running']);
  });

  it('makes many in several decisions', () => {
    const store = aStore({ services: [aService({ id: 's', replicas: 700 })] });
    const { changes, wakeAt } = decide(controller, store, 's', 5);
    expect(changes).toHaveLength(200);
    expect(wakeAt).toBe(5);
  });

  it('makes no more while thousands are on their way, and goes on as they come up', () => {
    const service = aService({ id: 's', replicas: 1e15 });
    const store = aStore({ nodes, services: [service], tasks: tasksOf(service, 4_900, { node: 'n1', state: 'new' }) });
    const first = decide(controller, store, 's', 5);
    expect(created(first.changes)).toHaveLength(100);
    expect(first.wakeAt).toBe(5);
    apply(store, first.changes);
    expect(decide(controller, store, 's', 5)).toEqual({ changes: [], wakeAt: 1_005 });
    const [up] = store.view().tasksOfSlot('s', 1);
    report(store, up?.ID ?? '', { State: 'running' });
    expect(created(decide(controller, store, 's', 1_005).changes)).toEqual(['5001 running']);
  });

  it('leaves global services and settled ones alone', () => {
    const service = aService({ id: 's', replicas: 2 });
    const store = aStore({
      nodes,
      services: [service, aService({ id: 'g', global: true })],
      tasks: tasksOf(service, 2, { node: 'n1' }),
    });
    expect(decide(controller, store, 's')).toEqual({ changes: [] });
    expect(decide(controller, store, 'g')).toEqual({ changes: [] });
    expect(decide(controller, store, 'gone')).toEqual({ changes: [] });
  });
});

describe('scaling down', () => {
  const service = aService({ id: 's', replicas: 2 });
  const at = (slot: number, node: string | undefined, more: Partial<Parameters<typeof aTask>[0]> = {}): Task =>
    aTask({ id: `t${slot}`, service, slot, ...(node !== undefined && { node }), ...more });
  const shrink = (tasks: Task[]) =>
    removed(decide(controller, aStore({ nodes, services: [service], tasks }), 's').changes).sort();

  it.each<[string, Task[], string[]]>([
    ['the highest slots', [at(1, 'n1'), at(2, 'n2'), at(3, 'n3')], ['t3']],
    [
      'from the nodes with most copies',
      [at(1, 'n1'), at(2, 'n1'), at(3, 'n1'), at(4, 'n2'), at(5, 'n3')],
      ['t2', 't3', 't5'],
    ],
    ['those that do not run first', [at(1, 'n1', { state: 'preparing' }), at(2, 'n2'), at(3, 'n3')], ['t1']],
    ['those without a node before all', [at(1, undefined), at(2, 'n1'), at(3, 'n1')], ['t1']],
    [
      'all that is known of the slot',
      [
        at(1, 'n1'),
        at(2, 'n2'),
        at(3, 'n3'),
        aTask({ id: 'old', service, slot: 3, node: 'n1', state: 'failed', desired: 'shutdown' }),
      ],
      ['old', 't3'],
    ],
  ])('%s', (_, tasks, expected) => expect(shrink(tasks)).toEqual(expected));
});
