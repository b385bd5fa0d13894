import { expect, test } from 'vitest';
import { emptyTable, type NodeTable, type PortRule } from '../plan.ts';
import { changedUdp, type InForce, targetsOf, udpPorts } from './udp-flows.ts';

const port = (key: string, number: number, addrs: string[], more: Partial<PortRule> = {}): PortRule => {
  const of = (is6: boolean) => addrs.filter((addr) => addr.includes(':') === is6).map((addr) => ({ addr, port: 53 }));
  return { key, protocol: 'udp', port: number, targets: { 4: of(false), 6: of(true) }, ...more };
};
const table = (ports: PortRule[], doors: Record<string, string> = {}): NodeTable => ({
  ...emptyTable,
  ports: new Map(ports.map((one) => [one.key, one])),
  doors: { 4: new Map(Object.entries(doors)), 6: new Map() },
});

const own = new Set(['192.0.2.1', 'fd00::1']);
const mesh = { v4: '198.18.0.1', v6: 'fd73::1' } as InForce['names']['mesh'];
const inForce: InForce = {
  table: table([port('udp/53', 53, ['10.0.0.5']), port('udp/54@203.0.113.9', 54, ['10.0.0.6'])], {
    'udp . 40000': '172.17.0.2 . 53',
  }),
  names: { addresses: [], mesh },
  taken: new Set(['udp/55']),
};

test.each([
  ['one of this machine’s addresses', '192.0.2.1', 53, ['10.0.0.5:53']],
  ['the loopback', '127.0.0.1', 53, ['10.0.0.5:53']],
  ['somebody else', '192.0.2.7', 53, undefined],
  ['an address that only one port answers on', '203.0.113.9', 54, ['10.0.0.6:53']],
  ['a port that has gone', '192.0.2.1', 99, []],
  ['a port that another program has', '192.0.2.1', 55, undefined],
  ['the family that has no targets here', 'fd00::1', 53, undefined],
  ['a door of the mesh', '198.18.0.1', 40_000, ['172.17.0.2:53']],
  ['a door that has gone', '198.18.0.1', 40_001, []],
])('a flow to %s', (_, addr, to, expected) => {
  const targets = targetsOf({ addr, port: to }, inForce, own);
  expect(targets?.map((target) => `${target.addr}:${target.port}`)).toEqual(expected);
});

test('with addresses of its own, the ingress has flows to these alone', () => {
  const names = { addresses: ['192.0.2.2'] };
  expect(targetsOf({ addr: '192.0.2.2', port: 53 }, { ...inForce, names }, own)).toHaveLength(1);
  expect(targetsOf({ addr: '192.0.2.1', port: 53 }, { ...inForce, names }, own)).toBeUndefined();
});

test('ports of UDP whose flows may have become wrong', () => {
  const before = table([port('udp/53', 53, ['10.0.0.5']), port('udp/54', 54, ['10.0.0.6'])], {
    'udp . 40000': '172.17.0.2 . 53',
    'tcp . 40001': '172.17.0.2 . 80',
  });
  const after = table([port('udp/53', 53, ['10.0.0.5']), port('udp/54', 54, ['10.0.0.7']), port('udp/56', 56, [])]);
  expect([...changedUdp(before, after)]).toEqual([54, 56, 40_000]);
  expect([...changedUdp(before, before)]).toEqual([]);
  expect([...udpPorts(before, [])]).toEqual([40_000]);
});
