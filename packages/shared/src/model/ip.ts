import { isIPv4, isIPv6, SocketAddress } from 'node:net';

// IP addresses and ranges of both families as numbers, and their canonical texts, so that equal ones are equal texts.

export interface Ip {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** `10.0.0.0/8`. */
export interface IpRange {
  readonly family: 4 | 6;
  readonly prefix: number;
  readonly first: bigint;
  readonly last: bigint;
}

const bitsOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** Undefined for what is no address, and for one with a zone. */
export function parseIp(text: string): Ip | undefined {
  if (isIPv4(text)) return { family: 4, value: joined(text.split('.').map(Number), 8n) };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const [head = [], tail = []] = text.split('::').map(groupsOf);
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => 0);
  return { family: 6, value: joined([...head, ...zeros, ...tail], 16n) };
}

/** Of one side of a `::`; an IPv4 address at the end is two groups. */
const groupsOf = (side: string): number[] =>
  side === ''
    ? []
    : side.split(':').flatMap((group) => {
        if (!group.includes('.')) return [Number.parseInt(group, 16)];
        const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
        return [a * 256 + b, c * 256 + d];
      });

const joined = (parts: readonly number[], bits: bigint): bigint =>
  parts.reduce((value, part) => (value << bits) | BigInt(part), 0n);

export function formatIp({ family, value }: Ip): string {
  const [count, bits, radix, sign] = family === 4 ? ([4, 8n, 10, '.'] as const) : ([8, 16n, 16, ':'] as const);
  const parts = Array.from({ length: count }, (_, i) =>
    ((value >> (bits * BigInt(count - 1 - i))) & ((1n << bits) - 1n)).toString(radix),
  );
  const address = parts.join(sign);
  return family === 4 ? address : new SocketAddress({ address, family: 'ipv6' }).address;
}

/** The range that `address/prefix` lies in; an address alone is a range of one. Undefined for what is neither. */
export function parseIpRange(text: string): IpRange | undefined {
  const [address = '', length, ...more] = text.split('/');
  const ip = parseIp(address);
  if (!ip || more.length > 0 || (length !== undefined && !/^\d{1,3}$/.test(length))) return undefined;
  const bits = bitsOf(ip.family);
  const prefix = length === undefined ? bits : Number(length);
  if (prefix > bits) return undefined;
  const host = (1n << BigInt(bits - prefix)) - 1n;
  const first = ip.value - (ip.value & host);
  return { family: ip.family, prefix, first, last: first + host };
}

export const formatIpRange = ({ family, first, prefix }: IpRange): string =>
  `${formatIp({ family, value: first })}/${prefix}`;

export const isWithinRange = (inner: IpRange, outer: IpRange): boolean =>
  inner.family === outer.family && inner.first >= outer.first && inner.last <= outer.last;

/** Whether the address lies in one of the ranges. */
export function isInRanges(ranges: readonly string[], address: string): boolean {
  const ip = parseIpRange(address);
  return ranges.some((text) => {
    const range = parseIpRange(text);
    return ip !== undefined && range !== undefined && isWithinRange(ip, range);
  });
}
