import { parseIp } from '@swarmctl/shared/model';
import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import type { MeshState, Way } from '../types.ts';
import { addressesOf, macOf, markOf } from './names.ts';
import type { Family } from './plan.ts';

// What is true of the mesh, as the ingress wants to know it. Pure.

export interface StateParts {
  readonly device: string;
  readonly view: MeshView;
  readonly mark: number;
  readonly mtu: number;
  readonly families: readonly Family[];
  /** Those whose packets can come and go by the mesh. */
  readonly peers: readonly MeshPeer[];
  /** It answers over the mesh. */
  readonly answers: (nodeId: string) => boolean;
  readonly gone: ReadonlySet<string>;
}

export function meshState(parts: StateParts): MeshState {
  const { device, view, mark, mtu, families, peers, gone } = parts;
  const ways = new Map(peers.map((peer) => [peer.nodeId, wayOf(parts, peer)]));
  const unreachable = new Map(view.peers.map(({ nodeId, addr, nodeAddr }) => [nodeId, masquerade(nodeAddr ?? addr)]));
  return {
    device,
    self: view.self,
    addresses: addressesOf(view, view.self),
    mark,
    wayTo: (nodeId) => ways.get(nodeId) ?? unreachable.get(nodeId) ?? masquerade(''),
    marks: new Map(peers.map(({ meshId }) => [macOf(meshId), markOf(mark, meshId)])),
    senders: [...new Set(peers.map(({ addr }) => addr))],
    own: peers.flatMap((peer) => ownOf(view, peer)),
    mtu,
    vxlan: { vni: view.vni, port: view.port },
    routedByMain: families,
    gone,
  };
}

const masquerade = (v4: string): Way => ({ kind: 'masquerade', v4 });

function wayOf({ view, families, answers }: StateParts, { nodeId, meshId, up, addr, nodeAddr }: MeshPeer): Way {
  if (!up || !answers(nodeId)) return masquerade(nodeAddr ?? addr);
  const { v4, v6 } = addressesOf(view, meshId);
  return { kind: 'mesh', v4, ...(families.includes(6) && { v6 }) };
}

function ownOf(view: MeshView, { meshId, addr, nodeAddr }: MeshPeer): MeshState['own'] {
  const { v4, v6 } = addressesOf(view, meshId);
  return [...new Set([addr, nodeAddr])].flatMap((node) => {
    const family = node === undefined ? undefined : parseIp(node)?.family;
    return node !== undefined && family ? [{ node, mesh: family === 4 ? v4 : v6 }] : [];
  });
}

/** Equal for states that say the same. */
export const signatureOf = (state: MeshState, view: MeshView): string =>
  JSON.stringify([
    ...[state.device, state.self, state.addresses, state.mark, state.mtu, state.vxlan, state.routedByMain],
    ...[[...state.marks], state.senders, state.own, [...(state.gone ?? [])].sort()],
    view.peers.map(({ nodeId }) => [nodeId, state.wayTo(nodeId)]),
  ]);
