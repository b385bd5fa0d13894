import { isIPv6 } from 'node:net';
import type { TunnelView } from '@swarmctl/shared/wire';
import type { DeviceChange, DevicePeer, DeviceState } from './types.ts';

// From what the managers say of the tunnels and what the device has to what is to be changed. Pure.

export interface WantedDevice {
  readonly privateKey: string;
  readonly port: number;
  readonly peers: readonly DevicePeer[];
}

/** `addrs`: the inside addresses of the nodes that share an encrypted network with this one; no others are talked to. */
export const wantedDevice = (view: TunnelView, privateKey: string, addrs: ReadonlySet<string>): WantedDevice => ({
  privateKey,
  port: view.port,
  peers: view.peers
    .filter(({ addr }) => addrs.has(addr))
    .map(({ key, addr, nodeAddr }) => ({ key, psk: view.psk, addr, endpoint: endpointOf(nodeAddr, view.port) })),
});

export const endpointOf = (addr: string, port: number): string =>
  isIPv6(addr) ? `[${addr}]:${port}` : `${addr}:${port}`;

/** `before`: what was wanted last time. A peer may have been heard from another endpoint since, and keeps that until it is said to have moved. */
export function planDevice(wanted: WantedDevice, is: DeviceState, before?: WantedDevice): DeviceChange | undefined {
  const keys = new Set(wanted.peers.map(({ key }) => key));
  const endpoints = new Map(before?.peers.map(({ key, endpoint }) => [key, endpoint]));
  const removed = [...is.peers.keys()].filter((key) => !keys.has(key));
  const peers = wanted.peers.flatMap((peer) => {
    const { key, psk, endpoint, addr } = peer;
    const has = is.peers.get(key);
    if (!has) return [peer];
    const moved = endpoints.has(key) && endpoints.get(key) !== endpoint;
    if (has.psk === psk && has.addr === addr && !moved) return [];
    return [{ key, ...(has.psk !== psk && { psk }), ...(has.addr !== addr && { addr }), ...(moved && { endpoint }) }];
  });
  const isOther = { privateKey: is.privateKey !== wanted.privateKey, port: is.port !== wanted.port };
  if (removed.length + peers.length === 0 && !isOther.privateKey && !isOther.port) return undefined;
  return {
    ...(isOther.privateKey && { privateKey: wanted.privateKey }),
    ...(isOther.port && { port: wanted.port }),
    removed,
    peers,
  };
}
