import { formatIpRange, type IpRange, parseIp, parseIpRange } from './ip.ts';
import type { Network, NodeDescription, Service } from './objects.ts';

// What follows from a network's spec and allocation alone: which addresses it can give, to whom, and how they look elsewhere.

/** Every engine has these; nobody makes or removes them, and they have no addresses to give. */
export const predefinedNetworks = ['bridge', 'host', 'none'] as const;
export type PredefinedNetwork = (typeof predefinedNetworks)[number];

export const isPredefinedNetwork = (name: string): name is PredefinedNetwork =>
  predefinedNetworks.some((one) => one === name);

/**
 * The network that every swarm has for published ports. It is no object of the store's, since published ports are the nodes' work, but clients know it by
 * this name.
 */
export const ingressNetwork = 'ingress';

/** Drivers whose networks each node's engine makes by itself; containers get their addresses from it. */
export const localDrivers = ['bridge', 'macvlan', 'ipvlan'] as const;
export type LocalDriver = (typeof localDrivers)[number];

export const isLocalDriver = (driver: string | undefined): driver is LocalDriver =>
  localDrivers.some((one) => one === driver);

export const isLocalNetwork = (network: Pick<Network, 'Spec'>): boolean =>
  isLocalDriver(network.Spec.DriverConfiguration?.Name);

export const vxlanIdOption = 'com.docker.network.driver.overlay.vxlanid_list';
export const mtuOption = 'com.docker.network.driver.mtu';

/** The most that its containers may send at once, bytes; undefined: as much as the ways between the nodes leave. */
export function mtuOf(network: Pick<Network, 'Spec'>): number | undefined {
  const said = network.Spec.DriverConfiguration?.Options?.[mtuOption];
  return said === undefined ? undefined : Number(said);
}

/** What keys of options and labels say with any value but `false`. */
export const isEncrypted = (network: Pick<Network, 'Spec'>): boolean =>
  (network.Spec.DriverConfiguration?.Options?.['encrypted'] ?? 'false') !== 'false';

/** Containers that no service made may be on it. */
export const isAttachable = (network: Pick<Network, 'Spec'>): boolean =>
  network.Spec.Attachable === true && !isLocalNetwork(network);

/** What an overlay network is called on engines, unless it has its own name there: see `isAttachable`. */
export const engineNetworkName = (networkId: string): string => `${engineNetworkPrefix}${networkId}`;
const engineNetworkPrefix = 'swarmd_';

/** The id of the network that is called so on engines. */
export const networkIdOf = (engineName: string): string | undefined =>
  engineName.startsWith(engineNetworkPrefix) ? engineName.slice(engineNetworkPrefix.length) : undefined;

/** The node carries overlay networks, as far as the managers can tell: it has an engine, and may change its kernel's network. */
export const hasOverlays = ({ Runtimes, Ingress }: Pick<NodeDescription, 'Runtimes' | 'Ingress'>): boolean =>
  Runtimes.includes('docker') && Ingress?.Kind === 'nftables';

/** The service has a virtual address on each of its overlay networks. */
export const hasVirtualAddress = (service: Pick<Service, 'Spec'>): boolean =>
  service.Spec.EndpointSpec?.Mode !== 'dnsrr';

/** Whether its addresses are written down. */
export const isAllocated = (network: Network): boolean => network.VNI !== undefined && network.IPAM.Configs.length > 0;

/** `10.0.1.5/24` without its prefix. */
export const bareAddress = (address: string): string => address.split('/')[0] ?? '';

/** As engines derive it, so that nobody has to be told. */
export const macOf = (ipv4: string): string =>
  `02:42:${ipv4
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':')}`;

/** The addresses of one of a network's configs that may be given to tasks, services and nodes. */
export interface AddressPool {
  readonly subnet: string;
  readonly family: 4 | 6;
  readonly prefix: number;
  readonly first: bigint;
  readonly last: bigint;
  /** Within or without; never given: the gateway, and the auxiliary addresses, which are of machines that the cluster does not know. */
  readonly reserved: ReadonlySet<bigint>;
  /** Behind them, on an attachable network: what nodes get their blocks from. */
  readonly blocks?: IpRange;
}

/** What a network asked for of its subnet, as it was written. */
export const askedConfig = ({ Spec }: Pick<Network, 'Spec'>, subnet: string) =>
  Spec.IPAMOptions?.Configs?.find((one) => one.Subnet === subnet || rangeText(one.Subnet) === subnet);

const rangeText = (text = ''): string | undefined => {
  const range = parseIpRange(text);
  return range && formatIpRange(range);
};

export const poolsOf = (network: Network): readonly AddressPool[] =>
  network.IPAM.Configs.flatMap(({ Subnet, Gateway }) => {
    const subnet = parseIpRange(Subnet);
    const gateway = parseIp(Gateway);
    if (!subnet || !gateway) return [];
    const asked = askedConfig(network, Subnet);
    const range = parseIpRange(asked?.IPRange || Subnet) ?? subnet;
    const auxiliary = Object.values(asked?.AuxiliaryAddresses ?? {}).flatMap((text) => parseIp(text)?.value ?? []);
    const blocks = isAttachable(network) ? upperHalf(range) : undefined;
    // The subnet's own number, and its broadcast address, are nobody's.
    const [low, high] = [subnet.first + 1n, subnet.family === 4 ? subnet.last - 1n : subnet.last];
    const last = blocks ? blocks.first - 1n : range.last;
    return [
      {
        subnet: Subnet,
        family: subnet.family,
        prefix: subnet.prefix,
        first: range.first > low ? range.first : low,
        last: last < high ? last : high,
        reserved: new Set([gateway.value, ...auxiliary]),
        ...(blocks && { blocks }),
      },
    ];
  });

/** Of IPv6: of the first 2^32 addresses, which is as far as engines count well. Undefined of a single address. */
function upperHalf({ family, prefix, first }: IpRange): IpRange | undefined {
  const bits = family === 4 ? 32 : 128;
  const half = Math.max(prefix, bits - 32) + 1;
  if (half > bits) return undefined;
  const size = 1n << BigInt(bits - half);
  return { family, prefix: half, first: first + size, last: first + 2n * size - 1n };
}

/** How many addresses of `pools` are never given. */
export const reservedIn = (pools: readonly AddressPool[]): number =>
  pools.reduce(
    (sum, { first, last, reserved }) => sum + [...reserved].filter((value) => value >= first && value <= last).length,
    0,
  );

/** Whether the address is one that `pools` give. */
export function isInPools(pools: readonly AddressPool[], address: string): boolean {
  const ip = parseIp(address);
  return pools.some(({ family, first, last }) => ip?.family === family && ip.value >= first && ip.value <= last);
}

const sizeOf = ({ first, last }: AddressPool): number => (last < first ? 0 : Number(last - first + 1n));

export interface AddressUse {
  readonly used: number;
  readonly of: number;
  /** `10.0.1.0/24`; several with commas between. */
  readonly subnets: string;
}

/** Eight of ten are gone: who is to have more should be told. */
export const runsLow = ({ used, of }: Pick<AddressUse, 'used' | 'of'>): boolean => of > 0 && used >= of * 0.8;

/** How many addresses of each of a network's subnets are held, those never given among them, and how many can be given yet (at most 2^53 - 1). */
export function subnetUse(
  network: Network,
  held: readonly { readonly address: string }[],
): ReadonlyMap<string, { readonly used: number; readonly free: number }> {
  const values = held.flatMap(({ address }) => parseIp(address) ?? []);
  return new Map(
    poolsOf(network).map(({ subnet, family, first, last: lastOfPool, reserved, blocks }) => {
      const range = parseIpRange(subnet);
      const isEdge = family === 4 && blocks?.last === range?.last;
      const last = blocks ? blocks.last - (isEdge ? 1n : 0n) : lastOfPool;
      const own = values.filter(
        (ip) => ip.family === family && range && ip.value >= range.first && ip.value <= range.last,
      );
      const taken = new Set([...own.map(({ value }) => value), ...reserved]);
      const given = [...taken].filter((value) => value >= first && value <= last).length;
      const free = last < first ? 0n : last - first + 1n - BigInt(given);
      return [subnet, { used: taken.size, free: Number(free < maxCount ? free : maxCount) }] as const;
    }),
  );
}

const maxCount = BigInt(Number.MAX_SAFE_INTEGER);

/** How much of a network's IPv4 addresses is held; those never given count. */
export function addressUse(network: Network, held: readonly { readonly address: string }[]): AddressUse {
  const pools = poolsOf(network).filter(({ family }) => family === 4);
  const reserved = reservedIn(pools);
  return {
    used: held.filter(({ address }) => isInPools(pools, address)).length + reserved,
    of: pools.reduce((sum, pool) => sum + sizeOf(pool), 0),
    subnets: pools.map(({ subnet }) => subnet).join(', '),
  };
}
