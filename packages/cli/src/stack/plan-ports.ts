import { type PortConfig, portName, type ServiceSpec } from '@swarmctl/shared/model';
import type { Stack } from '../compose/stack.ts';
import type { Current } from './current.ts';
import type { Removal, ServicePlan } from './plan.ts';
import type { Fail } from './plan-networks.ts';

// Published ports, which one service has at a time.

/** The ports that no other service may publish. Those of HTTP, and those of some addresses alone, may be several services'; the managers look closer. */
function ownPorts(
  { Labels, EndpointSpec }: ServiceSpec,
  ports: readonly PortConfig[] = EndpointSpec?.Ports ?? [],
): string[] {
  if (Object.keys(Labels ?? {}).some((label) => /^swarmctl\.(http\.route|ingress\.address)/.test(label))) return [];
  return ports.flatMap((port) => (port.PublishMode !== 'host' && port.PublishedPort ? [portName(port)] : []));
}

/** Ports of services that are neither removed nor of this stack, and of the stack's own as they will be. */
export function checkPorts(stack: Stack, current: Current, removals: readonly Removal[], fail: Fail): void {
  const gone = new Set(removals.map(({ id }) => id));
  const owners = new Map<string, string>();
  for (const { ID, Spec, Endpoint } of current.services) {
    if (gone.has(ID) || stack.services.some(({ name }) => name === Spec.Name)) continue;
    for (const port of ownPorts(Spec, Endpoint.Ports)) owners.set(port, Spec.Name);
  }
  for (const { name, path, spec } of stack.services) {
    for (const port of ownPorts(spec)) {
      const other = owners.get(port);
      if (other === name) continue;
      if (other) fail([...path, 'ports'], `port ${port} is published by service ${other} already`);
      owners.set(port, name);
    }
  }
}

/** A service that gives up a port which another one takes goes before that. */
export function portsFirst(plans: readonly ServicePlan[]): ServicePlan[] {
  const givesUp = ({ service, stored }: ServicePlan) => {
    if (!stored) return false;
    const kept = ownPorts(service.spec);
    const given = ownPorts(stored.Spec).filter((port) => !kept.includes(port));
    return plans.some(
      (other) => other.service !== service && ownPorts(other.service.spec).some((port) => given.includes(port)),
    );
  };
  return [...plans.filter(givesUp), ...plans.filter((plan) => !givesUp(plan))];
}
