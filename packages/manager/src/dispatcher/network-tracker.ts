import { isDeepStrictEqual } from 'node:util';
import {
  addressUse,
  type Network,
  type Node,
  runsLow,
  type Service,
  type StoreEvent,
  type Task,
} from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import { viewOf, type WholeNetwork, wholeNetwork } from './network-view.ts';
import { insideAddress } from './tunnel-view.ts';

// The networks' views kept in step with the state, and which session was shown which. What did not change for a node stays the same object, so that
// comparing is quick and nothing is sent twice.

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
  readonly whole: WholeNetwork;
  /** Of the tasks that names lead to. */
  readonly serving: ReadonlySet<string>;
  /** As the nodes were shown it last, and what that was made of: what did not change for a node stays the same object. */
  readonly views: Map<string, { readonly view: NetworkView; readonly of: WholeNetwork }>;
}

/** `after` with the parts of `before` that are equal; `before` itself when all are. */
function settled(before: WholeNetwork, after: WholeNetwork): WholeNetwork {
  const kept = <T>(old: T, fresh: T): T => (isDeepStrictEqual(old, fresh) ? old : fresh);
  const names = kept(before.common.names, after.common.names);
  const places = new Map([...after.places].map(([id, group]) => [id, kept(before.places.get(id) ?? [], group)]));
  const rest = ({ common: { names: _, ...common }, places: __, ...others }: WholeNetwork) => ({ common, ...others });
  const isSame =
    names === before.common.names && samePlaces(before.places, places) && isDeepStrictEqual(rest(before), rest(after));
  return isSame ? before : { ...after, common: { ...after.common, names }, places };
}

function samePlaces(a: WholeNetwork['places'], b: WholeNetwork['places'], but?: string): boolean {
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
      if (!network) this.#low.delete(id);
      const use = network && this.#lowUse(view, network);
      if (use) low.push(use);
    }
    this.#touched.clear();
    return low;
  }

  #put(id: string, fresh: WholeNetwork | undefined): void {
    const known = this.#known.get(id);
    const whole = known && fresh ? settled(known.whole, fresh) : fresh;
    if (known && whole === known.whole) return;
    for (const nodeId of Object.keys(known?.whole.gateways ?? {})) {
      const ids = this.#byNode.get(nodeId);
      ids?.delete(id);
      if (ids?.size === 0) this.#byNode.delete(nodeId);
    }
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
