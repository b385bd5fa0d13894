import { isIP } from 'node:net';
import type { Pkcs10CertificateRequest, PublicKey } from '@peculiar/x509';
import type { NodeRole } from '../model/index.ts';
import { ClusterError, messageOf } from './errors.ts';
import { authorityKey, backdateMs, exportKey, library, newKeys, newSerial, pem, signingKey } from './pki-root.ts';
import { clientAuth, clientUnit, type KeyPair, type PeerCertificate, serverAuth } from './pki-verify.ts';
import type { Random } from './random.ts';

// The cluster's certificates: one root, and one leaf per node that says which node it is (CN), in which role (OU), of which cluster (O).
// Names are always the signer's; a request contributes its public key and nothing else.

const hourMs = 3_600_000;

export const defaultCertificateLifeMs = 90 * 24 * hourMs;
export const minCertificateLifeMs = hourMs;

const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const apiUnit = 'swarm-api';

export interface NodeName {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
}

/** Signs a request's public key for a node. Throws `invalid-argument` for a request that is none or not signed by its own key. */
export async function signNodeCertificate(
  root: KeyPair,
  csr: string,
  name: NodeName,
  now: number,
  lifeMs = defaultCertificateLifeMs,
): Promise<string> {
  const unit = `swarm-${name.role}`;
  return signLeaf(
    root,
    csr,
    {
      clusterId: name.clusterId,
      unit,
      name: name.nodeId,
      usages: [serverAuth, clientAuth],
      hosts: [unit, name.nodeId],
    },
    { now, lifeMs },
  );
}

/** For someone who may use the API over TCP: `name` is for people. Throws as `signNodeCertificate` does. */
export function signClientCertificate(
  root: KeyPair,
  csr: string,
  { clusterId, name }: { readonly clusterId: string; readonly name: string },
  now: number,
  lifeMs = defaultCertificateLifeMs,
): Promise<string> {
  return signLeaf(root, csr, { clusterId, unit: clientUnit, name, usages: [clientAuth], hosts: [] }, { now, lifeMs });
}

/** For the API's port of a manager, whom clients reach by any of `hosts`: names and addresses. */
export function signApiCertificate(
  root: KeyPair,
  csr: string,
  {
    clusterId,
    nodeId,
    hosts,
  }: { readonly clusterId: string; readonly nodeId: string; readonly hosts: readonly string[] },
  now: number,
  lifeMs = defaultCertificateLifeMs,
): Promise<string> {
  return signLeaf(root, csr, { clusterId, unit: apiUnit, name: nodeId, usages: [serverAuth], hosts }, { now, lifeMs });
}

interface Leaf {
  readonly clusterId: string;
  readonly unit: string;
  readonly name: string;
  readonly usages: string[];
  readonly hosts: readonly string[];
}

async function signLeaf(
  root: KeyPair,
  csr: string,
  leaf: Leaf,
  time: { now: number; lifeMs: number },
): Promise<string> {
  const [x509, publicKey] = [await library(), await requestKey(csr)];
  const issuer = new x509.X509Certificate(root.certificate);
  const signing = await signingKey(root.key);
  const hosts = leaf.hosts.map((value) => ({ type: isIP(value) ? ('ip' as const) : ('dns' as const), value }));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    issuer: issuer.subjectName,
    subject: [{ O: [leaf.clusterId] }, { OU: [leaf.unit] }, { CN: [leaf.name] }],
    notBefore: new Date(Math.max(time.now - backdateMs, issuer.notBefore.getTime())),
    notAfter: new Date(time.now + Math.max(time.lifeMs, minCertificateLifeMs)),
    publicKey,
    signingKey: signing.key,
    signingAlgorithm: signing.algorithm,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(leaf.usages),
      new x509.BasicConstraintsExtension(false, undefined, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey, false),
      await authorityKey(issuer),
      ...(hosts.length > 0 ? [new x509.SubjectAlternativeNameExtension(hosts)] : []),
    ],
  });
  return pem(certificate);
}

/** A new key with the request to have it certified. */
export async function createCsr(): Promise<{ readonly csr: string; readonly key: string }> {
  const [x509, keys] = [await library(), await newKeys()];
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ name: '', keys, signingAlgorithm: ecdsa });
  return { csr: `${request.toString('pem')}\n`, key: await exportKey(keys.privateKey) };
}

async function requestKey(csr: string): Promise<PublicKey> {
  const x509 = await library();
  let request: Pkcs10CertificateRequest;
  try {
    request = new x509.Pkcs10CertificateRequest(csr);
    await request.publicKey.export(ecdsa, ['verify']);
  } catch (error) {
    throw invalid(`this is no certificate request with an ECDSA P-256 key: ${messageOf(error)}`);
  }
  if (!(await request.verify().catch(() => false)))
    throw invalid('the certificate request is not signed by its own key');
  return request.publicKey;
}

/** When to renew: at a random point of 50 to 80 % of its life, so that a cluster's nodes do not all come at once. */
export function renewalTime(peer: Pick<PeerCertificate, 'notBefore' | 'notAfter'>, random: Random): number {
  const start = peer.notBefore + backdateMs;
  return start + (peer.notAfter - start) * (0.5 + 0.3 * random());
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
