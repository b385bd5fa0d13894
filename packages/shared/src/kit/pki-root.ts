import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  X509Certificate as NodeCertificate,
  randomBytes,
  webcrypto,
} from 'node:crypto';
import type { X509Certificate } from '@peculiar/x509';
import { ClusterError, messageOf } from './errors.ts';
import { isSignedBy, type KeyPair, splitPem } from './pki-verify.ts';

// The cluster's root certificate: made here, or brought by the user; and how one hands over to the next. The old root signs the new one's name and key once
// more, so that whoever trusts the old root alone trusts what the new one signs.

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

export const rootLifeMs = 20 * 365 * dayMs;
/** What is left of a root that is brought must be as much. */
const minRootLifeMs = 365 * dayMs;
/** Certificates begin in the past, so that a node whose clock is behind accepts them. */
export const backdateMs = hourMs;

const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const rootName = 'swarm-ca';

/** Loading it takes longer than all else that a command line does, so only who makes certificates waits for it. */
export async function library() {
  await import('reflect-metadata');
  return import('@peculiar/x509');
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

/** The next root's name and key under the old root's signature. Like it in all that counts for what it signed: its time is the next root's. */
export async function crossSign(old: KeyPair, next: string): Promise<string> {
  const x509 = await library();
  const [issuer, subject] = [new x509.X509Certificate(old.certificate), new x509.X509Certificate(next)];
  const { key, algorithm } = await signingKey(old.key);
  const subjectKey = subject.getExtension(x509.SubjectKeyIdentifierExtension);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    issuer: issuer.subjectName,
    subject: subject.subjectName,
    notBefore: subject.notBefore,
    notAfter: subject.notAfter,
    publicKey: subject.publicKey,
    signingKey: key,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.BasicConstraintsExtension(true, undefined, true),
      ...(subjectKey ? [subjectKey] : []),
      await authorityKey(issuer),
    ],
  });
  return pem(certificate);
}

/** What a certificate says of its signer's key: the name that the signer itself gives it. */
export async function authorityKey(issuer: X509Certificate) {
  const x509 = await library();
  const own = issuer.getExtension(x509.SubjectKeyIdentifierExtension);
  return own
    ? new x509.AuthorityKeyIdentifierExtension(own.keyId, false)
    : x509.AuthorityKeyIdentifierExtension.create(issuer, false);
}

/**
 * A root that the user brings, as it is stored: one self-signed certificate of a CA, good for another year, and its key, both PEM. Rejects with
 * `invalid-argument` and what is wrong, in Docker's words where it has some; never says anything of the key.
 */
export async function checkSigningCa(given: KeyPair, now: number): Promise<KeyPair> {
  const blocks = splitPem(given.certificate);
  const [certificate] = blocks;
  if (certificate === undefined) throw refused('no valid root CA certificates found');
  if (blocks.length > 1) throw refused('the desired CA certificate cannot contain multiple certificates');
  const root = readCertificate(certificate);
  if (!root.ca) throw refused('the desired CA certificate is not that of a CA: its basic constraints must say CA:TRUE');
  if (!isSignedBy(root, root)) throw refused('error while validating Root CA Certificate: it is not signed by itself');
  if (now < Date.parse(root.validFrom))
    throw refused(`the desired CA certificate is not valid before ${root.validFrom}`);
  if (Date.parse(root.validTo) < now + minRootLifeMs) throw refused('CA certificate expires too soon');
  const limit = await limitOf(certificate);
  if (limit) throw refused(`the desired CA certificate ${limit}`);
  const key = readKey(given.key);
  algorithmOf(key);
  if (publicPart(root.publicKey) !== publicPart(createPublicKey(key))) throw refused('certificate key mismatch');
  return { certificate, key: key.export({ type: 'pkcs8', format: 'pem' }) as string };
}

const nameConstraints = '2.5.29.30';

/** What it says against signing nodes, clients and the next root; whoever verifies would hold to it. */
async function limitOf(certificate: string): Promise<string | undefined> {
  const x509 = await library();
  const root = new x509.X509Certificate(certificate);
  if (root.getExtension(x509.BasicConstraintsExtension)?.pathLength === 0)
    return 'allows no CA below it (pathlen:0), and a later root is signed by it for as long as it takes the place';
  if (root.getExtension(nameConstraints))
    return 'limits the names below it (name constraints), and nodes have names of their own';
  const purposes = root.getExtension(x509.ExtendedKeyUsageExtension)?.usages;
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  if (purposes && !(purposes.includes(serverAuth) && purposes.includes(clientAuth)))
    return 'is not for servers and clients alike (extended key usage), and nodes are both';
  return undefined;
}

function readCertificate(pemText: string): NodeCertificate {
  try {
    return new NodeCertificate(pemText);
  } catch (error) {
    throw refused(`invalid root certificates: ${messageOf(error)}`);
  }
}

function readKey(text: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch {
    throw refused('malformed private key: it should be one private key in PEM, without a passphrase');
  }
}

/** The same private key (PEM), however it is written. */
export const isSameKey = (one: string, other: string): boolean =>
  publicPart(createPublicKey(one)) === publicPart(createPublicKey(other));

/** Compared as text: OpenSSL's own comparison of keys of two kinds leaves an error behind, which the next call then takes for its own. */
const publicPart = (key: KeyObject): string => key.export({ type: 'spki', format: 'der' }).toString('base64');

const curves: Readonly<Record<string, { readonly namedCurve: string; readonly hash: string }>> = {
  prime256v1: { namedCurve: 'P-256', hash: 'SHA-256' },
  secp384r1: { namedCurve: 'P-384', hash: 'SHA-384' },
  secp521r1: { namedCurve: 'P-521', hash: 'SHA-512' },
};
const minRsaBits = 2_048;

/** How a key signs. */
function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject) {
  const curve = curves[asymmetricKeyDetails?.namedCurve ?? ''];
  if (asymmetricKeyType === 'ec' && curve) return { name: 'ECDSA', ...curve };
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= minRsaBits)
    return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  throw refused(
    `unsupported signing key: it should be ECDSA on P-256, P-384 or P-521, or RSA of at least ${minRsaBits} bits`,
  );
}

export async function signingKey(key: string) {
  const object = createPrivateKey(key);
  const algorithm = algorithmOf(object);
  const der = object.export({ type: 'pkcs8', format: 'der' });
  const imported = await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
  return { key: imported as webcrypto.CryptoKey, algorithm };
}

export const newKeys = () =>
  webcrypto.subtle.generateKey(ecdsa, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;

/** 20 bytes at most, positive, never zero. */
export function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

export const pem = (certificate: X509Certificate): string => `${certificate.toString('pem')}\n`;

export async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
}

const refused = (message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);
