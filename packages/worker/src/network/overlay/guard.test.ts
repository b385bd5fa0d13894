import type { NetworkView } from '@swarmctl/shared/wire';
import { expect, it } from 'vitest';
import { guarded, guardTable, guardText } from './guard.ts';

const network = (vni: number, port: number, ...nodes: string[]) => {
  const far = nodes.map((nodeAddr, i) => ({ addr: `10.0.1.${i}`, mac: '', nodeAddr }));
  const view: NetworkView = {
    ...{ id: `n${vni}`, name: 'n', vni, port, encrypted: false, internal: false, subnets: [], names: [] },
    far,
  };
  return guarded(view);
};

it('takes the packets of each network from its nodes alone', () => {
  const text = guardText('t', [
    network(4_098, 4_789, '10.0.0.3', 'fd00::3', '10.0.0.2', '10.0.0.2'),
    network(4_097, 4_789),
    network(4_099, 4_790, 'fd00::3'),
  ]);
  expect(text).toBe(`table inet t
delete table inet t
table inet t {
  chain n_4789_4097 { drop; }
  chain n_4789_4098 { ip saddr { 10.0.0.2, 10.0.0.3 } accept; ip6 saddr { fd00::3 } accept; drop; }
  chain n_4790_4099 { ip6 saddr { fd00::3 } accept; drop; }
  chain c_guard {
    type filter hook prerouting priority raw; policy accept;
    udp dport 4789 @th,96,24 vmap { 4097 : goto n_4789_4097, 4098 : goto n_4789_4098 }
    udp dport 4790 @th,96,24 vmap { 4099 : goto n_4790_4099 }
  }
}
`);
});

it('leads what containers made by hand ask the machine’s resolvers to the node’s own', () => {
  const subnets = [
    { subnet: '10.0.1.0/24', gateway: '10.0.1.128', block: '10.0.1.128/28' },
    { subnet: 'fd00:1::/64', gateway: 'fd00:1::8000:0', block: 'fd00:1::8000:0/120' },
  ];
  const view = { id: 'netaaaaaaaaaaa', name: 'n', vni: 1, port: 4_789, encrypted: false, internal: false, names: [] };
  const open = guarded({ ...view, subnets, far: [] });
  const text = guardText('t', [open], ['192.0.2.53', '192.0.2.54', 'fd00::53']);
  expect(text).toContain(`  chain c_names {
    type nat hook prerouting priority -110; policy accept;
    iifname "swbnetaaaaaaaaa" ip saddr 10.0.1.128/28 ip daddr { 192.0.2.53, 192.0.2.54 } meta l4proto { tcp, udp } th dport 53 dnat ip to 10.0.1.128
    iifname "swbnetaaaaaaaaa" ip6 saddr fd00:1::8000:0/120 ip6 daddr { fd00::53 } meta l4proto { tcp, udp } th dport 53 dnat ip6 to fd00:1::8000:0
  }
`);
  expect(guardText('t', [open])).not.toContain('c_names');
  expect(guardText('t', [network(2, 4_789)], ['192.0.2.53'])).not.toContain('c_names');
});

it('is nothing without networks', () => {
  expect(guardText('t', [])).toBe('table inet t\ndelete table inet t\n');
});

it('has a table for each daemon', () => {
  expect(guardTable('ab-cd.efghijklmnop')).toBe('swarmnet_ab_cd_efghij');
});
