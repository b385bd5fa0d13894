import { caDigest, formatJoinToken, isSameIssuer, tlsInfoOf } from '@swarmctl/shared/kit';
import type { Cluster, Node, StoreEvent } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import type { Controller } from './types.ts';

// Ends a rotation of the root certificate: when every node has a certificate of the next root, that is the cluster's, and tokens with its digest take the
// place of those with the old one. A node that is away is waited for, since it could not come back otherwise; removing it ends the wait.

const key = 'root';

/** `newSecret`: of a join token. */
export function rootRotation(newSecret: () => string): Controller {
  return {
    name: 'root-rotation',
    marks: (event, view) => (concerns(event, view) ? [key] : []),
    all: () => [key],
    decide(view) {
      const cluster = view.cluster();
      const next = cluster?.RootCA.Rotation;
      if (!cluster || !next || waitsFor(view, next.Certificate).length > 0) return { changes: [] };
      const { LastForcedRotation } = cluster.RootCA;
      const digest = caDigest(next.Certificate);
      const token = () => formatJoinToken({ digest, secret: newSecret() });
      const RootCA: Cluster['RootCA'] = {
        Certificate: next.Certificate,
        Key: next.Key,
        Digest: digest,
        JoinTokens: { Worker: token(), Manager: token() },
        ...(LastForcedRotation !== undefined && { LastForcedRotation }),
      };
      const { ID: id, Version } = cluster;
      return { changes: [{ op: 'update', table: 'cluster', id, version: Version.Index, set: { RootCA } }] };
    },
  };
}

/** Nodes whose certificate is, as far as they have said, of another root. */
function waitsFor(view: View, root: string): Node[] {
  const wanted = tlsInfoOf(root);
  return view.list('nodes').filter(({ Description }) => !isSameIssuer(Description?.TLSInfo, wanted));
}

function concerns(event: StoreEvent, view: View): boolean {
  switch (event.table) {
    case 'cluster':
      return event.before?.RootCA !== event.after?.RootCA;
    case 'nodes':
      return (
        view.cluster()?.RootCA.Rotation !== undefined &&
        (!event.after || issuerOf(event.before) !== issuerOf(event.after))
      );
    default:
      return false;
  }
}

const issuerOf = (node: Node | undefined): string | undefined => node?.Description?.TLSInfo?.CertIssuerPublicKey;
