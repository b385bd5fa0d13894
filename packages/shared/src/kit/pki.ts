import { createHash, createPrivateKey, X509Certificate as NodeCertificate, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import type { Pkcs10CertificateRequest, PublicKey, X509Certificate } from '@peculiar/x509';
import type { NodeRole, TlsInfo } from '../model/index.ts';
import { ClusterError, messageOf } from './errors.ts';
import type { Random } from './random.ts';

// The cluster's certificates: one root, and one leaf per node that says which node it is (CN), in which role (OU), of which cluster (O).
// Names are always the signer's; a request contributes its public key and nothing else.

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

export const rootLifeMs = 20 * 365 * dayMs;
export const defaultCertificateLifeMs = 90 * dayMs;
export const minCertificateLifeMs = hourMs;
/** Certificates begin in the past, so that a node whose clock is behind accepts them. */
const backdateMs = hourMs;

const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';
const rootName = 'swarm-ca';
const clientUnit = 'swarm-client';
const apiUnit = 'swarm-api';

/** Loading it takes longer than all else that a command line does, so only who makes certificates waits for it. */
async function library() {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

/** Certificate and private key, both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** What a node shows to others, and what it trusts. */
export interface Identity extends KeyPair {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
  readonly ca: string;
}

/** Whom a certificate names. */
export interface PeerCertificate {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
  /** ms since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export async function createRootCa(now: number): Promise<KeyPair> {
  const [x509, keys] = [await library(), await newKeys()];
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: [rootName] }],
    notBefore: new Date(now - backdateMs),
    notAfter: new Date(now + rootLifeMs),
    keys,
    signingAlgorithm: ecdsa,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.BasicConstraintsExtension(true, undefined, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false),
    ],
  });
  return { certificate: pem(certificate), key: await exportKey(keys.privateKey) };
}

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
  const hosts = leaf.hosts.map((value) => ({ type: isIP(value) ? ('ip' as const) : ('dns' as const), value }));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    issuer: issuer.subjectName,
    subject: [{ O: [leaf.clusterId] }, { OU: [leaf.unit] }, { CN: [leaf.name] }],
    notBefore: new Date(time.now - backdateMs),
    notAfter: new Date(time.now + Math.max(time.lifeMs, minCertificateLifeMs)),
    publicKey,
    signingKey: await importKey(root.key),
    signingAlgorithm: ecdsa,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(leaf.usages),
      new x509.BasicConstraintsExtension(false, undefined, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey, false),
      await x509.AuthorityKeyIdentifierExtension.create(issuer, false),
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

/**
 * Whom the certificate names, after checking that one of the roots (PEM, one or more) signed it, that it is a node's certificate, and that
 * it is valid at `now`; one that expired up to `graceMs` ago passes. Throws `unauthenticated`.
 */
export function verifyNodeCertificate(
  certificate: string | NodeCertificate,
  roots: string,
  now: number,
  graceMs = 0,
): PeerCertificate {
  const leaf = parse(certificate);
  const signer = splitPem(roots).some((root) => signedBy(leaf, new NodeCertificate(root)));
  if (!signer) throw refused('the certificate is not of this cluster: it was signed by an unknown authority');
  const peer = peerOf(leaf);
  if (now < peer.notBefore) throw refused(`the certificate of node ${peer.nodeId} is not valid yet`);
  if (now >= peer.notAfter + graceMs) throw refused(`the certificate of node ${peer.nodeId} has expired`);
  return peer;
}

/** The name of a client of the API, after the same checks. Throws `unauthenticated`. */
export function verifyClientCertificate(
  certificate: string | NodeCertificate,
  { roots, clusterId }: { readonly roots: string; readonly clusterId: string },
  now: number,
): string {
  const leaf = parse(certificate);
  if (!splitPem(roots).some((root) => signedBy(leaf, new NodeCertificate(root))))
    throw refused('the certificate is not of this cluster: it was signed by an unknown authority');
  const subject = leaf.toLegacyObject().subject as unknown as Record<string, unknown>;
  if (subject['OU'] !== clientUnit || subject['O'] !== clusterId || leaf.ca)
    throw refused('the certificate is not that of a client of this cluster');
  if (now < Date.parse(leaf.validFrom) || now >= Date.parse(leaf.validTo))
    throw refused('the certificate of the client is not valid now');
  return String(subject['CN']);
}

function parse(certificate: string | NodeCertificate): NodeCertificate {
  if (typeof certificate !== 'string') return certificate;
  try {
    return new NodeCertificate(certificate);
  } catch {
    throw refused('this is not a certificate');
  }
}

const signedBy = (leaf: NodeCertificate, root: NodeCertificate): boolean =>
  root.ca && leaf.checkIssued(root) && leaf.verify(root.publicKey);

/** Reads the names without checking who signed. Throws `unauthenticated` when they are not those of a node's certificate. */
export function peerOf(certificate: string | NodeCertificate): PeerCertificate {
  const leaf = parse(certificate);
  const usages = leaf.keyUsage ?? [];
  if (leaf.ca || !usages.includes(serverAuth) || !usages.includes(clientAuth))
    throw refused('the certificate is not that of a node');
  const subject = leaf.toLegacyObject().subject as unknown as Record<string, unknown>;
  const [nodeId, unit, clusterId] = [subject['CN'], subject['OU'], subject['O']];
  const role = unit === 'swarm-manager' ? 'manager' : unit === 'swarm-worker' ? 'worker' : undefined;
  if (!isId(nodeId) || !isId(clusterId) || !role) throw refused('the names in the certificate are not those of a node');
  return { nodeId, role, clusterId, notBefore: Date.parse(leaf.validFrom), notAfter: Date.parse(leaf.validTo) };
}

const isId = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-z][0-9a-z_-]{0,63}$/.test(value);

/** When to renew: at a random point of 50 to 80 % of its life, so that a cluster's nodes do not all come at once. */
export function renewalTime(peer: Pick<PeerCertificate, 'notBefore' | 'notAfter'>, random: Random): number {
  const start = peer.notBefore + backdateMs;
  return start + (peer.notAfter - start) * (0.5 + 0.3 * random());
}

/** base36 SHA-256 of a certificate's DER, 50 characters. */
export const caDigest = (certificate: string | Uint8Array): string =>
  BigInt(`0x${createHash('sha256').update(derOf(certificate)).digest('hex')}`)
    .toString(36)
    .padStart(50, '0');

const derOf = (certificate: string | Uint8Array): Uint8Array =>
  typeof certificate === 'string' ? new NodeCertificate(certificate).raw : certificate;

/** The trust root as clients compare it: PEM, subject and public key as base64 DER. */
export function tlsInfoOf(ca: string): TlsInfo {
  const certificate = new NodeCertificate(ca);
  return {
    TrustRoot: ca,
    CertIssuerSubject: subjectOf(certificate.raw).toString('base64'),
    CertIssuerPublicKey: certificate.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  };
}

/** Certificate ::= { tbs { [0] version, serial, algorithm, issuer, validity, subject, ... }, ... }, each a DER element. */
function subjectOf(der: Buffer): Buffer {
  const inside = (at: number) => element(der, at).body;
  let at = inside(inside(0));
  for (let skipped = 0; skipped < 5; skipped++) at = element(der, at).end;
  return der.subarray(at, element(der, at).end);
}

/** Where the element that starts at `at` has its body and its end. */
function element(der: Buffer, at: number): { readonly body: number; readonly end: number } {
  const first = der.readUInt8(at + 1);
  if (first < 0x80) return { body: at + 2, end: at + 2 + first };
  const bytes = first & 0x7f;
  const body = at + 2 + bytes;
  return { body, end: body + der.readUIntBE(at + 2, bytes) };
}

/** The PEM blocks of a bundle, each as a text of its own. */
export const splitPem = (bundle: string): string[] =>
  [...bundle.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)].map(([block]) => `${block}\n`);

/** Throws `invalid-argument` unless certificate, key and root belong together. */
export function checkIdentity(identity: KeyPair & { readonly ca: string }): PeerCertificate {
  const leaf = parse(identity.certificate);
  if (!leaf.checkPrivateKey(createPrivateKey(identity.key))) throw invalid('the key is not that of the certificate');
  // Its dates are not our concern here: an expired identity is renewed, not refused.
  return verifyNodeCertificate(leaf, identity.ca, Date.parse(leaf.validFrom));
}

const newKeys = () => webcrypto.subtle.generateKey(ecdsa, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;

/** 20 bytes at most, positive, never zero. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

const pem = (certificate: X509Certificate): string => `${certificate.toString('pem')}\n`;

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
}

function importKey(key: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(key).export({ type: 'pkcs8', format: 'der' });
  return webcrypto.subtle.importKey('pkcs8', der, ecdsa, false, ['sign']) as Promise<webcrypto.CryptoKey>;
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
const refused = (message: string) => new ClusterError('unauthenticated', message);
