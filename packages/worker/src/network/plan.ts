import type { Protocol, TaskEndpoint } from '@swarmctl/shared/model';
import { formatIp, parseIpRange } from '@swarmctl/shared/model';
import { type IngressBackend, type IngressEntry, ingressKey } from '@swarmctl/shared/wire';
import {
  canonical,
  contains,
  type Family,
  families,
  familyOf,
  isLoopback,
  type LocalAddresses,
  mergedRanges,
} from './address.ts';
import type { MeshState } from './types.ts';

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

/** Something of each family. */
export type ByFamily<T> = Readonly<Record<Family, T>>;

/** One published port. Without any target it refuses connections. */
export interface PortRule {
  readonly key: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** Answers on it alone. */
  readonly address?: string;
  /** Per family in the order of the backends, each once. */
  readonly targets: ByFamily<readonly Target[]>;
  /** Nothing new is sent there, but flows that lead there go on. */
  readonly draining?: ByFamily<readonly Target[]>;
  /** `first-last` each, merged; absent: everybody's. */
  readonly allow?: ByFamily<readonly string[]>;
  /** All clients take this node's address on their way out. */
  readonly masquerades?: boolean;
}

export interface NodeTable {
  readonly ports: ReadonlyMap<string, PortRule>;
  /** What comes by the mesh for a task here: `protocol . nodePort` and `address . port`. */
  readonly doors: ByFamily<ReadonlyMap<string, string>>;
  /** Where clients are masqueraded to: nodes that no mesh leads to. */
  readonly farNodes: ByFamily<readonly string[]>;
  /** Networks of the containers here that are targets. */
  readonly nearNets: ByFamily<readonly string[]>;
  readonly mesh?: MeshState;
}

const none: ByFamily<readonly never[]> = { 4: [], 6: [] };
export const emptyTable: NodeTable = {
  ports: new Map(),
  doors: { 4: new Map(), 6: new Map() },
  farNodes: none,
  nearNets: none,
};

/** What one entry comes to. */
interface EntryPlan {
  readonly rule?: PortRule;
  readonly doors?: ByFamily<ReadonlyMap<string, string>>;
  readonly far: ReadonlySet<string>;
  readonly near: ReadonlySet<string>;
  readonly problem?: string;
}

/** Entries are never changed in place, so what one came to still holds, with the same mesh: a change costs what it touches. */
export type PlanCache = WeakMap<IngressEntry, EntryPlan>;

export interface PlanAround {
  readonly nodeId: string;
  /** Asked only for what `nets` does not know: the kernel may take its time. */
  readonly local: () => LocalAddresses;
  /** Networks of containers by their address, found earlier. */
  readonly nets?: Map<string, string>;
  /** Empty: every local address. */
  readonly addresses?: readonly string[];
  /** Ports that belong to somebody else here, by key, and why. They are left alone. */
  readonly taken: ReadonlyMap<string, string>;
  readonly mesh?: MeshState | undefined;
  /** Of tasks here, in the table or not: their doors are open. */
  readonly own?: readonly TaskEndpoint[] | undefined;
  readonly cache?: PlanCache;
}

export interface Plan {
  readonly table: NodeTable;
  readonly problems: ReadonlyMap<string, string>;
}

export function planTable(entries: ReadonlyMap<string, IngressEntry>, around: PlanAround): Plan {
  const { mesh } = around;
  const ports = new Map<string, PortRule>();
  const doors = { 4: new Map<string, string>(), 6: new Map<string, string>() };
  const [far, near] = [new Set<string>(), new Set<string>()];
  const problems = new Map<string, string>();
  for (const [key, entry] of entries) {
    const taken = around.taken.get(key);
    const plan = taken === undefined ? cached(entry, around) : { ...nothing, problem: taken };
    if (plan.problem !== undefined) problems.set(key, plan.problem);
    if (plan.rule) ports.set(key, plan.rule);
    for (const [at, to] of plan.doors?.[4] ?? []) doors[4].set(at, to);
    for (const [at, to] of plan.doors?.[6] ?? []) doors[6].set(at, to);
    for (const addr of plan.far) far.add(addr);
    for (const addr of plan.near) near.add(addr);
  }
  for (const endpoint of mesh ? (around.own ?? []) : []) {
    for (const [family, at, to] of doorsOf(endpoint)) doors[family].set(at, to);
  }
  const nearNets = netsAround(near, around);
  const farNodes = split([...far].sort());
  const table = { ports, doors, farNodes, nearNets: split([...nearNets].sort()), ...(mesh && { mesh }) };
  return { table, problems };
}

const nothing = { far: new Set<string>(), near: new Set<string>() };

const split = (list: readonly string[]): ByFamily<string[]> => ({
  4: list.filter((one) => !one.includes(':')),
  6: list.filter((one) => one.includes(':')),
});

function cached(entry: IngressEntry, around: PlanAround): EntryPlan {
  const known = around.cache?.get(entry);
  if (known) return known;
  const plan = planEntry(entry, around);
  around.cache?.set(entry, plan);
  return plan;
}

const protocols: ReadonlySet<string> = new Set<Protocol>(['tcp', 'udp', 'sctp']);

function planEntry(entry: IngressEntry, around: PlanAround): EntryPlan {
  const { protocol, publishedPort: port, backends, draining = [], clientAddress } = entry;
  const why = whyNotHere(entry, around.addresses ?? []);
  if (why !== undefined) return why === '' ? nothing : { ...nothing, problem: why };
  const targets = { 4: new Map<string, Target>(), 6: new Map<string, Target>() };
  const doors = { 4: new Map<string, string>(), 6: new Map<string, string>() };
  const [far, near, plain] = [new Set<string>(), new Set<string>(), new Set<string>()];
  const [problems, only4]: [string[], string[]] = [[], []];
  for (const backend of backends) {
    const isNear = backend.nodeId === around.nodeId;
    const { found, isMasqueraded } = targetsOf(backend, around);
    for (const [family, target] of found) {
      targets[family].set(`${target.addr} ${target.port}`, target);
      if (isNear) near.add(target.addr);
      else if (isMasqueraded) far.add(target.addr);
    }
    if (isNear && around.mesh) for (const [family, at, to] of doorsOf(backend)) doors[family].set(at, to);
    if (isMasqueraded && found.length > 0) plain.add(backend.nodeId);
    if (found.length === 0) {
      const { addr, port: at } = targetOf(backend, around.nodeId);
      problems.push(`task ${backend.taskId} is left out: ${addr}:${at} is no IP endpoint`);
    } else if (!found.some(([family]) => family === 6)) only4.push(backend.taskId);
  }
  if (targets[6].size > 0 && only4.length > 0)
    problems.push(`${few(only4, 'task')} left out for clients of IPv6: no such address`);
  const masquerades = clientAddress === 'masquerade';
  if (plain.size > 0 && !masquerades) problems.push(masqueraded([...plain], around.mesh));
  const rule: PortRule = {
    ...{ key: entry.key, protocol, port },
    ...(entry.address !== undefined && { address: canonical(entry.address) }),
    targets: { 4: [...targets[4].values()], 6: [...targets[6].values()] },
    ...(draining.length > 0 && { draining: drainingTargets(draining, around) }),
    ...(entry.allow && { allow: allowed(entry.allow) }),
    ...(masquerades && { masquerades }),
  };
  return { rule, doors, far, near, ...(problems.length > 0 && { problem: problems.join('; ') }) };
}

/** Why the kernel has nothing to do for an entry; empty when that is no problem. */
function whyNotHere(entry: IngressEntry, addresses: readonly string[]): string | undefined {
  const { key, protocol, publishedPort: port, address } = entry;
  const isWrong = !protocols.has(protocol) || !isPort(port) || (address !== undefined && !familyOf(address));
  if (isWrong || key !== ingressKey(protocol, port, address)) {
    return `${protocol} port ${port}${address === undefined ? '' : ` on ${address}`} cannot be published`;
  }
  // Of a neighbour in the same network namespace.
  if (address !== undefined && addresses.length > 0 && !addresses.includes(address)) return '';
  return undefined;
}

interface Found {
  readonly found: readonly (readonly [Family, Target])[];
  readonly isMasqueraded: boolean;
}

function doorsOf(endpoint: TaskEndpoint): [Family, string, string][] {
  const { protocol, nodePort, localAddr, localAddr6, localPort } = endpoint;
  if (!isPort(nodePort)) return [];
  return endpoints([localAddr, localAddr6 ?? ''], localPort).map(([family, { addr, port }]) => [
    family,
    `${protocol} . ${nodePort}`,
    `${addr} . ${port}`,
  ]);
}

const targetsOf = (backend: IngressBackend, { nodeId, mesh }: PlanAround): Found =>
  backend.nodeId === nodeId ? nearTargets(backend) : farTargets(backend, mesh);

function drainingTargets(draining: readonly IngressBackend[], around: PlanAround): ByFamily<readonly Target[]> {
  const all = draining.flatMap((backend) => targetsOf(backend, around).found);
  const of = (wanted: Family) => all.flatMap(([family, target]) => (family === wanted ? [target] : []));
  return { 4: of(4), 6: of(6) };
}

const nearTargets = ({ localAddr, localAddr6, localPort }: IngressBackend): Found => ({
  found: endpoints([localAddr, localAddr6 ?? ''], localPort),
  isMasqueraded: false,
});

function farTargets(backend: IngressBackend, mesh: MeshState | undefined): Found {
  const { nodeId, nodeAddr, nodePort } = backend;
  const way = mesh?.wayTo(nodeId);
  // What leads there directly is not marked by anything yet, so its answers would not come back.
  if (way?.kind !== 'mesh') return { found: endpoints([nodeAddr], nodePort), isMasqueraded: true };
  // Its door for a family is open when the task has an address of it.
  const has = (family: Family) =>
    [backend.localAddr, backend.localAddr6 ?? ''].some((addr) => familyOf(addr) === family);
  return {
    found: endpoints([has(4) ? way.v4 : '', has(6) ? (way.v6 ?? '') : ''], nodePort),
    isMasqueraded: false,
  };
}

function endpoints(addrs: readonly string[], port: number): [Family, Target][] {
  if (!isPort(port)) return [];
  const found = new Map<Family, Target>();
  for (const addr of addrs) {
    const family = familyOf(addr);
    if (family && !found.has(family)) found.set(family, { addr: canonical(addr), port });
  }
  return [...found];
}

function masqueraded(nodes: readonly string[], mesh: MeshState | undefined): string {
  const why = mesh ? 'the mesh does not lead there' : 'this node has no mesh';
  return `clients are masqueraded towards ${few(nodes, 'node').replace(/ (is|are)$/, '')}: ${why}`;
}

/** `tasks a, b, c and 4 more are`. */
function few(list: readonly string[], what: string): string {
  if (list.length === 1) return `${what} ${list[0]} is`;
  const more = list.length > 3 ? ` and ${list.length - 3} more` : '';
  return `${what}s ${list.slice(0, 3).join(', ')}${more} are`;
}

function allowed(texts: readonly string[]): ByFamily<string[]> {
  const ranges = texts.map(parseIpRange).filter((range) => range !== undefined);
  const of = (family: Family) =>
    mergedRanges(ranges.filter((range) => range.family === family)).map(({ first, last }) =>
      [first, last].map((value) => formatIp({ family, value })).join('-'),
    );
  return { 4: of(4), 6: of(6) };
}

function netsAround(addrs: ReadonlySet<string>, { nets = new Map(), local }: PlanAround): Set<string> {
  let known: LocalAddresses | undefined;
  const found = new Set<string>();
  for (const addr of addrs) {
    if (isLoopback(addr)) continue;
    known ??= nets.has(addr) ? undefined : local();
    const net = nets.get(addr) ?? (known && netAround(addr, known));
    if (net === undefined) continue;
    nets.set(addr, net);
    found.add(net);
  }
  return found;
}

/** The network of a container; undefined for what the node itself is. */
function netAround(addr: string, local: LocalAddresses): string | undefined {
  if (local.own.has(addr)) return undefined;
  const around = local.subnets.filter((net) => contains(net, addr));
  // Networks in one another: the widest stands for all, since intervals of the kernel's set may not overlap.
  return around.sort((a, b) => a.prefix - b.prefix)[0]?.cidr;
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

/** Whether flows that one rule lets be are let be by the other. */
export const sameEnds = (a: PortRule, b: PortRule): boolean =>
  a === b || families.every((family) => sameTargets(endsOf(a, family), endsOf(b, family)));

/** Where a flow may lead. */
export const endsOf = ({ targets, draining }: Pick<PortRule, 'targets' | 'draining'>, family: Family) =>
  draining ? [...targets[family], ...draining[family]] : targets[family];

/** Whether two rules lead the same clients to the same places. */
export const sameWays = (a: PortRule, b: PortRule): boolean =>
  a === b ||
  (families.every((family) => sameTargets(a.targets[family], b.targets[family])) &&
    JSON.stringify(a.allow) === JSON.stringify(b.allow));
