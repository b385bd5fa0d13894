import { BlockList, isIP } from 'node:net';
import { type Node, type Platform, runtimeOf, type Service, type TaskSpec } from '@swarmctl/shared/model';

// Whether a node may hold a service's tasks at all: constraints, platform and runtime. Room, ports and readiness are the scheduler's.

/** The node belongs to the global service: it has, or shall have, a copy. */
export const suitsGlobal = (service: Service, node: Node): boolean =>
  node.Spec.Availability !== 'drain' &&
  meetsConstraints(service.Spec.TaskTemplate, node) &&
  (node.Description === undefined ||
    (meetsPlatforms(service.Spec.TaskTemplate, node.Description.Platform) &&
      node.Description.Runtimes.includes(runtimeOf(service.Spec.Labels))));

/** New tasks may be put there now. */
export const takesTasks = (node: Node): boolean =>
  node.Spec.Availability === 'active' && node.Status.State === 'ready' && node.Description !== undefined;

export function meetsConstraints(spec: TaskSpec, node: Node): boolean {
  return (spec.Placement?.Constraints ?? []).every((text) => {
    const operator = text.includes('==') ? '==' : '!=';
    const [key = '', value = ''] = text.split(operator).map((part) => part.trim());
    const matches = matchConstraint(key, value, node);
    return matches !== undefined && matches === (operator === '==');
  });
}

/** Undefined for a key that means nothing: such a constraint is met by no node. */
function matchConstraint(key: string, value: string, node: Node): boolean | undefined {
  const lower = key.toLowerCase();
  if (lower === 'node.ip') return matchAddress(node.Status.Addr, value);
  const fact = factOf(lower, key, node);
  return fact === undefined ? undefined : fact.toLowerCase() === value.toLowerCase();
}

function factOf(lower: string, key: string, node: Node): string | undefined {
  const description = node.Description;
  switch (lower) {
    case 'node.id':
      return node.ID;
    case 'node.hostname':
      return description?.Hostname ?? '';
    case 'node.role':
      return node.Spec.Role;
    case 'node.platform.os':
      return description?.Platform.OS ?? '';
    case 'node.platform.arch':
      return architecture(description?.Platform.Architecture);
    default:
      if (lower.startsWith('node.labels.')) return node.Spec.Labels[key.slice('node.labels.'.length)] ?? '';
      if (lower.startsWith('engine.labels.')) {
        return description?.Engine.Labels?.[key.slice('engine.labels.'.length)] ?? '';
      }
      return undefined;
  }
}

function matchAddress(addr: string, value: string): boolean | undefined {
  const host = isIP(addr) ? addr : addr.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const [network = '', prefix] = value.split('/');
  if (!isIP(network)) return undefined;
  if (!isIP(host)) return false;
  const list = new BlockList();
  const family = isIP(network) === 6 ? 'ipv6' : 'ipv4';
  try {
    if (prefix === undefined) list.addAddress(network, family);
    else list.addSubnet(network, Number(prefix), family);
  } catch {
    return undefined;
  }
  return list.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');
}

function meetsPlatforms(spec: TaskSpec, platform: Platform): boolean {
  const wanted = spec.Placement?.Platforms ?? [];
  return (
    wanted.length === 0 ||
    wanted.some(
      (one) =>
        (!one.OS || one.OS.toLowerCase() === platform.OS?.toLowerCase()) &&
        (!one.Architecture || architecture(one.Architecture) === architecture(platform.Architecture)),
    )
  );
}

/** The kernel's names and Go's name the same machines. */
function architecture(name: string | undefined): string {
  const lower = (name ?? '').toLowerCase();
  return lower === 'x86_64' ? 'amd64' : lower === 'aarch64' ? 'arm64' : lower;
}
