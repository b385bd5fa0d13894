import { macOf } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { bareAddress, bridgeName, firstVersion4, portName } from './identity.ts';

// What to do so that the kernel has a network as it is wanted: a bridge with this node's address, and on it a VXLAN device that asks nobody and
// learns nothing: where every address of other nodes is, is written down. Pure: what is wanted and what is, in; lines for `ip` and `bridge`, out.

export interface WantedNetwork {
  readonly bridge: string;
  readonly port: string;
  readonly owner: string;
  readonly mac: string;
  readonly mtu: number;
  /** With prefixes. */
  readonly addresses: readonly string[];
  readonly vxlan: Vxlan;
  /** By MAC: the node that has it. */
  readonly nodes: ReadonlyMap<string, string>;
  /** By address on other nodes: its MAC. */
  readonly neighbours: ReadonlyMap<string, string>;
}

export interface Vxlan {
  readonly vni: number;
  readonly local: string;
  readonly port: number;
  /** Its packets go by this device or not at all. */
  readonly device?: string;
}

/** What the kernel has of one network. */
export interface NetworkState {
  readonly bridge?: {
    readonly owner: string;
    readonly mac: string;
    readonly mtu: number;
    readonly isUp: boolean;
    readonly addresses: readonly string[];
  };
  readonly port?: {
    readonly owner: string;
    readonly vxlan: Vxlan;
    readonly master: string;
    readonly mtu: number;
    readonly isUp: boolean;
    /** Neither it nor its bridge learns from what passes. */
    readonly isStatic: boolean;
    readonly nodes: ReadonlyMap<string, string>;
    /** MACs that the bridge knows to be behind it. */
    readonly bridged: ReadonlySet<string>;
    readonly neighbours: ReadonlyMap<string, string>;
  };
}

export interface Steps {
  /** Before those of `bridge`. */
  readonly ip: readonly string[];
  readonly bridge: readonly string[];
}

export interface WantedOptions {
  readonly owner: string;
  readonly local: string;
  readonly mtu: number;
  readonly device?: string | undefined;
}

export function wantedNetwork(view: NetworkView, { owner, local, mtu, device }: WantedOptions): WantedNetwork {
  const nodes = new Map<string, string>();
  const neighbours = new Map<string, string>();
  for (const { addr, mac, nodeAddr } of view.far) {
    nodes.set(mac.toLowerCase(), bareAddress(nodeAddr));
    neighbours.set(bareAddress(addr), mac.toLowerCase());
  }
  return {
    bridge: bridgeName(view.id),
    port: portName(view.id),
    owner,
    mac: macOf(firstVersion4(view.subnets.map(({ gateway }) => bareAddress(gateway)))),
    mtu,
    addresses: view.subnets.map(({ subnet, gateway }) => `${bareAddress(gateway)}/${subnet.split('/')[1]}`),
    vxlan: { vni: view.vni, local: bareAddress(local), port: view.port, ...(device && { device }) },
    nodes,
    neighbours,
  };
}

export function plan(wanted: WantedNetwork, is: NetworkState): Steps {
  const ip = [...planBridge(wanted, is.bridge)];
  const kept = is.port && sameVxlan(is.port.vxlan, wanted.vxlan) ? is.port : undefined;
  if (is.port && !kept) ip.push(`link del dev ${wanted.port}`);
  ip.push(...planPort(wanted, kept), ...planNeighbours(wanted, kept));
  return { ip, bridge: planForwarding(wanted, kept) };
}

export const planRemoval = (wanted: Pick<WantedNetwork, 'bridge' | 'port'>): Steps => ({
  ip: [`link del dev ${wanted.port}`, `link del dev ${wanted.bridge}`],
  bridge: [],
});

/** What the kernel has when all steps of a plan were done. */
export const planned = (wanted: WantedNetwork): NetworkState => ({
  bridge: { ...wanted, isUp: true },
  port: { ...wanted, master: wanted.bridge, isUp: true, isStatic: true, bridged: new Set(wanted.nodes.keys()) },
});

/** Whose device stands in the way; undefined when none does. One that is nobody's was made by an engine that came up before, of a network it knew. */
export const foreignOwner = (wanted: WantedNetwork, is: NetworkState): string | undefined =>
  [is.bridge, is.port].find((device) => device && device.owner !== '' && device.owner !== wanted.owner)?.owner;

function* planBridge(wanted: WantedNetwork, is: NetworkState['bridge']): Generator<string> {
  const { bridge, mac, mtu, owner } = wanted;
  if (!is) yield `link add dev ${bridge} type bridge mcast_snooping 0`;
  if (is?.owner !== owner) yield `link set dev ${bridge} alias ${owner}`;
  // Others have it written down, and without one of its own a bridge takes that of a port.
  if (is?.mac !== mac) yield `link set dev ${bridge} address ${mac}`;
  if (is?.mtu !== mtu) yield `link set dev ${bridge} mtu ${mtu}`;
  for (const addr of wanted.addresses)
    if (!is?.addresses.includes(addr)) yield `addr replace ${addr} dev ${bridge}${addr.includes(':') ? ' nodad' : ''}`;
  for (const addr of is?.addresses ?? []) if (!wanted.addresses.includes(addr)) yield `addr del ${addr} dev ${bridge}`;
  if (!is?.isUp) yield `link set dev ${bridge} up`;
}

function* planPort(wanted: WantedNetwork, is: NetworkState['port']): Generator<string> {
  const { port, vxlan, bridge, mtu, owner } = wanted;
  if (!is)
    yield `link add dev ${port} type vxlan id ${vxlan.vni} dstport ${vxlan.port} local ${vxlan.local}${vxlan.device ? ` dev ${vxlan.device}` : ''} nolearning proxy`;
  if (is?.owner !== owner) yield `link set dev ${port} alias ${owner}`;
  if (is?.mtu !== mtu) yield `link set dev ${port} mtu ${mtu}`;
  // It needs no address of its own.
  if (!is) yield `link set dev ${port} addrgenmode none`;
  if (is?.master !== bridge) yield `link set dev ${port} master ${bridge}`;
  if (!is?.isUp) yield `link set dev ${port} up`;
}

function* planNeighbours(wanted: WantedNetwork, is: NetworkState['port']): Generator<string> {
  const { port } = wanted;
  for (const addr of is?.neighbours.keys() ?? [])
    if (!wanted.neighbours.has(addr)) yield `neigh del ${addr} dev ${port}`;
  for (const [addr, mac] of wanted.neighbours)
    if (is?.neighbours.get(addr) !== mac) yield `neigh replace ${addr} lladdr ${mac} dev ${port} nud permanent`;
}

function planForwarding(wanted: WantedNetwork, is: NetworkState['port']): string[] {
  const { port, vxlan } = wanted;
  const steps: string[] = [];
  // Without, a route elsewhere is taken in spite of the port's own device.
  const via = vxlan.device ? ` via ${vxlan.device}` : '';
  // What is unknown is nowhere.
  if (!is?.isStatic || is.master !== wanted.bridge) steps.push(`link set dev ${port} learning off flood off`);
  // A bridge forgets what was behind a port that it loses.
  const bridged = is?.master === wanted.bridge ? is.bridged : new Set<string>();
  for (const mac of bridged) if (!wanted.nodes.has(mac)) steps.push(`fdb del ${mac} dev ${port} master`);
  for (const mac of is?.nodes.keys() ?? []) if (!wanted.nodes.has(mac)) steps.push(`fdb del ${mac} dev ${port} self`);
  for (const [mac, node] of wanted.nodes) {
    if (is?.nodes.get(mac) !== node) steps.push(`fdb replace ${mac} dev ${port} dst ${node}${via} self permanent`);
    if (!bridged.has(mac)) steps.push(`fdb replace ${mac} dev ${port} master static`);
  }
  return steps;
}

const sameVxlan = (a: Vxlan, b: Vxlan): boolean =>
  a.vni === b.vni && a.local === b.local && a.port === b.port && a.device === b.device;
