import { describe, expect, it } from 'vitest';
import { emptyTable, type NodeTable, type Target } from '../plan.ts';
import { changes, replacement, tableName } from './rules.ts';

const port = (number: number, targets: string[], protocol: 'tcp' | 'udp' = 'tcp') => ({
  key: `${protocol}/${number}`,
  protocol,
  port: number,
  targets: targets.map((text): Target => {
    const [addr = '', at] = text.split(':');
    return { addr, port: Number(at) };
  }),
});

function table(ports: ReturnType<typeof port>[], farNodes: string[] = [], nearNets: string[] = []) {
  return { ports: new Map(ports.map((one) => [one.key, one])), farNodes, nearNets } as NodeTable;
}

const names = { table: 'swarmd_n1', addresses: [], routeLocalnet: '0' };
const first = () => 0;
const change = (from: NodeTable, to: NodeTable, round = first) =>
  changes('swarmd_n1', from, to, round)
    .split('\n')
    .map((line) => line.replace(' ip swarmd_n1', ''))
    .filter(Boolean);

describe('tableName', () => {
  it('begins with the node’s id', () => {
    expect(tableName('0123456789abcdefghijklmno')).toBe('swarmd_0123456789ab');
    expect(tableName('a-b.c')).toBe('swarmd_a_b_c');
  });
});

describe('replacement', () => {
  it('is the whole table', () => {
    const full = table(
      [port(8080, ['10.0.0.2:80', '172.17.0.3:80']), port(53, ['10.0.0.2:53'], 'udp'), port(9090, [])],
      ['10.0.0.2'],
      ['172.17.0.0/16'],
    );
    expect(replacement(names, full, first)).toBe(`add table ip swarmd_n1
delete table ip swarmd_n1
table ip swarmd_n1 {
  comment "route_localnet was 0"
  map ports { type inet_proto . inet_service : verdict; }
  set refused { type inet_proto . inet_service; }
  set published { type inet_service; }
  set far_nodes { type ipv4_addr; }
  set near_nets { type ipv4_addr; flags interval; }
  chain ours {
    ip daddr @far_nodes masquerade fully-random
    ip daddr @near_nets goto near
  }
  chain near {
    ip saddr 127.0.0.0/8 masquerade fully-random
    ip saddr @near_nets masquerade fully-random
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }
  chain prerouting {
    type nat hook prerouting priority -110; policy accept;
    fib daddr type local meta l4proto . th dport vmap @ports
  }
  chain output {
    type nat hook output priority -110; policy accept;
    fib daddr type local meta l4proto . th dport vmap @ports
  }
  chain input {
    type filter hook input priority -10; policy accept;
    ct status dnat accept
    ct state new fib daddr type local meta l4proto . th dport @refused goto refuse
  }
  chain postrouting {
    type nat hook postrouting priority 90; policy accept;
    oifname "lo" accept
    ct status dnat meta l4proto { tcp, udp, sctp } ct original proto-dst @published goto ours
  }
  chain s_tcp_8080 {
    meta l4proto tcp dnat to numgen inc mod 2 map { 0 : 10.0.0.2 . 80, 1 : 172.17.0.3 . 80 }
  }
  chain s_udp_53 {
    meta l4proto udp dnat to 10.0.0.2:53
  }
}
add element ip swarmd_n1 ports { tcp . 8080 : goto s_tcp_8080, udp . 53 : goto s_udp_53 }
add element ip swarmd_n1 refused { tcp . 9090 }
add element ip swarmd_n1 published { 8080, 53 }
add element ip swarmd_n1 far_nodes { 10.0.0.2 }
add element ip swarmd_n1 near_nets { 172.17.0.0/16 }
`);
  });

  it('keeps to the node’s addresses when it has some of its own', () => {
    const text = replacement({ ...names, addresses: ['127.0.0.3', '127.0.0.2'] }, emptyTable, first);
    expect(text).not.toContain('fib daddr');
    expect(text.match(/ip daddr \{ 127\.0\.0\.2, 127\.0\.0\.3 \} meta l4proto \. th dport/g)).toHaveLength(3);
  });

  it('adds many elements in several commands', () => {
    const many = Array.from({ length: 1_200 }, (_, i) => port(i + 1, ['10.0.0.2:80']));
    expect(replacement(names, table(many), first).match(/^add element/gm)).toHaveLength(6);
  });
});

describe('changes', () => {
  const two = port(80, ['10.0.0.2:80', '10.0.0.3:80']);

  it('are none between equal tables', () => {
    expect(change(table([two]), table([{ ...two, targets: [...two.targets] }]))).toEqual([]);
  });

  it('add a port', () => {
    expect(change(emptyTable, table([two], ['10.0.0.2']))).toEqual([
      'add chain s_tcp_80',
      'add rule s_tcp_80 meta l4proto tcp dnat to numgen inc mod 2 map { 0 : 10.0.0.2 . 80, 1 : 10.0.0.3 . 80 }',
      'add element ports { tcp . 80 : goto s_tcp_80 }',
      'add element published { 80 }',
      'add element far_nodes { 10.0.0.2 }',
    ]);
  });

  it('replace the rule of a port alone, and start with another backend', () => {
    const other = port(81, ['10.0.0.2:81']);
    const three = port(80, ['10.0.0.2:80', '10.0.0.3:80', '10.0.0.4:80']);
    expect(change(table([two, other]), table([three, other]), () => 1)).toEqual([
      'flush chain s_tcp_80',
      'add rule s_tcp_80 meta l4proto tcp dnat to numgen inc mod 3 map { 0 : 10.0.0.3 . 80, 1 : 10.0.0.4 . 80, 2 : 10.0.0.2 . 80 }',
    ]);
  });

  it('refuse where the last backend left, and serve again', () => {
    const none = port(80, []);
    expect(change(table([two]), table([none]))).toEqual([
      'delete element ports { tcp . 80 }',
      'delete element published { 80 }',
      'add element refused { tcp . 80 }',
      'flush chain s_tcp_80',
      'delete chain s_tcp_80',
    ]);
    expect(change(table([none]), table([port(80, ['10.0.0.2:80'])]))).toEqual([
      'add chain s_tcp_80',
      'add rule s_tcp_80 meta l4proto tcp dnat to 10.0.0.2:80',
      'add element ports { tcp . 80 : goto s_tcp_80 }',
      'add element published { 80 }',
      'delete element refused { tcp . 80 }',
    ]);
    expect(change(table([none]), emptyTable)).toEqual(['delete element refused { tcp . 80 }']);
  });

  it('remove a port with what belongs to it', () => {
    expect(change(table([two], ['10.0.0.2']), emptyTable)).toEqual([
      'delete element ports { tcp . 80 }',
      'delete element published { 80 }',
      'delete element far_nodes { 10.0.0.2 }',
      'flush chain s_tcp_80',
      'delete chain s_tcp_80',
    ]);
  });

  it('follow nodes and networks that come and go', () => {
    expect(
      change(table([two], ['10.0.0.2', '10.0.0.3']), table([two], ['10.0.0.3', '10.0.0.4'], ['10.1.0.0/24'])),
    ).toEqual([
      'delete element far_nodes { 10.0.0.2 }',
      'add element far_nodes { 10.0.0.4 }',
      'flush set near_nets',
      'add element near_nets { 10.1.0.0/24 }',
    ]);
  });
});
