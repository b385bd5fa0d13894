import { isIPv4 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import type { IngressOptions } from './types.ts';

// Which addresses of a node its published ports answer on.

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

/** An IPv4 network, both ends included. */
export interface Subnet {
  readonly cidr: string;
  readonly device: string;
  readonly first: number;
  readonly last: number;
}

export const toNumber = (addr: string): number =>
  addr.split('.').reduce((value, part) => value * 256 + Number(part), 0);

const toText = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');

export function subnet(cidr: string, device = ''): Subnet {
  const [addr = '', length = '32'] = cidr.split('/');
  const size = 2 ** (32 - Number(length));
  const first = toNumber(addr) - (toNumber(addr) % size);
  return { cidr: `${toText(first)}/${length}`, device, first, last: first + size - 1 };
}

export const contains = (net: Subnet, addr: string): boolean => {
  const value = toNumber(addr);
  return net.first <= value && value <= net.last;
};

/** What the machine's interfaces say: its own IPv4 addresses, and the networks they lie in without the loopback. */
export interface LocalAddresses {
  readonly own: ReadonlySet<string>;
  readonly subnets: readonly Subnet[];
}

export function localAddresses(interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>): LocalAddresses {
  const all = Object.entries(interfaces).flatMap(([device, list]) => (list ?? []).map((one) => ({ ...one, device })));
  const ipv4 = all.filter(({ family }) => family === 'IPv4');
  return {
    own: new Set(ipv4.map(({ address }) => address)),
    subnets: ipv4
      .filter(({ internal, cidr }) => !internal && cidr)
      .map(({ cidr, device }) => subnet(String(cidr), device)),
  };
}
