import {
  askedConfig,
  bareAddress,
  type Guest,
  isInRanges,
  isLocalNetwork,
  isTerminal,
  type Network,
  type PredefinedNetwork,
  subnetUse,
  taskName,
  vxlanIdOption,
} from '@swarmctl/shared/model';
import { guestsOn } from '../store/guests.ts';
import type { View } from '../store/types.ts';

// Networks as the Engine API shows them.

export interface Shown {
  readonly Name: string;
  readonly Id: string;
  readonly Driver: string;
  readonly Scope: string;
  readonly Labels: Readonly<Record<string, string>> | null;
}

export function showNetwork(network: Network) {
  const { Spec, VNI, IPAM } = network;
  const options = Spec.DriverConfiguration?.Options ?? {};
  const configs = isLocalNetwork(network)
    ? (Spec.IPAMOptions?.Configs ?? [])
    : IPAM.Configs.map((config) => showConfig(network, config));
  return {
    Name: Spec.Name,
    Id: network.ID,
    Created: network.CreatedAt,
    Scope: 'swarm',
    Driver: network.AskedDriver ?? Spec.DriverConfiguration?.Name ?? 'overlay',
    EnableIPv4: true,
    EnableIPv6: Spec.IPv6Enabled ?? false,
    IPAM: { Driver: 'default', Options: null, Config: configs },
    Internal: Spec.Internal ?? false,
    Attachable: Spec.Attachable ?? false,
    Ingress: false,
    ConfigFrom: { Network: Spec.ConfigFrom?.Network ?? '' },
    ConfigOnly: false,
    Containers: null,
    Options: { ...options, ...(VNI !== undefined && { [vxlanIdOption]: String(VNI) }) },
    Labels: Object.keys(Spec.Labels).length > 0 ? Spec.Labels : null,
  };
}

/** In the words of who asked for it. */
function showConfig(network: Network, { Subnet, Gateway }: Network['IPAM']['Configs'][number]) {
  const { IPRange, AuxiliaryAddresses, ...asked } = askedConfig(network, Subnet) ?? {};
  return {
    Subnet: asked.Subnet ?? Subnet,
    ...(IPRange && { IPRange }),
    Gateway: asked.Gateway ?? Gateway,
    ...(AuxiliaryAddresses && { AuxiliaryAddresses }),
  };
}

const unset = {
  ...{ Created: '1970-01-01T00:00:00Z', EnableIPv4: true, EnableIPv6: false, Internal: false, Attachable: false },
  ...{ ConfigFrom: { Network: '' }, ConfigOnly: false, Containers: {}, Options: {}, Labels: {} },
};

const predefinedDrivers: Readonly<Record<PredefinedNetwork, string>> = { bridge: 'bridge', host: 'host', none: 'null' };

/** An engine's own; for whoever asks for it by the scope swarm, the way to put services on it. */
export function showPredefined(name: PredefinedNetwork, scope = 'local') {
  return {
    ...unset,
    Name: name,
    Id: name,
    Scope: scope === 'swarm' ? 'swarm' : 'local',
    Driver: predefinedDrivers[name],
    Ingress: false,
    IPAM: { Driver: 'default', Options: null, Config: name === 'bridge' ? [] : null },
  };
}

/** As engines show a container that is on a network. */
export interface ShownContainer {
  readonly Name: string;
  readonly EndpointID: string;
  readonly MacAddress: string;
  readonly IPv4Address: string;
  readonly IPv6Address: string;
}

export const showGuest = (network: Network, { Name, MAC, Addresses }: Guest): ShownContainer => ({
  ...{ Name, EndpointID: '', MacAddress: MAC },
  IPv4Address: withPrefix(network, Addresses, 4),
  IPv6Address: withPrefix(network, Addresses, 6),
});

/** `10.0.1.130/24`; empty without one of the family. */
function withPrefix({ IPAM }: Network, addresses: readonly string[], family: 4 | 6): string {
  const address = addresses.find((one) => one.includes(':') === (family === 6));
  const { Subnet } = IPAM.Configs.find((one) => address && isInRanges([one.Subnet], address)) ?? {};
  return address && Subnet ? `${address}/${Subnet.split('/')[1]}` : '';
}

/** How full its subnets are, as engines say it since API 1.52. */
export function showStatus(view: View, network: Network) {
  const guests = guestsOn(view, network).flatMap(({ Addresses }) => Addresses.map((address) => ({ address })));
  const use = subnetUse(network, [...view.addressesOf(network.ID).values(), ...guests]);
  if (use.size === 0) return {};
  const subnets = [...use].map(([subnet, { used, free }]) => [subnet, { IPsInUse: used, DynamicIPsAvailable: free }]);
  return { Status: { IPAM: { Subnets: Object.fromEntries(subnets) } } };
}

/** What `verbose` adds: the services on the network, and the nodes. */
export function showUse(view: View, network: Network) {
  const services: Record<string, { VIP: string; Ports: string[]; LocalLBIndex: number; Tasks: object[] }> = {};
  const of = (serviceId: string, name: string) => {
    const vip = view
      .get('services', serviceId)
      ?.Endpoint.VirtualIPs?.find(({ NetworkID }) => NetworkID === network.ID)?.Addr;
    services[name] ??= { VIP: bareAddress(vip ?? ''), Ports: [], LocalLBIndex: 0, Tasks: [] };
    return services[name];
  };
  for (const { address, holders } of view.addressesOf(network.ID).values()) {
    for (const { kind, id } of holders) {
      if (kind === 'service') of(id, view.get('services', id)?.Spec.Name ?? id);
      const task = kind === 'task' ? view.get('tasks', id) : undefined;
      if (!task || isTerminal(task.Status.State)) continue;
      const node = view.get('nodes', task.NodeID ?? '');
      of(task.ServiceID, task.ServiceAnnotations.Name).Tasks.push({
        Name: taskName(task),
        EndpointID: '',
        EndpointIP: address,
        Info: { 'Host IP': node?.Status.Addr ?? '' },
      });
    }
  }
  const peers = Object.keys(network.Gateways).flatMap((id) => {
    const node = view.get('nodes', id);
    return node ? [{ Name: node.Description?.Hostname ?? id, IP: node.Status.Addr }] : [];
  });
  return { Peers: peers, Services: services };
}
