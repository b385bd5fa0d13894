import { engineNetworkName, macOf, type Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import type { EngineEndpoints } from '../types.ts';
import { bareAddress, firstVersion4, isVersion4 } from './identity.ts';

// Where a task is on its overlay networks, and what the engine is told of that when it makes the container. Pure.

export interface Attachment {
  readonly networkId: string;
  /** Without prefixes. */
  readonly addrs: readonly string[];
  /** For the engine's driver. */
  readonly driverOpts?: Readonly<Record<string, string>>;
}

/** Those of this cluster: a network that the engine makes by itself gives the addresses itself. */
export const attachmentsOf = ({ NetworksAttachments = [], Spec }: Task): Attachment[] =>
  NetworksAttachments.filter(({ Addresses }) => Addresses.length > 0).map(({ Network: { ID }, Addresses }) => {
    const driverOpts = Spec.Networks?.find(({ Target }) => Target === ID)?.DriverOpts;
    return { networkId: ID, addrs: Addresses.map(bareAddress), ...(driverOpts && { driverOpts }) };
  });

/** The hardware address of the container's device there. */
export const macAt = ({ addrs }: Attachment): string => macOf(firstVersion4(addrs));

/** `networks`: by id; `engineName`: as the engine calls it. */
export function endpointsOf(
  attachments: readonly Attachment[],
  networks: ReadonlyMap<string, { readonly view: NetworkView; readonly engineName?: string }>,
): EngineEndpoints {
  return {
    networks: Object.fromEntries(
      attachments.map((attachment) => [
        networks.get(attachment.networkId)?.engineName ?? engineNetworkName(attachment.networkId),
        endpointAt(attachment),
      ]),
    ),
    dns: [...networks.values()].map(({ view }) => dnsAddress(view.subnets)),
  };
}

function endpointAt({ addrs, driverOpts }: Attachment): EngineEndpoints['networks'][string] {
  const v4 = addrs.find(isVersion4);
  const v6 = addrs.find((addr) => !isVersion4(addr));
  return {
    IPAMConfig: { ...(v4 && { IPv4Address: v4 }), ...(v6 && { IPv6Address: v6 }) },
    ...(v4 && { MacAddress: macOf(v4) }),
    ...(driverOpts && { DriverOpts: driverOpts }),
  };
}

/** Containers ask by IPv4 where they can. */
const dnsAddress = (subnets: NetworkView['subnets']): string =>
  firstVersion4(subnets.map(({ gateway }) => bareAddress(gateway)));
