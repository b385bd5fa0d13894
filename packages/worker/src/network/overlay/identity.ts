import { isIPv4 } from 'node:net';
import { formatIp, parseIp } from '@swarmctl/shared/model';

// What the parts of an overlay network are called on a node. A device's name has 15 characters at most.

const short = (networkId: string): string => networkId.slice(0, 12);

export const bridgeName = (networkId: string): string => `swb${short(networkId)}`;
export const portName = (networkId: string): string => `swx${short(networkId)}`;

/** Every device of a node's overlay networks says whose it is. */
export const ownerOf = (nodeId: string): string => `swarmd:${nodeId}`;

/** `10.0.1.5/24` or `10.0.1.5`, canonical and without the prefix. */
export function bareAddress(text: string): string {
  const addr = text.replace(/\/.*$/, '');
  // Of these there is one form.
  if (isIPv4(addr)) return addr;
  const ip = parseIp(addr);
  return ip ? formatIp(ip) : addr;
}

export const isVersion4 = (addr: string): boolean => isIPv4(addr);

/** Addresses of both families have one MAC, which follows from the IPv4 one. */
export const firstVersion4 = (addrs: readonly string[]): string => addrs.find(isVersion4) ?? addrs[0] ?? '';
