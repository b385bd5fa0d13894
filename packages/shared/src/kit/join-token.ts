import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { NodeRole } from '../model/index.ts';
import { ClusterError } from './errors.ts';

// Join tokens: `SWMTKN-1-<digest of the root CA>-<secret>`. The digest lets a joiner know the right cluster, the secret lets the cluster know a
// welcome joiner; which of the two secrets it is says the role.

export interface JoinToken {
  /** base36 SHA-256 of the root certificate's DER. */
  readonly digest: string;
  readonly secret: string;
}

/** Throws for what is no token; the message never repeats it. */
export function parseJoinToken(text: string): JoinToken {
  const match = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/.exec(text.trim());
  if (!match?.[1] || !match[2]) {
    throw new ClusterError(
      'unknown',
      'invalid join token: a token is SWMTKN-1-, 50 characters, a dash and 25 characters, as "swarm join-token" prints it',
    );
  }
  return { digest: match[1], secret: match[2] };
}

export const formatJoinToken = (token: JoinToken): string => `SWMTKN-1-${token.digest}-${token.secret}`;

/** 16 random bytes in base 36: 25 characters. */
export const newTokenSecret = (): string =>
  BigInt(`0x${randomBytes(16).toString('hex')}`)
    .toString(36)
    .padStart(25, '0');

/** The role that a token stands for, or undefined; compares in constant time, with both tokens whatever the first says. */
export function roleOfToken(
  text: string,
  tokens: { readonly Worker: string; readonly Manager: string },
): NodeRole | undefined {
  const worker = sameText(text, tokens.Worker);
  const manager = sameText(text, tokens.Manager);
  return manager ? 'manager' : worker ? 'worker' : undefined;
}

/** Takes a time that depends on the given text's length alone. */
function sameText(given: string, expected: string): boolean {
  const left = Buffer.from(given);
  const right = Buffer.from(expected);
  if (left.length !== right.length) return !timingSafeEqual(left, left);
  return timingSafeEqual(left, right);
}
