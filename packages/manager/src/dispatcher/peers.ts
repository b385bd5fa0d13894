import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { meshVniOf, type Node } from '@swarmctl/shared/model';
import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import { type Ends, PeerTracker } from './peer-tracker.ts';

// The mesh between the nodes as each of them needs to know it: from the numbers that they were given and what they say of their ends.

/** Of RFC 2544: nobody's addresses outside of a laboratory. */
const pool4 = '198.18.0.0/16';
const defaultPort = 4_789;

/** UDP, of VXLAN packets between the nodes: the cluster has it for life. */
export const dataPathPort = (view: View): number => view.cluster()?.DataPathPort || defaultPort;

/** What all nodes of a cluster have in common; another cluster on the same machines has something else. */
export function meshOf(clusterId: string, port: number): Pick<MeshView, 'vni' | 'port' | 'pool4' | 'pool6'> {
  const digest = createHash('sha256').update(`mesh of ${clusterId}`).digest();
  const [a, b, c, d] = [0, 2, 4, 6].map((at) => digest.readUInt16BE(at).toString(16).padStart(4, '0'));
  return {
    vni: meshVniOf(clusterId),
    port,
    pool4,
    pool6: `fd${a?.slice(2)}:${b}:${c}:${d}::/64`,
  };
}

/** The nodes that have an end of the mesh, by their numbers. Pure. */
export const meshPeers = (view: View): MeshPeer[] =>
  view
    .list('nodes')
    .flatMap((node) => peerOf(node) ?? [])
    .sort((a, b) => a.meshId - b.meshId);

function peerOf({ ID, MeshID, Description, Status }: Node): MeshPeer | undefined {
  const mesh = Description?.Mesh;
  if (!mesh || MeshID === undefined) return undefined;
  return {
    nodeId: ID,
    meshId: MeshID,
    addr: mesh.dataPathAddr,
    ...(Status.Addr !== '' && Status.Addr !== mesh.dataPathAddr && { nodeAddr: Status.Addr }),
    up: mesh.up,
  };
}

/** The event may have changed what the mesh is. */
export const concernsMesh = (before: Node | undefined, after: Node | undefined): boolean =>
  before?.MeshID !== after?.MeshID ||
  (after?.MeshID !== undefined &&
    (before?.Status.Addr !== after.Status.Addr ||
      !isDeepStrictEqual(before?.Description?.Mesh, after.Description?.Mesh)));

type MeshCommon = Omit<MeshView, 'self' | 'peers'>;

/** The mesh kept in step with the state, and which session was shown it as it is. */
export class MeshTracker extends PeerTracker<MeshPeer, MeshCommon, MeshView> {
  protected override endsOf(view: View): Ends<MeshPeer, MeshCommon> {
    const cluster = view.cluster();
    return { peers: meshPeers(view), common: cluster && meshOf(cluster.ID, dataPathPort(view)) };
  }

  protected override viewOf({ meshId: self }: MeshPeer, common: MeshCommon, peers: readonly MeshPeer[]): MeshView {
    return { self, ...common, peers };
  }
}
