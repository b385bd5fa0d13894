import { isIPv4, isIPv6 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import { formatIp, formatIpRange, type IpRange, parseIp, parseIpRange } from '@swarmctl/shared/model';
import type { IngressOptions } from './types.ts';

// Which addresses of a node its published ports answer on, and which networks it is in.

export const isLoopback = (addr: string): boolean =>
  addr === 'localhost' || addr === '::1' || (isIPv4(addr) && addr.startsWith('127.'));

/** Empty: every local address. A node known by a loopback address has neighbours on the others, so it answers on its own alone. */
export function answeredAddresses(options: Omit<IngressOptions, 'nodeId'>): readonly string[] {
  const { ingressAddrs, advertiseAddr } = options;
  if (ingressAddrs.some((addr) => addr === '0.0.0.0' || addr === '::')) return [];
  if (ingressAddrs.length > 0) return [...new Set(ingressAddrs)];
  if (advertiseAddr === 'localhost') return ['127.0.0.1'];
  return isLoopback(advertiseAddr) ? [advertiseAddr] : [];
}

export type Family = 4 | 6;
export const families: readonly Family[] = [4, 6];

export const familyOf = (addr: string): Family | undefined => (isIPv4(addr) ? 4 : isIPv6(addr) ? 6 : undefined);

/** As the kernel writes it; what is no address stays as it is. */
export function canonical(addr: string): string {
  if (isIPv4(addr)) return addr;
  const ip = parseIp(addr);
  return ip ? formatIp(ip) : addr;
}

export interface Subnet extends IpRange {
  readonly cidr: string;
  readonly device: string;
}

/** The network around an address with a prefix length. */
export function subnet(cidr: string, device = ''): Subnet {
  const range = parseIpRange(cidr);
  if (!range) throw new Error(`${cidr} is no network`);
  return { ...range, cidr: formatIpRange(range), device };
}

export function contains(net: Subnet, addr: string): boolean {
  const ip = parseIp(addr);
  return ip !== undefined && ip.family === net.family && net.first <= ip.value && ip.value <= net.last;
}

/** What the machine's interfaces say: its own addresses, and the networks they lie in without the loopback and link-local ones. */
export interface LocalAddresses {
  readonly own: ReadonlySet<string>;
  readonly subnets: readonly Subnet[];
}

export function localAddresses(interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>): LocalAddresses {
  const all = Object.entries(interfaces)
    .flatMap(([device, list]) => (list ?? []).map((one) => ({ ...one, device })))
    .filter(({ address }) => !isLinkLocal(address));
  return {
    own: new Set(all.map(({ address }) => address)),
    subnets: all
      .filter(({ internal, cidr }) => !internal && cidr)
      .map(({ cidr, device }) => subnet(String(cidr), device)),
  };
}

const isLinkLocal = (addr: string): boolean => /^fe[89ab][0-9a-f]:/i.test(addr);

/** As few ranges as cover the same addresses, in order; the kernel takes none that overlap or touch. */
export function mergedRanges(ranges: readonly IpRange[]): { first: bigint; last: bigint }[] {
  const merged: { first: bigint; last: bigint }[] = [];
  for (const { first, last } of [...ranges].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))) {
    const before = merged.at(-1);
    if (before && last <= before.last) continue;
    if (before && first <= before.last + 1n) before.last = last;
    else merged.push({ first, last });
  }
  return merged;
}
