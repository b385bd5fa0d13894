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

it('is nothing without networks', () => {
  expect(guardText('t', [])).toBe('table inet t\ndelete table inet t\n');
});

it('has a table for each daemon', () => {
  expect(guardTable('ab-cd.efghijklmnop')).toBe('swarmnet_ab_cd_efghij');
});
