import { isDeepStrictEqual } from 'node:util';
import { formatIp, type Node, parseIpRange } from '@swarmctl/shared/model';
import type { TunnelPeer, TunnelView } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import { type Ends, PeerTracker } from './peer-tracker.ts';
import { dataPathPort } from './peers.ts';

// The tunnels of encrypted networks as each node needs to know them: who has WireGuard, by which key and where, and what they all share.

/** Of RFC 2544, beside the mesh's: nobody's addresses outside of a laboratory. */
const pool = '198.19.0.0/16';
/** From the data path port to that of the encrypted packets. */
const portsAfter = 1_000;

/** The node's address inside of the tunnels; undefined where it has no end of them. */
export function insideAddress({ MeshID, Description }: Node): string | undefined {
  const range = parseIpRange(pool);
  if (!range || MeshID === undefined || !Description?.Tunnel) return undefined;
  return formatIp({ family: range.family, value: range.first + BigInt(MeshID) });
}

/** The nodes that have an end of the tunnels, in the order of their ids. Pure. */
export const tunnelPeers = (view: View): TunnelPeer[] =>
  view.list('nodes').flatMap((node) => {
    const addr = insideAddress(node);
    const tunnel = node.Description?.Tunnel;
    return addr === undefined || !tunnel
      ? []
      : [{ nodeId: node.ID, addr, nodeAddr: tunnel.dataPathAddr, key: tunnel.key }];
  });

/** The event may have changed what nodes are told of the tunnels. */
export const concernsTunnels = (before: Node | undefined, after: Node | undefined): boolean =>
  before?.MeshID !== after?.MeshID || !isDeepStrictEqual(before?.Description?.Tunnel, after?.Description?.Tunnel);

type TunnelCommon = Omit<TunnelView, 'addr' | 'peers'>;

/** The tunnels kept in step with the state, and which session was shown them as they are. There are none while no network is encrypted. */
export class TunnelTracker extends PeerTracker<TunnelPeer, TunnelCommon, TunnelView> {
  protected override endsOf(view: View): Ends<TunnelPeer, TunnelCommon> {
    const keys = view.cluster()?.TunnelKeys;
    if (!keys) return { peers: [], common: undefined };
    const common = {
      pool,
      port: dataPathPort(view) + portsAfter,
      psk: keys.InUse.Key,
      generation: (keys.Next ?? keys.InUse).Generation,
    };
    return { peers: tunnelPeers(view), common };
  }

  protected override viewOf({ addr }: TunnelPeer, common: TunnelCommon, peers: readonly TunnelPeer[]): TunnelView {
    return { addr, ...common, peers };
  }
}
