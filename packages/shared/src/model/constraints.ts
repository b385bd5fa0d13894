import { BlockList, isIP } from 'node:net';
import { ClusterError } from '../kit/errors.ts';
import type { Node } from './objects.ts';

// Placement constraints such as `node.labels.zone != east`: read once, then asked of many nodes. Comparison knows no case.

export interface Constraint {
  readonly key: string;
  readonly operator: '==' | '!=';
  readonly value: string;
}

type Placed = Pick<Node, 'ID' | 'Spec' | 'Description' | 'Status'>;

const operators = ['==', '!='] as const;

/** Docker answers 500 to these, and clients match on the text. */
const malformed = (message: string, constraint: string) =>
  new ClusterError('unknown', `rpc error: code = Unknown desc = ${message}`, { constraint });

/** Throws ClusterError for what is no constraint. A key that nobody knows is one: no node meets it. */
export function parseConstraint(text: string): Constraint {
  const operator = operators.find((one) => text.includes(one));
  if (!operator) throw malformed(`constraint expected one operator from ${operators.join(', ')}`, text);
  const at = text.indexOf(operator);
  const key = text.slice(0, at).trim();
  const value = text.slice(at + operator.length).trim();
  if (!/^[a-z_][a-z0-9\-_.]+$/i.test(key)) throw malformed(`key '${key}' is invalid`, text);
  if (!/^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i.test(value)) throw malformed(`value '${value}' is invalid`, text);
  return { key, operator, value };
}

export const parseConstraints = (texts: readonly string[] | undefined): readonly Constraint[] =>
  (texts ?? []).map(parseConstraint);

/** The node meets all of them. */
export const nodeMeets = (node: Placed, constraints: readonly Constraint[]): boolean =>
  constraints.every((constraint) => meets(node, constraint));

function meets(node: Placed, { key, operator, value }: Constraint): boolean {
  const lower = key.toLowerCase();
  if (lower === 'node.ip') {
    const within = isWithin(node.Status.Addr, value);
    return within !== undefined && within === (operator === '==');
  }
  const fact = factOf(node, key);
  if (fact === undefined) return false;
  const wanted = lower === 'node.platform.arch' ? canonicalArch(value) : value.toLowerCase();
  return (fact.toLowerCase() === wanted) === (operator === '==');
}

/** What a constraint's key or a spread descriptor says of the node: '' when the node has no such thing, undefined when nobody knows the key. */
export function factOf(node: Placed, key: string): string | undefined {
  const lower = key.toLowerCase();
  const { Description } = node;
  switch (lower) {
    case 'node.id':
      return node.ID;
    case 'node.hostname':
      return Description?.Hostname ?? '';
    case 'node.ip':
      return hostOf(node.Status.Addr);
    case 'node.role':
      return node.Spec.Role;
    case 'node.platform.os':
      return Description?.Platform.OS ?? '';
    case 'node.platform.arch':
      return canonicalArch(Description?.Platform.Architecture ?? '');
    default:
      return (
        labelOf(lower, key, 'node.labels.', node.Spec.Labels) ??
        labelOf(lower, key, 'engine.labels.', Description?.Engine.Labels)
      );
  }
}

/** The name of the label itself has its case. */
function labelOf(
  lower: string,
  key: string,
  prefix: string,
  labels: Readonly<Record<string, string>> | undefined,
): string | undefined {
  if (!lower.startsWith(prefix) || key.length === prefix.length) return undefined;
  const name = key.slice(prefix.length);
  return labels && Object.hasOwn(labels, name) ? (labels[name] ?? '') : '';
}

/** The kernel's and Go's names of a machine are the same machine. */
export function canonicalArch(name: string): string {
  const lower = name.toLowerCase();
  switch (lower) {
    case 'x86_64':
      return 'amd64';
    case 'aarch64':
      return 'arm64';
    default:
      return lower;
  }
}

/** An address without the port that may follow it. */
const hostOf = (addr: string): string => (isIP(addr) ? addr : addr.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));

/** Whether the address is the given one or in the given subnet; undefined when `wanted` is neither. */
function isWithin(addr: string, wanted: string): boolean | undefined {
  const [network = '', prefix] = wanted.split('/');
  const family = isIP(network);
  if (family === 0 || (prefix !== undefined && !isPrefix(prefix, family === 4 ? 32 : 128))) return undefined;
  const host = hostOf(addr);
  const list = new BlockList();
  list.addSubnet(network, prefix === undefined ? (family === 4 ? 32 : 128) : Number(prefix), nameOf(family));
  return isIP(host) !== 0 && list.check(host, nameOf(isIP(host)));
}

const isPrefix = (text: string, most: number): boolean => /^\d{1,3}$/.test(text) && Number(text) <= most;
const nameOf = (family: number) => (family === 4 ? 'ipv4' : 'ipv6');
