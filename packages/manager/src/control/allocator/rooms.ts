import {
  type AddressPool,
  bareAddress,
  formatIp,
  hasStableAddress,
  isInPools,
  isTerminal,
  type Network,
  parseIp,
  poolsOf,
  replicasOf,
  reservedIn,
  stateOrder,
  type Task,
} from '@swarmctl/shared/model';
import type { AddressHolder, View } from '../../store/types.ts';
import { isWanted, placeOf, tasksAt, unitKey } from '../unit.ts';

// Free addresses. Nothing of them is kept: an address is free when nobody in the state has it, or only those who need it no more. Addresses
// go round: the next after the last given, so that what others still know of an address's last owner is long forgotten.

/** Where the last addresses were given, by subnet. A hint that each leader begins anew; nothing is lost with it. */
export class Rotation {
  readonly #last = new Map<string, bigint>();

  after(view: View, network: Network, pool: AddressPool): bigint {
    const key = keyOf(network, pool);
    let last = this.#last.get(key);
    if (last === undefined) {
      last = youngestOf(view, network, pool);
      this.#last.set(key, last);
    }
    return last;
  }

  given(network: Network, pool: AddressPool, value: bigint): void {
    this.#last.set(keyOf(network, pool), value);
  }
}

const keyOf = (network: Network, pool: AddressPool) => `${network.ID} ${pool.subnet}`;

/** The address of the youngest task: what a new leader goes on from. */
function youngestOf(view: View, network: Network, pool: AddressPool): bigint {
  const held = view.addressesOf(network.ID);
  if (held.size === 0) return pool.first - 1n;
  let youngest: Task | undefined;
  for (const { holders } of held.values()) {
    for (const { kind, id } of holders) {
      const task = kind === 'task' ? view.get('tasks', id) : undefined;
      if (task && (!youngest || task.CreatedAt > youngest.CreatedAt)) youngest = task;
    }
  }
  const attachment = youngest?.NetworksAttachments?.find((one) => one.Network.ID === network.ID);
  for (const address of attachment?.Addresses ?? []) {
    const ip = parseIp(bareAddress(address));
    if (ip && ip.family === pool.family && ip.value >= pool.first && ip.value <= pool.last) return ip.value;
  }
  return pool.first - 1n;
}

/** The addresses of networks as one decision sees them: what it takes is taken. */
export class Rooms {
  readonly #view: View;
  readonly #rotation: Rotation;
  readonly #taken = new Map<string, Set<string>>();
  readonly #free = new Map<string, number>();
  /** Pools that were looked through in vain. */
  readonly #full = new Set<string>();

  constructor(view: View, rotation: Rotation) {
    this.#view = view;
    this.#rotation = rotation;
  }

  /** An address of the pool, without a prefix; undefined when none is free, or none beyond what is `kept` back. */
  take(network: Network, pool: AddressPool, kept = 0): string | undefined {
    if (pool.family === 4 && kept > 0 && this.#freeIn(network) <= kept) return undefined;
    if (this.#full.has(keyOf(network, pool))) return undefined;
    const taken = this.#takenOf(network);
    const start = this.#rotation.after(this.#view, network, pool) + 1n;
    for (let step = 0n, count = pool.last - pool.first + 1n; step < count; step++) {
      const value = pool.first + mod(start - pool.first + step, count);
      if (pool.reserved.has(value)) continue;
      const address = formatIp({ family: pool.family, value });
      if (taken.has(address) || !this.isFree(network, address)) continue;
      this.#rotation.given(network, pool, value);
      this.claim(network, address);
      return address;
    }
    this.#full.add(keyOf(network, pool));
    return undefined;
  }

  claim(network: Network, address: string): void {
    this.#takenOf(network).add(address);
    const free = this.#free.get(network.ID);
    if (free !== undefined && !address.includes(':')) this.#free.set(network.ID, free - 1);
  }

  giveBack(network: Network, address: string): void {
    this.#full.clear();
    if (!this.#takenOf(network).delete(address) || address.includes(':')) return;
    const free = this.#free.get(network.ID);
    if (free !== undefined) this.#free.set(network.ID, free + 1);
  }

  isTaken(network: Network, address: string): boolean {
    return this.#takenOf(network).has(address);
  }

  /** Nobody has it who still needs it; `but` does not count. */
  isFree(network: Network, address: string, but?: (holder: AddressHolder) => boolean): boolean {
    const held = this.#view.addressesOf(network.ID).get(address);
    return !held || held.holders.every((holder) => but?.(holder) || isReleased(this.#view, network.ID, holder));
  }

  /** Addresses to keep back for nodes that will get a task of the network, and with it need one of their own. */
  keptForNodes(network: Network): number {
    const lacking = this.#view.list('nodes').filter(({ ID }) => !network.Gateways[ID]).length;
    if (lacking === 0 || this.#freeIn(network) > lacking + 1) return 0;
    // As many as have tasks that wait for their node, this one included.
    const soon = new Set<string>();
    for (const { holders } of this.#view.addressesOf(network.ID).values()) {
      for (const { kind, id } of holders) {
        const task = kind === 'task' ? this.#view.get('tasks', id) : undefined;
        if (!task || !isWanted(task) || isTerminal(task.Status.State)) continue;
        if (task.NodeID === undefined) soon.add(task.ID);
        else if (!network.Gateways[task.NodeID]) soon.add(task.NodeID);
      }
    }
    const own = [...this.#takenOf(network)].filter((address) => !address.includes(':')).length;
    return Math.min(lacking, soon.size + own + 1);
  }

  /** IPv4 addresses that nobody needs; never more than there are, and exact where they are few. */
  #freeIn(network: Network): number {
    const known = this.#free.get(network.ID);
    if (known !== undefined) return known;
    const pools = poolsOf(network).filter(({ family }) => family === 4);
    const size = pools.reduce((sum, { first, last }) => sum + Math.max(0, Number(last - first + 1n)), 0);
    const held = this.#view.addressesOf(network.ID);
    const count =
      held.size < size / 2
        ? held.size
        : held.values().filter(({ address }) => isInPools(pools, address) && !this.isFree(network, address)).length;
    const own = [...this.#takenOf(network)].filter((address) => !address.includes(':')).length;
    const free = size - reservedIn(pools) - count - own;
    this.#free.set(network.ID, free);
    return free;
  }

  #takenOf(network: Network): Set<string> {
    let taken = this.#taken.get(network.ID);
    if (!taken) {
      taken = new Set();
      this.#taken.set(network.ID, taken);
    }
    return taken;
  }
}

const mod = (value: bigint, count: bigint): bigint => ((value % count) + count) % count;

/** The holder needs the address no more: its agent said that the task is gone, or nobody can ask its node. */
export function isReleased(view: View, networkId: string, holder: AddressHolder): boolean {
  if (holder.kind !== 'task') return false;
  const task = view.get('tasks', holder.id);
  if (!task) return true;
  if (isTerminal(task.Status.State)) return !keepsAddress(view, networkId, task);
  if (isWanted(task)) return false;
  if (stateOrder[task.Status.State] < stateOrder.assigned) return true;
  const node = view.get('nodes', task.NodeID ?? '');
  return !node || node.Status.State === 'down';
}

/** A task that has ended keeps its address for the next one of its place, as long as that place is there. */
function keepsAddress(view: View, networkId: string, task: Task): boolean {
  const service = view.get('services', task.ServiceID);
  if (!service || !hasStableAddress(service.Spec.Labels)) return false;
  if (task.Slot !== undefined && task.Slot > (replicasOf(service.Spec) ?? 0)) return false;
  if (task.Slot === undefined && !view.get('nodes', task.NodeID ?? '')) return false;
  return latestAttached(view, networkId, task)?.ID === task.ID;
}

/** The newest task of the place that has addresses on the network. */
export const latestAttached = (
  view: View,
  networkId: string,
  place: Pick<Task, 'ServiceID' | 'Slot' | 'NodeID'>,
): Task | undefined =>
  tasksAt(view, placeOf(unitKey(place))).findLast((task) =>
    task.NetworksAttachments?.some(({ Network, Addresses }) => Network.ID === networkId && Addresses.length > 0),
  );
