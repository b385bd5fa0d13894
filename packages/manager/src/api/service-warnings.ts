import { type PortConfig, portName, publishedOptionsOf, type ServiceSpec } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';

// What is taken as it is, though it does not do what its user may expect as long as the cluster is as it is now.

/** A sentence each, `another` among them; null without any, as Docker says it. */
export function serviceWarnings(
  view: View,
  { EndpointSpec, Labels = {} }: ServiceSpec,
  another?: string,
): string[] | null {
  const ofPorts = (EndpointSpec?.Ports ?? [])
    .filter(({ PublishMode }) => PublishMode !== 'host')
    .flatMap((port) => {
      return unknownAddresses(view, port, publishedOptionsOf(Labels, port).addresses);
    });
  const warnings = [...(another === undefined ? [] : [another]), ...ofPorts];
  return warnings.length > 0 ? [...new Set(warnings)] : null;
}

/** Addresses that are listed, when there are more. */
const fewAddresses = 5;

/** A node may have addresses that the managers do not know of, and may get one: virtual ones move. */
function unknownAddresses(view: View, port: PortConfig, wanted: readonly string[]): string[] {
  const unknown = wanted.filter((address) => !isLoopback(address));
  if (unknown.length === 0) return [];
  const known = new Set(
    view.list('nodes').flatMap(({ Status, Description }) => {
      const addrs = [Status.Addr, Description?.Mesh?.dataPathAddr, Description?.Tunnel?.dataPathAddr];
      return addrs.filter((addr) => addr !== undefined && addr !== '');
    }),
  );
  const few = [...known].slice(0, fewAddresses).join(', ');
  return unknown
    .filter((address) => !known.has(address))
    .map(
      (address) =>
        `published port ${portName(port)}: no node is known by the address ${address}; unless a node has it, nobody answers there ` +
        `(nodes are known by ${few}${known.size > fewAddresses ? ', …' : ''})`,
    );
}

const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.');
