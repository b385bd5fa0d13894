import { ClusterError } from '@swarmctl/shared/kit';
import {
  isTaskState,
  isTerminal,
  type Meta,
  type Network,
  type Node,
  type Objects,
  type Payload,
  type Service,
  type StoreChange,
  type StoreEvent,
  stateOrder,
  type Table,
  type Task,
  type TaskState,
  toTimestamp,
  wantsLife,
} from '@swarmctl/shared/model';
import { type Holding, holdingsOfNetwork, holdingsOfService, holdingsOfTask } from './holdings.ts';
import { OrderedMap } from './ordered-map.ts';
import { type Indexes, State, slotKey, type Tables } from './state.ts';
import type { AddressHolder, HeldAddress } from './types.ts';

// One edit of a state: changes go in, a new state comes out. The state that it starts from stays as it is, so that an edit that is
// refused half-way is simply dropped.

/** When and where the edit happens. Without an index (an overlay), objects keep the version that they have in the store, and new ones have 0. */
export interface Stamp {
  readonly index?: number;
  readonly now: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const label = {
  cluster: 'cluster',
  nodes: 'node',
  services: 'service',
  tasks: 'task',
  networks: 'network',
  secrets: 'secret',
  configs: 'config',
} as const satisfies Record<Table, string>;

/** Of whose objects the store writes down when their spec came. */
const hasSpecIndex = (table: Table): boolean => table === 'nodes' || table === 'services';

const metaKeys: ReadonlySet<string> = new Set(['ID', 'Version', 'CreatedAt', 'UpdatedAt'] satisfies (keyof Meta)[]);

export class StateEditor {
  readonly #owner = {};
  readonly #base: State;
  readonly #tables: Mutable<Tables>;
  readonly #indexes: Mutable<Indexes>;
  readonly #stamp: Stamp;
  readonly #time: string;

  constructor(base: State, stamp: Stamp) {
    this.#base = base;
    this.#tables = { ...base.tables };
    this.#indexes = { ...base.indexes };
    this.#stamp = stamp;
    this.#time = toTimestamp(stamp.now);
  }

  /** The outcome; the editor must not be used afterwards. */
  done(): State {
    return new State(
      { index: this.#stamp.index ?? this.#base.index, now: this.#stamp.now },
      this.#tables,
      this.#indexes,
    );
  }

  /** Makes one change. Undefined when it was skipped; throws ClusterError when it is refused. */
  apply(change: StoreChange): StoreEvent | undefined {
    switch (change.op) {
      case 'create':
        return this.#create(change.table, change.object);
      case 'update':
        return this.#update(change);
      case 'remove':
        return this.#remove(change);
      default:
        return change satisfies never;
    }
  }

  /** An object as a snapshot holds it. */
  load<T extends Table>(table: T, object: Objects[T]): void {
    this.#replace(table, undefined, object);
  }

  #create<T extends Table>(table: T, draft: object): StoreEvent {
    const Index = this.#stamp.index ?? 0;
    const meta = { Version: { Index }, CreatedAt: this.#time, UpdatedAt: this.#time };
    const spec = hasSpecIndex(table) && { SpecIndex: Index };
    const after = withoutUndefined({ ...draft, ...meta, ...spec }) as unknown as Objects[T];
    if (this.#tables[table].get(after.ID)) {
      throw new ClusterError('already-exists', `${label[table]} ${after.ID} already exists`, { id: after.ID });
    }
    if (table === 'cluster' && this.#tables.cluster.size > 0) {
      throw new ClusterError('already-exists', 'there is a cluster already, and a store holds one');
    }
    this.#check(table, undefined, after);
    this.#replace(table, undefined, after);
    return this.#event(table, 'create', undefined, after);
  }

  #update(change: Extract<StoreChange, { op: 'update' }>): StoreEvent | undefined {
    const { table, id } = change;
    const before = this.#expected(change);
    if (!before) return undefined;
    const set = table === 'tasks' ? forwardOnly(before as Task, change.set as Partial<Task>) : change.set;
    if (Object.keys(set).length === 0 && !change.unset?.length) return undefined;
    const Version = this.#stamp.index === undefined ? before.Version : { Index: this.#stamp.index };
    const { CreatedAt } = before;
    const after: Record<string, unknown> = { ...before, ...set, ID: id, Version, CreatedAt, UpdatedAt: this.#time };
    for (const key of change.unset ?? []) if (!metaKeys.has(key)) delete after[key];
    if (hasSpecIndex(table) && 'Spec' in set) after['SpecIndex'] = Version.Index;
    withoutUndefined(after);
    this.#check(table, before, after as never);
    this.#replace(table, before, after as never);
    return this.#event(table, 'update', before, after as never);
  }

  #remove(change: Extract<StoreChange, { op: 'remove' }>): StoreEvent | undefined {
    const before = this.#expected(change);
    if (!before) return undefined;
    this.#replace(change.table, before, undefined);
    return this.#event(change.table, 'remove', before, undefined);
  }

  /** The object that the change is about, undefined when the change is to be skipped. */
  #expected(change: Extract<StoreChange, { op: 'update' | 'remove' }>): Objects[Table] | undefined {
    const { table, id, version } = change;
    const before = this.#tables[table].get(id);
    if (!before) {
      if (change.ifExists) return undefined;
      throw new ClusterError('not-found', `${label[table]} ${id} not found`, { id });
    }
    if (this.#isStale(change)) {
      throw new ClusterError('out-of-sequence', 'update out of sequence', {
        id,
        version,
        current: before.Version.Index,
      });
    }
    return before;
  }

  /** Whoever decided on several changes of one object expects of each the version that he saw: the one before the batch. */
  #isStale(change: Extract<StoreChange, { op: 'update' | 'remove' }>): boolean {
    const { table, id, version } = change;
    const before = this.#base.get(table, id);
    const current = before?.Version.Index ?? 0;
    if (change.op === 'update' && change.specReadAt !== undefined) {
      const { SpecIndex = current } = (before ?? {}) as Partial<Node | Service>;
      return change.specReadAt < SpecIndex || change.specReadAt > current;
    }
    return version !== undefined && version !== current;
  }

  #check<T extends Table>(table: T, before: Objects[T] | undefined, after: Objects[T]): void {
    if (table === 'networks') this.#checkNetwork(before as Network | undefined, after as Network);
    if (table === 'tasks') this.#checkTask(before as Task | undefined, after as Task);
    if (table === 'secrets' || table === 'configs') this.#checkPayload(table, before as Payload, after as Payload);
    if (table !== 'services') return;
    this.#checkService(before as Service | undefined, after as Service);
    const name = (after as Service).Spec.Name;
    if ((before as Service | undefined)?.Spec.Name === name) return;
    if (this.#indexes.servicesByName.get(name)) {
      throw new ClusterError(
        'already-exists',
        `name conflicts with an existing object: service ${name} already exists`,
        { name },
      );
    }
  }

  #checkNetwork(before: Network | undefined, after: Network): void {
    if (before?.Gateways !== after.Gateways) {
      this.#checkAddresses(holdingsOfNetwork(before), holdingsOfNetwork(after));
    }
    const name = after.Spec.Name;
    if (before?.Spec.Name === name || !this.#indexes.networksByName.get(name)) return;
    throw new ClusterError('already-exists', `network with name ${name} already exists`, { name });
  }

  #checkPayload(table: 'secrets' | 'configs', before: Payload | undefined, after: Payload): void {
    const name = after.Spec.Name;
    if (before?.Spec.Name === name || !this.#indexes[`${table}ByName`].get(name)) return;
    throw new ClusterError('already-exists', `${label[table]} ${name} already exists`, { name });
  }

  #checkTask(before: Task | undefined, after: Task): void {
    if (before?.NetworksAttachments === after.NetworksAttachments) return;
    this.#checkAddresses(holdingsOfTask(before), holdingsOfTask(after));
  }

  #checkService(before: Service | undefined, after: Service): void {
    if (before?.Endpoint.VirtualIPs === after.Endpoint.VirtualIPs) return;
    this.#checkAddresses(holdingsOfService(before), holdingsOfService(after));
  }

  /** Whatever was decided on whatever view: an address has one holder who is to live. */
  #checkAddresses(before: readonly Holding[], after: readonly Holding[]): void {
    const had = new Set(before.map(holdingKey));
    for (const one of after) {
      if (had.has(holdingKey(one))) continue;
      const { networkId, address, holder } = one;
      const holders = this.#indexes.addresses.get(networkId)?.get(address)?.holders ?? [];
      if (!holders.some((other) => other.id !== holder.id && this.#isToLive(other))) continue;
      throw new ClusterError('already-exists', `address ${address} of network ${networkId} is taken`, { address });
    }
  }

  #isToLive({ kind, id }: AddressHolder): boolean {
    if (kind !== 'task') return true;
    const task = this.#tables.tasks.get(id);
    return task !== undefined && wantsLife(task.DesiredState) && !isTerminal(task.Status.State);
  }

  #replace<T extends Table>(table: T, before: Objects[T] | undefined, after: Objects[T] | undefined): void {
    const map = this.#tables[table] as OrderedMap<Objects[T]>;
    const next = after ? map.set(this.#owner, after.ID, after) : map.delete(this.#owner, (before as Objects[T]).ID);
    (this.#tables as Record<Table, unknown>)[table] = next;
    if (table === 'tasks') this.#indexTask(before as Task | undefined, after as Task | undefined);
    else if (table === 'services') this.#indexService(before as Service | undefined, after as Service | undefined);
    else if (table === 'nodes') this.#indexNode(before as Node | undefined, after as Node | undefined);
    else if (table === 'networks') this.#indexNetwork(before as Network | undefined, after as Network | undefined);
    else if (table === 'secrets' || table === 'configs') {
      const key = table === 'secrets' ? 'secretsByName' : 'configsByName';
      this.#indexes[key] = this.#byName(
        this.#indexes[key],
        before as Payload | undefined,
        after as Payload | undefined,
      );
    }
  }

  #byName<V extends { readonly Spec: { readonly Name: string } }>(
    map: OrderedMap<V>,
    before: V | undefined,
    after: V | undefined,
  ): OrderedMap<V> {
    if (before && before.Spec.Name !== after?.Spec.Name) map = map.delete(this.#owner, before.Spec.Name);
    return after ? map.set(this.#owner, after.Spec.Name, after) : map;
  }

  #indexNetwork(before: Network | undefined, after: Network | undefined): void {
    this.#indexes.networksByName = this.#byName(this.#indexes.networksByName, before, after);
    if (before?.Gateways === after?.Gateways) return;
    this.#indexHoldings(holdingsOfNetwork(before), holdingsOfNetwork(after));
  }

  #indexService(before: Service | undefined, after: Service | undefined): void {
    this.#indexes.servicesByName = this.#byName(this.#indexes.servicesByName, before, after);
    if (before?.Endpoint.VirtualIPs === after?.Endpoint.VirtualIPs) return;
    this.#indexHoldings(holdingsOfService(before), holdingsOfService(after));
  }

  #indexNode(before: Node | undefined, after: Node | undefined): void {
    const keys = [before?.Description?.Hostname, after?.Description?.Hostname] as const;
    this.#indexes.nodesByHostname = this.#inList(this.#indexes.nodesByHostname, keys, before, after);
  }

  #indexTask(before: Task | undefined, after: Task | undefined): void {
    const services = [before?.ServiceID, after?.ServiceID] as const;
    this.#indexes.tasksByService = this.#inMap(this.#indexes.tasksByService, services, before, after);
    const nodes = [before?.NodeID, after?.NodeID] as const;
    this.#indexes.tasksByNode = this.#inMap(this.#indexes.tasksByNode, nodes, before, after);
    const slots = [slotOf(before), slotOf(after)] as const;
    this.#indexes.tasksBySlot = this.#inList(this.#indexes.tasksBySlot, slots, before, after);
    this.#indexHoldings(holdingsOfTask(before), holdingsOfTask(after));
  }

  #indexHoldings(before: readonly Holding[], after: readonly Holding[]): void {
    if (before.length === 0 && after.length === 0) return;
    const had = new Set(before.map(holdingKey));
    const has = new Set(after.map(holdingKey));
    for (const one of before) if (!has.has(holdingKey(one))) this.#letGo(one);
    for (const one of after) if (!had.has(holdingKey(one))) this.#hold(one);
  }

  #hold({ networkId, address, holder }: Holding): void {
    const held = this.#indexes.addresses.get(networkId) ?? OrderedMap.empty<HeldAddress>();
    const holders = [...(held.get(address)?.holders ?? []), holder].sort((a, b) => (a.id < b.id ? -1 : 1));
    this.#setHeld(networkId, held.set(this.#owner, address, { address, holders }));
  }

  #letGo({ networkId, address, holder }: Holding): void {
    const held = this.#indexes.addresses.get(networkId);
    const holders = held?.get(address)?.holders.filter((one) => one.kind !== holder.kind || one.id !== holder.id);
    if (!held || !holders) return;
    this.#setHeld(
      networkId,
      holders.length > 0 ? held.set(this.#owner, address, { address, holders }) : held.delete(this.#owner, address),
    );
  }

  #setHeld(networkId: string, held: OrderedMap<HeldAddress>): void {
    const { addresses } = this.#indexes;
    this.#indexes.addresses =
      held.size > 0 ? addresses.set(this.#owner, networkId, held) : addresses.delete(this.#owner, networkId);
  }

  /** An index whose lists may be long. `keys`: where the object was, and where it belongs. */
  #inMap<V extends Meta>(
    index: OrderedMap<OrderedMap<V>>,
    [from, to]: readonly [string | undefined, string | undefined],
    before: V | undefined,
    after: V | undefined,
  ): OrderedMap<OrderedMap<V>> {
    if (before && from !== undefined && from !== to) {
      const left = (index.get(from) ?? OrderedMap.empty<V>()).delete(this.#owner, before.ID);
      index = left.size > 0 ? index.set(this.#owner, from, left) : index.delete(this.#owner, from);
    }
    if (!after || to === undefined) return index;
    const known = index.get(to) ?? OrderedMap.empty<V>();
    const next = known.set(this.#owner, after.ID, after);
    return next === known ? index : index.set(this.#owner, to, next);
  }

  /** An index whose lists are short. */
  #inList<V extends Meta>(
    index: OrderedMap<readonly V[]>,
    [from, to]: readonly [string | undefined, string | undefined],
    before: V | undefined,
    after: V | undefined,
  ): OrderedMap<readonly V[]> {
    if (before && from !== undefined && from !== to) {
      const left = (index.get(from) ?? []).filter((one) => one.ID !== before.ID);
      index = left.length > 0 ? index.set(this.#owner, from, left) : index.delete(this.#owner, from);
    }
    if (!after || to === undefined) return index;
    const others = (index.get(to) ?? []).filter((one) => one.ID !== after.ID);
    const at = others.findIndex((one) => one.ID > after.ID);
    return index.set(this.#owner, to, others.toSpliced(at < 0 ? others.length : at, 0, after));
  }

  #event<T extends Table>(
    table: T,
    op: StoreEvent['op'],
    before: Objects[T] | undefined,
    after: Objects[T] | undefined,
  ): StoreEvent {
    const id = ((after ?? before) as Objects[T]).ID;
    const index = this.#stamp.index ?? this.#base.index;
    return { table, op, id, index, ...(before && { before }), ...(after && { after }) } as unknown as StoreEvent;
  }
}

const holdingKey = ({ networkId, address }: Holding): string => `${networkId} ${address}`;

const slotOf = (task: Task | undefined): string | undefined =>
  task?.Slot === undefined ? undefined : slotKey(task.ServiceID, task.Slot);

/** A task's states only go forward: what would take one back is left out. */
function forwardOnly(before: Task, set: Partial<Task>): Partial<Task> {
  const { Status, DesiredState, ...rest } = set;
  return {
    ...rest,
    ...(Status && !isBack(before.Status.State, Status.State) && { Status }),
    ...(DesiredState && !isBack(before.DesiredState, DesiredState) && { DesiredState }),
  };
}

function isBack(from: TaskState, to: TaskState): boolean {
  if (!isTaskState(to)) throw new ClusterError('invalid-argument', `'${String(to)}' is not a state of a task`);
  return stateOrder[to] < stateOrder[from];
}

function withoutUndefined<T extends object>(object: T): T {
  for (const key in object) if (object[key] === undefined) delete object[key];
  return object;
}
