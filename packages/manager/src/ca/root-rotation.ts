import {
  ClusterError,
  checkSigningCa,
  createRootCa,
  crossSign,
  isSameKey,
  type KeyPair,
  splitPem,
} from '@swarmctl/shared/kit';
import type { Cluster, ClusterSpec } from '@swarmctl/shared/model';

// How an update of the cluster's spec begins, changes or takes back a rotation of the root certificate. The root rotation controller ends it.

type RootCA = Cluster['RootCA'];
type CAConfig = NonNullable<ClusterSpec['CAConfig']>;

/**
 * The root as the spec wants it; the same object when it wants no other. A root that is brought and is the present one ends a rotation; any other
 * begins one, in place of one that is in progress. Throws `invalid-argument` in Docker's words.
 */
export async function wantedRootCa(root: RootCA, config: CAConfig, now: number): Promise<RootCA> {
  const { SigningCACert: certificate = '', SigningCAKey: key = '', ForceRotate = 0 } = config;
  // Like all that a spec leaves out, 0 changes nothing.
  const forced = ForceRotate !== 0 && ForceRotate !== (root.LastForcedRotation ?? 0);
  const asked = { ...root, ...(forced && { LastForcedRotation: ForceRotate }) };
  if (certificate === '') {
    if (key !== '') throw refused('if a signing CA key is provided, the signing CA cert must also be provided');
    return forced ? rotatingTo(asked, await createRootCa(now)) : root;
  }
  if (key === '') {
    throw refused(
      'there must be at least one valid, reachable external CA corresponding to the desired CA certificate: external CAs are not supported yet, so give the key of the certificate',
    );
  }
  const brought = await checkSigningCa({ certificate, key }, now);
  const { Rotation, ...settled } = asked;
  if (isSamePem(brought.certificate, root.Certificate)) return { ...settled, Key: brought.key };
  if (isSameKey(brought.key, root.Key)) throw refused('Cannot update to a cert with an identical key');
  if (Rotation && isSamePem(brought.certificate, Rotation.Certificate)) return forced ? asked : root;
  return rotatingTo(asked, brought);
}

/** Signed by the root that all nodes trust, also when another rotation is in progress. */
async function rotatingTo(root: RootCA, next: KeyPair): Promise<RootCA> {
  const CrossSigned = await crossSign({ certificate: root.Certificate, key: root.Key }, next.certificate);
  return { ...root, Rotation: { Certificate: next.certificate, Key: next.key, CrossSigned } };
}

const isSamePem = (one: string, other: string): boolean => bytesOf(one) === bytesOf(other);
const bytesOf = (pem: string): string => (splitPem(pem)[0] ?? '').replaceAll(/\s/g, '');

const refused = (message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);
