import { hasStableAddress, isTerminal, type Network, type Service, type Task } from '@swarmctl/shared/model';
import type { AddressHolder } from './types.ts';

// Which addresses of networks an object of the state has written down. Everything about free addresses follows from this.

export interface Holding {
  readonly networkId: string;
  readonly address: string;
  readonly holder: AddressHolder;
}

const none: readonly Holding[] = [];

/** A task that has ended has none, but for one whose slot keeps its address. */
export function holdingsOfTask(task: Task | undefined): readonly Holding[] {
  if (!task?.NetworksAttachments?.length) return none;
  if (isTerminal(task.Status.State) && !hasStableAddress(task.ServiceAnnotations.Labels)) return none;
  const holder: AddressHolder = { kind: 'task', id: task.ID };
  return task.NetworksAttachments.flatMap(({ Network, Addresses }) =>
    Addresses.map((address) => ({ networkId: Network.ID, address: bare(address), holder })),
  );
}

export const holdingsOfService = (service: Service | undefined): readonly Holding[] =>
  service?.Endpoint.VirtualIPs?.map(({ NetworkID, Addr }) => ({
    networkId: NetworkID,
    address: bare(Addr),
    holder: { kind: 'service', id: service.ID },
  })) ?? none;

export const holdingsOfNetwork = (network: Network | undefined): readonly Holding[] =>
  network
    ? Object.entries(network.Gateways).flatMap(([id, addresses]) =>
        addresses.map((address) => ({ networkId: network.ID, address, holder: { kind: 'node' as const, id } })),
      )
    : none;

const bare = (address: string): string => address.split('/')[0] ?? '';
