import { type Family, familyOf } from '../address.ts';
import type { NodeTable } from '../plan.ts';
import { meshMarkMask } from '../types.ts';
import type { TableNames } from './names.ts';
import { hex } from './sets.ts';

// The chains of a node's nftables table that stay as they are whatever is published: the way of a packet through the table. Pure.

/** Ahead of others at the same hook: Docker's. */
const before = 10;

export function fixedChains(names: TableNames, { mesh: state }: NodeTable): string[] {
  const { mesh } = names;
  const on = mesh && `"${mesh.device}"`;
  const mask = hex(meshMarkMask);
  const came = mesh && `ct mark & ${mask} == ${hex(mesh.mark & meshMarkMask)}`;
  const withMesh = (...lines: (string | false | undefined)[]) =>
    (mesh ? lines.filter((line) => !!line) : []) as string[];
  const senders = (family: 'ip' | 'ip6', version: Family) =>
    mesh?.vxlan &&
    state &&
    `udp dport ${mesh.vxlan.port} @th,96,24 ${mesh.vxlan.vni} ${family} saddr != @senders${version} drop`;
  const doors = (family: 'ip' | 'ip6', addr: string | undefined, version: Family) =>
    `iifname ${on} ${family} daddr ${addr} meta l4proto { tcp, udp, sctp } ` +
    `dnat ${family} to meta l4proto . th dport map @door${version}`;
  const clamp = (family: 'ipv4' | 'ipv6', header: number) =>
    mesh &&
    `iifname ${on} meta nfproto ${family} tcp flags syn / syn,rst tcp option maxseg size > ${mesh.mtu - header} ` +
      `tcp option maxseg size set ${mesh.mtu - header}`;
  const answers = `${came} ct direction reply meta mark set ct mark`;
  // Nothing routes between ::1 or a link's own addresses and others.
  const lookUps = ['ip6 daddr { ::1, fe80::/10 } accept', ...toUs(names).map((to) => `${to} goto c_ports`)];
  return [
    ...chain(
      'c_guard',
      hook('filter', 'prerouting', 'raw'),
      // With route_localnet on, only this keeps neighbours away from what listens on 127.0.0.1.
      'iifname != "lo" ip daddr 127.0.0.0/8 drop',
      ...withMesh(
        // The doors are for the mesh alone, and the mesh is for its nodes. Each packet comes by here: what costs least is asked first.
        `ip daddr ${mesh?.v4} iifname != { "lo", ${on} } drop`,
        `ip6 daddr ${mesh?.v6} iifname != { "lo", ${on} } drop`,
        senders('ip', 4),
        senders('ip6', 6),
        // A client may have one port for connections through several nodes, and to one task they look the same. So those of each node are known
        // apart (the end of its MAC is its number), and one gets another port where the answers would be mixed up.
        `iifname ${on} ct original zone set @ll,80,16`,
      ),
    ),
    ...withMesh(
      ...chain(
        'c_mark',
        hook('filter', 'prerouting', 'mangle'),
        `iifname ${on} ct state new ct mark set ether saddr map @peers`,
        // So that the way back that a strict rp_filter looks for is the real one.
        ...(mesh?.routedByMain ?? []).map((family) => `iifname ${on} meta nfproto ipv${family} meta mark set ct mark`),
        `iifname != ${on} ${answers}`,
      ),
      // Of tasks that are processes.
      ...chain('c_mark_own', hook('route', 'output', 'mangle'), answers),
      ...chain(
        'c_clamp',
        hook('filter', 'forward', 'mangle'),
        `oifname ${on} tcp flags syn / syn,rst tcp option maxseg size set rt mtu`,
        ...withMesh(clamp('ipv4', 40), clamp('ipv6', 60)),
      ),
      // Else the mesh's own packet outside would follow the mark into the mesh.
      ...chain('c_unmark', hook('filter', 'postrouting', 'mangle'), `oifname ${on} meta mark set 0`),
    ),
    ...chain(
      'c_ports',
      'ip daddr . meta l4proto . th dport vmap @ports_at4',
      'ip6 daddr . meta l4proto . th dport vmap @ports_at6',
      'meta l4proto . th dport vmap @ports',
    ),
    ...chain('c_refuse', 'meta l4proto tcp reject with tcp reset', 'reject with icmpx type port-unreachable'),
    ...chain(
      'c_prerouting',
      hook('nat', 'prerouting', -100 - before),
      // A published port never loops through the mesh.
      ...withMesh(doors('ip', mesh?.v4, 4), doors('ip6', mesh?.v6, 6), `iifname ${on} accept`),
      ...lookUps,
    ),
    ...chain('c_output', hook('nat', 'output', -100 - before), ...lookUps),
    ...chain(
      'c_refused',
      'ip daddr . meta l4proto . th dport @refused_at4 goto c_refuse',
      'ip6 daddr . meta l4proto . th dport @refused_at6 goto c_refuse',
      'meta l4proto . th dport @refused goto c_refuse',
    ),
    ...chain(
      'c_input',
      hook('filter', 'input', -before),
      'ct status dnat accept',
      ...toUs(names).map((to) => `ct state new ${to} goto c_refused`),
    ),
    ...chain(
      'c_near',
      'ip saddr 127.0.0.0/8 masquerade fully-random',
      'ip saddr @near4 masquerade fully-random',
      'ip6 saddr @near6 masquerade fully-random',
    ),
    ...withMesh(
      ...chain(
        'c_far',
        'ip saddr 127.0.0.0/8 masquerade fully-random',
        'ip saddr @near4 masquerade fully-random',
        'ip6 saddr @near6 masquerade fully-random',
        'ip saddr . ip daddr @own4 masquerade fully-random',
        'ip6 saddr . ip6 daddr @own6 masquerade fully-random',
      ),
    ),
    ...chain(
      'c_ours',
      ...(['tcp', 'udp', 'sctp'] as const).map(
        (protocol) => `meta l4proto ${protocol} ct original proto-dst @masquerade_${protocol} masquerade fully-random`,
      ),
      ...withMesh(`oifname ${on} goto c_far`),
      'ip daddr @far4 masquerade fully-random',
      'ip6 daddr @far6 masquerade fully-random',
      'ip daddr @near4 goto c_near',
      'ip6 daddr @near6 goto c_near',
    ),
    ...chain(
      'c_postrouting',
      hook('nat', 'postrouting', 100 - before),
      'oifname "lo" accept',
      // Real clients of tasks here.
      ...withMesh(`ct status dnat ${came} accept`),
      'ct status dnat meta l4proto { tcp, udp, sctp } ct original proto-dst @published goto c_ours',
    ),
  ];
}

/** What is sent to this node's ingress. */
function toUs({ addresses }: TableNames): string[] {
  if (addresses.length === 0) return ['fib daddr type local'];
  const of = (version: Family) => addresses.filter((addr) => familyOf(addr) === version).sort();
  return [
    ...(of(4).length > 0 ? [`ip daddr { ${of(4).join(', ')} }`] : []),
    ...(of(6).length > 0 ? [`ip6 daddr { ${of(6).join(', ')} }`] : []),
  ];
}

export const chain = (name: string, ...lines: string[]): string[] => [
  `  chain ${name} {`,
  ...lines.map((line) => `    ${line}`),
  '  }',
];

const hook = (type: string, at: string, priority: number | string): string =>
  `type ${type} hook ${at} priority ${priority}; policy accept;`;
