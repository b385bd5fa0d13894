import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { answeredAddresses, localAddresses, subnet } from './address.ts';
import { planTable, slots } from './plan.ts';

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
  own: new Set(['127.0.0.1', '10.0.0.1', '172.17.0.1']),
  subnets: [subnet('10.0.0.1/24'), subnet('172.17.0.1/16')],
};

const plan = (entries: IngressEntry[], taken = new Map<string, string>()) =>
  planTable(new Map(entries.map((one) => [one.key, one])), { nodeId: 'n1', local, taken });

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

describe('planTable', () => {
  it('reaches its own backends directly and the others by their node’s port', () => {
    const { table, problems } = plan([
      entry(8080, [backend('a', 'n1'), backend('b', 'n2', { nodeAddr: '10.0.0.3', nodePort: 50000 })]),
    ]);
    expect([...table.ports.values()].map(({ targets }) => targets)).toEqual([
      [
        { addr: '172.17.0.2', port: 80 },
        { addr: '10.0.0.3', port: 50000 },
      ],
    ]);
    expect(table.farNodes).toEqual(['10.0.0.3']);
    expect(table.nearNets).toEqual(['172.17.0.0/16']);
    expect(problems.size).toBe(0);
  });

  it('knows no container network for processes', () => {
    for (const localAddr of ['127.0.0.1', '10.0.0.1'])
      expect(plan([entry(8080, [backend('a', 'n1', { localAddr })])]).table.nearNets).toEqual([]);
  });

  it('leaves out what the kernel would refuse, and keeps the rest', () => {
    const { table, problems } = plan([
      entry(8080, [backend('a', 'n1'), backend('b', 'n2', { nodeAddr: 'node2' }), backend('c', 'n2', { nodePort: 0 })]),
      entry(99_999, []),
      entry(8081, [backend('d', 'n2', { nodeAddr: 'fd00::1' })]),
    ]);
    expect(table.ports.get('tcp/8080')?.targets).toEqual([{ addr: '172.17.0.2', port: 80 }]);
    expect(table.ports.get('tcp/8081')?.targets).toEqual([]);
    expect(Object.fromEntries(problems)).toEqual({
      'tcp/8080': 'task c is left out: 10.0.0.2:0 is no IPv4 endpoint',
      'tcp/8081': 'task d is left out: fd00::1:49153 is no IPv4 endpoint',
      'tcp/99999': 'tcp port 99999 cannot be published',
    });
  });

  it('takes what it knows of an entry from the cache', () => {
    const cache = new WeakMap();
    const around = { nodeId: 'n1', local, taken: new Map(), cache };
    const [one, two] = [entry(8080, [backend('a', 'n1')]), entry(8081, [backend('b', 'n2')])];
    const [before, after] = [
      planTable(new Map([[one.key, one]]), around),
      planTable(new Map([one, two].map((each) => [each.key, each])), around),
    ];
    expect(after.table.ports.get('tcp/8080')).toBe(before.table.ports.get('tcp/8080'));
    expect(after).toEqual(plan([one, two]));
  });

  it('leaves another program’s port alone, while the port is wanted', () => {
    const taken = new Map([
      ['tcp/8080', 'taken'],
      ['tcp/1', 'taken'],
    ]);
    const { table, problems } = plan([entry(8080, [backend('a', 'n1')])], taken);
    expect(table.ports.size).toBe(0);
    expect(table.nearNets).toEqual([]);
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
      eth0: [{ ...one, family: 'IPv6', scopeid: 0, address: 'fd00::2', cidr: 'fd00::2/64' }],
    });
    expect([...found.own]).toEqual(['127.0.0.1', '172.17.0.1']);
    expect(found.subnets).toEqual([{ cidr: '172.17.0.0/16', device: 'docker0', first: 0xac110000, last: 0xac11ffff }]);
  });
});
