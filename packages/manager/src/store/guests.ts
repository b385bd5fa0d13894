import {
  canHaveGuests,
  freeBlocks,
  type Guest,
  isAllocated,
  isAttachable,
  isInRanges,
  type Network,
  type Node,
} from '@swarmctl/shared/model';
import type { View } from './types.ts';

// The containers made by hand on an attachable network, by what their nodes say of them, as far as the nodes have a say: in their own blocks. And where
// there can be none.

export interface GuestHere extends Guest {
  readonly nodeId: string;
}

/** In the order of their nodes; none of two that claim one hardware address but the first. Pure. */
export function guestsOn(view: View, network: Network): GuestHere[] {
  if (!isAttachable(network)) return [];
  const macs = new Set<string>();
  return Object.entries(network.Blocks ?? {}).flatMap(([nodeId, blocks]) => {
    const { Description, Status } = view.get('nodes', nodeId) ?? {};
    if (Status?.State === 'down') return [];
    return (Description?.Guests ?? []).flatMap((guest) => {
      const Addresses = guest.Addresses.filter((addr) => isInRanges(blocks, addr));
      if (guest.NetworkID !== network.ID || Addresses.length === 0 || macs.has(guest.MAC)) return [];
      macs.add(guest.MAC);
      return [{ ...guest, Addresses, nodeId }];
    });
  });
}

/** Attachable networks that the node could have for guests, were a block of their subnets left for it; by name. Pure. */
export function networksWithoutRoom(view: View, node: Node): Network[] {
  const without = view
    .list('networks')
    .filter(
      (network) =>
        isAttachable(network) &&
        isAllocated(network) &&
        canHaveGuests(network, node) &&
        !network.Blocks?.[node.ID] &&
        !freeBlocks(network, 1, Object.values(network.Blocks ?? {}).flat(), view.addressesOf(network.ID).values()),
    );
  return without.sort((a, b) => (a.Spec.Name < b.Spec.Name ? -1 : 1));
}
