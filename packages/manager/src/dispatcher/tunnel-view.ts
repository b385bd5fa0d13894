import { isDeepStrictEqual } from 'node:util';
import { formatIp, type Node, parseIpRange } from '@swarmctl/shared/model';
import type { TunnelPeer, TunnelView } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
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

/** The tunnels kept in step with the state, and which session was shown them as they are. */
export class TunnelTracker {
  #peers: readonly TunnelPeer[] = [];
  #common: Omit<TunnelView, 'addr' | 'peers'> | undefined;
  #touched = true;
  #version = 0;
  readonly #shown = new WeakMap<object, number>();

  touch(): void {
    this.#touched = true;
  }

  /** Brings the tunnels to `view`. */
  refresh(view: View): void {
    if (!this.#touched) return;
    this.#touched = false;
    const keys = view.cluster()?.TunnelKeys;
    const common = keys && {
      pool,
      port: dataPathPort(view) + portsAfter,
      psk: keys.InUse.Key,
      generation: (keys.Next ?? keys.InUse).Generation,
    };
    const peers = common ? tunnelPeers(view) : [];
    if (isDeepStrictEqual(peers, this.#peers) && isDeepStrictEqual(common, this.#common)) return;
    this.#peers = peers;
    this.#common = common;
    this.#version++;
  }

  /** What the node's session has not been shown yet. */
  unshown(session: object, nodeId: string): TunnelView | undefined {
    return this.#shown.get(session) === this.#version ? undefined : this.view(nodeId);
  }

  /** The session is shown the tunnels as of the last `refresh`. */
  shown(session: object): void {
    this.#shown.set(session, this.#version);
  }

  /** Undefined for a node without an end of them, and while no network is encrypted. */
  view(nodeId: string): TunnelView | undefined {
    const self = this.#peers.find((peer) => peer.nodeId === nodeId);
    if (!self || !this.#common) return undefined;
    return { addr: self.addr, ...this.#common, peers: this.#peers.filter((peer) => peer !== self) };
  }
}
