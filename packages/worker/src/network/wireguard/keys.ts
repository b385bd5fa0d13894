import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';

// WireGuard's keys: 32 bytes of X25519, as base64. A private key never leaves its node, and is in no file: it lives in the device and in this
// process, so that each start of the machine makes a new one.

/** In front of the 32 bytes of an X25519 key in PKCS #8. */
const pkcs8 = Buffer.from('302e020100300506032b656e04220420', 'hex');

export function newPrivateKey(): string {
  const { privateKey } = generateKeyPairSync('x25519');
  const { d = '' } = privateKey.export({ format: 'jwk' });
  return clamped(Buffer.from(d, 'base64url')).toString('base64');
}

export function publicKeyOf(privateKey: string): string {
  const der = Buffer.concat([pkcs8, Buffer.from(privateKey, 'base64')]);
  const { x = '' } = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({
    format: 'jwk',
  });
  return Buffer.from(x, 'base64url').toString('base64');
}

/** As a device gives it back. */
function clamped(key: Buffer): Buffer {
  key[0] = (key[0] ?? 0) & 248;
  key[31] = ((key[31] ?? 0) & 127) | 64;
  return key;
}

export const toHex = (key: string): string => Buffer.from(key, 'base64').toString('hex');
export const fromHex = (key: string): string => Buffer.from(key, 'hex').toString('base64');
