import { type NodeTable, type PortRule, sameTargets, slots } from '../plan.ts';

// The text of a node's nftables table: all of it, or what has changed. Pure.
//
// A new connection to one of the node's ingress addresses is looked up by protocol and port in one verdict map and goes to the chain of its
// service, whose one rule counts round the backends. `prerouting` sees those from outside, `output` those of the node itself; both come
// before Docker's (-100), and a connection that has its destination is not given another. `postrouting` masquerades where replies would
// not return through this node: towards other nodes, for clients on 127.0.0.0/8, and for containers beside the backend. A port of a
// service without backends refuses. A change of backends touches nothing but the one rule.

export interface TableNames {
  readonly table: string;
  /** Empty: every local address. */
  readonly addresses: readonly string[];
  /** Kept in the table for whoever removes the last one: what `route_localnet` was. */
  readonly routeLocalnet: string;
}

/** By node id, so that the daemons of one network namespace each have their own. */
export const tableName = (nodeId: string): string => `swarmd_${nodeId.replace(/[^0-9A-Za-z]/g, '_').slice(0, 12)}`;

/** With a prefix, since bare words may be keywords of nft. */
export const chainName = (rule: Pick<PortRule, 'protocol' | 'port'>): string => `s_${rule.protocol}_${rule.port}`;

/** How often a port's rule was written before, by key: where its slots start. */
export type Rounds = (key: string) => number;

const before = 10;

export function replacement(names: TableNames, table: NodeTable, rounds: Rounds): string {
  const { table: name } = names;
  const toUs =
    names.addresses.length === 0 ? 'fib daddr type local' : `ip daddr { ${[...names.addresses].sort().join(', ')} }`;
  const rules = [...table.ports.values()];
  const lines = [
    `add table ip ${name}`,
    `delete table ip ${name}`,
    `table ip ${name} {`,
    `  comment "route_localnet was ${names.routeLocalnet}"`,
    '  map ports { type inet_proto . inet_service : verdict; }',
    '  set refused { type inet_proto . inet_service; }',
    '  set published { type inet_service; }',
    '  set far_nodes { type ipv4_addr; }',
    '  set near_nets { type ipv4_addr; flags interval; }',
    ...chain('ours', 'ip daddr @far_nodes masquerade fully-random', 'ip daddr @near_nets goto near'),
    ...chain('near', 'ip saddr 127.0.0.0/8 masquerade fully-random', 'ip saddr @near_nets masquerade fully-random'),
    ...chain('refuse', 'meta l4proto tcp reject with tcp reset', 'reject with icmp type port-unreachable'),
    // With route_localnet on, only this keeps neighbours away from what listens on 127.0.0.1.
    ...chain('guard', hook('filter', 'prerouting', 'raw'), 'iifname != "lo" ip daddr 127.0.0.0/8 drop'),
    ...chain('prerouting', hook('nat', 'prerouting', -100 - before), `${toUs} meta l4proto . th dport vmap @ports`),
    ...chain('output', hook('nat', 'output', -100 - before), `${toUs} meta l4proto . th dport vmap @ports`),
    ...chain(
      'input',
      hook('filter', 'input', -before),
      'ct status dnat accept',
      `ct state new ${toUs} meta l4proto . th dport @refused goto refuse`,
    ),
    ...chain(
      'postrouting',
      hook('nat', 'postrouting', 100 - before),
      'oifname "lo" accept',
      'ct status dnat meta l4proto { tcp, udp, sctp } ct original proto-dst @published goto ours',
    ),
    ...rules.filter(isServing).flatMap((rule) => chain(chainName(rule), dnat(rule, rounds(rule.key)))),
    '}',
    ...elements('add', name, 'ports', rules.filter(isServing).map(portElement)),
    ...elements('add', name, 'refused', rules.filter(isRefusing).map(portKey)),
    ...elements('add', name, 'published', publishedPorts(table)),
    ...elements('add', name, 'far_nodes', table.farNodes),
    ...elements('add', name, 'near_nets', table.nearNets),
  ];
  return `${lines.join('\n')}\n`;
}

export const removal = (name: string): string => `add table ip ${name}\ndelete table ip ${name}\n`;

/** What leads from one table to the other, in one transaction; empty when nothing does. */
export function changes(name: string, from: NodeTable, to: NodeTable, rounds: Rounds): string {
  const made: string[] = [];
  const gone: string[] = [];
  const [serve, unserve]: [PortRule[], PortRule[]] = [[], []];
  for (const rule of to.ports.values()) {
    const old = from.ports.get(rule.key);
    const wasServing = old !== undefined && isServing(old);
    if (old === rule || !isServing(rule) || (wasServing && sameTargets(old.targets, rule.targets))) continue;
    const where = `ip ${name} ${chainName(rule)}`;
    made.push(`${wasServing ? 'flush' : 'add'} chain ${where}`, `add rule ${where} ${dnat(rule, rounds(rule.key))}`);
    if (!wasServing) serve.push(rule);
  }
  for (const old of from.ports.values()) {
    const rule = to.ports.get(old.key);
    if (!isServing(old) || (rule && isServing(rule))) continue;
    unserve.push(old);
    gone.push(`flush chain ip ${name} ${chainName(old)}`, `delete chain ip ${name} ${chainName(old)}`);
  }
  const set = (set: string, before: readonly string[], after: readonly string[]) => [
    ...elements('delete', name, set, difference(before, after)),
    ...elements('add', name, set, difference(after, before)),
  ];
  const nets = from.nearNets.join() !== to.nearNets.join();
  const lines = [
    ...made,
    ...elements('delete', name, 'ports', unserve.map(portKey)),
    ...elements('add', name, 'ports', serve.map(portElement)),
    ...(serve.length + unserve.length > 0 ? set('published', publishedPorts(from), publishedPorts(to)) : []),
    ...set('refused', refused(from), refused(to)),
    ...set('far_nodes', from.farNodes, to.farNodes),
    ...(nets ? [`flush set ip ${name} near_nets`] : []),
    ...(nets ? elements('add', name, 'near_nets', to.nearNets) : []),
    ...gone,
  ];
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

export const isServing = (rule: PortRule): boolean => rule.targets.length > 0;
const isRefusing = (rule: PortRule): boolean => !isServing(rule);

/** `meta l4proto` first: a destination with a port wants a protocol that has ports. */
function dnat(rule: PortRule, round: number): string {
  const [only, ...others] = slots(rule.targets, round);
  const head = `meta l4proto ${rule.protocol} dnat to`;
  if (only && others.length === 0) return `${head} ${only.addr}:${only.port}`;
  const map = slots(rule.targets, round).map(({ addr, port }, slot) => `${slot} : ${addr} . ${port}`);
  return `${head} numgen inc mod ${map.length} map { ${map.join(', ')} }`;
}

const portKey = (rule: PortRule): string => `${rule.protocol} . ${rule.port}`;
const portElement = (rule: PortRule): string => `${portKey(rule)} : goto ${chainName(rule)}`;

/** Whatever the protocol: this nft cannot join the two in one key here. */
export const publishedPorts = (table: NodeTable): string[] => [
  ...new Set([...table.ports.values()].filter(isServing).map(({ port }) => String(port))),
];

const refused = (table: NodeTable): string[] => [...table.ports.values()].filter(isRefusing).map(portKey);

const chain = (name: string, ...lines: string[]): string[] => [
  `  chain ${name} {`,
  ...lines.map((line) => `    ${line}`),
  '  }',
];

const hook = (type: string, at: string, priority: number | string): string =>
  `type ${type} hook ${at} priority ${priority}; policy accept;`;

function* elements(verb: 'add' | 'delete', table: string, set: string, list: readonly string[]) {
  const most = 500;
  for (let i = 0; i < list.length; i += most)
    yield `${verb} element ip ${table} ${set} { ${list.slice(i, i + most).join(', ')} }`;
}

function difference(list: readonly string[], without: readonly string[]): string[] {
  const others = new Set(without);
  return list.filter((one) => !others.has(one));
}
