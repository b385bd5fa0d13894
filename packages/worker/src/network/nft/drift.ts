import { isDeepStrictEqual } from 'node:util';
import { formatIp, type IpRange, parseIp, parseIpRange } from '@swarmctl/shared/model';
import { families, mergedRanges } from '../address.ts';
import type { NodeTable, PortRule, Target } from '../plan.ts';
import { chainName } from './names.ts';
import type { RuleId } from './rules.ts';
import { isServing, type Sets, setNames, setsOf } from './sets.ts';

// Compares a listing of the node's table with what it should be. Pure; for the sweep, never for a change.

interface Listing {
  /** Service chains: of each family's uppermost rule whom it lets in and its targets, sorted: where the slots start does not matter. */
  readonly chains: Record<string, string[]>;
  readonly sets: Record<string, string[]>;
}

type Json = Record<string, unknown>;

interface Reading {
  readonly listing: Listing;
  /** What stays the same. */
  readonly frame: string;
  /** Rules of service chains that nothing gets to. */
  readonly leftOver: readonly RuleId[];
}

/** A listing (nft's JSON). */
export function read(objects: readonly unknown[]): Reading {
  const chains: Record<string, string[]> = {};
  const sets: Record<string, string[]> = Object.fromEntries(setNames.map((name) => [name, []]));
  const frame: string[] = [];
  const leftOver: RuleId[] = [];
  for (const object of objects as Json[]) {
    const [kind = '', body = {}] = Object.entries(object)[0] as [string, Json];
    const { handle, elem, ...rest } = body;
    const name = String(rest['name'] ?? '');
    const chain = String(rest['chain'] ?? '');
    if (kind === 'metainfo') continue;
    if (kind === 'chain' && name.startsWith('s_')) chains[name] ??= [];
    else if (kind === 'rule' && chain.startsWith('s_')) {
      chains[chain] ??= [];
      const text = ruleText(rest['expr'] as Json[]);
      const isUnder = chains[chain].some((above) => familyIn(above) === familyIn(text));
      if (isUnder) leftOver.push({ chain, handle: Number(handle) });
      else chains[chain].push(text);
    } else if ((kind === 'map' || kind === 'set') && sets[name])
      sets[name] = (Array.isArray(elem) ? elem : []).map(elementText).sort();
    else frame.push(JSON.stringify({ [kind]: rest }));
  }
  for (const rules of Object.values(chains)) rules.sort();
  return { listing: { chains, sets }, frame: frame.join('\n'), leftOver };
}

/** What `read` would find of a table that is as it should be. */
export function expected(table: NodeTable): Listing {
  const serving = [...table.ports.values()].filter(isServing);
  const sets = setsOf(table);
  return {
    chains: Object.fromEntries(serving.map((rule) => [chainName(rule), ruleTexts(rule)])),
    sets: Object.fromEntries(setNames.map((name) => [name, setTexts(sets[name])])),
  };
}

/** What is wrong with a listing, in a few words; undefined when nothing is. */
export function drift(found: Reading | undefined, table: NodeTable, frame?: string): string | undefined {
  if (!found) return 'the table is gone';
  const wanted = expected(table);
  if (frame !== undefined && found.frame !== frame) return 'its base chains were changed';
  for (const name of new Set([...Object.keys(wanted.chains), ...Object.keys(found.listing.chains)])) {
    if (!isDeepStrictEqual(found.listing.chains[name], wanted.chains[name])) return `chain ${name} was changed`;
  }
  for (const name of Object.keys(wanted.sets)) {
    if (!isDeepStrictEqual(found.listing.sets[name], wanted.sets[name])) return `${name} was changed`;
  }
  return undefined;
}

/** As of `dnats`: `10.0.0.0-10.255.255.255 tcp -> 10.0.0.2:80 10.0.0.3:80`. */
function ruleTexts({ protocol, targets, allow }: PortRule): string[] {
  return families
    .filter((family) => targets[family].length > 0 && allow?.[family].length !== 0)
    .map((family) => text(family, allow?.[family] ?? [], protocol, targets[family].map(targetText)))
    .sort();
}

const text = (family: number, allow: readonly string[], protocol: string, targets: readonly string[]): string =>
  `ipv${family} ${allow.join(' ')} ${protocol} -> ${[...targets].sort().join(' ')}`;

const familyIn = (text: string): string => text.slice(0, text.indexOf(' '));

const targetText = ({ addr, port }: Target): string => `${addr} ${port}`;

function setTexts(set: Sets[keyof Sets]): string[] {
  return [...set].map(([key, value]) => (value === '' ? key : `${key} : ${value.replace(/^goto /, '')}`)).sort();
}

interface Match {
  readonly op: string;
  readonly left: { readonly meta?: { readonly key: string }; readonly payload?: { readonly field: string } };
  readonly right: unknown;
}

/** Anything that we do not write makes a text that we do not expect. */
function ruleText(expressions: readonly Json[]): string {
  let [family, protocol, allow, targets]: [number, string, string[], string[]] = [0, '', [], []];
  const others: string[] = [];
  for (const expression of expressions) {
    const match = expression['match'] as Match | undefined;
    const dnat = expression['dnat'] as Json | undefined;
    if (match?.op === '==' && match.left?.meta?.key === 'l4proto') protocol = String(match.right);
    else if (match?.op === '==' && match.left?.payload?.field === 'saddr') allow = rangesIn(match.right);
    else if (dnat && family === 0) [family, targets] = [dnat['family'] === 'ip6' ? 6 : 4, targetsIn(dnat)];
    // Left out of the listing where an address says the same.
    else if (match?.left?.meta?.key !== 'nfproto') others.push(JSON.stringify(expression));
  }
  return [text(family, allow, protocol, targets), ...others].join(' ');
}

/** An address and a port, or a map from slots to both. */
function targetsIn({ addr, port }: Json): string[] {
  if (typeof addr === 'string') return [`${addr} ${port}`];
  const data = (addr as { map?: { data?: { set?: [number, { concat: unknown[] }][] } } })?.map?.data?.set ?? [];
  return data.map(([, { concat }]) => concat.join(' '));
}

type Element = string | { set?: Element[]; range?: [string, string]; prefix?: { addr: string; len: number } };

/** However it was put together: as few ranges as there can be. */
function rangesIn(right: unknown): string[] {
  const list = (right as { set?: Element[] }).set ?? [right as Element];
  const ranges = list.map(rangeOf).filter((range) => range !== undefined);
  const family = ranges[0]?.family ?? 4;
  return mergedRanges(ranges).map(({ first, last }) =>
    [first, last].map((value) => formatIp({ family, value })).join('-'),
  );
}

function rangeOf(element: Element): IpRange | undefined {
  if (typeof element === 'string') return parseIpRange(element);
  if (element.prefix) return parseIpRange(`${element.prefix.addr}/${element.prefix.len}`);
  const [first, last] = (element.range ?? []).map(parseIp);
  return first && last && { family: first.family, prefix: 0, first: first.value, last: last.value };
}

/** `tcp . 80`, `tcp . 80 : s_tcp_80`, `172.17.0.0/16`, `02:73:77:6d:00:02 : 0x53770002`. */
function elementText(element: unknown): string {
  if (Array.isArray(element)) return `${elementText(element[0])} : ${valueText(element[1])}`;
  if (typeof element !== 'object' || element === null) return String(element);
  const { concat, prefix } = element as { concat?: unknown[]; prefix?: { addr: string; len: number } };
  if (prefix) return `${prefix.addr}/${prefix.len}`;
  return (concat ?? []).join(' . ');
}

function valueText(value: unknown): string {
  if (typeof value === 'number') return `0x${value.toString(16)}`;
  const target = (value as { goto?: { target?: string } } | undefined)?.goto?.target;
  return target ?? elementText(value);
}
