import { X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { createCsr, signNodeCertificate } from './pki.ts';
import { checkSigningCa, createRootCa, crossSign, exportKey, isSameKey, library } from './pki-root.ts';
import {
  checkIdentity,
  isOfRoot,
  type KeyPair,
  tlsInfoOf,
  tlsInfoOfIdentity,
  verifyNodeCertificate,
} from './pki-verify.ts';

const now = 1_800_000_000_000;
const year = 365 * 24 * 3_600_000;
const name = { nodeId: 'node1', role: 'manager', clusterId: 'cluster1' } as const;

const kinds = {
  'P-256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'P-384': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  'P-521': { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' },
  RSA: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2_048, publicExponent: new Uint8Array([1, 0, 1]) },
  'weak RSA': {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength: 1_024,
    publicExponent: new Uint8Array([1, 0, 1]),
  },
} as const;

type X509 = Awaited<ReturnType<typeof library>>;

interface RootWords {
  readonly from?: number;
  readonly to?: number;
  readonly ca?: boolean;
  /** CAs in a row below it. */
  readonly below?: number;
  readonly extensions?: (x509: X509) => InstanceType<X509['Extension']>[];
}

/** Permits the DNS name `x` alone. */
const oneName = Uint8Array.from([0x30, 0x07, 0xa0, 0x05, 0x30, 0x03, 0x82, 0x01, 0x78]);

/** A root as users bring it, without a subject key identifier. */
async function broughtRoot(
  kind: keyof typeof kinds = 'P-256',
  { from = now, to = now + 2 * year, ca = true, below, extensions = () => [] }: RootWords = {},
): Promise<KeyPair> {
  const x509 = await library();
  const algorithm = kinds[kind];
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'C=DE, O=Müller & Söhne GmbH, CN=swarm-ca',
    notBefore: new Date(from),
    notAfter: new Date(to),
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(ca, below, true), ...extensions(x509)],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: await exportKey(keys.privateKey) };
}

const [first, second, stranger] = [await createRootCa(now), await createRootCa(now), await createRootCa(now)];
const { csr, key } = await createCsr();

describe('a root that hands over', () => {
  test.each(['P-256', 'P-384', 'P-521', 'RSA'] as const)(
    'to one of %s: its leaves are trusted through it, and by the next alone',
    async (kind) => {
      const next = await broughtRoot(kind);
      const cross = await crossSign(first, next.certificate);
      const leaf = await signNodeCertificate(next, csr, name, now);
      for (const roots of [first.certificate, next.certificate, first.certificate + next.certificate])
        expect(verifyNodeCertificate(leaf + cross, roots, now)).toMatchObject(name);
      expect(() => verifyNodeCertificate(leaf, first.certificate, now)).toThrow('unknown authority');
      expect(() => verifyNodeCertificate(leaf + cross, stranger.certificate, now)).toThrow('unknown authority');
      expect(checkIdentity({ certificate: leaf + cross, key, ca: first.certificate + next.certificate })).toMatchObject(
        name,
      );
      // Others compare the bytes of names.
      expect(tlsInfoOf(cross).CertIssuerSubject).toBe(tlsInfoOf(next.certificate).CertIssuerSubject);
    },
  );

  test('from one that a user brought, to one of ours', async () => {
    const old = await broughtRoot('RSA');
    const leaf = await signNodeCertificate(second, csr, name, now);
    const cross = await crossSign(old, second.certificate);
    expect(verifyNodeCertificate(leaf + cross, old.certificate, now)).toMatchObject(name);
  });

  test('lets no leaf of the old one pass where the next alone is trusted, whatever is shown with it', async () => {
    const leaf = await signNodeCertificate(first, csr, name, now);
    const cross = await crossSign(first, second.certificate);
    expect(() => verifyNodeCertificate(leaf + cross + first.certificate, second.certificate, now)).toThrow(
      'unknown authority',
    );
  });

  test('a leaf is not trusted through another leaf', async () => {
    const leaf = await signNodeCertificate(first, csr, name, now);
    const forged = await signNodeCertificate({ certificate: leaf, key }, csr, { ...name, nodeId: 'node2' }, now);
    expect(() => verifyNodeCertificate(forged + leaf, first.certificate, now)).toThrow('unknown authority');
  });

  test('what a node says of itself: the root of the cluster, and who signed its certificate', async () => {
    const next = await broughtRoot('P-384');
    const cross = await crossSign(first, next.certificate);
    const leaf = await signNodeCertificate(next, csr, name, now);
    const during = tlsInfoOfIdentity({ certificate: leaf + cross, ca: first.certificate + next.certificate });
    expect(during).toEqual(tlsInfoOf(first.certificate, next.certificate));
    expect(tlsInfoOfIdentity({ certificate: leaf + cross, ca: first.certificate })).toEqual(during);
    expect(tlsInfoOfIdentity({ certificate: leaf, ca: next.certificate })).toEqual(tlsInfoOf(next.certificate));
    expect(isOfRoot(leaf + cross, next.certificate)).toBe(true);
    expect(isOfRoot(leaf + cross, first.certificate)).toBe(false);
  });

  test('OpenSSL goes the same way', async () => {
    const real = Date.now();
    const [old, next] = [await createRootCa(real), await createRootCa(real)];
    const leaf = await signNodeCertificate(next, csr, name, real);
    const server = createServer({ cert: leaf + (await crossSign(old, next.certificate)), key }).listen(0, '127.0.0.1');
    server.on('secureConnection', (socket) => socket.end());
    try {
      await once(server, 'listening');
      for (const ca of [old.certificate, next.certificate]) {
        const { port } = server.address() as AddressInfo;
        const socket = connect({ host: '127.0.0.1', port, ca, servername: 'swarm-manager' });
        await once(socket, 'secureConnect');
        expect(socket.authorized).toBe(true);
        socket.destroy();
      }
    } finally {
      server.close();
    }
  });
});

describe('a root that is brought', () => {
  test.each(['P-256', 'P-384', 'P-521', 'RSA'] as const)('of %s is taken', async (kind) => {
    const brought = await broughtRoot(kind);
    const kept = await checkSigningCa({ ...brought, certificate: `Our root\n${brought.certificate}\n` }, now);
    expect(kept.certificate).toBe(brought.certificate);
    expect(isSameKey(kept.key, brought.key)).toBe(true);
  });

  test.each<[string, () => Promise<KeyPair>, string]>([
    ['nothing', async () => ({ ...first, certificate: '' }), 'no valid root CA certificates found'],
    [
      'rubbish',
      async () => ({ ...first, certificate: '-----BEGIN CERTIFICATE-----\nabcd\n-----END CERTIFICATE-----\n' }),
      'invalid root certificates',
    ],
    [
      'two certificates',
      async () => ({ ...first, certificate: first.certificate + second.certificate }),
      'cannot contain multiple',
    ],
    ['one of no CA', () => broughtRoot('P-256', { ca: false }), 'CA:TRUE'],
    [
      'one that another signed',
      async () => ({ ...second, certificate: await crossSign(first, second.certificate) }),
      'not signed by itself',
    ],
    ['one from the future', () => broughtRoot('P-256', { from: now + 1_000, to: now + 3 * year }), 'not valid before'],
    [
      'one that ends within a year',
      () => broughtRoot('P-256', { to: now + year - 1_000 }),
      'CA certificate expires too soon',
    ],
    ['one with no CA below it', () => broughtRoot('P-256', { below: 0 }), 'pathlen:0'],
    [
      'one for some names',
      () => broughtRoot('P-256', { extensions: ({ Extension }) => [new Extension('2.5.29.30', true, oneName)] }),
      'name constraints',
    ],
    [
      'one for servers alone',
      () =>
        broughtRoot('P-256', {
          extensions: (x509) => [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth])],
        }),
      'extended key usage',
    ],
    ['a short key', () => broughtRoot('weak RSA'), 'unsupported signing key'],
    ['no key', async () => ({ ...first, key: 'key' }), 'malformed private key'],
    ['the key of another', async () => ({ ...first, key: second.key }), 'certificate key mismatch'],
  ])('%s is refused', async (_, make, message) => {
    const brought = await make();
    await expect(checkSigningCa(brought, now)).rejects.toThrow(message);
    await expect(checkSigningCa(brought, now)).rejects.toThrow('rpc error: code = InvalidArgument desc = ');
  });

  test('its leaves do not begin before it', async () => {
    const leaf = await signNodeCertificate(await broughtRoot(), csr, name, now);
    expect(Date.parse(new NodeCertificate(leaf).validFrom)).toBe(now);
  });
});
