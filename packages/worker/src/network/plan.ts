import { isIPv4 } from 'node:net';
import type { Protocol } from '@swarmctl/shared/model';
import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { contains, isLoopback, type LocalAddresses } from './address.ts';

// From the wanted ingress table to what one node's kernel needs to know. Pure.

export interface Target {
  readonly addr: string;
  readonly port: number;
}

/** Its own node reaches a backend directly, the others by the port that its node publishes for it. */
export const targetOf = (backend: IngressBackend, nodeId: string): Target =>
  backend.nodeId === nodeId
    ? { addr: backend.localAddr, port: backend.localPort }
    : { addr: backend.nodeAddr, port: backend.nodePort };

export const isPort = (port: number): boolean => Number.isInteger(port) && port > 0 && port < 65_536;

/** One published port. Without targets it refuses connections. */
export interface PortRule {
  readonly key: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** In the order of the backends, each once. */
  readonly targets: readonly Target[];
}

export interface NodeTable {
  readonly ports: ReadonlyMap<string, PortRule>;
  /** Addresses of the nodes that the targets elsewhere are on. */
  readonly farNodes: readonly string[];
  /** Networks of the containers here that are targets. */
  readonly nearNets: readonly string[];
}

export const emptyTable: NodeTable = { ports: new Map(), farNodes: [], nearNets: [] };

/** What one entry comes to. */
interface EntryPlan {
  readonly rule?: PortRule;
  readonly far: readonly string[];
  readonly near: readonly string[];
  readonly problem?: string;
}

/** Entries are never changed in place, so what one came to still holds: a change costs what it touches. */
export type PlanCache = WeakMap<IngressEntry, EntryPlan>;

export interface PlanAround {
  readonly nodeId: string;
  readonly local: LocalAddresses;
  /** Ports that belong to somebody else here, by key, and why. They are left alone. */
  readonly taken: ReadonlyMap<string, string>;
  readonly cache?: PlanCache;
}

export interface Plan {
  readonly table: NodeTable;
  readonly problems: ReadonlyMap<string, string>;
}

export function planTable(entries: ReadonlyMap<string, IngressEntry>, around: PlanAround): Plan {
  const ports = new Map<string, PortRule>();
  const [far, near] = [new Set<string>(), new Set<string>()];
  const problems = new Map<string, string>();
  for (const [key, entry] of entries) {
    const taken = around.taken.get(key);
    const plan = taken === undefined ? cached(entry, around) : { far: [], near: [], problem: taken };
    if (plan.problem !== undefined) problems.set(key, plan.problem);
    if (plan.rule) ports.set(key, plan.rule);
    for (const addr of plan.far) far.add(addr);
    for (const addr of plan.near) near.add(addr);
  }
  const nearNets = new Set([...near].map((addr) => netAround(addr, around.local)).filter((net) => net !== undefined));
  return { table: { ports, farNodes: [...far].sort(), nearNets: [...nearNets].sort() }, problems };
}

function cached(entry: IngressEntry, { nodeId, cache }: PlanAround): EntryPlan {
  const known = cache?.get(entry);
  if (known) return known;
  const plan = planEntry(entry, nodeId);
  cache?.set(entry, plan);
  return plan;
}

const protocols: ReadonlySet<string> = new Set<Protocol>(['tcp', 'udp', 'sctp']);

function planEntry({ key, protocol, publishedPort: port, backends }: IngressEntry, nodeId: string): EntryPlan {
  if (!protocols.has(protocol) || !isPort(port))
    return { far: [], near: [], problem: `${protocol} port ${port} cannot be published` };
  const targets = new Map<string, Target>();
  const [far, near] = [new Set<string>(), new Set<string>()];
  let problem: string | undefined;
  for (const backend of backends) {
    const target = targetOf(backend, nodeId);
    const at = `${target.addr}:${target.port}`;
    if (isIPv4(target.addr) && isPort(target.port)) {
      targets.set(at, target);
      (backend.nodeId === nodeId ? near : far).add(target.addr);
    } else problem = `task ${backend.taskId} is left out: ${at} is no IPv4 endpoint`;
  }
  const rule = { key, protocol, port, targets: [...targets.values()] };
  return { rule, far: [...far], near: [...near], ...(problem !== undefined && { problem }) };
}

/** The network of a container; undefined for what the node itself is. */
function netAround(addr: string, local: LocalAddresses): string | undefined {
  if (isLoopback(addr) || local.own.has(addr)) return undefined;
  const around = local.subnets.filter((net) => contains(net, addr));
  // Networks in one another: the widest stands for all, since intervals of the kernel's set may not overlap.
  return around.sort((a, b) => a.first - b.first || b.last - a.last)[0]?.cidr;
}

/**
 * The targets as slots. A replaced rule counts from slot 0 again, so each round starts elsewhere: by steps of the golden ratio, which
 * never fall in step with changes that come and go.
 */
export function slots(targets: readonly Target[], round: number): Target[] {
  const first = Math.floor(((round * 0.618_033_988_75) % 1) * targets.length);
  return [...targets.slice(first), ...targets.slice(0, first)];
}

export const sameTargets = (a: readonly Target[], b: readonly Target[]): boolean =>
  a.length === b.length && a.every((target, i) => target.addr === b[i]?.addr && target.port === b[i]?.port);
