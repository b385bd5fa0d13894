import { isIPv4 } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import {
  addressUse,
  bareAddress,
  hasVirtualAddress,
  isAllocated,
  isAttachable,
  isEncrypted,
  isTerminal,
  isUp,
  macOf,
  type Network,
  type Node,
  publishesNotReady,
  runsLow,
  type Service,
  type StoreEvent,
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
interface Whole {
  readonly common: Pick<
    NetworkView,
    'id' | 'name' | 'vni' | 'port' | 'encrypted' | 'internal' | 'attachable' | 'names'
  >;
  readonly subnets: readonly string[];
  /** The nodes with tasks there, or blocks: their own addresses, one of each subnet. */
  readonly gateways: Readonly<Record<string, readonly string[]>>;
  readonly blocks: NonNullable<Network['Blocks']>;
  /** Who is where, by node. */
  readonly places: ReadonlyMap<string, NetworkView['far']>;
}

/** Undefined for a network that nobody is on. Pure. */
export function wholeNetwork(view: View, network: Network): Whole | undefined {
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
  return {
    common: {
      id: network.ID,
      name: network.Spec.Name,
      vni: network.VNI ?? 0,
      port: dataPathPort(view),
      encrypted: isEncrypted(network),
      internal: network.Spec.Internal ?? false,
      ...(isAttachable(network) && { attachable: true as const }),
      names: withGuests(namesOn(view, network.ID, tasks), guests),
    },
    subnets: network.IPAM.Configs.map(({ Subnet }) => Subnet),
    gateways,
    blocks,
    places: placesOf(view, network, { gateways, tasks: placed, guests }),
  };
}

/** What of it the node needs; undefined when the node is not on it. */
export function viewOf(whole: Whole, nodeId: string): NetworkView | undefined {
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
  readonly gateways: Whole['gateways'];
  readonly tasks: readonly Task[];
  readonly guests: readonly GuestHere[];
}

function placesOf(view: View, network: Network, { gateways, tasks, guests }: OnNetwork): Whole['places'] {
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

export interface NetworkDelta {
  readonly networks?: readonly NetworkView[];
  readonly removedNetworks?: readonly string[];
}

/** A network whose addresses run low. */
export interface LowNetwork {
  readonly network: string;
  readonly used: number;
  readonly of: number;
}

interface Known {
  readonly whole: Whole;
  /** Of the tasks that names lead to. */
  readonly serving: ReadonlySet<string>;
  /** As the nodes were shown it last, and what that was made of: what did not change for a node stays the same object. */
  readonly views: Map<string, { readonly view: NetworkView; readonly of: Whole }>;
}

/** `after` with the parts of `before` that are equal; `before` itself when all are. */
function settled(before: Whole, after: Whole): Whole {
  const kept = <T>(old: T, fresh: T): T => (isDeepStrictEqual(old, fresh) ? old : fresh);
  const names = kept(before.common.names, after.common.names);
  const places = new Map([...after.places].map(([id, group]) => [id, kept(before.places.get(id) ?? [], group)]));
  const rest = ({ common: { names: _, ...common }, places: __, ...others }: Whole) => ({ common, ...others });
  const isSame =
    names === before.common.names && samePlaces(before.places, places) && isDeepStrictEqual(rest(before), rest(after));
  return isSame ? before : { ...after, common: { ...after.common, names }, places };
}

function samePlaces(a: Whole['places'], b: Whole['places'], but?: string): boolean {
  const ids = new Set([...a.keys(), ...b.keys()]);
  return [...ids].every((id) => id === but || a.get(id) === b.get(id));
}

/** The networks kept in step with the state: only those that were touched are looked at again. */
export class NetworkTracker {
  readonly #touched = new Set<string>();
  readonly #known = new Map<string, Known>();
  /** The networks that each node is on. */
  readonly #byNode = new Map<string, Set<string>>();
  /** What each session was shown. */
  readonly #shown = new WeakMap<object, Map<string, NetworkView>>();
  /** Networks that a warning was given for. */
  readonly #low = new Set<string>();

  touchAll(view: View): void {
    for (const { ID } of view.list('networks')) this.#touched.add(ID);
    for (const id of this.#known.keys()) this.#touched.add(id);
  }

  touch(event: StoreEvent, view: View): void {
    for (const id of touchedBy(event, view)) this.#touched.add(id);
  }

  /** Names led to the task at the last `refresh`. */
  has(task: Task): boolean {
    return (task.NetworksAttachments ?? []).some(({ Network }) => this.#known.get(Network.ID)?.serving.has(task.ID));
  }

  /** Brings the networks to `view`; those whose addresses have begun to run low. */
  refresh(view: View): readonly LowNetwork[] {
    const low: LowNetwork[] = [];
    for (const id of this.#touched) {
      const network = view.get('networks', id);
      this.#put(id, network && wholeNetwork(view, network));
      const use = network && this.#lowUse(view, network);
      if (use) low.push(use);
    }
    this.#touched.clear();
    return low;
  }

  #put(id: string, fresh: Whole | undefined): void {
    const known = this.#known.get(id);
    const whole = known && fresh ? settled(known.whole, fresh) : fresh;
    if (known && whole === known.whole) return;
    for (const nodeId of Object.keys(known?.whole.gateways ?? {})) this.#byNode.get(nodeId)?.delete(id);
    this.#known.delete(id);
    if (!whole) return;
    const serving = new Set(whole.common.names.flatMap(({ tasks }) => tasks.map(({ taskId }) => taskId)));
    const views = new Map([...(known?.views ?? [])].filter(([nodeId]) => whole.gateways[nodeId]));
    this.#known.set(id, { whole, serving, views });
    for (const nodeId of Object.keys(whole.gateways)) {
      const ids = this.#byNode.get(nodeId);
      if (ids) ids.add(id);
      else this.#byNode.set(nodeId, new Set([id]));
    }
  }

  #lowUse(view: View, network: Network): LowNetwork | undefined {
    const use = addressUse(network, view.addressesOf(network.ID).values());
    const { used, of } = use;
    // Warned of again only after there was some room.
    if (used < of * 0.7) this.#low.delete(network.ID);
    if (!runsLow(use) || this.#low.has(network.ID)) return undefined;
    this.#low.add(network.ID);
    return { network: network.Spec.Name, used, of };
  }

  /** The networks of a node, in the order of their ids. */
  views(nodeId: string): NetworkView[] {
    return [...(this.#byNode.get(nodeId) ?? [])].sort().flatMap((id) => this.#view(id, nodeId) ?? []);
  }

  #view(id: string, nodeId: string): NetworkView | undefined {
    const known = this.#known.get(id);
    const last = known?.views.get(nodeId);
    if (!known || last?.of === known.whole) return last?.view;
    const { whole } = known;
    const isNear = last && samePlaces(last.of.places, whole.places, nodeId);
    const made = viewOf(isNear ? { ...whole, places: new Map() } : whole, nodeId);
    if (!made) return undefined;
    const fresh = isNear ? { ...made, far: last.view.far } : made;
    // Equal parts are the same objects, so that this is quick.
    const view = last && isDeepStrictEqual(last.view, fresh) ? last.view : fresh;
    known.views.set(nodeId, { view, of: whole });
    return view;
  }

  /** What the node's session has not been shown yet; undefined when it has been shown all. */
  unshown(session: object, nodeId: string): NetworkDelta | undefined {
    const shown = this.#shown.get(session);
    if (!shown?.size && !this.#byNode.get(nodeId)?.size) return undefined;
    const views = this.views(nodeId);
    const networks = views.filter((view) => shown?.get(view.id) !== view);
    const ids = new Set(views.map(({ id }) => id));
    const removedNetworks = [...(shown?.keys() ?? [])].filter((id) => !ids.has(id));
    if (networks.length === 0 && removedNetworks.length === 0) return undefined;
    return {
      ...(networks.length > 0 && { networks }),
      ...(removedNetworks.length > 0 && { removedNetworks }),
    };
  }

  /** The session is shown the networks as of the last `refresh`. */
  shown(session: object, nodeId: string): void {
    this.#shown.set(session, new Map(this.views(nodeId).map((view) => [view.id, view])));
  }
}

/** The networks that look different after this, perhaps. */
function touchedBy(event: StoreEvent, view: View): readonly string[] {
  switch (event.table) {
    case 'networks':
      return [event.id];
    case 'tasks':
      return taskMatters(event.before, event.after) ? networksOf(event.after ?? event.before) : [];
    case 'services':
      return event.before?.Spec === event.after?.Spec && event.before?.Endpoint === event.after?.Endpoint
        ? []
        : [...new Set([event.before, event.after].flatMap(networksOfService))];
    case 'nodes':
      return nodeMatters(event.before, event.after) ? networksOfNode(view, event.id) : [];
    case 'cluster':
    case 'secrets':
    case 'configs':
      return [];
    default:
      return event satisfies never;
  }
}

const networksOf = (task: Task | undefined): string[] =>
  task?.NetworksAttachments?.map(({ Network }) => Network.ID) ?? [];

const networksOfNode = (view: View, nodeId: string): string[] => [
  ...new Set([
    ...view.tasksOfNode(nodeId).flatMap(networksOf),
    ...view.list('networks').flatMap(({ ID, Gateways }) => (Gateways[nodeId] ? [ID] : [])),
  ]),
];

const taskMatters = (before: Task | undefined, after: Task | undefined): boolean =>
  before?.Status.State !== after?.Status.State ||
  before?.DesiredState !== after?.DesiredState ||
  before?.NodeID !== after?.NodeID ||
  before?.NetworksAttachments !== after?.NetworksAttachments ||
  (before?.Status.Endpoints === undefined) !== (after?.Status.Endpoints === undefined) ||
  before?.Status.Withdrawn !== after?.Status.Withdrawn;

const networksOfService = (service: Service | undefined): string[] => [
  ...(service?.Endpoint.VirtualIPs ?? []).map(({ NetworkID }) => NetworkID),
  ...(service?.Spec.TaskTemplate.Networks ?? []).flatMap(({ Target }) => Target ?? []),
];

const nodeMatters = (before: Node | undefined, after: Node | undefined): boolean =>
  before?.Status.State !== after?.Status.State ||
  before?.Status.Addr !== after?.Status.Addr ||
  before?.Description?.Mesh?.dataPathAddr !== after?.Description?.Mesh?.dataPathAddr ||
  insideAddressOf(before) !== insideAddressOf(after) ||
  before?.Description?.Guests !== after?.Description?.Guests;

const insideAddressOf = (node: Node | undefined): string | undefined => node && insideAddress(node);
