import { describe, expect, it } from 'vitest';
import { emptyTable, type NodeTable, type PortRule } from '../plan.ts';
import { drift, read } from './drift.ts';

const port = (rule: Partial<PortRule> & Pick<PortRule, 'protocol' | 'port'>): [string, PortRule] => {
  const key = `${rule.protocol}/${rule.port}`;
  return [key, { key, targets: { 4: [], 6: [] }, ...rule }];
};

const table: NodeTable = {
  ...emptyTable,
  ports: new Map([
    port({
      ...{ protocol: 'tcp', port: 80 },
      targets: {
        4: [
          { addr: '10.0.0.2', port: 80 },
          { addr: '172.17.0.3', port: 8080 },
        ],
        6: [{ addr: 'fd17::3', port: 8080 }],
      },
    }),
    port({
      ...{ protocol: 'udp', port: 53 },
      targets: { 4: [{ addr: '10.0.0.2', port: 53 }], 6: [] },
      allow: { 4: ['10.0.0.0-10.255.255.255', '192.0.2.0-192.0.2.2'], 6: [] },
    }),
    port({ protocol: 'tcp', port: 90 }),
  ]),
  farNodes: { 4: ['10.0.0.2'], 6: [] },
  nearNets: { 4: ['172.17.0.0/16'], 6: ['fd17::/64'] },
  doors: { 4: new Map([['tcp . 32768', '172.17.0.3 . 8080']]), 6: new Map() },
  mesh: {
    ...{ device: 'swm', self: 1, addresses: { v4: '198.18.0.1', v6: 'fd73::1' }, mark: 0x5377_0000 },
    ...{ marks: new Map([['02:73:77:6d:00:02', 0x5377_0002]]), senders: [], own: [] },
    wayTo: () => ({ kind: 'mesh', v4: '198.18.0.2' }),
  },
};

const is = (family: number) => ({ match: { op: '==', left: { meta: { key: 'nfproto' } }, right: `ipv${family}` } });
const speaks = (protocol: string) => ({ match: { op: '==', left: { meta: { key: 'l4proto' } }, right: protocol } });

/** As nft 1.0 lists it. */
const listing = (): Record<string, Record<string, unknown>>[] => [
  { metainfo: { version: '1.0.6' } },
  { table: { family: 'inet', name: 't', handle: 2 } },
  {
    map: {
      name: 'ports',
      handle: 11,
      elem: [
        [{ concat: ['udp', 53] }, { goto: { target: 's_udp_53' } }],
        [{ concat: ['tcp', 80] }, { goto: { target: 's_tcp_80' } }],
      ],
    },
  },
  { set: { name: 'refused', handle: 12, elem: [{ concat: ['tcp', 90] }] } },
  { set: { name: 'far4', handle: 13, elem: ['10.0.0.2'] } },
  { set: { name: 'near4', handle: 14, elem: [{ prefix: { addr: '172.17.0.0', len: 16 } }] } },
  { chain: { name: 'c_prerouting', handle: 7, hook: 'prerouting' } },
  { chain: { name: 's_tcp_80', handle: 1 } },
  { chain: { name: 's_udp_53', handle: 2 } },
  {
    rule: {
      chain: 's_tcp_80',
      handle: 16,
      expr: [
        is(4),
        speaks('tcp'),
        {
          dnat: {
            family: 'ip',
            addr: {
              map: {
                key: { numgen: { mode: 'inc', mod: 2, offset: 0 } },
                data: {
                  set: [
                    [0, { concat: ['172.17.0.3', 8080] }],
                    [1, { concat: ['10.0.0.2', 80] }],
                  ],
                },
              },
            },
          },
        },
      ],
    },
  },
  {
    rule: {
      chain: 's_udp_53',
      handle: 17,
      expr: [
        {
          match: {
            op: '==',
            left: { payload: { protocol: 'ip', field: 'saddr' } },
            right: { set: [{ prefix: { addr: '10.0.0.0', len: 8 } }, { range: ['192.0.2.0', '192.0.2.2'] }] },
          },
        },
        speaks('udp'),
        { dnat: { family: 'ip', addr: '10.0.0.2', port: 53 } },
      ],
    },
  },
  {
    rule: {
      chain: 's_tcp_80',
      handle: 18,
      expr: [is(6), speaks('tcp'), { dnat: { family: 'ip6', addr: 'fd17::3', port: 8080 } }],
    },
  },
  { set: { name: 'near6', handle: 19, elem: [{ prefix: { addr: 'fd17::', len: 64 } }] } },
  { map: { name: 'door4', handle: 20, elem: [[{ concat: ['tcp', 32768] }, { concat: ['172.17.0.3', 8080] }]] } },
  { map: { name: 'peers', handle: 21, elem: [['02:73:77:6d:00:02', 0x5377_0002]] } },
  { set: { name: 'published', handle: 15, elem: [80, 53] } },
  { rule: { chain: 'c_prerouting', handle: 24, expr: [{ vmap: {} }] } },
];

const above = { rule: { chain: 's_tcp_80', handle: 25, expr: [is(4), { drop: null }] } };

describe('drift', () => {
  it('finds none in what is as it should be, whatever the handles and the order', () => {
    const { frame } = read(listing());
    const again = listing().map((object) => {
      const [kind = '', body] = Object.entries(object)[0] ?? [];
      return { [kind]: { ...body, handle: 99 } };
    });
    expect(drift(read(again), table, frame)).toBeUndefined();
  });

  it.each<[string, (objects: Record<string, Record<string, unknown>>[]) => void]>([
    ['ports was changed', (objects) => (objects[2]!['map']!['elem'] = [])],
    ['refused was changed', (objects) => delete objects[3]!['set']!['elem']],
    ['far4 was changed', (objects) => objects.splice(4, 1)],
    ['near4 was changed', (objects) => (objects[5]!['set']!['elem'] = ['10.0.0.0'])],
    ['chain s_udp_53 was changed', (objects) => objects.splice(10, 1)],
    ['chain s_tcp_80 was changed', (objects) => objects.splice(9, 0, above)],
    ['chain s_udp_53 was changed', (objects) => (objects[10]!['rule']!['expr'] as unknown[]).splice(0, 1)],
    ['chain s_udp_53 was changed', (objects) => (objects[10]!['rule']!['expr'] as unknown[]).push({ counter: null })],
    ['chain s_tcp_80 was changed', (objects) => objects.splice(11, 1)],
    ['door4 was changed', (objects) => objects.splice(13, 1)],
    ['peers was changed', (objects) => (objects[14]!['map']!['elem'] = [['02:73:77:6d:00:02', 0x5377_0003]])],
    ['chain s_tcp_81 was changed', (objects) => objects.push({ chain: { name: 's_tcp_81' } })],
    ['its base chains were changed', (objects) => objects.pop()],
  ])('%s', (expected, damage) => {
    const { frame } = read(listing());
    const objects = listing();
    damage(objects);
    expect(drift(read(objects), table, frame)).toBe(expected);
  });

  it('tells the rules that others stand above', () => {
    const objects = listing();
    objects.splice(9, 0, { rule: { ...objects[9]!['rule'], handle: 25 } });
    const reading = read(objects);
    expect(drift(reading, table)).toBeUndefined();
    expect(reading.leftOver).toEqual([{ chain: 's_tcp_80', handle: 16 }]);
  });

  it('finds the table gone', () => {
    expect(drift(undefined, table)).toBe('the table is gone');
  });
});
