import { describe, expect, test } from 'vitest';
import { formatIp, formatIpRange, isInRanges, isWithinRange, parseIp, parseIpRange } from './ip.ts';

describe('addresses', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1', 0x0a000001n],
    ['255.255.255.255', '255.255.255.255', 0xffffffffn],
    ['::', '::', 0n],
    ['::1', '::1', 1n],
    ['FD00:0:0:0::00a', 'fd00::a', (0xfd00n << 112n) | 10n],
    ['fd00::', 'fd00::', 0xfd00n << 112n],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8', 0x00010002000300040005000600070008n],
    ['::ffff:10.0.0.1', '::ffff:10.0.0.1', 0xffff0a000001n],
  ])('%s is %s', (text, canonical, value) => {
    const ip = parseIp(text);
    expect(ip?.value).toBe(value);
    expect(ip && formatIp(ip)).toBe(canonical);
  });

  test.each(['', '10.0.0', '10.0.0.256', '010.0.0.1', 'fe80::1%eth0', 'host', '10.0.0.1/8', '::1::'])(
    '%j is none',
    (text) => expect(parseIp(text)).toBeUndefined(),
  );
});

describe('ranges', () => {
  test.each([
    ['10.0.0.0/8', '10.0.0.0/8', '10.255.255.255'],
    ['10.1.2.3/8', '10.0.0.0/8', '10.255.255.255'],
    ['10.1.2.3', '10.1.2.3/32', '10.1.2.3'],
    ['0.0.0.0/0', '0.0.0.0/0', '255.255.255.255'],
    ['FD00::1/64', 'fd00::/64', 'fd00::ffff:ffff:ffff:ffff'],
    ['::1', '::1/128', '::1'],
  ])('%s is %s up to %s', (text, canonical, last) => {
    const range = parseIpRange(text);
    expect(range && formatIpRange(range)).toBe(canonical);
    expect(range && formatIp({ family: range.family, value: range.last })).toBe(last);
  });

  test.each(['', '/8', '10.0.0.0/', '10.0.0.0/33', '::/129', '10.0.0.0/8/8', '10.0.0.0/-1', '10.0.0.0/ 8'])(
    '%j is none',
    (text) => expect(parseIpRange(text)).toBeUndefined(),
  );

  test.each([
    ['10.1.0.0/16', '10.0.0.0/8', true],
    ['10.0.0.0/8', '10.0.0.0/8', true],
    ['10.0.0.0/8', '10.1.0.0/16', false],
    ['11.0.0.0/8', '10.0.0.0/8', false],
    ['::a00:0/128', '10.0.0.0/8', false],
  ])('%s within %s: %s', (inner, outer, expected) => {
    const ranges = [parseIpRange(inner), parseIpRange(outer)] as const;
    expect(ranges[0] && ranges[1] && isWithinRange(ranges[0], ranges[1])).toBe(expected);
  });
});

test.each([
  [['10.0.1.128/28'], '10.0.1.143', true],
  [['10.0.1.128/28'], '10.0.1.144', false],
  [['10.0.1.128/28', 'fd00::8000:0/120'], 'fd00::8000:ff', true],
  [['10.0.1.128/28'], 'fd00::1', false],
  [['10.0.1.128/28'], 'nonsense', false],
])('whether %j has %s', (ranges, address, expected) => {
  expect(isInRanges(ranges, address)).toBe(expected);
});
