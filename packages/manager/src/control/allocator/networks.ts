import { createHash } from 'node:crypto';
import {
  canHaveGuests,
  firstVni,
  formatIp,
  formatIpRange,
  type IpRange,
  isAllocated,
  isAttachable,
  isLocalNetwork,
  lastVni,
  meshVniOf,
  mostBlocks,
  type Network,
  parseIp,
  parseIpRange,
  vxlanIdOption,
} from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import type { Controller, Key } from '../types.ts';

// The network allocator: each overlay network gets a VXLAN number and its subnets, those that it asks for or else cut from the cluster's pools.

const usualPools = ['10.0.0.0/8'];
const usualSubnetSize = 24;
/** Of a network that stands in for a bridge, where all of a project's containers are: a subnet is so many bits wider, from a pool that has room for so many bits of them. */
const bridgeBits = 4;
const roomyBits = 8;

/** What no network may meet: the mesh and the tunnels between the nodes, and addresses that never leave a machine or a link. */
const foreign = ['198.18.0.0/15', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/64', 'fe80::/10', 'ff00::/8'];

type Spec = Network['Spec'];

export type NetworkAllocation =
  | { readonly ok: true; readonly VNI: number; readonly IPAM: Network['IPAM'] }
  | { readonly ok: false; readonly conflict: string };

/** Where the last allocations were made, so that what came free last is given last. A hint: nothing is lost with it. */
export interface NetworkCursor {
  vni: number;
  subnet: bigint;
}

interface Taken {
  readonly range: IpRange;
  readonly by: string;
}

/** The message to refuse a network with that could not be had now. */
export function networkConflict(view: View, spec: Spec): string | undefined {
  if (isLocalNetwork({ Spec: spec })) {
    const wishes = wishedRanges(spec, takenRanges(view, view.list('networks')));
    return typeof wishes === 'string' ? wishes : undefined;
  }
  const allocation = allocateNetwork(view, { ID: '', Spec: spec });
  return allocation.ok ? undefined : allocation.conflict;
}

/** What its maker should know of a network that can be had. */
export function networkWarning(view: View, asked: Pick<Network, 'Spec' | 'AskedDriver'>): string | undefined {
  const allocation = isAttachable(asked) ? allocateNetwork(view, { ID: '', ...asked }) : undefined;
  if (!allocation?.ok) return undefined;
  const network = {
    ID: '',
    Version: { Index: 0 },
    CreatedAt: '',
    UpdatedAt: '',
    ...asked,
    Gateways: {},
    IPAM: allocation.IPAM,
  };
  const room = mostBlocks(network);
  const nodes = view.list('nodes').filter((node) => canHaveGuests(network, node)).length;
  if (room >= nodes) return undefined;
  const subnets = allocation.IPAM.Configs.map(({ Subnet }) => Subnet).join(', ');
  return `${subnets} has room for containers made by hand on ${room} nodes, and the cluster has ${nodes}: the others will not have the network for them; ask for a larger --subnet`;
}

/** The subnets that it asks for, with their gateways; or why one cannot be had. */
function wishedRanges(spec: Spec, taken: readonly Taken[]): { range: IpRange; gateway: string | undefined }[] | string {
  const wishes = (spec.IPAMOptions?.Configs ?? []).flatMap(({ Subnet = '', Gateway: gateway }) => {
    const range = parseIpRange(Subnet);
    return range ? [{ range, gateway }] : [];
  });
  for (const { range } of wishes) {
    const met = taken.find((one) => overlaps(one.range, range));
    if (met) return `Pool overlaps with other one on this address space: ${formatIpRange(range)} meets ${met.by}`;
  }
  return wishes;
}

export function allocateNetwork(
  view: View,
  network: Pick<Network, 'ID' | 'Spec' | 'AskedDriver'>,
  cursor: NetworkCursor = { vni: firstVni - 1, subnet: -1n },
): NetworkAllocation {
  const others = view.list('networks').filter(({ ID }) => ID !== network.ID);
  const vni = vniFor(network.Spec, others, cursor.vni, view.cluster()?.ID);
  if (typeof vni === 'string') return { ok: false, conflict: vni };
  const taken = takenRanges(view, others);
  const wishes = wishedRanges(network.Spec, taken);
  if (typeof wishes === 'string') return { ok: false, conflict: wishes };
  const configs = wishes.map(({ range, gateway }) => configOf(range, gateway));
  taken.push(...wishes.map(({ range }) => ({ range, by: 'itself' })));
  if (!configs.some(({ Subnet }) => !Subnet.includes(':'))) {
    const wide = network.AskedDriver === 'bridge' ? freeSubnet(view, taken, cursor.subnet, bridgeBits) : undefined;
    const range = wide ?? freeSubnet(view, taken, cursor.subnet);
    if (!range) return { ok: false, conflict: `no subnet is free in the address pools ${poolsOf(view).join(', ')}` };
    configs.unshift(configOf(range));
  }
  if (network.Spec.IPv6Enabled && !configs.some(({ Subnet }) => Subnet.includes(':'))) {
    const range = freeSubnet6(view, taken);
    if (!range) return { ok: false, conflict: 'no IPv6 subnet is free' };
    configs.push(configOf(range));
  }
  // IPv4 first: others derive hardware addresses from it.
  configs.sort((a, b) => Number(a.Subnet.includes(':')) - Number(b.Subnet.includes(':')));
  return { ok: true, VNI: vni, IPAM: { Configs: configs } };
}

export function networkAllocator(): Controller {
  const cursor: NetworkCursor = { vni: firstVni - 1, subnet: -1n };
  const open = (view: View): Key[] =>
    view
      .list('networks')
      .filter((network) => !isAllocated(network) && !isLocalNetwork(network))
      .map(({ ID }) => ID);
  return {
    name: 'networks',
    marks(event, view) {
      if (event.table === 'networks') {
        if (event.op === 'create') return [event.id];
        return event.op === 'remove' ? open(view) : [];
      }
      return event.table === 'cluster' ? open(view) : [];
    },
    all(view) {
      for (const { VNI } of view.list('networks')) cursor.vni = Math.max(cursor.vni, VNI ?? 0);
      return open(view);
    },
    decide(view, key) {
      const network = view.get('networks', key);
      if (!network || isAllocated(network) || isLocalNetwork(network)) return { changes: [] };
      const allocation = allocateNetwork(view, network, cursor);
      if (!allocation.ok) return { changes: [] };
      const { VNI, IPAM } = allocation;
      const [own] = network.Spec.IPAMOptions?.Configs ?? [];
      if (!network.Spec.DriverConfiguration?.Options?.[vxlanIdOption]) cursor.vni = VNI;
      if (!own) cursor.subnet = parseIpRange(IPAM.Configs[0]?.Subnet ?? '')?.first ?? cursor.subnet;
      const version = network.Version.Index;
      return { changes: [{ op: 'update', table: 'networks', id: key, version, set: { VNI, IPAM }, ifExists: true }] };
    },
  };
}

/** The number, or why it cannot be had. */
function vniFor(spec: Spec, others: readonly Network[], after: number, clusterId = ''): number | string {
  const taken = new Map(others.flatMap((other) => (other.VNI === undefined ? [] : [[other.VNI, other] as const])));
  const wish = spec.DriverConfiguration?.Options?.[vxlanIdOption];
  if (wish) {
    if (Number(wish) === meshVniOf(clusterId)) return `VXLAN id ${wish} is taken by the mesh between the nodes`;
    const owner = taken.get(Number(wish));
    return owner ? `VXLAN id ${wish} is taken by network ${owner.Spec.Name} (${owner.ID})` : Number(wish);
  }
  const count = lastVni - firstVni + 1;
  for (let step = 1; step <= count; step++) {
    const vni = firstVni + ((after - firstVni + step + count) % count);
    if (!taken.has(vni)) return vni;
  }
  return 'no VXLAN id is free';
}

const poolsOf = (view: View): readonly string[] => {
  const pools = view.cluster()?.DefaultAddrPool ?? [];
  return pools.length > 0 ? pools : usualPools;
};

function takenRanges(view: View, others: readonly Network[]): Taken[] {
  const of = (text: string | undefined, by: string): Taken[] => {
    const range = parseIpRange(text ?? '');
    return range ? [{ range, by }] : [];
  };
  return [
    ...others.flatMap((other) => {
      const by = `network ${other.Spec.Name} (${other.ID})`;
      const subnets = [...other.IPAM.Configs, ...(other.Spec.IPAMOptions?.Configs ?? [])].map(({ Subnet }) => Subnet);
      return [...new Set(subnets)].flatMap((subnet) => of(subnet, `${subnet} of ${by}`));
    }),
    ...view.list('nodes').flatMap(({ ID, Status, Description }) => {
      const addresses = new Set([Status.Addr, Description?.Mesh?.dataPathAddr]);
      return [...addresses].flatMap((one) => of(one, `${one}, the address of node ${Description?.Hostname ?? ID}`));
    }),
    ...foreign.flatMap((text) => of(text, `${text}, which is not for networks`)),
  ];
}

const overlaps = (a: IpRange, b: IpRange): boolean => a.family === b.family && a.first <= b.last && b.first <= a.last;

const configOf = (range: IpRange, gateway = '') => ({
  Subnet: formatIpRange(range),
  Gateway: formatIp(parseIp(gateway) ?? { family: range.family, value: range.first + 1n }),
});

/** The next after `after` in the cluster's pools that meets nothing, else the first. `wider`: by so many bits than others, of roomy pools alone. */
function freeSubnet(view: View, taken: readonly Taken[], after: bigint, wider = 0): IpRange | undefined {
  const size = (view.cluster()?.SubnetSize || usualSubnetSize) - wider;
  const all = poolsOf(view).flatMap((text) => parseIpRange(text) ?? []);
  const pools = wider === 0 ? all : all.filter(({ prefix }) => prefix <= size - roomyBits);
  const from = (first: bigint) => {
    for (const pool of pools) {
      const prefix = Math.max(size, pool.prefix);
      const step = 1n << BigInt((pool.family === 4 ? 32 : 128) - prefix);
      const begin = first > pool.last ? undefined : first > pool.first ? alignUp(first, step) : pool.first;
      const found = begin === undefined ? undefined : firstFree({ ...pool, first: begin }, prefix, step, taken);
      if (found) return found;
    }
    return undefined;
  };
  return from(after + 1n) ?? from(0n);
}

const alignUp = (value: bigint, step: bigint): bigint => ((value + step - 1n) / step) * step;

function firstFree(pool: IpRange, prefix: number, step: bigint, taken: readonly Taken[]): IpRange | undefined {
  for (let first = pool.first; first + step - 1n <= pool.last; ) {
    const range: IpRange = { family: pool.family, prefix, first, last: first + step - 1n };
    const met = taken.find((one) => overlaps(one.range, range));
    if (!met) return range;
    first = alignUp(met.range.last + 1n, step);
  }
  return undefined;
}

/** A /64 of the cluster's own 48 bits. */
function freeSubnet6(view: View, taken: readonly Taken[]): IpRange | undefined {
  const digest = createHash('sha256')
    .update(`networks of ${view.cluster()?.ID ?? ''}`)
    .digest('hex');
  const own = parseIpRange(`fd${digest.slice(0, 2)}:${digest.slice(2, 6)}:${digest.slice(6, 10)}::/48`);
  return own && firstFree(own, 64, 1n << 64n, taken);
}

/** Whether the text is an address of one of the network's subnets. */
export const isOnNetwork = (network: Network, address: string): boolean => {
  const ip = parseIp(address);
  return network.IPAM.Configs.some(({ Subnet }) => {
    const range = parseIpRange(Subnet);
    return ip !== undefined && range?.family === ip.family && ip.value >= range.first && ip.value <= range.last;
  });
};
