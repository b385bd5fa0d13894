import type { Cluster, Network, Node, Objects, Payload, Service, Table, Task } from '@swarmctl/shared/model';
import { OrderedMap } from './ordered-map.ts';
import type { HeldAddress, View } from './types.ts';

// The replicated state at one index, whole and immutable: a view that stays what it is while later batches are applied.

export type Tables = { readonly [T in Table]: OrderedMap<Objects[T]> };

/** What is found without walking a table; always in step with the tables. */
export interface Indexes {
  readonly servicesByName: OrderedMap<Service>;
  readonly nodesByHostname: OrderedMap<readonly Node[]>;
  readonly tasksByService: OrderedMap<OrderedMap<Task>>;
  readonly tasksByNode: OrderedMap<OrderedMap<Task>>;
  readonly tasksBySlot: OrderedMap<readonly Task[]>;
  readonly networksByName: OrderedMap<Network>;
  readonly secretsByName: OrderedMap<Payload>;
  readonly configsByName: OrderedMap<Payload>;
  /** By network, then by address. */
  readonly addresses: OrderedMap<OrderedMap<HeldAddress>>;
}

export const slotKey = (serviceId: string, slot: number): string => `${serviceId}/${slot}`;

const none: readonly never[] = [];
const noAddresses = OrderedMap.empty<HeldAddress>();

export class State implements View {
  readonly index: number;
  /** `now` of the batch that was applied last. */
  readonly now: number;
  readonly tables: Tables;
  readonly indexes: Indexes;

  constructor(at: { index: number; now: number }, tables: Tables, indexes: Indexes) {
    this.index = at.index;
    this.now = at.now;
    this.tables = tables;
    this.indexes = indexes;
  }

  static readonly empty = new State(
    { index: 0, now: 0 },
    {
      cluster: OrderedMap.empty(),
      nodes: OrderedMap.empty(),
      services: OrderedMap.empty(),
      tasks: OrderedMap.empty(),
      networks: OrderedMap.empty(),
      secrets: OrderedMap.empty(),
      configs: OrderedMap.empty(),
    },
    {
      servicesByName: OrderedMap.empty(),
      nodesByHostname: OrderedMap.empty(),
      tasksByService: OrderedMap.empty(),
      tasksByNode: OrderedMap.empty(),
      tasksBySlot: OrderedMap.empty(),
      networksByName: OrderedMap.empty(),
      secretsByName: OrderedMap.empty(),
      configsByName: OrderedMap.empty(),
      addresses: OrderedMap.empty(),
    },
  );

  /** The same state, seen from a later index that changed nothing. */
  at(index: number): State {
    return new State({ index, now: this.now }, this.tables, this.indexes);
  }

  get<T extends Table>(table: T, id: string): Objects[T] | undefined {
    return this.tables[table].get(id);
  }

  list<T extends Table>(table: T): readonly Objects[T][] {
    return this.tables[table].values();
  }

  cluster(): Cluster | undefined {
    return this.tables.cluster.values()[0];
  }

  serviceByName(name: string): Service | undefined {
    return this.indexes.servicesByName.get(name);
  }

  tasksOfService(serviceId: string): readonly Task[] {
    return this.indexes.tasksByService.get(serviceId)?.values() ?? none;
  }

  tasksOfNode(nodeId: string): readonly Task[] {
    return this.indexes.tasksByNode.get(nodeId)?.values() ?? none;
  }

  tasksOfSlot(serviceId: string, slot: number): readonly Task[] {
    return this.indexes.tasksBySlot.get(slotKey(serviceId, slot)) ?? none;
  }

  nodesByHostname(hostname: string): readonly Node[] {
    return this.indexes.nodesByHostname.get(hostname) ?? none;
  }

  networkByName(name: string): Network | undefined {
    return this.indexes.networksByName.get(name);
  }

  payloadByName(table: 'secrets' | 'configs', name: string): Payload | undefined {
    return this.indexes[`${table}ByName`].get(name);
  }

  addressesOf(networkId: string): OrderedMap<HeldAddress> {
    return this.indexes.addresses.get(networkId) ?? noAddresses;
  }
}
