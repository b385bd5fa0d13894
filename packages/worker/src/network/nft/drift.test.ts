import { describe, expect, it } from 'vitest';
import type { NodeTable } from '../plan.ts';
import { drift, read } from './drift.ts';

const table: NodeTable = {
  ports: new Map([
    [
      'tcp/80',
      {
        ...{ key: 'tcp/80', protocol: 'tcp', port: 80 },
        targets: [
          { addr: '10.0.0.2', port: 80 },
          { addr: '172.17.0.3', port: 8080 },
        ],
      },
    ],
    ['udp/53', { key: 'udp/53', protocol: 'udp', port: 53, targets: [{ addr: '10.0.0.2', port: 53 }] }],
    ['tcp/90', { key: 'tcp/90', protocol: 'tcp', port: 90, targets: [] }],
  ]),
  farNodes: ['10.0.0.2'],
  nearNets: ['172.17.0.0/16'],
};

/** As nft 1.0 lists it. */
const listing = (): Record<string, Record<string, unknown>>[] => [
  { metainfo: { version: '1.0.6' } },
  { table: { family: 'ip', name: 't', handle: 2 } },
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
  { set: { name: 'far_nodes', handle: 13, elem: ['10.0.0.2'] } },
  { set: { name: 'near_nets', handle: 14, elem: [{ prefix: { addr: '172.17.0.0', len: 16 } }] } },
  { chain: { name: 'prerouting', handle: 7, hook: 'prerouting' } },
  { chain: { name: 's_tcp_80', handle: 1 } },
  { chain: { name: 's_udp_53', handle: 2 } },
  {
    rule: {
      chain: 's_tcp_80',
      handle: 16,
      expr: [
        { match: {} },
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
  { rule: { chain: 's_udp_53', handle: 17, expr: [{ match: {} }, { dnat: { addr: '10.0.0.2', port: 53 } }] } },
  { set: { name: 'published', handle: 15, elem: [80, 53] } },
  { rule: { chain: 'prerouting', handle: 24, expr: [{ vmap: {} }] } },
];

describe('drift', () => {
  it('finds none in what is as it should be, whatever the handles and the order', () => {
    const { frame } = read(listing());
    const again = listing().map((object) => {
      const [kind = '', body] = Object.entries(object)[0] ?? [];
      return { [kind]: { ...body, handle: 99 } };
    });
    expect(drift(again, table, frame)).toBeUndefined();
  });

  it.each<[string, (objects: Record<string, Record<string, unknown>>[]) => void]>([
    ['ports was changed', (objects) => (objects[2]!['map']!['elem'] = [])],
    ['refused was changed', (objects) => delete objects[3]!['set']!['elem']],
    ['far_nodes was changed', (objects) => objects.splice(4, 1)],
    ['near_nets was changed', (objects) => (objects[5]!['set']!['elem'] = ['10.0.0.0'])],
    ['chain s_udp_53 was changed', (objects) => objects.splice(10, 1)],
    ['chain s_tcp_80 was changed', (objects) => objects.push(objects[9]!)],
    ['chain s_tcp_81 was changed', (objects) => objects.push({ chain: { name: 's_tcp_81' } })],
    ['its base chains were changed', (objects) => objects.pop()],
  ])('%s', (expected, damage) => {
    const { frame } = read(listing());
    const objects = listing();
    damage(objects);
    expect(drift(objects, table, frame)).toBe(expected);
  });

  it('finds the table gone', () => {
    expect(drift(undefined, table)).toBe('the table is gone');
  });
});
