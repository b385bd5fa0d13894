import { canonical, type Family, families, familyOf } from '../address.ts';
import { type NodeTable, type PortRule, sameWays, slots } from '../plan.ts';
import { meshMarkMask } from '../types.ts';

// The text of a node's nftables table, one for both families: all of it, or what has changed. Pure.
//
// A new connection to one of the node's addresses is looked up by protocol and port in one verdict map (before that, by its address too) and
// goes to the chain of its service, whose one rule a family counts round the backends. `c_prerouting` sees those from outside, `c_output`
// those of the node itself; both come before Docker's (-100), and a connection that has its destination is not given another.
//
// Tasks on other nodes are reached over the mesh with the client's address kept: by the mesh address of their node and the port that the node
// publishes for them, for which it has a door to the task's address. The connection carries there the mark of the peer that it came from,
// by which its answers are routed back. Only clients whose address means nothing or something else over there are masqueraded: those on
// 127.0.0.0/8, containers here, the backend's own node. Where no mesh leads, all are.
//
// A port of a service without backends refuses. A change of backends touches nothing but the rules of the one chain. It only puts new ones above
// the old, which nothing gets to any more and which are removed later: a program that removes is held up by the kernel as it ends.

export interface TableNames {
  readonly table: string;
  /** Empty: every local address. */
  readonly addresses: readonly string[];
  /** Kept in the table for whoever removes the last one: what `route_localnet` was. */
  readonly routeLocalnet: string;
  readonly mesh?: MeshNames | undefined;
}

/** What the table's fixed part knows of the mesh. */
export interface MeshNames {
  readonly device: string;
  readonly v4: string;
  readonly v6: string;
  readonly mark: number;
  readonly mtu: number;
  /** Its packets outside; undefined: unknown. */
  readonly vxlan?: { readonly vni: number; readonly port: number } | undefined;
  /** Families whose packets from the mesh are routed by the main table whatever their mark (a rule of routing says so). */
  readonly routedByMain: readonly Family[];
}

/** By node id, so that the daemons of one network namespace each have their own. */
export const tableName = (nodeId: string): string => `swarmd_${nodeId.replace(/[^0-9A-Za-z]/g, '_').slice(0, 12)}`;

/** With a prefix, since bare words may be keywords of nft. */
export const chainName = ({ protocol, port, address }: Pick<PortRule, 'protocol' | 'port' | 'address'>): string =>
  `s_${protocol}_${port}${address === undefined ? '' : `_at_${address.replace(/[.:]/g, '_')}`}`;

/** How often a port's rule was written before, by key: where its slots start. */
export type Rounds = (key: string) => number;

const before = 10;

export function replacement(names: TableNames, table: NodeTable, rounds: Rounds): string {
  const { table: name } = names;
  const sets = setsOf(table);
  const lines = [
    // Older versions had one for IPv4 alone.
    ...['ip', 'inet'].flatMap((family) => [`add table ${family} ${name}`, `delete table ${family} ${name}`]),
    `table inet ${name} {`,
    `  comment "route_localnet was ${names.routeLocalnet}"`,
    ...Object.entries(setTypes).map(
      ([set, type]) => `  ${type.includes(':') ? 'map' : 'set'} ${set} { type ${type}; }`,
    ),
    ...fixedChains(names, table),
    ...[...table.ports.values()]
      .filter(isServing)
      .flatMap((rule) => chain(chainName(rule), ...dnats(rule, rounds(rule.key)))),
    '}',
    ...setNames.flatMap((set) => [...elements('add', name, set, sets[set])]),
  ];
  return `${lines.join('\n')}\n`;
}

/** Of both families, since either may have been left behind. */
export const removal = (name: string): string =>
  ['ip', 'inet'].map((family) => `add table ${family} ${name}\ndelete table ${family} ${name}\n`).join('');

export interface Changes {
  /** One transaction; empty when there is nothing to do. */
  readonly text: string;
  /** How many rules it leaves below those that replace them. */
  readonly leftOver: number;
}

/** What leads from one table to the other. `spare`: how many rules it may leave over. */
export function changes(name: string, from: NodeTable, to: NodeTable, rounds: Rounds, spare = 0): Changes {
  const made: string[] = [];
  const gone: string[] = [];
  let leftOver = 0;
  for (const rule of to.ports.values()) {
    const old = from.ports.get(rule.key);
    const wasServing = old !== undefined && isServing(old);
    if (!isServing(rule) || (wasServing && sameWays(old, rule))) continue;
    const where = `inet ${name} ${chainName(rule)}`;
    const over = wasServing && covers(rule, old) ? familiesOf(old).length : 0;
    const isAbove = over > 0 && leftOver + over <= spare;
    if (isAbove) leftOver += over;
    else made.push(`${wasServing ? 'flush' : 'add'} chain ${where}`);
    made.push(...dnats(rule, rounds(rule.key)).map((text) => `${isAbove ? 'insert' : 'add'} rule ${where} ${text}`));
  }
  for (const old of from.ports.values()) {
    const rule = to.ports.get(old.key);
    if (!isServing(old) || (rule && isServing(rule))) continue;
    gone.push(`flush chain inet ${name} ${chainName(old)}`, `delete chain inet ${name} ${chainName(old)}`);
  }
  const [had, has] = [setsOf(from), setsOf(to)];
  const lines = [...made, ...setNames.flatMap((set) => setChanges(name, set, had[set], has[set])), ...gone];
  return { text: lines.length === 0 ? '' : `${lines.join('\n')}\n`, leftOver };
}

const familiesOf = ({ targets }: PortRule): Family[] => families.filter((family) => targets[family].length > 0);

/** Nothing gets past its rules to those of the old one that should not. */
const covers = (rule: PortRule, old: PortRule): boolean =>
  JSON.stringify(rule.allow) === JSON.stringify(old.allow) &&
  familiesOf(old).every((family) => rule.targets[family].length > 0);

/** Where a rule stands. */
export interface RuleId {
  readonly chain: string;
  readonly handle: number;
}

export const deletions = (name: string, rules: readonly RuleId[]): string =>
  rules.map(({ chain, handle }) => `delete rule inet ${name} ${chain} handle ${handle}\n`).join('');

export const isServing = ({ targets }: PortRule): boolean => targets[4].length + targets[6].length > 0;

const portType = 'inet_proto . inet_service';

/** What the table holds beside its chains. */
const setTypes = {
  ports: `${portType} : verdict`,
  ports_at4: `ipv4_addr . ${portType} : verdict`,
  ports_at6: `ipv6_addr . ${portType} : verdict`,
  refused: portType,
  refused_at4: `ipv4_addr . ${portType}`,
  refused_at6: `ipv6_addr . ${portType}`,
  // Whatever the protocol, and by protocol: this nft cannot join the two in one key where they are asked for.
  published: 'inet_service',
  masquerade_tcp: 'inet_service',
  masquerade_udp: 'inet_service',
  masquerade_sctp: 'inet_service',
  far4: 'ipv4_addr',
  far6: 'ipv6_addr',
  near4: 'ipv4_addr; flags interval',
  near6: 'ipv6_addr; flags interval',
  door4: `${portType} : ipv4_addr . inet_service`,
  door6: `${portType} : ipv6_addr . inet_service`,
  peers: 'ether_addr : mark',
  senders4: 'ipv4_addr',
  senders6: 'ipv6_addr',
  own4: 'ipv4_addr . ipv4_addr',
  own6: 'ipv6_addr . ipv6_addr',
} as const;

export type SetName = keyof typeof setTypes;
export const setNames = Object.keys(setTypes) as SetName[];
/** Elements with what a map has for them (empty in a set), as nft writes both. */
export type Sets = Readonly<Record<SetName, ReadonlyMap<string, string>>>;

const known = new WeakMap<NodeTable, Sets>();

export function setsOf(table: NodeTable): Sets {
  const found = known.get(table) ?? computeSets(table);
  known.set(table, found);
  return found;
}

function computeSets(table: NodeTable): Sets {
  const sets = Object.fromEntries(setNames.map((name) => [name, new Map()])) as Record<SetName, Map<string, string>>;
  const add = (name: SetName, list: Iterable<string>) => {
    for (const one of list) sets[name].set(one, '');
  };
  for (const rule of table.ports.values())
    for (const [name, key, value] of elementsOf(rule)) sets[name].set(key, value);
  for (const family of families) {
    add(`far${family}`, table.farNodes[family]);
    add(`near${family}`, table.nearNets[family]);
    if (table.mesh) sets[`door${family}`] = table.doors[family] as Map<string, string>;
  }
  for (const [mac, mark] of table.mesh?.marks ?? []) sets.peers.set(mac.toLowerCase(), hex(mark));
  for (const addr of table.mesh?.senders ?? []) sets[`senders${familyOf(addr) ?? 4}`].set(canonical(addr), '');
  for (const { node, mesh } of table.mesh?.own ?? [])
    sets[`own${familyOf(node) ?? 4}`].set(`${canonical(node)} . ${canonical(mesh)}`, '');
  return sets;
}

type Element = readonly [set: SetName, key: string, value: string];
/** Rules are never changed in place, and most stay when the table changes. */
const knownElements = new WeakMap<PortRule, readonly Element[]>();

function elementsOf(rule: PortRule): readonly Element[] {
  const found = knownElements.get(rule) ?? computeElements(rule);
  knownElements.set(rule, found);
  return found;
}

function computeElements(rule: PortRule): Element[] {
  const { protocol, port, address, masquerades } = rule;
  const at = address === undefined ? '' : (`_at${familyOf(address) ?? 4}` as const);
  const key = `${address === undefined ? '' : `${address} . `}${protocol} . ${port}`;
  if (!isServing(rule)) return [[`refused${at}`, key, '']];
  const elements: Element[] = [
    [`ports${at}`, key, `goto ${chainName(rule)}`],
    ['published', String(port), ''],
  ];
  return masquerades ? [...elements, [`masquerade_${protocol}`, String(port), '']] : elements;
}

function fixedChains(names: TableNames, { mesh: state }: NodeTable): string[] {
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

/** One rule a family. `meta l4proto` first: a destination with a port wants a protocol that has ports. */
export function dnats(rule: PortRule, round: number): string[] {
  return families.flatMap((family) => {
    const [only, ...others] = slots(rule.targets[family], round);
    const allow = rule.allow?.[family];
    if (!only || allow?.length === 0) return [];
    const ip = family === 4 ? 'ip' : 'ip6';
    const from = allow ? `${ip} saddr { ${allow.join(', ')} } ` : '';
    const head = `meta nfproto ipv${family} ${from}meta l4proto ${rule.protocol} dnat ${ip} to`;
    if (others.length === 0) return [`${head} ${family === 4 ? only.addr : `[${only.addr}]`}:${only.port}`];
    const map = [only, ...others].map(({ addr, port }, slot) => `${slot} : ${addr} . ${port}`);
    return [`${head} numgen inc mod ${map.length} map { ${map.join(', ')} }`];
  });
}

const chain = (name: string, ...lines: string[]): string[] => [
  `  chain ${name} {`,
  ...lines.map((line) => `    ${line}`),
  '  }',
];

const hook = (type: string, at: string, priority: number | string): string =>
  `type ${type} hook ${at} priority ${priority}; policy accept;`;

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

function setChanges(
  table: string,
  set: SetName,
  had: ReadonlyMap<string, string>,
  has: ReadonlyMap<string, string>,
): string[] {
  const [gone, added] = [without(had, has), without(has, had)];
  if (gone.length + added.length === 0) return [];
  // Intervals are few, and one may lie in another that goes.
  if (set.startsWith('near')) return [`flush set inet ${table} ${set}`, ...elements('add', table, set, has)];
  return [
    ...elements(
      'delete',
      table,
      set,
      gone.map(([key]) => [key, ''] as const),
    ),
    ...elements('add', table, set, added),
  ];
}

function without(some: ReadonlyMap<string, string>, others: ReadonlyMap<string, string>): [string, string][] {
  const left: [string, string][] = [];
  for (const [key, value] of some) if (others.get(key) !== value) left.push([key, value]);
  return left;
}

function* elements(
  verb: 'add' | 'delete',
  table: string,
  set: SetName,
  list: Iterable<readonly [string, string]>,
): Generator<string> {
  const all = [...list].map(([key, value]) => (value === '' ? key : `${key} : ${value}`));
  const most = 500;
  for (let i = 0; i < all.length; i += most)
    yield `${verb} element inet ${table} ${set} { ${all.slice(i, i + most).join(', ')} }`;
}
