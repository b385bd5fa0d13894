import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { answeredAddresses, localAddresses, subnet } from './address.ts';
import { endsOf, type PlanAround, type PortRule, planTable, sameEnds, sameWays, slots } from './plan.ts';
import type { MeshState } from './types.ts';

const backend = (taskId: string, nodeId: string, more: Partial<IngressBackend> = {}): IngressBackend => ({
  ...{ taskId, nodeId, protocol: 'tcp', targetPort: 80 },
  ...{ localAddr: '172.17.0.2', localPort: 80, nodeAddr: '10.0.0.2', nodePort: 49153 },
  ...more,
});

const entry = (publishedPort: number, backends: IngressBackend[], more: Partial<IngressEntry> = {}): IngressEntry => ({
  ...{
    key: `tcp/${publishedPort}`,
    serviceId: 's',
    serviceName: 'web',
    protocol: 'tcp',
    publishedPort,
    targetPort: 80,
  },
  backends,
  ...more,
});

const local = {
  own: new Set(['127.0.0.1', '10.0.0.1', '172.17.0.1', 'fd00::1']),
  subnets: [subnet('10.0.0.1/24'), subnet('172.17.0.1/16'), subnet('fd17::1/64')],
};

/** Leads to n2 alone. */
const mesh: MeshState = {
  ...{ device: 'swm', self: 1, addresses: { v4: '198.18.0.1', v6: 'fd73::1' }, mark: 0x5377_0000 },
  ...{ marks: new Map(), senders: [], own: [] },
  wayTo: (nodeId) =>
    nodeId === 'n2' ? { kind: 'mesh', v4: '198.18.0.2', v6: 'fd73::2' } : { kind: 'masquerade', v4: '10.0.0.3' },
};

const plan = (entries: IngressEntry[], more: Partial<PlanAround> = {}) =>
  planTable(new Map(entries.map((one) => [one.key, one])), {
    nodeId: 'n1',
    local: () => local,
    taken: new Map(),
    ...more,
  });

describe('answeredAddresses', () => {
  it.each([
    ['10.0.0.1', [], []],
    ['host.example', [], []],
    ['127.0.0.2', [], ['127.0.0.2']],
    ['localhost', [], ['127.0.0.1']],
    ['10.0.0.1', ['10.0.0.9', '10.0.0.9'], ['10.0.0.9']],
    ['127.0.0.1', ['0.0.0.0'], []],
  ])('of a node at %s told %j are %j', (advertiseAddr, ingressAddrs, expected) => {
    expect(answeredAddresses({ advertiseAddr, ingressAddrs })).toEqual(expected);
  });
});

const toFar = 'clients are masqueraded towards node n2: this node has no mesh';

describe('planTable', () => {
  it('reaches its own backends directly and, without a mesh, the others by their node’s port, and says so', () => {
    const { table, problems } = plan([
      entry(8080, [backend('a', 'n1'), backend('b', 'n2', { nodeAddr: '10.0.0.3', nodePort: 50000 })]),
    ]);
    expect([...table.ports.values()].map(({ targets }) => targets)).toEqual([
      {
        4: [
          { addr: '172.17.0.2', port: 80 },
          { addr: '10.0.0.3', port: 50000 },
        ],
        6: [],
      },
    ]);
    expect(table.farNodes).toEqual({ 4: ['10.0.0.3'], 6: [] });
    expect(table.nearNets).toEqual({ 4: ['172.17.0.0/16'], 6: [] });
    expect(Object.fromEntries(problems)).toEqual({ 'tcp/8080': toFar });
  });

  it('reaches the others over the mesh where it leads there, and has doors for what comes from there', () => {
    const { table, problems } = plan(
      [
        entry(8080, [
          backend('a', 'n1', { localAddr6: 'fd17:0::2' }),
          backend('b', 'n2', { localAddr6: 'fd17::2' }),
          backend('c', 'n2', { nodePort: 49154 }),
          backend('d', 'n3', { nodeAddr: '10.0.0.3' }),
        ]),
      ],
      { mesh },
    );
    expect(table.ports.get('tcp/8080')?.targets).toEqual({
      4: [
        { addr: '172.17.0.2', port: 80 },
        { addr: '198.18.0.2', port: 49153 },
        { addr: '198.18.0.2', port: 49154 },
        { addr: '10.0.0.3', port: 49153 },
      ],
      6: [
        { addr: 'fd17::2', port: 80 },
        { addr: 'fd73::2', port: 49153 },
      ],
    });
    expect(table.doors[4]).toEqual(new Map([['tcp . 49153', '172.17.0.2 . 80']]));
    expect(table.doors[6]).toEqual(new Map([['tcp . 49153', 'fd17::2 . 80']]));
    expect(table.farNodes).toEqual({ 4: ['10.0.0.3'], 6: [] });
    expect(table.nearNets).toEqual({ 4: ['172.17.0.0/16'], 6: ['fd17::/64'] });
    expect(problems.get('tcp/8080')).toBe(
      'tasks c, d are left out for clients of IPv6: no such address; ' +
        'clients are masqueraded towards node n3: the mesh does not lead there',
    );
  });

  it('has doors for all tasks here, whether the table has them yet or not any more, and none without a mesh', () => {
    const own = [backend('a', 'n1', { nodePort: 49160, localAddr6: 'fd17::3' }), backend('b', 'n1', { nodePort: 0 })];
    const { table } = plan([], { mesh, own });
    expect([table.ports.size, table.doors]).toEqual([
      0,
      { 4: new Map([['tcp . 49160', '172.17.0.2 . 80']]), 6: new Map([['tcp . 49160', 'fd17::3 . 80']]) },
    ]);
    expect(plan([], { own }).table.doors[4].size).toBe(0);
  });

  it('leads nothing to tasks that drain, and lets flows to them be', () => {
    const [staying, leaving] = [backend('a', 'n2'), backend('b', 'n1', { localAddr: '172.17.0.3' })];
    const ruleOf = (draining?: IngressBackend[]) =>
      plan([entry(8080, [staying], draining && { draining })], { mesh }).table.ports.get('tcp/8080') as PortRule;
    const [calm, busy] = [ruleOf(), ruleOf([leaving, backend('c', 'n2', { nodePort: 49154 })])];
    expect(endsOf(busy, 4)).toEqual([
      { addr: '198.18.0.2', port: 49153 },
      { addr: '172.17.0.3', port: 80 },
      { addr: '198.18.0.2', port: 49154 },
    ]);
    expect(busy.targets).toEqual(calm.targets);
    expect([sameWays(calm, busy), sameEnds(calm, busy)]).toEqual([true, false]);
  });

  it('masquerades as asked without complaint', () => {
    const { table, problems } = plan([entry(8080, [backend('b', 'n2')], { clientAddress: 'masquerade' })]);
    expect(table.ports.get('tcp/8080')?.masquerades).toBe(true);
    expect(problems.size).toBe(0);
  });

  it('lets in ranges, as few as there can be', () => {
    const allow = ['10.0.0.0/9', '10.128.0.0/9', '192.168.1.7', 'fd00::/8'];
    expect(plan([entry(8080, [backend('a', 'n1')], { allow })]).table.ports.get('tcp/8080')?.allow).toEqual({
      4: ['10.0.0.0-10.255.255.255', '192.168.1.7-192.168.1.7'],
      6: ['fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
    });
    expect(plan([entry(8080, [], { allow: [] })]).table.ports.get('tcp/8080')?.allow).toEqual({ 4: [], 6: [] });
  });

  it('knows ports that are bound to an address, and leaves those of neighbours', () => {
    const at = (address: string) => entry(8080, [backend('a', 'n1')], { key: `tcp/8080@${address}`, address });
    const both = [at('127.0.0.2'), at('127.0.0.3')];
    expect([...plan(both).table.ports.values()].map(({ address }) => address)).toEqual(['127.0.0.2', '127.0.0.3']);
    const { table, problems } = plan(both, { addresses: ['127.0.0.3'] });
    expect([...table.ports.keys()]).toEqual(['tcp/8080@127.0.0.3']);
    expect(problems.size).toBe(0);
  });

  it('asks for the node’s networks only when it does not know a container’s', () => {
    let asked = 0;
    const around = { nets: new Map<string, string>(), local: () => ({ ...local, asked: ++asked }) };
    const one = entry(8080, [backend('a', 'n1')]);
    for (let i = 0; i < 2; i++) expect(plan([one], around).table.nearNets[4]).toEqual(['172.17.0.0/16']);
    expect(asked).toBe(1);
    plan([one, entry(8081, [backend('b', 'n1', { localAddr: '172.17.0.9' })])], around);
    expect(asked).toBe(2);
  });

  it('knows no container network for processes', () => {
    for (const localAddr of ['127.0.0.1', '10.0.0.1', 'fd00::1'])
      expect(plan([entry(8080, [backend('a', 'n1', { localAddr })])]).table.nearNets).toEqual({ 4: [], 6: [] });
  });

  it('leaves out what the kernel would refuse, and keeps the rest', () => {
    const { table, problems } = plan([
      entry(8080, [backend('a', 'n1'), backend('b', 'n2', { nodeAddr: 'node2' }), backend('c', 'n2', { nodePort: 0 })]),
      entry(99_999, []),
      entry(8081, [], { key: 'tcp/8082' }),
      entry(8083, [], { key: 'tcp/8083@x', address: 'x' }),
    ]);
    expect(table.ports.get('tcp/8080')?.targets).toEqual({ 4: [{ addr: '172.17.0.2', port: 80 }], 6: [] });
    expect(Object.fromEntries(problems)).toEqual({
      'tcp/8080': 'task b is left out: node2:49153 is no IP endpoint; task c is left out: 10.0.0.2:0 is no IP endpoint',
      'tcp/99999': 'tcp port 99999 cannot be published',
      'tcp/8082': 'tcp port 8081 cannot be published',
      'tcp/8083@x': 'tcp port 8083 on x cannot be published',
    });
  });

  it('reaches nodes whose address is of IPv6', () => {
    const { table } = plan([entry(8081, [backend('d', 'n2', { nodeAddr: 'FD00::0:2' })])]);
    expect(table.ports.get('tcp/8081')?.targets).toEqual({ 4: [], 6: [{ addr: 'fd00::2', port: 49153 }] });
    expect(table.farNodes).toEqual({ 4: [], 6: ['fd00::2'] });
  });

  it('takes what it knows of an entry from the cache', () => {
    const cache = new WeakMap();
    const [one, two] = [entry(8080, [backend('a', 'n1')]), entry(8081, [backend('b', 'n2')])];
    const [before, after] = [plan([one], { cache }), plan([one, two], { cache })];
    expect(after.table.ports.get('tcp/8080')).toBe(before.table.ports.get('tcp/8080'));
    expect(after).toEqual(plan([one, two]));
  });

  it('leaves another program’s port alone, while the port is wanted', () => {
    const taken = new Map([
      ['tcp/8080', 'taken'],
      ['tcp/1', 'taken'],
    ]);
    const { table, problems } = plan([entry(8080, [backend('a', 'n1')])], { taken });
    expect(table.ports.size).toBe(0);
    expect(table.nearNets).toEqual({ 4: [], 6: [] });
    expect([...problems]).toEqual([['tcp/8080', 'taken']]);
  });
});

describe('slots', () => {
  const targets = [1, 2, 3].map((port) => ({ addr: '10.0.0.1', port }));

  it('are the targets, turned', () => {
    for (let round = 0; round < 20; round++)
      expect(
        slots(targets, round)
          .map(({ port }) => port)
          .join(''),
      ).toMatch(/^(123|231|312)$/);
    expect(slots([], 5)).toEqual([]);
  });

  it.each([1, 2, 3, 4, 5, 6])('start everywhere equally often when each %ith round counts', (step) => {
    const counts = [0, 0, 0];
    for (let i = 0; i < 300; i++) counts[(slots(targets, i * step)[0]?.port ?? 1) - 1]!++;
    for (const count of counts) expect(Math.abs(count - 100)).toBeLessThanOrEqual(3);
  });
});

describe('localAddresses', () => {
  it('takes networks from interfaces that are not the loopback', () => {
    const one = { netmask: '', mac: '', internal: false, family: 'IPv4' as const };
    const found = localAddresses({
      lo: [{ ...one, internal: true, address: '127.0.0.1', cidr: '127.0.0.1/8' }],
      docker0: [{ ...one, address: '172.17.0.1', cidr: '172.17.0.1/16' }],
      eth0: [
        { ...one, family: 'IPv6', scopeid: 0, address: 'fd00::2', cidr: 'fd00::2/64' },
        { ...one, family: 'IPv6', scopeid: 2, address: 'fe80::2', cidr: 'fe80::2/64' },
      ],
    });
    expect([...found.own]).toEqual(['127.0.0.1', '172.17.0.1', 'fd00::2']);
    expect(found.subnets.map(({ cidr, device }) => `${cidr} ${device}`)).toEqual([
      '172.17.0.0/16 docker0',
      'fd00::/64 eth0',
    ]);
  });
});
