import { type Family, families } from '../address.ts';
import { type NodeTable, type PortRule, sameWays, slots } from '../plan.ts';
import { chain, fixedChains } from './fixed-chains.ts';
import { chainName, type TableNames } from './names.ts';
import { elements, isServing, setChanges, setNames, setsOf, setTypes } from './sets.ts';

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

/** How often a port's rule was written before, by key: where its slots start. */
export type Rounds = (key: string) => number;

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
