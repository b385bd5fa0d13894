import { expect, test } from 'vitest';
import { parseIp } from './ip.ts';
import { addressUse, bareAddress, isAttachable, isEncrypted, macOf, poolsOf, runsLow, subnetUse } from './networks.ts';
import type { Network } from './objects.ts';

const network = (Configs: Network['IPAM']['Configs'], Spec: Partial<Network['Spec']> = {}): Network => ({
  ID: 'n',
  Version: { Index: 1 },
  CreatedAt: '',
  UpdatedAt: '',
  Spec: { Name: 'n', Labels: {}, ...Spec },
  VNI: 4096,
  IPAM: { Configs },
  Gateways: {},
});
const small = { Subnet: '10.0.1.0/29', Gateway: '10.0.1.1' };

test('hardware addresses are those that engines derive', () => {
  expect(macOf('10.0.1.255')).toBe('02:42:0a:00:01:ff');
  expect(bareAddress('10.0.1.5/24')).toBe('10.0.1.5');
});

test('pools leave out what is nobody’s', () => {
  const ipv6 = { Subnet: 'fd00::/126', Gateway: 'fd00::1' };
  const spans = poolsOf(network([small, ipv6])).map(({ first, last }) => Number(last - first) + 1);
  expect(spans).toEqual([6, 3]);
  const Spec = { IPAMOptions: { Configs: [{ Subnet: '10.0.1.0/29', IPRange: '10.0.1.4/30' }] } };
  expect(poolsOf(network([small], Spec)).map(({ first, last }) => [first & 255n, last & 255n])).toEqual([[4n, 6n]]);
});

test('pools of an attachable network end before what is for blocks', () => {
  const wide = { Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' };
  const ipv6 = { Subnet: 'fd00::/64', Gateway: 'fd00::1' };
  const attachable = network([wide, ipv6], { Attachable: true });
  expect(poolsOf(attachable).map(({ last, blocks }) => [last, blocks?.first, blocks?.last])).toEqual(
    [
      ['10.0.1.127', '10.0.1.128', '10.0.1.255'],
      ['fd00::7fff:ffff', 'fd00::8000:0', 'fd00::ffff:ffff'],
    ].map((row) => row.map((addr) => parseIp(addr)?.value)),
  );
  // Whoever has an address there counts for the whole, and not for the pool.
  const held = ['10.0.1.2', '10.0.1.128', '10.0.1.130'].map((address) => ({ address }));
  expect(addressUse(attachable, held)).toMatchObject({ used: 2, of: 127 });
  expect(subnetUse(attachable, held).get('10.0.1.0/24')).toEqual({ used: 4, free: 250 });
  const local = network([wide], { Attachable: true, DriverConfiguration: { Name: 'bridge' } });
  expect([isAttachable(attachable), isAttachable(local), isAttachable(network([]))]).toEqual([true, false, false]);
});

test('use counts IPv4 and the reserved gateway', () => {
  const held = [{ address: '10.0.1.2' }, { address: 'fd00::2' }];
  expect(addressUse(network([small]), held)).toEqual({ used: 2, of: 6, subnets: '10.0.1.0/29' });
  const second = { Subnet: '10.0.2.0/29', Gateway: '10.0.2.1' };
  expect(addressUse(network([small, second]), held)).toEqual({
    used: 3,
    of: 12,
    subnets: '10.0.1.0/29, 10.0.2.0/29',
  });
});

test('auxiliary addresses are nobody’s', () => {
  const auxiliary = { a: '10.0.1.3', b: '10.0.1.4' };
  const Spec = { IPAMOptions: { Configs: [{ Subnet: '10.0.1.0/29', AuxiliaryAddresses: auxiliary }] } };
  const own = network([small], Spec);
  expect([...(poolsOf(own)[0]?.reserved ?? [])].map((value) => value & 255n)).toEqual([1n, 3n, 4n]);
  const held = [{ address: '10.0.1.2' }];
  expect(addressUse(own, held)).toMatchObject({ used: 4, of: 6 });
  expect(subnetUse(own, held).get('10.0.1.0/29')).toEqual({ used: 4, free: 2 });
});

test('use of each subnet counts what is held and what can be given yet', () => {
  const Spec = { IPAMOptions: { Configs: [{ Subnet: '10.0.1.0/24', IPRange: '10.0.1.4/30' }] } };
  const wide = { Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' };
  const ipv6 = { Subnet: 'fd00::/64', Gateway: 'fd00::1' };
  const held = ['10.0.1.5', '10.0.1.200', 'fd00::2', '10.0.9.1'].map((address) => ({ address }));
  expect(Object.fromEntries(subnetUse(network([wide, ipv6], Spec), held))).toEqual({
    '10.0.1.0/24': { used: 3, free: 3 },
    'fd00::/64': { used: 2, free: Number.MAX_SAFE_INTEGER },
  });
});

test('addresses run low when eight of ten are gone', () => {
  expect([7, 8, 10].map((used) => runsLow({ used, of: 10 }))).toEqual([false, true, true]);
  expect(runsLow({ used: 0, of: 0 })).toBe(false);
});

test.each([
  [undefined, false],
  [{ encrypted: '' }, true],
  [{ encrypted: 'true' }, true],
  [{ encrypted: 'false' }, false],
])('encrypted by %j', (Options, expected) => {
  expect(isEncrypted(network([], { DriverConfiguration: { ...(Options && { Options }) } }))).toBe(expected);
});
