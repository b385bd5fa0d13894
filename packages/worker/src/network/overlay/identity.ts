import { isIPv4 } from 'node:net';
import { formatIp, parseIp } from '@swarmctl/shared/model';

// What the parts of an overlay network are called on a node. A device's name has 15 characters at most.

const short = (networkId: string): string => networkId.slice(0, 12);

export const bridgeName = (networkId: string): string => `swb${short(networkId)}`;
export const portName = (networkId: string): string => `swx${short(networkId)}`;
export const engineNetworkName = (networkId: string): string => `swarmd_${networkId}`;

/** Every device of a node's overlay networks says whose it is. */
export const ownerOf = (nodeId: string): string => `swarmd:${nodeId}`;

/** As Docker derives it: one address, one MAC, wherever the task runs. */
export function macOf(addr: string): string {
  const value = parseIp(addr)?.value ?? 0n;
  const bytes = [24n, 16n, 8n, 0n].map((shift) => Number((value >> shift) & 255n));
  return ['02', '42', ...bytes.map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/** `10.0.1.5/24` or `10.0.1.5`, canonical and without the prefix. */
export function bareAddress(text: string): string {
  const addr = text.replace(/\/.*$/, '');
  const ip = parseIp(addr);
  return ip ? formatIp(ip) : addr;
}

export const isVersion4 = (addr: string): boolean => isIPv4(addr);
