import {
  addressUse,
  bareAddress,
  hasStableAddress,
  hasVirtualAddress,
  isAllocated,
  isLocalNetwork,
  isPredefinedNetwork,
  isTerminal,
  type Network,
  type NetworkAttachment,
  poolsOf,
  type Service,
  type StoreEvent,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import { isWanted, unitKey } from '../unit.ts';
import { isOnNetwork } from './networks.ts';
import { isReleased, latestAttached, Rooms, type Rotation } from './rooms.ts';

// Who is given which address: each task one on each of its networks (one of each family), each service a virtual one unless it wants none.

export type Attachment =
  | { readonly ok: true; readonly attachments: readonly NetworkAttachment[] }
  /** Later, or with a reason that its user should see. */
  | { readonly ok: false; readonly err?: string };

const noFree = (view: View, network: Network, kept: number): string => {
  const { used, of, subnets } = addressUse(network, view.addressesOf(network.ID).values());
  // Where IPv4 has room, it is the other family that has not.
  if (kept === 0 && used < of) {
    const six = poolsOf(network).flatMap(({ family, subnet }) => (family === 6 ? [subnet] : []));
    return `no IPv6 address is free in network ${network.Spec.Name} (${six.join(', ')})`;
  }
  const rest = kept > 0 ? '; the rest is for the nodes themselves' : '';
  return `no address is free in network ${network.Spec.Name} (${subnets}: ${used} of ${of}${rest})`;
};

/** Gives the tasks of one decision their addresses. */
export class Attacher {
  readonly #view: View;
  readonly #rooms: Rooms;

  constructor(view: View, rotation: Rotation) {
    this.#view = view;
    this.#rooms = new Rooms(view, rotation);
  }

  /** All of a task's networks or none. */
  attach(task: Task): Attachment {
    const attachments: NetworkAttachment[] = [];
    for (const { Target: target = '' } of task.Spec.Networks ?? []) {
      const one = this.#addressesOn(task, target);
      if (!one.ok) {
        this.#giveBack(attachments);
        return one;
      }
      attachments.push(one.attachment);
    }
    return { ok: true, attachments };
  }

  #addressesOn(
    task: Task,
    target: string,
  ): { readonly ok: true; readonly attachment: NetworkAttachment } | { readonly ok: false; readonly err?: string } {
    if (isPredefinedNetwork(target)) return { ok: true, attachment: { Network: { ID: target }, Addresses: [] } };
    const network = this.#view.get('networks', target);
    if (!network) return { ok: false, err: `network ${target} not found` };
    if (isLocalNetwork(network)) {
      return { ok: true, attachment: { Network: { ID: target }, Addresses: [], Local: network.Spec } };
    }
    if (!isAllocated(network)) return { ok: false, err: `network ${network.Spec.Name} has no subnet yet` };
    const stable = this.#stable(task, network);
    if (stable === 'wait') return { ok: false };
    const Addresses = stable ?? this.#fresh(network);
    if (!Addresses) return { ok: false, err: noFree(this.#view, network, this.#rooms.keptForNodes(network)) };
    return { ok: true, attachment: { Network: { ID: network.ID }, Addresses } };
  }

  /** One of each family that the network has. */
  #fresh(network: Network): readonly string[] | undefined {
    const kept = this.#rooms.keptForNodes(network);
    const addresses: string[] = [];
    const pools = poolsOf(network);
    for (const family of [4, 6] as const) {
      const own = pools.filter((pool) => pool.family === family);
      if (own.length === 0) continue;
      let found: string | undefined;
      for (const pool of own) {
        const address = this.#rooms.take(network, pool, kept);
        if (address === undefined) continue;
        found = `${address}/${pool.prefix}`;
        break;
      }
      if (found === undefined) {
        this.#giveBack([{ Network: { ID: network.ID }, Addresses: addresses }]);
        return undefined;
      }
      addresses.push(found);
    }
    return addresses;
  }

  /** The addresses of the place, where its service wants them to stay; `wait` while a task that is on its way out has them. */
  #stable(task: Task, network: Network): readonly string[] | 'wait' | undefined {
    const service = this.#view.get('services', task.ServiceID);
    if (!service || !hasStableAddress(service.Spec.Labels)) return undefined;
    const before = latestAttached(this.#view, network.ID, task);
    const addresses = before?.NetworksAttachments?.find((one) => one.Network.ID === network.ID)?.Addresses;
    if (!before || !addresses || before.ID === task.ID) return undefined;
    // Start-first: both run for a while, and cannot both have it.
    if (isWanted(before) && !isTerminal(before.Status.State)) return undefined;
    if (!isTerminal(before.Status.State) && !isReleased(this.#view, network.ID, { kind: 'task', id: before.ID })) {
      return 'wait';
    }
    const place = unitKey(task);
    const ofPlace = (id: string) => {
      const other = this.#view.get('tasks', id);
      return other !== undefined && isTerminal(other.Status.State) && unitKey(other) === place;
    };
    for (const address of addresses.map(bareAddress)) {
      const free = this.#rooms.isFree(network, address, ({ kind, id }) => kind === 'task' && ofPlace(id));
      if (!free || this.#rooms.isTaken(network, address) || !isOnNetwork(network, address)) return undefined;
    }
    for (const address of addresses.map(bareAddress)) this.#rooms.claim(network, address);
    return addresses;
  }

  #giveBack(attachments: readonly NetworkAttachment[]): void {
    for (const { Network, Addresses } of attachments) {
      const network = this.#view.get('networks', Network.ID);
      for (const address of network ? Addresses : []) this.#rooms.giveBack(network as Network, bareAddress(address));
    }
  }
}

// --- virtual addresses ---

type VirtualIps = NonNullable<Service['Endpoint']['VirtualIPs']>;

/** The overlay networks that the service's virtual addresses are to be on: those of its spec, and those that tasks of an older one are still on. */
function virtualNetworks(view: View, service: Service): readonly Network[] {
  if (!hasVirtualAddress(service)) return [];
  const targets = (service.Spec.TaskTemplate.Networks ?? []).flatMap(({ Target }) => Target ?? []);
  const held = (service.Endpoint.VirtualIPs ?? []).map(({ NetworkID }) => NetworkID);
  const old = held.filter((id) => !targets.includes(id) && isUsedBy(view, service.ID, id));
  return [...new Set([...targets, ...old])].flatMap((id) => {
    const network = view.get('networks', id);
    return network && !isLocalNetwork(network) ? [network] : [];
  });
}

const isUsedBy = (view: View, serviceId: string, networkId: string): boolean =>
  view
    .tasksOfService(serviceId)
    .some(
      (task) =>
        !isTerminal(task.Status.State) && task.NetworksAttachments?.some(({ Network }) => Network.ID === networkId),
    );

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

/** Of the network's, IPv4 first. */
const familiesOf = (network: Network): (4 | 6)[] =>
  ([4, 6] as const).filter((family) => poolsOf(network).some((pool) => pool.family === family));

/** What the service has on the network, of one family. */
const heldOn = ({ Endpoint }: Service, network: Network, family: 4 | 6): VirtualIps[number] | undefined =>
  Endpoint.VirtualIPs?.find(
    ({ NetworkID, Addr }) =>
      NetworkID === network.ID && familyOf(Addr) === family && isOnNetwork(network, bareAddress(Addr)),
  );

/** The service has exactly the virtual addresses that it should have. */
export function virtualsMatch(view: View, service: Service): boolean {
  const networks = virtualNetworks(view, service);
  const wanted = networks.flatMap((network) => familiesOf(network).map((family) => ({ network, family })));
  return (
    networks.every(isAllocated) &&
    wanted.length === (service.Endpoint.VirtualIPs?.length ?? 0) &&
    wanted.every(({ network, family }) => heldOn(service, network, family))
  );
}

export type VirtualAllocation =
  | { readonly ok: true; readonly virtualIps: VirtualIps }
  | { readonly ok: false; readonly conflict: string };

/** One of each family that a network has; what the service has stays. */
export function allocateVirtuals(view: View, service: Service, rotation: Rotation): VirtualAllocation {
  const rooms = new Rooms(view, rotation);
  const virtualIps: VirtualIps[number][] = [];
  for (const network of virtualNetworks(view, service)) {
    if (!isAllocated(network)) {
      return { ok: false, conflict: `network ${network.Spec.Name} has no subnet yet` };
    }
    for (const family of familiesOf(network)) {
      const kept = rooms.keptForNodes(network);
      const virtualIp = heldOn(service, network, family) ?? takeOn(network, family, rooms, kept);
      if (!virtualIp) return { ok: false, conflict: noFree(view, network, kept) };
      virtualIps.push(virtualIp);
    }
  }
  return { ok: true, virtualIps };
}

function takeOn(network: Network, family: 4 | 6, rooms: Rooms, kept: number): VirtualIps[number] | undefined {
  for (const pool of poolsOf(network)) {
    const address = pool.family === family ? rooms.take(network, pool, kept) : undefined;
    if (address !== undefined) return { NetworkID: network.ID, Addr: `${address}/${pool.prefix}` };
  }
  return undefined;
}

/** After this, somebody who waits for an address may find one. */
export function mayFreeAddresses(event: StoreEvent): boolean {
  switch (event.table) {
    case 'tasks': {
      const { before, after } = event;
      if (!before?.NetworksAttachments?.length) return false;
      return (
        !after ||
        (isTerminal(after.Status.State) && !isTerminal(before.Status.State)) ||
        (wantsLife(before.DesiredState) && !wantsLife(after.DesiredState))
      );
    }
    case 'services':
      return (
        !event.after ||
        event.before?.Endpoint.VirtualIPs !== event.after.Endpoint.VirtualIPs ||
        event.before?.Spec !== event.after.Spec
      );
    case 'nodes':
      return !event.after || event.before?.Status.State !== event.after.Status.State;
    case 'networks':
      return true;
    case 'cluster':
    case 'secrets':
    case 'configs':
      return false;
    default:
      return event satisfies never;
  }
}
