import { below, seededRandom } from '@swarmctl/shared/kit';
import { isTerminal, isUp, type Service, stateOrder, wantsLife } from '@swarmctl/shared/model';
import { expect, it } from 'vitest';
import { World } from './world.ts';

// Random lives of services on networks that are almost too small for them, through the real loop: changes of the leader, lost proposals, lost
// nodes. A failing seed replays with: SEED=<seed> npx vitest run --project sim test/sim/control/networks.test.ts

const second = 1_000_000_000;
const seeds = process.env['SEED']
  ? [Number(process.env['SEED'])]
  : Array.from({ length: Number(process.env['SEEDS'] ?? 12) }, (_, i) => i + 1);

type ServiceSpec = Service['Spec'];

class Life {
  readonly world: World;
  readonly #random: () => number;
  readonly services: string[] = [];
  #names = 0;
  /** What was on a node that was down: its address may be another's by now. */
  readonly #lost = new Set<string>();
  seen = 0;

  constructor(seed: number) {
    this.world = new World(seed);
    this.#random = seededRandom(seed * 7919);
    this.world.unavailability = seed % 3 === 0 ? 0.05 : 0;
    this.world.onApply(() => this.#check());
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[below(this.#random, items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  #check(): void {
    const view = this.world.store.view();
    for (const node of view.list('nodes')) {
      if (node.Status.State === 'down') for (const task of view.tasksOfNode(node.ID)) this.#lost.add(task.ID);
    }
    for (const network of view.list('networks')) {
      for (const { address, holders } of view.addressesOf(network.ID).values()) {
        this.seen++;
        const live = holders.filter(({ kind, id }) => {
          const task = kind === 'task' ? view.get('tasks', id) : undefined;
          if (!task) return true;
          if (isTerminal(task.Status.State) || this.#lost.has(id)) return false;
          return wantsLife(task.DesiredState) || stateOrder[task.Status.State] >= stateOrder.assigned;
        });
        if (live.length > 1) throw new Error(`${address} is given twice: ${JSON.stringify(live)}`);
      }
    }
    for (const task of view.list('tasks')) {
      const wanted = task.Spec.Networks?.length ?? 0;
      if (stateOrder[task.Status.State] < stateOrder.pending || task.Status.State === 'remove') continue;
      if ((task.NetworksAttachments?.length ?? 0) === wanted || !wantsLife(task.DesiredState)) continue;
      throw new Error(`${task.ID} is ${task.Status.State} without its addresses`);
    }
  }

  spec(): ServiceSpec {
    const config = { Parallelism: 2, Order: this.#pick(['stop-first', 'start-first'] as const) };
    const stable = this.#random() < 0.4;
    return {
      Name: `s${++this.#names}`,
      Labels: stable ? { 'swarmctl.stable-address': 'true' } : {},
      TaskTemplate: {
        ContainerSpec: { Image: this.#image() },
        RestartPolicy: { Condition: 'any', Delay: second / 5 },
        Networks: this.#networks(),
      },
      Mode: this.#random() < 0.2 ? { Global: {} } : { Replicated: { Replicas: below(this.#random, 5) } },
      EndpointSpec: { Mode: this.#pick(['vip', 'dnsrr'] as const) },
      UpdateConfig: config,
      RollbackConfig: config,
    };
  }

  #image = (): string => `${this.#pick(['ok', 'ok', 'slow', 'crash'])}:${below(this.#random, 1000)}`;
  #networks = () => this.#pick([['small'], ['large'], ['small', 'large']]).map((Target) => ({ Target }));

  async act(): Promise<void> {
    const { world } = this;
    const service = this.services.length > 0 ? this.#pick(this.services) : undefined;
    const node = this.#pick(world.store.view().list('nodes')).ID;
    const dice = below(this.#random, 20);
    if (!service || dice < 4) this.services.push(world.createService(this.spec()));
    else if (dice < 7) {
      const [Image, Networks] = [this.#image(), this.#networks()];
      world.updateService(service, (spec) => ({
        ...spec,
        TaskTemplate: { ...spec.TaskTemplate, Networks, ContainerSpec: { Image } },
      }));
    } else if (dice < 10) {
      const Replicas = below(this.#random, 5);
      world.updateService(service, (spec) =>
        spec.Mode?.Global ? spec : { ...spec, Mode: { Replicated: { Replicas } } },
      );
    } else if (dice < 12) {
      world.removeService(service);
      this.services.splice(this.services.indexOf(service), 1);
    } else if (dice < 14) world.failNode(node, this.#pick(['cut', 'crash'] as const));
    else if (dice < 17) world.returnNode(node);
    else {
      await world.stopLeader();
      await world.run(below(this.#random, 1_000));
      world.startLeader();
    }
  }

  async live(steps: number): Promise<void> {
    const { world } = this;
    for (const name of ['n1', 'n2', 'n3']) world.addNode(name);
    const network = (ID: string, Subnet?: string) =>
      ({
        op: 'create',
        table: 'networks',
        object: {
          ID,
          Spec: {
            ...{ Name: ID, Labels: {} },
            ...(Subnet ? { IPAMOptions: { Configs: [{ Subnet }] } } : { IPv6Enabled: true }),
          },
          IPAM: { Configs: [] },
          Gateways: {},
        },
      }) as const;
    world.commit([network('small', '10.7.0.0/28'), network('large')]);
    world.startLeader();
    for (let i = 0; i < steps; i++) {
      await this.act();
      await world.run(this.#pick([0, 10, 200, 2_000, 8_000]), 20);
    }
  }

  /** All is mended, and little enough is left that it fits. */
  async calm(): Promise<void> {
    const { world } = this;
    world.unavailability = 0;
    for (const { ID } of world.store.view().list('nodes')) world.returnNode(ID);
    await world.run(5_000);
    for (const id of this.services.splice(2)) world.removeService(id);
    for (const id of this.services) {
      world.updateService(id, (spec) => ({
        ...spec,
        TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { Image: 'ok:final' } },
        ...(!spec.Mode?.Global && { Mode: { Replicated: { Replicas: 2 } } }),
      }));
    }
    await world.run(240_000, 200);
  }

  checkConverged(): void {
    const view = this.world.store.view();
    for (const service of view.list('services')) {
      const wanted = view.tasksOfService(service.ID).filter((task) => wantsLife(task.DesiredState));
      const states = wanted.map((task) => `${task.Status.State} ${task.Status.Err ?? ''}`);
      expect(wanted.every(isUp), `${service.Spec.Name}: ${states}`).toBe(true);
      const targets = service.Spec.TaskTemplate.Networks?.map(({ Target }) => Target ?? '') ?? [];
      const virtual = (service.Endpoint.VirtualIPs ?? []).map(({ NetworkID }) => NetworkID);
      // One of each family.
      const families = targets.flatMap((id) => view.get('networks', id)?.IPAM.Configs.map(() => id) ?? []);
      expect(virtual).toEqual(service.Spec.EndpointSpec?.Mode === 'dnsrr' ? [] : families);
      for (const task of wanted) {
        expect(task.NetworksAttachments?.map(({ Network }) => Network.ID)).toEqual(targets);
        for (const id of targets)
          expect(view.get('networks', id)?.Gateways[task.NodeID ?? '']).toHaveLength(id === 'large' ? 2 : 1);
      }
    }
  }

  async end(): Promise<void> {
    const { world } = this;
    for (const id of this.services) world.removeService(id);
    await world.run(240_000, 200);
    for (const id of ['small', 'large']) expect(world.store.view().addressesOf(id).values()).toEqual([]);
  }
}

it.each(seeds)('seed %i', async (seed) => {
  const life = new Life(seed);
  try {
    await life.live(40);
    expect(life.seen).toBeGreaterThan(100);
    await life.calm();
    life.checkConverged();
    const { proposals } = life.world;
    await life.world.run(60_000, 500);
    expect(life.world.proposals - proposals, 'proposals of a quiet minute').toBe(0);
    await life.end();
  } finally {
    await life.world.stopLeader();
  }
});
