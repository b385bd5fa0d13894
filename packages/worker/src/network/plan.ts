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

/** How a connection to a target has to leave: from the node's address, or with its client's. */
export type Distance = 'near' | 'far';

export interface NodeTable {
  readonly ports: ReadonlyMap<string, PortRule>;
  /** By `protocol . address . port`, as the kernel looks them up. */
  readonly backends: ReadonlyMap<string, Distance>;
  /** Networks of containers here: a client in one of them would be answered past us, so it is masqueraded. */
  readonly nearNets: readonly string[];
}

export const emptyTable: NodeTable = { ports: new Map(), backends: new Map(), nearNets: [] };

export interface PlanAround {
  readonly nodeId: string;
  readonly local: LocalAddresses;
  /** Ports that belong to somebody else here, by key, and why. They are left alone. */
  readonly taken: ReadonlyMap<string, string>;
}

export interface Plan {
  readonly table: NodeTable;
  readonly problems: ReadonlyMap<string, string>;
}

const protocols: ReadonlySet<string> = new Set<Protocol>(['tcp', 'udp', 'sctp']);

export function planTable(entries: ReadonlyMap<string, IngressEntry>, around: PlanAround): Plan {
  const ports = new Map<string, PortRule>();
  const backends = new Map<string, Distance>();
  const nearNets = new Set<string>();
  const problems = new Map(around.taken);
  for (const [key, entry] of entries) {
    if (around.taken.has(key)) continue;
    if (!protocols.has(entry.protocol) || !isPort(entry.publishedPort)) {
      problems.set(key, `${entry.protocol} port ${entry.publishedPort} cannot be published`);
      continue;
    }
    const targets = new Map<string, Target>();
    for (const backend of entry.backends) {
      const target = targetOf(backend, around.nodeId);
      if (!isIPv4(target.addr) || !isPort(target.port)) {
        problems.set(key, `task ${backend.taskId} is left out: ${target.addr}:${target.port} is no IPv4 endpoint`);
        continue;
      }
      const at = `${entry.protocol} . ${target.addr} . ${target.port}`;
      targets.set(at, target);
      const isNear = backend.nodeId === around.nodeId;
      if (!isNear || !backends.has(at)) backends.set(at, isNear ? 'near' : 'far');
      if (isNear) addNet(nearNets, target.addr, around.local);
    }
    ports.set(key, {
      key,
      protocol: entry.protocol,
      port: entry.publishedPort,
      targets: [...targets.values()],
    });
  }
  for (const key of around.taken.keys()) if (!entries.has(key)) problems.delete(key);
  return { table: { ports, backends, nearNets: [...nearNets].sort() }, problems };
}

function addNet(nets: Set<string>, addr: string, local: LocalAddresses): void {
  if (isLoopback(addr) || local.own.has(addr)) return;
  const around = local.subnets.filter((net) => contains(net, addr));
  const widest = around.sort((a, b) => a.first - b.first || b.last - a.last)[0];
  if (widest) nets.add(widest.cidr);
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
