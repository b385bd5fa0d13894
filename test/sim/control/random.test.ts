import { below, seededRandom } from '@swarmctl/shared/kit';
import {
  isDirty,
  isGlobal,
  isTerminal,
  isUp,
  replicasOf,
  type Service,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';
import { expect, it } from 'vitest';
import { World } from './world.ts';

// Random lives of a cluster. A failing seed replays with:
//   SEED=<seed> npx vitest run --project sim test/sim/control/random.test.ts

const second = 1_000_000_000;
const seeds = process.env['SEED']
  ? [Number(process.env['SEED'])]
  : Array.from({ length: Number(process.env['SEEDS'] ?? 30) }, (_, i) => i + 1);

type ServiceSpec = Service['Spec'];

class Life {
  readonly world: World;
  readonly #random: () => number;
  readonly services: string[] = [];
  #names = 0;
  /** Tasks that were on a node while it was down: they may still run when it returns, until they are told. */
  readonly #leftovers = new Set<string>();

  constructor(seed: number) {
    this.world = new World(seed);
    this.#random = seededRandom(seed * 7919);
    this.world.unavailability = seed % 4 === 0 ? 0.05 : 0;
    this.world.onApply(() => this.checkSlots());
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[below(this.#random, items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** Never two tasks running in one slot, but for a start-first pair and what is left on a node that was down. */
  checkSlots(): void {
    const view = this.world.store.view();
    if (view.list('tasks').length > 500) throw new Error('tasks without end');
    for (const service of view.list('services')) {
      if (isGlobal(service)) continue;
      const bySlot = new Map<number, Task[]>();
      for (const task of view.tasksOfService(service.ID)) {
        const node = view.get('nodes', task.NodeID ?? '');
        if (!node || node.Status.State === 'down') this.#leftovers.add(task.ID);
        if (this.#leftovers.has(task.ID) || task.Status.State !== 'running') continue;
        const slot = bySlot.get(task.Slot ?? 0) ?? [];
        bySlot.set(task.Slot ?? 0, [...slot, task]);
      }
      const startFirst = service.Spec.Labels['pairs'] === 'yes';
      for (const [slot, tasks] of bySlot) {
        if (tasks.length <= 1) continue;
        const wanted = tasks.filter((task) => wantsLife(task.DesiredState));
        if (startFirst ? wanted.length <= 2 : false) continue;
        throw new Error(
          `slot ${slot} of ${service.Spec.Name} runs ${tasks.map((task) => `${task.ID} ${task.DesiredState}`).join(', ')}`,
        );
      }
    }
  }

  spec(): ServiceSpec {
    const order = this.#pick(['stop-first', 'stop-first', 'start-first'] as const);
    const config = {
      Parallelism: below(this.#random, 4),
      Delay: this.#pick([0, 0, second]),
      Monitor: this.#pick([0, second, 3 * second]),
      FailureAction: this.#pick(['pause', 'continue', 'rollback'] as const),
      MaxFailureRatio: this.#pick([0, 0, 0.5]),
      Order: order,
    };
    const ports = this.#random() < 0.4 ? { Ports: [{ TargetPort: 80 }] } : undefined;
    return {
      Name: `s${++this.#names}`,
      Labels: { pairs: order === 'start-first' ? 'yes' : 'no' },
      TaskTemplate: {
        ContainerSpec: { Image: this.image() },
        RestartPolicy: {
          Condition: this.#pick(['any', 'any', 'on-failure', 'none'] as const),
          Delay: this.#pick([second / 5, second, 5 * second]),
          MaxAttempts: this.#pick([0, 0, 3]),
        },
      },
      Mode: this.#random() < 0.2 ? { Global: {} } : { Replicated: { Replicas: below(this.#random, 7) } },
      UpdateConfig: config,
      RollbackConfig: config,
      ...(ports && { EndpointSpec: ports }),
    };
  }

  image(): string {
    const kind = this.#pick(['ok', 'ok', 'ok', 'slow', 'flaky', 'crash', 'broken', 'oneshot']);
    return `${kind}:${below(this.#random, 1000)}`;
  }

  async act(): Promise<void> {
    const { world } = this;
    const nodes = world.store.view().list('nodes');
    const service = this.services.length > 0 ? this.#pick(this.services) : undefined;
    const node = this.#pick(nodes).ID;
    const dice = this.#random();
    if (!service || dice < 0.12) {
      this.services.push(world.createService(this.spec()));
    } else if (dice < 0.35) {
      const Image = this.image();
      world.updateService(service, (spec) => ({
        ...spec,
        TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { ...spec.TaskTemplate.ContainerSpec, Image } },
      }));
    } else if (dice < 0.5) {
      const Replicas = below(this.#random, 7);
      world.updateService(service, (spec) =>
        spec.Mode?.Global ? spec : { ...spec, Mode: { Replicated: { Replicas } } },
      );
    } else if (dice < 0.56) world.rollback(service);
    else if (dice < 0.61) {
      world.removeService(service);
      this.services.splice(this.services.indexOf(service), 1);
    } else if (dice < 0.68) world.available(node, this.#pick(['drain', 'pause']));
    else if (dice < 0.76) world.available(node, 'active');
    else if (dice < 0.84) world.failNode(node, this.#pick(['cut', 'crash'] as const));
    else if (dice < 0.92) world.returnNode(node);
    else {
      await world.stopLeader();
      await world.run(below(this.#random, 1_000));
      world.startLeader();
    }
  }

  async live(steps: number): Promise<void> {
    for (const name of ['n1', 'n2', 'n3', 'n4']) this.world.addNode(name);
    this.world.startLeader();
    for (let i = 0; i < steps; i++) {
      await this.act();
      await this.world.run(this.#pick([0, 10, 200, 2_000, 8_000]), 20);
    }
  }

  /** Everything is mended, and services that could never settle are given an image that can. */
  async calm(): Promise<void> {
    const { world } = this;
    world.unavailability = 0;
    for (const { ID } of world.store.view().list('nodes')) {
      world.returnNode(ID);
      world.available(ID, 'active');
    }
    await world.run(1_000);
    for (const id of this.services) {
      world.updateService(id, (spec) => ({
        ...spec,
        TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { Image: 'ok:final' } },
      }));
    }
    await world.run(180_000, 200);
  }

  checkConverged(): void {
    const view = this.world.store.view();
    expect(view.list('tasks').filter((task) => !view.get('services', task.ServiceID))).toEqual([]);
    for (const service of view.list('services')) {
      const tasks = view.tasksOfService(service.ID);
      const wanted = tasks.filter((task) => wantsLife(task.DesiredState));
      const good = wanted.filter((task) => isUp(task) && !isDirty(service, task));
      const places = isGlobal(service) ? view.list('nodes').length : replicasOf(service.Spec);
      const what = `${service.Spec.Name} ${JSON.stringify(service.UpdateStatus)}`;
      expect([wanted.length, good.length, new Set(good.map((t) => t.Slot ?? t.NodeID)).size], what).toEqual([
        places,
        places,
        places,
      ]);
      expect(
        tasks.filter((task) => !wantsLife(task.DesiredState) && !isTerminal(task.Status.State)),
        what,
      ).toEqual([]);
      expect(service.UpdateStatus?.State, what).toBeOneOf([undefined, 'completed']);
    }
  }
}

it.each(seeds)('seed %i', async (seed) => {
  const life = new Life(seed);
  try {
    await life.live(40);
    await life.calm();
    life.checkConverged();
    const { proposals } = life.world;
    await life.world.run(60_000, 500);
    expect(life.world.proposals - proposals, 'proposals of a quiet minute').toBe(0);
  } catch (error) {
    throw new Error(
      `seed ${seed} failed; replay: SEED=${seed} npx vitest run --project sim test/sim/control/random.test.ts`,
      {
        cause: error,
      },
    );
  } finally {
    await life.world.stopLeader();
  }
});
