import { describe, expect, it } from 'vitest';
import { plainAddress, proxyHeader } from './header.ts';

const at = (addr: string, port: number) => ({ addr, port });

describe('the PROXY header', () => {
  it.each([
    [at('192.0.2.7', 56324), at('10.0.0.1', 443), 'PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n'],
    [at('::ffff:192.0.2.7', 1), at('::ffff:10.0.0.1', 80), 'PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n'],
    [at('2001:db8::7', 1), at('fd00::1', 80), 'PROXY TCP6 2001:db8::7 fd00::1 1 80\r\n'],
    [at('fe80::7%eth0', 1), at('fe80::1%eth0', 80), 'PROXY TCP6 fe80::7 fe80::1 1 80\r\n'],
    [undefined, at('10.0.0.1', 80), 'PROXY UNKNOWN\r\n'],
  ])('v1 of %j to %j', (from, to, text) => {
    expect(proxyHeader(1, from, to).toString('latin1')).toBe(text);
  });

  const signature = '0d0a0d0a000d0a515549540a';
  it.each([
    // Length 12, two addresses, two ports.
    [at('192.0.2.7', 56324), at('10.0.0.1', 443), '2111000cc00002070a000001dc0401bb'],
    [at('::ffff:192.0.2.7', 1), at('::ffff:10.0.0.1', 80), '2111000cc00002070a00000100010050'],
    [
      at('2001:db8::7', 65535),
      at('::1', 80),
      `21210024${'20010db8000000000000000000000007'}${'00000000000000000000000000000001'}ffff0050`,
    ],
    [
      at('1:2:3:4:5:6:7:8', 1),
      at('64:ff9b::192.0.2.33', 2),
      `21210024${'00010002000300040005000600070008'}${'0064ff9b0000000000000000c0000221'}00010002`,
    ],
    [undefined, undefined, '20000000'],
  ])('v2 of %j to %j', (from, to, hex) => {
    expect(proxyHeader(2, from, to).toString('hex')).toBe(signature + hex);
  });

  it.each([
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['::FFFF:10.1.2.3', '10.1.2.3'],
    ['::ffff:0:1', '::ffff:0:1'],
    ['10.1.2.3', '10.1.2.3'],
    ['fe80::1%lo', 'fe80::1'],
  ])('writes %s as %s', (addr, plain) => expect(plainAddress(addr)).toBe(plain));
});
