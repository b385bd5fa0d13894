import { isIP } from 'node:net';
import type { networkInterfaces } from 'node:os';
import { type Address, ClusterError, formatAddress, parseAddress } from '@swarmctl/shared/kit';
import { defaultListenAddr, defaultPort } from './config.ts';

// Where this node listens, and where others reach it: from the request, else the configuration, else what the machine has.

export type Interfaces = ReturnType<typeof networkInterfaces>;

export interface NodeAddresses {
  readonly listen: Address;
  /** A host that others can dial, never a wildcard. */
  readonly advertise: Address;
}

export interface AddressWishes {
  /** `Listen` and `Advertise` of the request; clients send the wildcard when their user said nothing. */
  readonly requested: { readonly ListenAddr?: string | undefined; readonly AdvertiseAddr?: string | undefined };
  readonly configured: { readonly listenAddr: string; readonly advertiseAddr: string | undefined };
  /** This machine's end of a connection to the cluster, if there is one. */
  readonly localEnd?: string | undefined;
}

export function resolveAddresses(wishes: AddressWishes, interfaces: Interfaces): NodeAddresses {
  const { requested, configured } = wishes;
  const asked = requested.ListenAddr === defaultListenAddr ? '' : requested.ListenAddr;
  const listen = withInterface(parseAddress(asked || configured.listenAddr, 'listen address', defaultPort), interfaces);
  const given = requested.AdvertiseAddr || configured.advertiseAddr;
  if (given) {
    const { host, port } = withInterface(parseAddress(given, 'advertise address', listen.port), interfaces);
    if (host === '' || isWildcard(host))
      throw invalid('advertise address must be a non-zero IP address or network interface (with optional port number)');
    return { listen, advertise: { host, port } };
  }
  const host = isWildcard(listen.host) ? (wishes.localEnd ?? onlyAddress(interfaces)) : listen.host;
  return { listen, advertise: { host, port: listen.port } };
}

const isWildcard = (host: string): boolean => host === '' || host === '0.0.0.0' || host === '::';

/** The name of a network interface stands for its first address. */
function withInterface({ host, port }: Address, interfaces: Interfaces): Address {
  if (host === '' || isIP(host)) return { host, port };
  const first = (interfaces[host] ?? []).find((one) => one.family === 'IPv4') ?? interfaces[host]?.[0];
  return { host: first?.address ?? host, port };
}

function onlyAddress(interfaces: Interfaces): string {
  const outward = Object.entries(interfaces).flatMap(([name, list = []]) =>
    list.filter((one) => !one.internal && one.family === 'IPv4').map((one) => ({ name, address: one.address })),
  );
  const [first, second] = outward;
  if (!first) throw invalid('could not find the system’s IP address - specify one with --advertise-addr');
  if (!second) return first.address;
  const where = first.name === second.name ? `interface ${first.name}` : 'different interfaces';
  const list =
    first.name === second.name
      ? `${first.address} and ${second.address}`
      : `${first.address} on ${first.name} and ${second.address} on ${second.name}`;
  throw invalid(
    `could not choose an IP address to advertise since this system has multiple addresses on ${where} (${list}) - specify one with --advertise-addr`,
  );
}

export const textOf = ({ host, port }: Address): string => formatAddress(host, port);

const invalid = (message: string) => new ClusterError('invalid-argument', message);
