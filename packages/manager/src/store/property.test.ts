import { below, isClusterError, newIdFrom, type Random, seededRandom } from '@swarmctl/shared/kit';
import {
  type Batch,
  isTerminal,
  type StoreChange,
  stateOrder,
  type Table,
  type TaskState,
  tables,
  toTimestamp,
} from '@swarmctl/shared/model';
import { expect, it } from 'vitest';
import { aCluster, aNode, aPayload, aService, aTask } from '../../../../test/kit/index.ts';
import { encodeBatch } from './codec.ts';
import { StoreStateMachine } from './state-machine.ts';
import { Store } from './store.ts';
import type { ApplyOutcome, View } from './types.ts';

// Random logs. A failing seed replays with: SEED=<seed> npx vitest run --project unit packages/manager/src/store/property.test.ts

const seeds = process.env['SEED'] ? [Number(process.env['SEED'])] : Array.from({ length: 10 }, (_, i) => i + 1);

const states = Object.keys(stateOrder) as TaskState[];

/** Makes changes of which some are fine and some are not. */
class Writer {
  readonly #random: Random;
  readonly #newId: () => string;
  readonly #ids: Record<Table, string[]> = {
    cluster: [],
    nodes: [],
    services: [],
    tasks: [],
    networks: [],
    secrets: [],
    configs: [],
  };

  constructor(random: Random) {
    this.#random = random;
    this.#newId = newIdFrom(random);
  }

  batch(view: View, now: number): Batch {
    return { now, changes: Array.from({ length: 1 + below(this.#random, 12) }, () => this.#change(view)) };
  }

  #pick<T>(items: readonly T[]): T {
    return items[below(this.#random, items.length)] as T;
  }

  #change(view: View): StoreChange {
    const table = this.#pick([
      'nodes',
      'services',
      'tasks',
      'tasks',
      'tasks',
      'cluster',
      'networks',
      'secrets',
    ] as const);
    const id = this.#pick(this.#ids[table]);
    const dice = this.#random();
    if (id === undefined || dice < 0.3) return this.#create(view, table);
    const version =
      this.#random() < 0.3 ? { version: view.get(table, id)?.Version.Index ?? below(this.#random, 20) } : {};
    const ifExists = this.#random() < 0.9;
    if (dice < 0.42) return { op: 'remove', table, id, ifExists, ...version };
    return { op: 'update', table, id, ifExists, ...version, ...this.#fields(table) } as StoreChange;
  }

  #create(view: View, table: Table): StoreChange {
    const id = this.#random() < 0.98 ? this.#newId() : (this.#pick(this.#ids[table]) ?? this.#newId());
    this.#ids[table].push(id);
    switch (table) {
      case 'cluster':
        return { op: 'create', table, object: aCluster({ ID: id }) };
      case 'nodes':
        return { op: 'create', table, object: aNode({ id, hostname: `host${below(this.#random, 4)}` }) };
      case 'services':
        return { op: 'create', table, object: aService({ id, name: `name${below(this.#random, 200)}` }) };
      case 'tasks': {
        const service = view.get('services', this.#pick(this.#ids.services) ?? '') ?? aService({ id: 'gone' });
        const node = this.#random() < 0.5 ? { node: this.#pick(this.#ids.nodes) ?? 'nowhere' } : {};
        return { op: 'create', table, object: aTask({ id, service, slot: 1 + below(this.#random, 3), ...node }) };
      }
      case 'networks': {
        const Spec = { Name: `net${below(this.#random, 100)}`, Labels: {} };
        return { op: 'create', table, object: { ID: id, Spec, VNI: 4096, IPAM: { Configs: [] }, Gateways: {} } };
      }
      case 'secrets':
      case 'configs':
        return { op: 'create', table, object: aPayload({ id, name: `pay${below(this.#random, 100)}` }) };
      default:
        return table satisfies never;
    }
  }

  #fields(table: Table): { set: object; unset?: string[] } {
    switch (table) {
      case 'cluster':
        return { set: { SubnetSize: below(this.#random, 30) } };
      case 'nodes':
        return {
          set: { Description: aNode({ hostname: `host${below(this.#random, 4)}` }).Description },
          unset: ['DownSince'],
        };
      case 'services':
        if (this.#random() < 0.5) {
          const VirtualIPs = [{ NetworkID: 'on1', Addr: `10.0.1.${below(this.#random, 2_500)}/24` }];
          return { set: { Endpoint: { Spec: {}, ...(this.#random() < 0.7 && { VirtualIPs }) } } };
        }
        return { set: { Spec: aService({ name: `name${below(this.#random, 200)}` }).Spec } };
      case 'tasks': {
        const Status = { Timestamp: toTimestamp(below(this.#random, 1e9)), State: this.#pick(states) };
        if (this.#random() < 0.2) return { set: {}, unset: ['NodeID'] };
        return {
          set: {
            ...(this.#random() < 0.6 && { Status }),
            ...(this.#random() < 0.3 && { DesiredState: this.#pick(states) }),
            ...(this.#random() < 0.3 && { NodeID: this.#pick(this.#ids.nodes) ?? 'nowhere' }),
            ...(this.#random() < 0.2 && {
              NetworksAttachments: [
                {
                  Network: { ID: `on${below(this.#random, 3)}` },
                  Addresses: [`10.0.1.${below(this.#random, 2_500)}/24`],
                },
              ],
            }),
          },
        };
      }
      case 'networks':
        return { set: { Gateways: { n1: [`10.0.1.${below(this.#random, 2_500)}`] } }, unset: ['VNI'] };
      case 'secrets':
      case 'configs':
        return { set: { Spec: aPayload({ name: `pay${below(this.#random, 100)}` }).Spec } };
      default:
        return table satisfies never;
    }
  }
}

/** What the indexes say, said the slow way. */
function checkIndexes(view: View): void {
  const tasks = view.list('tasks');
  const ids = [...new Set(tasks.flatMap((task) => [task.ServiceID, task.NodeID ?? '']))];
  for (const id of ids) {
    expect(view.tasksOfService(id)).toEqual(tasks.filter((task) => task.ServiceID === id));
    if (id) expect(view.tasksOfNode(id)).toEqual(tasks.filter((task) => task.NodeID === id));
    for (const slot of [1, 2, 3]) {
      expect(view.tasksOfSlot(id, slot)).toEqual(tasks.filter((task) => task.ServiceID === id && task.Slot === slot));
    }
  }
  for (const service of view.list('services')) expect(view.serviceByName(service.Spec.Name)).toBe(service);
  for (const host of ['host0', 'host1', 'host2', 'host3']) {
    expect(view.nodesByHostname(host)).toEqual(
      view.list('nodes').filter((node) => node.Description?.Hostname === host),
    );
  }
  for (const network of view.list('networks')) expect(view.networkByName(network.Spec.Name)).toBe(network);
  for (const secret of view.list('secrets')) expect(view.payloadByName('secrets', secret.Spec.Name)).toBe(secret);
  const held = heldAddresses(view);
  const networkIds = ['on0', 'on1', 'on2', ...view.list('networks').map(({ ID }) => ID)];
  const indexed = networkIds.flatMap((id) =>
    view
      .addressesOf(id)
      .values()
      .flatMap(({ address, holders }) => holders.map((holder) => `${id} ${address} ${holder.kind} ${holder.id}`)),
  );
  expect(indexed.sort()).toEqual(held.sort());
  for (const table of tables) {
    const keys = view.list(table).map((object) => object.ID);
    expect(keys).toEqual([...new Set(keys)].sort());
  }
}

function heldAddresses(view: View): string[] {
  const bare = (address: string) => address.split('/')[0];
  return [
    ...view
      .list('tasks')
      .filter((task) => !isTerminal(task.Status.State))
      .flatMap((task) =>
        (task.NetworksAttachments ?? []).map(
          (one) => `${one.Network.ID} ${bare(one.Addresses[0] ?? '')} task ${task.ID}`,
        ),
      ),
    ...view
      .list('services')
      .flatMap(({ ID, Endpoint }) =>
        (Endpoint.VirtualIPs ?? []).map((one) => `${one.NetworkID} ${bare(one.Addr)} service ${ID}`),
      ),
    ...view
      .list('networks')
      .flatMap(({ ID, Gateways }) =>
        Object.entries(Gateways).flatMap(([id, all]) => all.map((one) => `${ID} ${one} node ${id}`)),
      ),
  ];
}

/** An overlay that is given the changes of a batch ends where the store does, but for the books. */
function checkOverlay(store: Store, batch: Batch, apply: () => ApplyOutcome): void {
  const overlay = store.overlay();
  let refused: string | undefined;
  try {
    overlay.add(batch.changes);
  } catch (error) {
    if (!isClusterError(error)) throw error;
    refused = error.message;
  }
  const outcome = apply();
  expect(outcome.ok ? undefined : outcome.message).toBe(refused);
  const plain = (view: View) =>
    tables.map((table) =>
      view.list(table).map(({ Version, CreatedAt, UpdatedAt, ...rest }) => ({ ...rest, SpecIndex: undefined })),
    );
  expect(plain(overlay)).toEqual(plain(store.view()));
}

/** The stream, cut elsewhere than it was written. */
async function* recut(chunks: AsyncIterable<Uint8Array>, random: Random): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const end = at + 1 + below(random, 700);
      yield chunk.subarray(at, end);
      at = end;
    }
  }
}

it.each(seeds)('replicas agree, also by a snapshot, and overlays foretell the store (seed %i)', async (seed) => {
  const random = seededRandom(seed);
  const writer = new Writer(random);
  const [first, second, third] = [new Store(), new Store(), new Store()];
  const replicas = [first, second].map((store) => new StoreStateMachine(store));
  const log: Uint8Array[] = [];
  const outcomes: ApplyOutcome[] = [];
  for (let index = 1; index <= 80; index++) {
    const batch = writer.batch(first.view(), 1_700_000_000_000 + index * 10);
    log.push(encodeBatch(batch));
    const entry = { index, term: 1, data: log[index - 1] as Uint8Array };
    checkOverlay(first, batch, () => {
      const outcome = (replicas[0] as StoreStateMachine).apply(entry);
      outcomes.push(outcome);
      return outcome;
    });
    expect((replicas[1] as StoreStateMachine).apply(entry)).toEqual(outcomes[index - 1]);
    if (index === 40) {
      const encodeLater = first.snapshot();
      const hash = first.hash();
      first.advance(index);
      const late = new StoreStateMachine(third);
      await late.restore(index, recut(encodeLater(), random));
      expect([third.hash(), third.index]).toEqual([hash, 40]);
      replicas.push(late);
    }
    if (index > 40) expect((replicas[2] as StoreStateMachine).apply(entry)).toEqual(outcomes[index - 1]);
  }
  expect(outcomes.filter((outcome) => outcome.ok).length).toBeGreaterThan(15);
  expect(outcomes.filter((outcome) => !outcome.ok).length).toBeGreaterThan(5);
  expect(new Set([first, second, third].map((store) => store.hash())).size).toBe(1);
  checkIndexes(first.view());
  checkIndexes(third.view());
});
