import { randomBytes } from 'node:crypto';

// New secrets for join tokens: `SWMTKN-1-<digest of the root CA>-<secret>`, both in base 36.

/** 16 random bytes, base 36, 25 characters. */
export const newTokenSecret = (): string =>
  BigInt(`0x${randomBytes(16).toString('hex')}`)
    .toString(36)
    .padStart(25, '0');

export const tokenWith = (digest: string, secret: string): string => `SWMTKN-1-${digest}-${secret}`;
