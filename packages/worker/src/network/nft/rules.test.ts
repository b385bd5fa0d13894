import { describe, expect, it } from 'vitest';
import type { Family } from '../address.ts';
import { emptyTable, type NodeTable, type PortRule, type Target } from '../plan.ts';
import type { MeshState } from '../types.ts';
import { type TableNames, tableName } from './names.ts';
import { changes, removal, replacement } from './rules.ts';

const target = (text: string): Target => {
  const [addr = '', at] = text.split(' ');
  return { addr, port: Number(at) };
};

/** Targets as `address port`. */
function port(number: number, targets: string[], more: Partial<PortRule> = {}): PortRule {
  const of = (family: Family) => targets.filter((text) => text.includes(':') === (family === 6)).map(target);
  const { protocol = 'tcp', address } = more;
  const key = `${protocol}/${number}${address ? `@${address}` : ''}`;
  return { key, protocol, port: number, targets: { 4: of(4), 6: of(6) }, ...more };
}

const table = (ports: PortRule[], more: Partial<NodeTable> = {}): NodeTable => ({
  ...emptyTable,
  ports: new Map(ports.map((one) => [one.key, one])),
  ...more,
});

const names: TableNames = { table: 'swarmd_n1', addresses: [], routeLocalnet: '0' };
const first = () => 0;
const change = (from: NodeTable, to: NodeTable, round = first, spare = 0) =>
  changes('swarmd_n1', from, to, round, spare)
    .text.split('\n')
    .map((line) => line.replace(' inet swarmd_n1', ''))
    .filter(Boolean);

const lines = (named: TableNames, of: NodeTable) =>
  replacement(named, of, first)
    .split('\n')
    .map((line) => line.trim());

describe('tableName', () => {
  it('begins with the node’s id', () => {
    expect(tableName('0123456789abcdefghijklmno')).toBe('swarmd_0123456789ab');
    expect(tableName('a-b.c')).toBe('swarmd_a_b_c');
  });
});

describe('replacement', () => {
  it('is the whole table, in the place of what was there of either family', () => {
    const full = table(
      [
        port(8080, ['10.0.0.2 80', '172.17.0.3 80', 'fd17::3 80']),
        port(53, ['10.0.0.2 53'], { protocol: 'udp', masquerades: true }),
        port(9090, []),
      ],
      { farNodes: { 4: ['10.0.0.2'], 6: [] }, nearNets: { 4: ['172.17.0.0/16'], 6: ['fd17::/64'] } },
    );
    expect(replacement(names, full, first)).toMatchInlineSnapshot(`
      "add table ip swarmd_n1
      delete table ip swarmd_n1
      add table inet swarmd_n1
      delete table inet swarmd_n1
      table inet swarmd_n1 {
        comment "route_localnet was 0"
        map ports { type inet_proto . inet_service : verdict; }
        map ports_at4 { type ipv4_addr . inet_proto . inet_service : verdict; }
        map ports_at6 { type ipv6_addr . inet_proto . inet_service : verdict; }
        set refused { type inet_proto . inet_service; }
        set refused_at4 { type ipv4_addr . inet_proto . inet_service; }
        set refused_at6 { type ipv6_addr . inet_proto . inet_service; }
        set published { type inet_service; }
        set masquerade_tcp { type inet_service; }
        set masquerade_udp { type inet_service; }
        set masquerade_sctp { type inet_service; }
        set far4 { type ipv4_addr; }
        set far6 { type ipv6_addr; }
        set near4 { type ipv4_addr; flags interval; }
        set near6 { type ipv6_addr; flags interval; }
        map door4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
        map door6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
        map peers { type ether_addr : mark; }
        set senders4 { type ipv4_addr; }
        set senders6 { type ipv6_addr; }
        set own4 { type ipv4_addr . ipv4_addr; }
        set own6 { type ipv6_addr . ipv6_addr; }
        chain c_guard {
          type filter hook prerouting priority raw; policy accept;
          iifname != "lo" ip daddr 127.0.0.0/8 drop
        }
        chain c_ports {
          ip daddr . meta l4proto . th dport vmap @ports_at4
          ip6 daddr . meta l4proto . th dport vmap @ports_at6
          meta l4proto . th dport vmap @ports
        }
        chain c_refuse {
          meta l4proto tcp reject with tcp reset
          reject with icmpx type port-unreachable
        }
        chain c_prerouting {
          type nat hook prerouting priority -110; policy accept;
          ip6 daddr { ::1, fe80::/10 } accept
          fib daddr type local goto c_ports
        }
        chain c_output {
          type nat hook output priority -110; policy accept;
          ip6 daddr { ::1, fe80::/10 } accept
          fib daddr type local goto c_ports
        }
        chain c_refused {
          ip daddr . meta l4proto . th dport @refused_at4 goto c_refuse
          ip6 daddr . meta l4proto . th dport @refused_at6 goto c_refuse
          meta l4proto . th dport @refused goto c_refuse
        }
        chain c_input {
          type filter hook input priority -10; policy accept;
          ct status dnat accept
          ct state new fib daddr type local goto c_refused
        }
        chain c_near {
          ip saddr 127.0.0.0/8 masquerade fully-random
          ip saddr @near4 masquerade fully-random
          ip6 saddr @near6 masquerade fully-random
        }
        chain c_ours {
          meta l4proto tcp ct original proto-dst @masquerade_tcp masquerade fully-random
          meta l4proto udp ct original proto-dst @masquerade_udp masquerade fully-random
          meta l4proto sctp ct original proto-dst @masquerade_sctp masquerade fully-random
          ip daddr @far4 masquerade fully-random
          ip6 daddr @far6 masquerade fully-random
          ip daddr @near4 goto c_near
          ip6 daddr @near6 goto c_near
        }
        chain c_postrouting {
          type nat hook postrouting priority 90; policy accept;
          oifname "lo" accept
          ct status dnat meta l4proto { tcp, udp, sctp } ct original proto-dst @published goto c_ours
        }
        chain s_tcp_8080 {
          meta nfproto ipv4 meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 10.0.0.2 . 80, 1 : 172.17.0.3 . 80 }
          meta nfproto ipv6 meta l4proto tcp dnat ip6 to [fd17::3]:80
        }
        chain s_udp_53 {
          meta nfproto ipv4 meta l4proto udp dnat ip to 10.0.0.2:53
        }
      }
      add element inet swarmd_n1 ports { tcp . 8080 : goto s_tcp_8080, udp . 53 : goto s_udp_53 }
      add element inet swarmd_n1 refused { tcp . 9090 }
      add element inet swarmd_n1 published { 8080, 53 }
      add element inet swarmd_n1 masquerade_udp { 53 }
      add element inet swarmd_n1 far4 { 10.0.0.2 }
      add element inet swarmd_n1 near4 { 172.17.0.0/16 }
      add element inet swarmd_n1 near6 { fd17::/64 }
      "
    `);
  });

  it('leads to and from the mesh', () => {
    const mesh: MeshState = {
      ...{ device: 'swm1', self: 1, addresses: { v4: '198.18.0.1', v6: 'fd73::1' }, mark: 0x5377_0000 },
      marks: new Map([['02:73:77:6D:00:02', 0x5377_0002]]),
      senders: ['10.0.0.2', 'fd09::2'],
      own: [
        { node: '10.0.0.2', mesh: '198.18.0.2' },
        { node: 'fd09::2', mesh: 'fd73::2' },
      ],
      wayTo: () => ({ kind: 'mesh', v4: '198.18.0.2' }),
    };
    const doors = {
      4: new Map([['tcp . 32768', '172.17.0.3 . 80']]),
      6: new Map([['tcp . 32768', 'fd17::3 . 80']]),
    };
    const { mark, device, addresses } = mesh;
    const vxlan = { vni: 7, port: 4789 };
    const named = { ...names, mesh: { device, ...addresses, mark, mtu: 1_450, vxlan, routedByMain: [4 as const] } };
    expect(replacement(named, table([port(80, ['198.18.0.2 32769'])], { doors, mesh }), first)).toMatchInlineSnapshot(`
      "add table ip swarmd_n1
      delete table ip swarmd_n1
      add table inet swarmd_n1
      delete table inet swarmd_n1
      table inet swarmd_n1 {
        comment "route_localnet was 0"
        map ports { type inet_proto . inet_service : verdict; }
        map ports_at4 { type ipv4_addr . inet_proto . inet_service : verdict; }
        map ports_at6 { type ipv6_addr . inet_proto . inet_service : verdict; }
        set refused { type inet_proto . inet_service; }
        set refused_at4 { type ipv4_addr . inet_proto . inet_service; }
        set refused_at6 { type ipv6_addr . inet_proto . inet_service; }
        set published { type inet_service; }
        set masquerade_tcp { type inet_service; }
        set masquerade_udp { type inet_service; }
        set masquerade_sctp { type inet_service; }
        set far4 { type ipv4_addr; }
        set far6 { type ipv6_addr; }
        set near4 { type ipv4_addr; flags interval; }
        set near6 { type ipv6_addr; flags interval; }
        map door4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
        map door6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
        map peers { type ether_addr : mark; }
        set senders4 { type ipv4_addr; }
        set senders6 { type ipv6_addr; }
        set own4 { type ipv4_addr . ipv4_addr; }
        set own6 { type ipv6_addr . ipv6_addr; }
        chain c_guard {
          type filter hook prerouting priority raw; policy accept;
          iifname != "lo" ip daddr 127.0.0.0/8 drop
          ip daddr 198.18.0.1 iifname != { "lo", "swm1" } drop
          ip6 daddr fd73::1 iifname != { "lo", "swm1" } drop
          udp dport 4789 @th,96,24 7 ip saddr != @senders4 drop
          udp dport 4789 @th,96,24 7 ip6 saddr != @senders6 drop
          iifname "swm1" ct original zone set @ll,80,16
        }
        chain c_mark {
          type filter hook prerouting priority mangle; policy accept;
          iifname "swm1" ct state new ct mark set ether saddr map @peers
          iifname "swm1" meta nfproto ipv4 meta mark set ct mark
          iifname != "swm1" ct mark & 0xffff0000 == 0x53770000 ct direction reply meta mark set ct mark
        }
        chain c_mark_own {
          type route hook output priority mangle; policy accept;
          ct mark & 0xffff0000 == 0x53770000 ct direction reply meta mark set ct mark
        }
        chain c_clamp {
          type filter hook forward priority mangle; policy accept;
          oifname "swm1" tcp flags syn / syn,rst tcp option maxseg size set rt mtu
          iifname "swm1" meta nfproto ipv4 tcp flags syn / syn,rst tcp option maxseg size > 1410 tcp option maxseg size set 1410
          iifname "swm1" meta nfproto ipv6 tcp flags syn / syn,rst tcp option maxseg size > 1390 tcp option maxseg size set 1390
        }
        chain c_unmark {
          type filter hook postrouting priority mangle; policy accept;
          oifname "swm1" meta mark set 0
        }
        chain c_ports {
          ip daddr . meta l4proto . th dport vmap @ports_at4
          ip6 daddr . meta l4proto . th dport vmap @ports_at6
          meta l4proto . th dport vmap @ports
        }
        chain c_refuse {
          meta l4proto tcp reject with tcp reset
          reject with icmpx type port-unreachable
        }
        chain c_prerouting {
          type nat hook prerouting priority -110; policy accept;
          iifname "swm1" ip daddr 198.18.0.1 meta l4proto { tcp, udp, sctp } dnat ip to meta l4proto . th dport map @door4
          iifname "swm1" ip6 daddr fd73::1 meta l4proto { tcp, udp, sctp } dnat ip6 to meta l4proto . th dport map @door6
          iifname "swm1" accept
          ip6 daddr { ::1, fe80::/10 } accept
          fib daddr type local goto c_ports
        }
        chain c_output {
          type nat hook output priority -110; policy accept;
          ip6 daddr { ::1, fe80::/10 } accept
          fib daddr type local goto c_ports
        }
        chain c_refused {
          ip daddr . meta l4proto . th dport @refused_at4 goto c_refuse
          ip6 daddr . meta l4proto . th dport @refused_at6 goto c_refuse
          meta l4proto . th dport @refused goto c_refuse
        }
        chain c_input {
          type filter hook input priority -10; policy accept;
          ct status dnat accept
          ct state new fib daddr type local goto c_refused
        }
        chain c_near {
          ip saddr 127.0.0.0/8 masquerade fully-random
          ip saddr @near4 masquerade fully-random
          ip6 saddr @near6 masquerade fully-random
        }
        chain c_far {
          ip saddr 127.0.0.0/8 masquerade fully-random
          ip saddr @near4 masquerade fully-random
          ip6 saddr @near6 masquerade fully-random
          ip saddr . ip daddr @own4 masquerade fully-random
          ip6 saddr . ip6 daddr @own6 masquerade fully-random
        }
        chain c_ours {
          meta l4proto tcp ct original proto-dst @masquerade_tcp masquerade fully-random
          meta l4proto udp ct original proto-dst @masquerade_udp masquerade fully-random
          meta l4proto sctp ct original proto-dst @masquerade_sctp masquerade fully-random
          oifname "swm1" goto c_far
          ip daddr @far4 masquerade fully-random
          ip6 daddr @far6 masquerade fully-random
          ip daddr @near4 goto c_near
          ip6 daddr @near6 goto c_near
        }
        chain c_postrouting {
          type nat hook postrouting priority 90; policy accept;
          oifname "lo" accept
          ct status dnat ct mark & 0xffff0000 == 0x53770000 accept
          ct status dnat meta l4proto { tcp, udp, sctp } ct original proto-dst @published goto c_ours
        }
        chain s_tcp_80 {
          meta nfproto ipv4 meta l4proto tcp dnat ip to 198.18.0.2:32769
        }
      }
      add element inet swarmd_n1 ports { tcp . 80 : goto s_tcp_80 }
      add element inet swarmd_n1 published { 80 }
      add element inet swarmd_n1 door4 { tcp . 32768 : 172.17.0.3 . 80 }
      add element inet swarmd_n1 door6 { tcp . 32768 : fd17::3 . 80 }
      add element inet swarmd_n1 peers { 02:73:77:6d:00:02 : 0x53770002 }
      add element inet swarmd_n1 senders4 { 10.0.0.2 }
      add element inet swarmd_n1 senders6 { fd09::2 }
      add element inet swarmd_n1 own4 { 10.0.0.2 . 198.18.0.2 }
      add element inet swarmd_n1 own6 { fd09::2 . fd73::2 }
      "
    `);
  });

  it('keeps to the node’s addresses when it has some of its own', () => {
    const text = replacement({ ...names, addresses: ['127.0.0.3', 'fd00::1', '127.0.0.2'] }, emptyTable, first);
    expect(text).not.toContain('fib daddr type local');
    expect(text.match(/ip daddr \{ 127\.0\.0\.2, 127\.0\.0\.3 \} goto c_(ports|refused)$/gm)).toHaveLength(3);
    expect(text.match(/ip6 daddr \{ fd00::1 \} goto c_(ports|refused)$/gm)).toHaveLength(3);
  });

  it('binds ports to addresses of either family', () => {
    const bound = [
      port(80, ['10.0.0.2 80'], { address: '10.0.0.5' }),
      port(80, ['fd17::3 80'], { address: 'fd00::5' }),
      port(81, [], { address: '10.0.0.5' }),
      port(81, [], { address: 'fd00::5' }),
    ];
    const text = lines(names, table(bound));
    for (const line of [
      'chain s_tcp_80_at_10_0_0_5 {',
      'chain s_tcp_80_at_fd00__5 {',
      'add element inet swarmd_n1 ports_at4 { 10.0.0.5 . tcp . 80 : goto s_tcp_80_at_10_0_0_5 }',
      'add element inet swarmd_n1 ports_at6 { fd00::5 . tcp . 80 : goto s_tcp_80_at_fd00__5 }',
      'add element inet swarmd_n1 refused_at4 { 10.0.0.5 . tcp . 81 }',
      'add element inet swarmd_n1 refused_at6 { fd00::5 . tcp . 81 }',
    ])
      expect(text).toContain(line);
  });

  it('lets in the ranges of a port, and nobody where there are none', () => {
    const targets = ['10.0.0.2 80', 'fd17::3 80'];
    const some = port(80, targets, { allow: { 4: ['10.0.0.0-10.255.255.255', '192.0.2.1-192.0.2.1'], 6: [] } });
    const text = lines(names, table([some, port(81, targets, { allow: { 4: [], 6: [] } })]));
    expect(text.slice(text.indexOf('chain s_tcp_80 {')).slice(0, 5)).toEqual([
      'chain s_tcp_80 {',
      'meta nfproto ipv4 ip saddr { 10.0.0.0-10.255.255.255, 192.0.2.1-192.0.2.1 } meta l4proto tcp dnat ip to 10.0.0.2:80',
      '}',
      'chain s_tcp_81 {',
      '}',
    ]);
  });

  it('publishes SCTP as it does the others', () => {
    const text = lines(names, table([port(2905, ['10.0.0.2 2905', 'fd17::3 2905'], { protocol: 'sctp' })]));
    for (const line of [
      'meta nfproto ipv4 meta l4proto sctp dnat ip to 10.0.0.2:2905',
      'meta nfproto ipv6 meta l4proto sctp dnat ip6 to [fd17::3]:2905',
      'add element inet swarmd_n1 ports { sctp . 2905 : goto s_sctp_2905 }',
    ])
      expect(text).toContain(line);
  });

  it('adds many elements in several commands', () => {
    const many = Array.from({ length: 1_200 }, (_, i) => port(i + 1, ['10.0.0.2 80']));
    expect(replacement(names, table(many), first).match(/^add element/gm)).toHaveLength(6);
  });
});

describe('removal', () => {
  it('is of both families', () => {
    expect(removal('t').match(/^delete table .*/gm)).toEqual(['delete table ip t', 'delete table inet t']);
  });
});

describe('changes', () => {
  const two = port(80, ['10.0.0.2 80', '10.0.0.3 80']);

  it('are none between equal tables', () => {
    const same = { ...two, targets: { ...two.targets, 4: [...two.targets[4]] } };
    expect(change(table([two]), table([same]))).toEqual([]);
  });

  it('add a port', () => {
    expect(change(emptyTable, table([two], { farNodes: { 4: ['10.0.0.2'], 6: [] } }))).toEqual([
      'add chain s_tcp_80',
      'add rule s_tcp_80 meta nfproto ipv4 meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 10.0.0.2 . 80, 1 : 10.0.0.3 . 80 }',
      'add element ports { tcp . 80 : goto s_tcp_80 }',
      'add element published { 80 }',
      'add element far4 { 10.0.0.2 }',
    ]);
  });

  it('replace the rules of a port alone, and start with another backend', () => {
    const other = port(81, ['10.0.0.2 81']);
    const three = port(80, ['10.0.0.2 80', '10.0.0.3 80', '10.0.0.4 80', 'fd17::4 80']);
    expect(change(table([two, other]), table([three, other]), () => 1)).toEqual([
      'flush chain s_tcp_80',
      'add rule s_tcp_80 meta nfproto ipv4 meta l4proto tcp dnat ip to numgen inc mod 3 map { 0 : 10.0.0.3 . 80, 1 : 10.0.0.4 . 80, 2 : 10.0.0.2 . 80 }',
      'add rule s_tcp_80 meta nfproto ipv6 meta l4proto tcp dnat ip6 to [fd17::4]:80',
    ]);
  });

  it('replace the rules of a port whose ranges changed', () => {
    const [wide, narrow] = [
      port(80, ['10.0.0.2 80']),
      port(80, ['10.0.0.2 80'], { allow: { 4: ['10.0.0.9-10.0.0.9'], 6: [] } }),
    ];
    expect(change(table([wide]), table([narrow]))).toEqual([
      'flush chain s_tcp_80',
      'add rule s_tcp_80 meta nfproto ipv4 ip saddr { 10.0.0.9-10.0.0.9 } meta l4proto tcp dnat ip to 10.0.0.2:80',
    ]);
  });

  it('put new rules above old ones where they cover them, as long as some may be left over', () => {
    const only = { allow: { 4: ['10.0.0.9-10.0.0.9'], 6: [] } };
    const first = (from: PortRule, to: PortRule, spare: number) =>
      change(table([from]), table([to]), () => 0, spare)[0]?.replace(/ meta .*/, '');
    const [one, both] = [port(80, ['10.0.0.3 80']), port(80, ['10.0.0.3 80', 'fd17::3 80'])];
    expect(first(two, one, 1)).toBe('insert rule s_tcp_80');
    expect(first(two, both, 1)).toBe('insert rule s_tcp_80');
    expect(first(port(80, ['10.0.0.2 80'], only), port(80, ['10.0.0.3 80'], only), 1)).toBe('insert rule s_tcp_80');
    expect(first(two, one, 0)).toBe('flush chain s_tcp_80');
    // What is left over would still serve IPv6, or everybody.
    expect(first(both, one, 9)).toBe('flush chain s_tcp_80');
    expect(first(two, port(80, ['10.0.0.3 80'], only), 9)).toBe('flush chain s_tcp_80');
    expect(
      change(table([two, port(81, ['10.0.0.2 81'])]), table([one, port(81, ['10.0.0.3 81'])]), () => 0, 1),
    ).toEqual([
      'insert rule s_tcp_80 meta nfproto ipv4 meta l4proto tcp dnat ip to 10.0.0.3:80',
      'flush chain s_tcp_81',
      'add rule s_tcp_81 meta nfproto ipv4 meta l4proto tcp dnat ip to 10.0.0.3:81',
    ]);
  });

  it('refuse where the last backend left, and serve again', () => {
    const none = port(80, []);
    expect(change(table([two]), table([none]))).toEqual([
      'delete element ports { tcp . 80 }',
      'add element refused { tcp . 80 }',
      'delete element published { 80 }',
      'flush chain s_tcp_80',
      'delete chain s_tcp_80',
    ]);
    expect(change(table([none]), table([port(80, ['10.0.0.2 80'])]))).toEqual([
      'add chain s_tcp_80',
      'add rule s_tcp_80 meta nfproto ipv4 meta l4proto tcp dnat ip to 10.0.0.2:80',
      'add element ports { tcp . 80 : goto s_tcp_80 }',
      'delete element refused { tcp . 80 }',
      'add element published { 80 }',
    ]);
    expect(change(table([none]), emptyTable)).toEqual(['delete element refused { tcp . 80 }']);
  });

  it('remove a port with what belongs to it', () => {
    expect(change(table([two], { farNodes: { 4: ['10.0.0.2'], 6: [] } }), emptyTable)).toEqual([
      'delete element ports { tcp . 80 }',
      'delete element published { 80 }',
      'delete element far4 { 10.0.0.2 }',
      'flush chain s_tcp_80',
      'delete chain s_tcp_80',
    ]);
  });

  it('follow nodes and networks that come and go', () => {
    const from = table([two], { farNodes: { 4: ['10.0.0.2', '10.0.0.3'], 6: [] } });
    const to = table([two], {
      farNodes: { 4: ['10.0.0.3', '10.0.0.4'], 6: [] },
      nearNets: { 4: ['10.1.0.0/24'], 6: [] },
    });
    expect(change(from, to)).toEqual([
      'delete element far4 { 10.0.0.2 }',
      'add element far4 { 10.0.0.4 }',
      'flush set near4',
      'add element near4 { 10.1.0.0/24 }',
    ]);
  });

  it('follow tasks and peers: a door and a mark are given another', () => {
    const mesh = (mark: number): MeshState => ({
      ...{ device: 'swm1', self: 1, addresses: { v4: '198.18.0.1', v6: 'fd73::1' }, mark: 0x5377_0000 },
      ...{ marks: new Map([['02:73:77:6d:00:02', mark]]), senders: [], own: [] },
      wayTo: () => ({ kind: 'mesh', v4: '198.18.0.2' }),
    });
    const doors = (to: string) => ({ 4: new Map([['tcp . 32768', to]]), 6: new Map() });
    const from = table([two], { mesh: mesh(0x5377_0002), doors: doors('172.17.0.3 . 80') });
    expect(change(from, table([two], { mesh: mesh(0x5377_0003), doors: doors('172.17.0.4 . 80') }))).toEqual([
      'delete element door4 { tcp . 32768 }',
      'add element door4 { tcp . 32768 : 172.17.0.4 . 80 }',
      'delete element peers { 02:73:77:6d:00:02 }',
      'add element peers { 02:73:77:6d:00:02 : 0x53770003 }',
    ]);
  });
});
