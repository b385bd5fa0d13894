import { canonical, families, familyOf } from '../address.ts';
import type { NodeTable, PortRule } from '../plan.ts';
import { chainName } from './names.ts';

// The sets and maps of a node's nftables table: what is looked up in them, and the text that changes them. Pure.

export const isServing = ({ targets }: PortRule): boolean => targets[4].length + targets[6].length > 0;

const portType = 'inet_proto . inet_service';

/** What the table holds beside its chains. */
export const setTypes = {
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

/** Of a mark. */
export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

/** What leads from one to the other. */
export function setChanges(
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

/** Long lists in pieces. */
export function* elements(
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
