import { isIPv4 } from 'node:net';
import {
  bareAddress,
  hasVirtualAddress,
  isAllocated,
  isAttachable,
  isEncrypted,
  isTerminal,
  isUp,
  macOf,
  mtuOf,
  type Network,
  type Node,
  publishesNotReady,
  type Service,
  stateOrder,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';
import type { NetworkName, NetworkView } from '@swarmctl/shared/wire';
import { type GuestHere, guestsOn } from '../store/guests.ts';
import type { View } from '../store/types.ts';
import { dataPathPort } from './peers.ts';
import { insideAddress } from './tunnel-view.ts';

// The overlay networks as each node that has tasks on them needs to know them: its own address there, who is where on the other nodes, and what
// stands behind the names. A task is a neighbour from its assignment to its end, and has a name only while it serves.

/** A network as all its nodes know it, before each of them leaves itself out. */
export interface WholeNetwork {
  readonly common: Pick<
    NetworkView,
    'id' | 'name' | 'vni' | 'port' | 'encrypted' | 'internal' | 'attachable' | 'mtu' | 'names'
  >;
  readonly subnets: readonly string[];
  /** The nodes with tasks there, or blocks: their own addresses, one of each subnet. */
  readonly gateways: Readonly<Record<string, readonly string[]>>;
  readonly blocks: NonNullable<Network['Blocks']>;
  /** Who is where, by node. */
  readonly places: ReadonlyMap<string, NetworkView['far']>;
}

/** Undefined for a network that nobody is on. Pure. */
export function wholeNetwork(view: View, network: Network): WholeNetwork | undefined {
  if (!isAllocated(network)) return undefined;
  const tasks = tasksOn(view, network.ID);
  const placed = tasks.filter((task) => isPlaced(task));
  const blocks = network.Blocks ?? {};
  const nodeIds = [...new Set([...placed.flatMap(({ NodeID }) => NodeID ?? []), ...Object.keys(blocks)])].sort();
  const gateways = Object.fromEntries(
    nodeIds.flatMap((id) => {
      const addresses = network.Gateways[id];
      return addresses?.length === network.IPAM.Configs.length ? [[id, addresses] as const] : [];
    }),
  );
  if (Object.keys(gateways).length === 0) return undefined;
  const guests = guestsOn(view, network);
  const mtu = mtuOf(network);
  return {
    common: {
      id: network.ID,
      name: network.Spec.Name,
      vni: network.VNI ?? 0,
      port: dataPathPort(view),
      encrypted: isEncrypted(network),
      internal: network.Spec.Internal ?? false,
      ...(isAttachable(network) && { attachable: true as const }),
      ...(mtu !== undefined && { mtu }),
      names: withGuests(namesOn(view, network.ID, tasks), guests),
    },
    subnets: network.IPAM.Configs.map(({ Subnet }) => Subnet),
    gateways,
    blocks,
    places: placesOf(view, network, { gateways, tasks: placed, guests }),
  };
}

/** What of it the node needs; undefined when the node is not on it. */
export function viewOf(whole: WholeNetwork, nodeId: string): NetworkView | undefined {
  const own = whole.gateways[nodeId];
  if (!own) return undefined;
  return {
    ...whole.common,
    subnets: whole.subnets.map((subnet, i) => {
      const block = whole.blocks[nodeId]?.[i];
      return { subnet, gateway: own[i] ?? '', ...(block !== undefined && { block }) };
    }),
    far: [...whole.places].flatMap(([id, places]) => (id === nodeId ? [] : places)),
  };
}

/** All that have addresses there and have not ended, by their ids. */
function tasksOn(view: View, networkId: string): Task[] {
  const tasks = new Map<string, Task>();
  for (const { holders } of view.addressesOf(networkId).values()) {
    for (const { kind, id } of holders) {
      const task = kind === 'task' ? view.get('tasks', id) : undefined;
      if (task && !isTerminal(task.Status.State)) tasks.set(id, task);
    }
  }
  return [...tasks.values()].sort((a, b) => (a.ID < b.ID ? -1 : 1));
}

const isPlaced = (task: Task): boolean =>
  task.NodeID !== undefined && stateOrder[task.Status.State] >= stateOrder.assigned;

const addressesOn = (task: Task, networkId: string): string[] =>
  task.NetworksAttachments?.find(({ Network }) => Network.ID === networkId)?.Addresses.map(bareAddress) ?? [];

const reachable = (view: View, nodeId: string | undefined): Node | undefined => {
  const node = view.get('nodes', nodeId ?? '');
  return node?.Status.State === 'down' ? undefined : node;
};

interface OnNetwork {
  readonly gateways: WholeNetwork['gateways'];
  readonly tasks: readonly Task[];
  readonly guests: readonly GuestHere[];
}

function placesOf(view: View, network: Network, { gateways, tasks, guests }: OnNetwork): WholeNetwork['places'] {
  const encrypted = isEncrypted(network);
  const byAddress = new Map<string, { readonly nodeId: string; readonly place: NetworkView['far'][number] }>();
  const put = (nodeId: string, addresses: readonly string[], mac = macOf(addresses[0] ?? '')) => {
    const node = reachable(view, nodeId);
    if (!node) return;
    // Of an encrypted network nothing is sent to a node that cannot decrypt.
    const nodeAddr = encrypted ? insideAddress(node) : node.Description?.Mesh?.dataPathAddr || node.Status.Addr;
    if (nodeAddr === undefined) return;
    for (const addr of addresses) byAddress.set(addr, { nodeId, place: { addr, mac, nodeAddr } });
  };
  for (const { nodeId, Addresses, MAC } of guests) put(nodeId, Addresses, MAC);
  for (const [nodeId, addresses] of Object.entries(gateways)) put(nodeId, addresses);
  // One that is to live goes before one that a lost node came back with.
  for (const wanted of [false, true]) {
    for (const task of tasks) {
      if (wantsLife(task.DesiredState) === wanted) put(task.NodeID ?? '', addressesOn(task, network.ID));
    }
  }
  const places = new Map<string, NetworkView['far'][number][]>();
  for (const { nodeId, place } of byAddress.values()) grouped(places, nodeId).push(place);
  for (const group of places.values()) group.sort((a, b) => (a.addr < b.addr ? -1 : 1));
  return new Map([...places].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function grouped<T>(groups: Map<string, T[]>, key: string): T[] {
  let group = groups.get(key);
  if (!group) {
    group = [];
    groups.set(key, group);
  }
  return group;
}

/** Services by their own names first, then by their aliases. Resolvers make the names of slots and tasks of it themselves. */
function namesOn(view: View, networkId: string, tasks: readonly Task[]): NetworkName[] {
  const byService = new Map<string, Task[]>();
  for (const { holders } of view.addressesOf(networkId).values()) {
    for (const { kind, id } of holders) if (kind === 'service') grouped(byService, id);
  }
  for (const task of tasks) grouped(byService, task.ServiceID).push(task);
  const services = [...byService.keys()].flatMap((id) => view.get('services', id) ?? []);
  services.sort((a, b) => (a.Spec.Name < b.Spec.Name ? -1 : 1));
  const own: NetworkName[] = [];
  const aliases: NetworkName[] = [];
  for (const service of services) {
    const entries = entriesOf(view, networkId, service, byService.get(service.ID) ?? []);
    own.push(...entries.map((entry) => ({ ...entry, name: service.Spec.Name })));
    const attachment = service.Spec.TaskTemplate.Networks?.find(({ Target }) => Target === networkId);
    for (const name of new Set(attachment?.Aliases)) {
      if (name !== service.Spec.Name) aliases.push(...entries.map((entry) => ({ ...entry, name })));
    }
  }
  return [...own, ...aliases];
}

/** Services' names go before. */
function withGuests(names: readonly NetworkName[], guests: readonly GuestHere[]): NetworkName[] {
  const taken = new Set(names.map(({ name }) => name.toLowerCase()));
  const byName = new Map<string, NetworkName['tasks'][number][]>();
  for (const { ContainerID: taskId, Names, Addresses } of guests) {
    for (const name of new Set(Names.map((one) => one.toLowerCase()))) {
      if (taken.has(name)) continue;
      const tasks = byName.get(name) ?? [];
      byName.set(name, [...tasks, ...Addresses.map((addr) => ({ taskId, addr }))]);
    }
  }
  return [...names, ...[...byName].map(([name, tasks]) => ({ name, tasks }))];
}

/** One, or with virtual addresses one of each: its family's tasks are behind it. */
function entriesOf(
  view: View,
  networkId: string,
  service: Service,
  tasks: readonly Task[],
): Omit<NetworkName, 'name'>[] {
  const vips = hasVirtualAddress(service)
    ? (service.Endpoint.VirtualIPs ?? []).flatMap(({ NetworkID, Addr }) =>
        NetworkID === networkId ? [bareAddress(Addr)] : [],
      )
    : [];
  const serving = tasks.filter((task) => reachable(view, task.NodeID) && serves(service, task));
  const named = serving.flatMap((task) =>
    addressesOn(task, networkId).map((addr) => ({
      taskId: task.ID,
      ...(task.Slot !== undefined && { slot: task.Slot }),
      addr,
    })),
  );
  if (vips.length < 2) return [{ ...(vips[0] !== undefined && { vip: vips[0] }), tasks: named }];
  return vips.map((vip) => ({ vip, tasks: named.filter(({ addr }) => isIPv4(addr) === isIPv4(vip)) }));
}

function serves(service: Service, task: Task): boolean {
  if (!wantsLife(task.DesiredState) || isTerminal(task.Status.State)) return false;
  if (task.Status.Withdrawn) return false;
  return publishesNotReady(service.Spec.Labels) ? stateOrder[task.Status.State] >= stateOrder.starting : isUp(task);
}

/** Names may have led to it, whatever it is to become. */
export const mayHaveServed = (task: Task): boolean =>
  task.Status.State === 'running' && Boolean(task.NetworksAttachments?.some(({ Addresses }) => Addresses.length > 0));
