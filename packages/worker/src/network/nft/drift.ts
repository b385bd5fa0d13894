import { isDeepStrictEqual } from 'node:util';
import type { NodeTable, Target } from '../plan.ts';
import { chainName, isServing, publishedPorts } from './rules.ts';

// Compares a listing of the node's table with what it should be. Pure; for the sweep, never for a change.

interface Listing {
  /** Service chains with their targets, sorted: where the slots start does not matter. */
  readonly chains: Record<string, string[]>;
  readonly sets: Record<string, string[]>;
}

type Json = Record<string, unknown>;

/** The dynamic part of a listing (nft's JSON), and the rest as text that stays the same. */
export function read(objects: readonly unknown[]): { listing: Listing; frame: string } {
  const chains: Record<string, string[]> = {};
  const sets: Record<string, string[]> = { ports: [], published: [], refused: [], far_nodes: [], near_nets: [] };
  const frame: string[] = [];
  for (const object of objects as Json[]) {
    const [kind = '', body = {}] = Object.entries(object)[0] as [string, Json];
    const { handle: _handle, elem, ...rest } = body;
    const name = String(rest['name'] ?? '');
    const chain = String(rest['chain'] ?? '');
    if (kind === 'metainfo') continue;
    if (kind === 'chain' && name.startsWith('s_')) chains[name] ??= [];
    else if (kind === 'rule' && chain.startsWith('s_')) {
      chains[chain] ??= [];
      chains[chain].push(...targetsIn(rest['expr']));
    } else if ((kind === 'map' || kind === 'set') && sets[name])
      sets[name] = (Array.isArray(elem) ? elem : []).map(elementText).sort();
    else frame.push(JSON.stringify({ [kind]: rest }));
  }
  for (const targets of Object.values(chains)) targets.sort();
  return { listing: { chains, sets }, frame: frame.join('\n') };
}

/** What `read` would find of a table that is as it should be. */
export function expected(table: NodeTable): Listing {
  const rules = [...table.ports.values()];
  const serving = rules.filter(isServing);
  return {
    chains: Object.fromEntries(serving.map((rule) => [chainName(rule), rule.targets.map(targetText).sort()])),
    sets: {
      ports: serving.map((rule) => `${rule.protocol} . ${rule.port} : ${chainName(rule)}`).sort(),
      refused: rules
        .filter((rule) => !isServing(rule))
        .map((rule) => `${rule.protocol} . ${rule.port}`)
        .sort(),
      published: publishedPorts(table).sort(),
      far_nodes: [...table.farNodes].sort(),
      near_nets: [...table.nearNets].sort(),
    },
  };
}

/** What is wrong with a listing, in a few words; undefined when nothing is. */
export function drift(objects: readonly unknown[] | undefined, table: NodeTable, frame?: string): string | undefined {
  if (!objects) return 'the table is gone';
  const found = read(objects);
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

const targetText = ({ addr, port }: Target): string => `${addr}:${port}`;

/** `dnat` of one rule: an address and a port, or a map from slots to both. */
function targetsIn(expressions: unknown): string[] {
  const rule = (expressions as Json[]).find((expression) => 'dnat' in expression);
  const { addr, port } = (rule?.['dnat'] ?? {}) as { addr?: unknown; port?: unknown };
  if (typeof addr === 'string') return [`${addr}:${port}`];
  const data = (addr as { map?: { data?: { set?: [number, { concat: unknown[] }][] } } })?.map?.data?.set ?? [];
  return data.map(([, { concat }]) => concat.join(':'));
}

/** `tcp . 80`, `tcp . 80 : s_tcp_80`, `172.17.0.0/16`. */
function elementText(element: unknown): string {
  if (Array.isArray(element)) return `${elementText(element[0])} : ${verdictText(element[1])}`;
  if (typeof element !== 'object' || element === null) return String(element);
  const { concat, prefix } = element as { concat?: unknown[]; prefix?: { addr: string; len: number } };
  if (prefix) return `${prefix.addr}/${prefix.len}`;
  return (concat ?? []).join(' . ');
}

const verdictText = (verdict: unknown): string =>
  String((verdict as { goto?: { target?: string } } | undefined)?.goto?.target);
