import { isIPv4 } from 'node:net';
import type { Endpoint } from './streams/types.ts';

// The PROXY protocol's header (haproxy.org/download/2.9/doc/proxy-protocol.txt): who the client is and whom it spoke to, before its first byte.

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** Without a client, as when it has gone already, the header says so. */
export function proxyHeader(version: 1 | 2, client: Endpoint | undefined, front: Endpoint | undefined): Buffer {
  const from = client && { ...client, addr: plainAddress(client.addr) };
  const to = front && { ...front, addr: plainAddress(front.addr) };
  return version === 1 ? textHeader(from, to) : binaryHeader(from, to);
}

/** An IPv4 address that came in as IPv6 is written as the former; a zone is of this machine alone. */
export function plainAddress(addr: string): string {
  const inner = addr.toLowerCase().startsWith('::ffff:') ? addr.slice(7) : '';
  return isIPv4(inner) ? inner : addr.replace(/%.*/, '');
}

function textHeader(from: Endpoint | undefined, to: Endpoint | undefined): Buffer {
  if (!from || !to) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
  const family = isIPv4(from.addr) ? 'TCP4' : 'TCP6';
  return Buffer.from(`PROXY ${family} ${from.addr} ${to.addr} ${from.port} ${to.port}\r\n`, 'latin1');
}

function binaryHeader(from: Endpoint | undefined, to: Endpoint | undefined): Buffer {
  // Version 2; PROXY, or LOCAL for what has no client.
  if (!from || !to) return Buffer.from([...signature, 0x20, 0, 0, 0]);
  const family = isIPv4(from.addr) ? 0x11 : 0x21;
  const body = [...bytesOf(from.addr), ...bytesOf(to.addr), ...word(from.port), ...word(to.port)];
  return Buffer.from([...signature, 0x21, family, ...word(body.length), ...body]);
}

const word = (value: number): number[] => [value >> 8, value & 255];

function bytesOf(addr: string): number[] {
  if (isIPv4(addr)) return addr.split('.').map(Number);
  // An IPv4 tail counts as two groups.
  const text = addr.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) =>
    [a * 256 + +b, c * 256 + +d].map((group) => group.toString(16)).join(':'),
  );
  const [head = [], tail = []] = text.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...tail].flatMap((group) => word(Number.parseInt(group, 16)));
}
