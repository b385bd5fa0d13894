import type { NetworkName, NetworkView } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { changes, replacement, servicesOf, staleFlows, strayFlows, turnsOf } from './plan.ts';

const name = (name: string, vip: string | undefined, ...addrs: string[]): NetworkName => ({
  name,
  ...(vip && { vip }),
  tasks: addrs.map((addr, i) => ({ taskId: `t${i}`, slot: i + 1, addr })),
});
const view = (...names: NetworkName[]): NetworkView => ({
  ...{ id: 'n', name: 'net', vni: 1, port: 4789, encrypted: false, internal: false, subnets: [], far: [] },
  names,
});
const a = '10.0.1.2';
const v = `v_${(10 * 2 ** 24 + 2 ** 8 + 2).toString(16)}`;
const turns = (...targets: string[]) => new Map([[a, targets]]);

describe('services of a container', () => {
  it('have each address once, without the names that have none', () => {
    const services = servicesOf([
      view(name('web', a, '10.0.1.5', '10.0.1.6'), name('alias', a, '10.0.1.5'), name('dnsrr', undefined, '10.0.1.7')),
      view(name('db', '10.0.2.2')),
    ]);
    expect([...services]).toEqual([
      [a, ['10.0.1.5', '10.0.1.6']],
      ['10.0.2.2', []],
    ]);
  });

  it('lead to tasks of their own family', () => {
    const services = servicesOf([view(name('web', 'fd00::2', '10.0.1.5', 'fd00::5'))]);
    expect([...services]).toEqual([['fd00::2', ['fd00::5']]]);
  });

  it('begin where they are told, so that not all begin alike', () => {
    const services = new Map([
      [a, ['x', 'y', 'z']],
      ['10.0.1.3', ['x']],
    ]);
    expect([...turnsOf(services, () => 2)]).toEqual([
      [a, ['z', 'x', 'y']],
      ['10.0.1.3', ['x']],
    ]);
  });
});

describe('changes of a table', () => {
  it('are none for equal sets, in whatever order', () => {
    expect(changes(turns('x', 'y'), turns('y', 'x'))).toBe('');
    expect(changes(turns(), turns())).toBe('');
  });

  it.each<[string, string[], string[], string]>([
    [
      'another task',
      ['1.1.1.1'],
      ['1.1.1.1', '1.1.1.2'],
      `flush chain inet swarmd_vip ${v}\nadd rule inet swarmd_vip ${v} dnat ip to numgen inc mod 2 map { 0 : 1.1.1.1, 1 : 1.1.1.2 }\n`,
    ],
    [
      'the last task leaves',
      ['1.1.1.1'],
      [],
      `delete element inet swarmd_vip vips4 { ${a} : goto ${v} }\nflush chain inet swarmd_vip ${v}\ndelete chain inet swarmd_vip ${v}\nadd element inet swarmd_vip idle4 { ${a} }\n`,
    ],
    [
      'the first task comes',
      [],
      ['1.1.1.1'],
      `delete element inet swarmd_vip idle4 { ${a} }\nadd chain inet swarmd_vip ${v}\nadd rule inet swarmd_vip ${v} dnat ip to 1.1.1.1\nadd element inet swarmd_vip vips4 { ${a} : goto ${v} }\n`,
    ],
  ])('%s', (_, from, to, text) => expect(changes(turns(...from), turns(...to))).toBe(text));

  it('name the service that comes or goes, and no other', () => {
    const both = new Map([...turns('1.1.1.1'), ['10.0.1.9', ['1.1.1.2']]]);
    expect(changes(turns('1.1.1.1'), both)).not.toContain(v);
    expect(changes(both, turns('1.1.1.1'))).not.toContain(v);
    expect(changes(both, turns('1.1.1.1'))).toContain('delete chain');
  });

  it('of the whole replace what is there', () => {
    const text = replacement(new Map([...turns('1.1.1.1'), ['10.0.1.9', []], ['fd00::2', ['fd00::5', 'fd00::6']]]));
    expect(text.split('\n').slice(0, 2)).toEqual(['table inet swarmd_vip', 'delete table inet swarmd_vip']);
    expect(text).toContain(`map vips4 { type ipv4_addr : verdict; elements = { ${a} : goto ${v} }; }`);
    expect(text).toContain('set idle4 { type ipv4_addr; elements = { 10.0.1.9 }; }');
    expect(text).toContain('dnat ip6 to numgen inc mod 2 map { 0 : fd00::5, 1 : fd00::6 }');
    expect(text).toContain('set idle6 { type ipv6_addr; }');
  });
});

describe('flows to forget', () => {
  it('lead to tasks that left', () => {
    expect(staleFlows(turns('x', 'y'), turns('y'))).toEqual([{ protocol: 'udp', vip: a, answering: 'x' }]);
    expect(staleFlows(turns('x'), new Map())).toEqual([{ protocol: 'udp', vip: a, answering: 'x' }]);
    expect(staleFlows(turns('x'), turns('x', 'y'))).toEqual([]);
  });
  it('found nobody, before there were rules', () => {
    expect(staleFlows(new Map(), turns('x'))).toEqual([{ vip: a, answering: a }]);
  });

  it('are those that there are', () => {
    const text = [
      'udp      17 29 src=10.0.1.9 dst=10.0.1.2 sport=5 dport=53 src=10.0.1.5 dst=10.0.1.9 sport=53 dport=5 mark=0 use=1',
      'tcp      6 110 SYN_SENT src=10.0.1.9 dst=10.0.1.3 sport=5 dport=80 [UNREPLIED] src=10.0.1.3 dst=10.0.1.9 sport=80 dport=5 mark=0 use=1',
      'tcp      6 110 ESTABLISHED src=10.0.1.9 dst=10.0.1.2 sport=5 dport=80 src=10.0.1.6 dst=10.0.1.9 sport=80 dport=5 mark=0 use=1',
    ].join('\n');
    const all = new Map([
      ['10.0.1.2', ['10.0.1.7']],
      ['10.0.1.3', ['10.0.1.7']],
    ]);
    expect(strayFlows(text, all)).toEqual([
      { protocol: 'udp', vip: '10.0.1.2', answering: '10.0.1.5' },
      { vip: '10.0.1.3', answering: '10.0.1.3' },
    ]);
    expect(strayFlows(text, new Map([['10.0.1.2', ['10.0.1.5']]]))).toEqual([]);
  });
});
