import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createCsr, minCertificateLifeMs, renewalTime, signNodeCertificate } from './pki.ts';
import { createRootCa } from './pki-root.ts';
import { caDigest, checkIdentity, splitPem, tlsInfoOf, verifyNodeCertificate } from './pki-verify.ts';

const now = 1_800_000_000_000;
const day = 24 * 3_600_000;
const name = { nodeId: 'node1', role: 'worker', clusterId: 'cluster1' } as const;

const root = await createRootCa(now);
const other = await createRootCa(now);
const { csr, key } = await createCsr();
const certificate = await signNodeCertificate(root, csr, name, now);

describe('node certificates', () => {
  test('name node, role and cluster, begin an hour ago and last 90 days', () => {
    expect(verifyNodeCertificate(certificate, root.certificate, now)).toEqual({
      ...name,
      notBefore: now - 3_600_000,
      notAfter: now + 90 * day,
    });
    expect(new X509Certificate(certificate).subjectAltName).toBe('DNS:swarm-worker, DNS:node1');
  });

  test('last an hour at least', async () => {
    const short = await signNodeCertificate(root, csr, name, now, 1);
    expect(verifyNodeCertificate(short, root.certificate, now).notAfter).toBe(now + minCertificateLifeMs);
  });

  test.each([
    ['of another authority with the same name', certificate, other.certificate, now, 'unknown authority'],
    ['that is the root itself', root.certificate, root.certificate, now, 'not that of a node'],
    ['from the future', certificate, root.certificate, now - 2 * 3_600_000, 'not valid yet'],
    ['that is over', certificate, root.certificate, now + 90 * day, 'has expired'],
    ['that is garbage', 'garbage', root.certificate, now, 'not a certificate'],
  ])('one %s is refused', (_, leaf, roots, at, message) => {
    expect(() => verifyNodeCertificate(leaf, roots, at)).toThrow(message);
  });

  test('one signed by another node is refused', async () => {
    const signer = { certificate, key };
    const forged = await signNodeCertificate(signer, csr, { ...name, nodeId: 'node2' }, now);
    expect(() => verifyNodeCertificate(forged, root.certificate, now)).toThrow('unknown authority');
    expect(() => verifyNodeCertificate(forged, root.certificate + certificate, now)).toThrow('unknown authority');
  });

  test('an expired one passes within the grace', () => {
    const at = now + 91 * day;
    expect(verifyNodeCertificate(certificate, root.certificate, at, 2 * day).nodeId).toBe('node1');
    expect(() => verifyNodeCertificate(certificate, root.certificate, at, day)).toThrow('has expired');
  });

  test('any of several roots may have signed', () => {
    const bundle = other.certificate + root.certificate;
    expect(splitPem(bundle)).toHaveLength(2);
    expect(verifyNodeCertificate(certificate, bundle, now).nodeId).toBe('node1');
  });

  test('a key of another certificate is noticed', async () => {
    const { key: wrong } = await createCsr();
    expect(checkIdentity({ certificate, key, ca: root.certificate }).nodeId).toBe('node1');
    expect(() => checkIdentity({ certificate, key: wrong, ca: root.certificate })).toThrow(
      'not that of the certificate',
    );
  });
});

describe('certificate requests', () => {
  test.each([
    ['garbage', 'garbage'],
    ['a certificate', certificate],
    ['one whose signature is not its own', tampered(csr)],
  ])('%s is refused', async (_, request) => {
    await expect(signNodeCertificate(root, request, name, now)).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});

/** The request with another last byte of its signature. */
function tampered(request: string): string {
  const der = Buffer.from(request.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  der.writeUInt8(der.readUInt8(der.length - 1) ^ 1, der.length - 1);
  return `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
}

test('renewal falls between half and four fifths of the life', () => {
  const peer = { notBefore: now - 3_600_000, notAfter: now + 10 * day };
  expect(renewalTime(peer, () => 0)).toBe(now + 5 * day);
  expect(renewalTime(peer, () => 1)).toBe(now + 8 * day);
});

test('the digest has 50 characters of base 36', () => {
  expect(caDigest(root.certificate)).toMatch(/^[0-9a-z]{50}$/);
  expect(caDigest(root.certificate)).not.toBe(caDigest(other.certificate));
});

// A root as Docker Swarm makes it, with what its API says of it.
const dockerRoot =
  '-----BEGIN CERTIFICATE-----\nMIIBajCCARCgAwIBAgIUF87az6/RpCVC/LLp+uYdE1HaSLgwCgYIKoZIzj0EAwIw\nEzERMA8GA1UEAxMIc3dhcm0tY2EwHhcNMjYxMTIxMDAyOTAwWhcNNDYxMTE2MDAy\nOTAwWjATMREwDwYDVQQDEwhzd2FybS1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH\nA0IABBDgEOMS9hWEX/wFOKJxMGDiV5kM8c7mhKfWQaBX0Ek3a+T5Evm8Vv0PR8Ak\nn2NcfWt5JXTrsg8a6nDU2EuhwWGjQjBAMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMB\nAf8EBTADAQH/MB0GA1UdDgQWBBRDSiCISl38a4vCaBR+5VfwBj/EszAKBggqhkjO\nPQQDAgNIADBFAiEAv5ERKA2++SyQQXRsb8VxCy5dz0MpiFWH1+PZ3hhf5fgCIEPB\nB1e9JYQr04/h7rOgG+Iqvw4wlXhqFSzMe74GJ8Jm\n-----END CERTIFICATE-----\n';

test('TLS information is what Docker clients compare', () => {
  expect(tlsInfoOf(dockerRoot)).toEqual({
    TrustRoot: dockerRoot,
    CertIssuerSubject: 'MBMxETAPBgNVBAMTCHN3YXJtLWNh',
    CertIssuerPublicKey:
      'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEOAQ4xL2FYRf/AU4onEwYOJXmQzxzuaEp9ZBoFfQSTdr5PkS+bxW/Q9HwCSfY1x9a3kldOuyDxrqcNTYS6HBYQ==',
  });
});
