import { createHash, createPrivateKey, X509Certificate as NodeCertificate } from 'node:crypto';
import type { NodeRole, TlsInfo } from '../model/index.ts';
import { ClusterError } from './errors.ts';

// Whom to believe: certificates are held against the roots that this node trusts, and read for whom they name.

export const serverAuth = '1.3.6.1.5.5.7.3.1';
export const clientAuth = '1.3.6.1.5.5.7.3.2';
export const clientUnit = 'swarm-client';

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
  /** The leaf, then what leads from it to a root that others may know alone. */
  readonly certificate: string;
  /** The roots to trust: the cluster's, and while it is rotated the next behind it. The last one signs. */
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

/** A leaf, and behind it certificates that may lead from it to a root: PEM, or as a peer showed them. */
export type Shown = string | NodeCertificate | readonly NodeCertificate[];

/**
 * Whom the certificate names, after checking that one of the roots (PEM, one or more) signed it, or one that the root itself has signed and that
 * is shown with it; that it is a node's certificate, and that it is valid at `now`; one that expired up to `graceMs` ago passes. The roots' own
 * end is not looked at. Throws `unauthenticated`.
 */
export function verifyNodeCertificate(shown: Shown, roots: string, now: number, graceMs = 0): PeerCertificate {
  const leaf = trustedLeaf(shown, roots, now);
  const peer = peerOf(leaf);
  if (now < peer.notBefore) throw refused(`the certificate of node ${peer.nodeId} is not valid yet`);
  if (now >= peer.notAfter + graceMs) throw refused(`the certificate of node ${peer.nodeId} has expired`);
  return peer;
}

/** The name of a client of the API, after the same checks. Throws `unauthenticated`. */
export function verifyClientCertificate(
  shown: Shown,
  { roots, clusterId }: { readonly roots: string; readonly clusterId: string },
  now: number,
): string {
  const leaf = trustedLeaf(shown, roots, now);
  const subject = leaf.toLegacyObject().subject as unknown as Record<string, unknown>;
  if (subject['OU'] !== clientUnit || subject['O'] !== clusterId || leaf.ca)
    throw refused('the certificate is not that of a client of this cluster');
  if (now < Date.parse(leaf.validFrom) || now >= Date.parse(leaf.validTo))
    throw refused('the certificate of the client is not valid now');
  return String(subject['CN']);
}

function chainOf(shown: Shown): readonly NodeCertificate[] {
  if (typeof shown !== 'string') return shown instanceof NodeCertificate ? [shown] : shown;
  try {
    return splitPem(shown).map((block) => new NodeCertificate(block));
  } catch {
    throw refused('this is not a certificate');
  }
}

function leafOf(shown: Shown): NodeCertificate {
  const [leaf] = chainOf(shown);
  if (!leaf) throw refused('this is not a certificate');
  return leaf;
}

function trustedLeaf(shown: Shown, roots: string, now: number): NodeCertificate {
  const leaf = leafOf(shown);
  const trusted = splitPem(roots).map((root) => new NodeCertificate(root));
  const isTrusted = (one: NodeCertificate) => trusted.some((root) => isSignedBy(one, root));
  const between = () => chainOf(shown).slice(1);
  if (isTrusted(leaf) || between().some((one) => isSignedBy(leaf, one) && isValid(one, now) && isTrusted(one)))
    return leaf;
  throw refused('the certificate is not of this cluster: it was signed by an unknown authority');
}

const isValid = (certificate: NodeCertificate, now: number): boolean =>
  now >= Date.parse(certificate.validFrom) && now < Date.parse(certificate.validTo);

export const isSignedBy = (certificate: NodeCertificate, signer: NodeCertificate): boolean =>
  signer.ca && certificate.checkIssued(signer) && certificate.verify(signer.publicKey);

/** The leaf of what is shown was signed by this root (PEM) itself. */
export const isOfRoot = (shown: Shown, root: string): boolean => isSignedBy(leafOf(shown), new NodeCertificate(root));

/** Reads the names without checking who signed. Throws `unauthenticated` when they are not those of a node's certificate. */
export function peerOf(shown: Shown): PeerCertificate {
  const leaf = leafOf(shown);
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

/** base36 SHA-256 of a certificate's DER, 50 characters. */
export const caDigest = (certificate: string | Uint8Array): string =>
  BigInt(`0x${createHash('sha256').update(derOf(certificate)).digest('hex')}`)
    .toString(36)
    .padStart(50, '0');

const derOf = (certificate: string | Uint8Array): Uint8Array =>
  typeof certificate === 'string' ? new NodeCertificate(certificate).raw : certificate;

/** What clients compare: the trust root, PEM; subject and public key of who signs, or has signed, base64 DER. */
export function tlsInfoOf(trustRoot: string, signer = trustRoot): TlsInfo {
  const certificate = new NodeCertificate(signer);
  return {
    TrustRoot: trustRoot,
    CertIssuerSubject: subjectOf(certificate.raw).toString('base64'),
    CertIssuerPublicKey: certificate.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  };
}

/** Of a node: while two roots are trusted, the first is the cluster's still. */
export function tlsInfoOfIdentity({ certificate, ca }: Pick<Identity, 'certificate' | 'ca'>): TlsInfo | undefined {
  const roots = splitPem(ca);
  const signer = [...roots, ...splitPem(certificate).slice(1)].find((one) => isOfRoot(certificate, one));
  return roots[0] === undefined || signer === undefined ? undefined : tlsInfoOf(roots[0], signer);
}

/** The same signer, as far as clients can see. */
export const isSameIssuer = (one: Partial<TlsInfo> | undefined, other: TlsInfo): boolean =>
  one?.CertIssuerSubject === other.CertIssuerSubject && one?.CertIssuerPublicKey === other.CertIssuerPublicKey;

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
  const leaf = leafOf(identity.certificate);
  if (!leaf.checkPrivateKey(createPrivateKey(identity.key))) throw invalid('the key is not that of the certificate');
  // Its dates are not our concern here: an expired identity is renewed, not refused.
  return verifyNodeCertificate(identity.certificate, identity.ca, Date.parse(leaf.validFrom));
}

const invalid = (message: string) => new ClusterError('invalid-argument', message);
const refused = (message: string) => new ClusterError('unauthenticated', message);
