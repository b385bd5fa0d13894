import { describe, expect, test } from 'vitest';
import { formatJoinToken, newTokenSecret, parseJoinToken, roleOfToken } from './join-token.ts';

const digest = 'd'.repeat(50);
const secret = 's'.repeat(25);
const token = `SWMTKN-1-${digest}-${secret}`;

describe('join tokens', () => {
  test('have a digest and a secret', () => {
    expect(parseJoinToken(token)).toEqual({ digest, secret });
    expect(parseJoinToken(` ${token}\n`)).toEqual({ digest, secret });
    expect(formatJoinToken({ digest, secret })).toBe(token);
  });

  test.each([
    ['empty', ''],
    ['of another version', token.replace('SWMTKN-1', 'SWMTKN-2')],
    ['with a short digest', `SWMTKN-1-${digest.slice(1)}-${secret}`],
    ['with a long secret', `${token}s`],
    ['in capitals', token.toUpperCase()],
  ])('one that is %s is refused without repeating it', (_, text) => {
    expect(() => parseJoinToken(text)).toThrow(/^invalid join token: .*prints it$/);
  });

  test('secrets have 25 characters and differ', () => {
    const secrets = new Set(Array.from({ length: 50 }, newTokenSecret));
    expect(secrets.size).toBe(50);
    for (const one of secrets) expect(one).toMatch(/^[0-9a-z]{25}$/);
  });

  test.each([
    ['worker', 'w'.repeat(25), 'worker'],
    ['manager', 'm'.repeat(25), 'manager'],
    ['another', 'x'.repeat(25), undefined],
    ['a shorter', 'w', undefined],
  ])('the role of %s token', (_, one, role) => {
    const tokens = {
      Worker: formatJoinToken({ digest, secret: 'w'.repeat(25) }),
      Manager: formatJoinToken({ digest, secret: 'm'.repeat(25) }),
    };
    expect(roleOfToken(formatJoinToken({ digest, secret: one }), tokens)).toBe(role);
  });
});
