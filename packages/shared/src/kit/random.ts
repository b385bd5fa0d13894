import { randomBytes } from 'node:crypto';

// Randomness and ids as arguments: cryptographic for daemons, seeded for tests and simulations.

/** A number in [0, 1). */
export type Random = () => number;

/** Makes a new object id: 25 characters of [0-9a-z], as Swarm's. */
export type NewId = () => string;

export const realRandom: Random = () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48;

/** Mulberry32: small, fast, the same sequence for the same seed everywhere. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** 32 bytes, base64: a key that two parties share. */
export const newSharedKey = (): string => randomBytes(32).toString('base64');

/** As Docker writes it. */
export const newUnlockKey = (): string => `SWMKEY-1-${randomBytes(32).toString('base64').replace(/=+$/, '')}`;

const alphabet = '0123456789abcdefghijklmnopqrstuvwxyz';

export const realNewId: NewId = () => {
  let value = BigInt(`0x${randomBytes(16).toString('hex')}`);
  let id = '';
  for (let i = 0; i < 25; i++) {
    id = alphabet[Number(value % 36n)] + id;
    value /= 36n;
  }
  return id;
};

/** Ids from a seeded source, for tests and simulations. */
export const newIdFrom =
  (random: Random): NewId =>
  () => {
    let id = '';
    for (let i = 0; i < 25; i++) id += alphabet[Math.floor(random() * 36)];
    return id;
  };

/** An integer in [0, n). */
export const below = (random: Random, n: number): number => Math.floor(random() * n);
