import { ClusterError } from '../kit/errors.ts';
import { ingressNetwork, isPredefinedNetwork } from './networks.ts';
import type { Network } from './objects.ts';
import type { PortConfig, ServiceSpec } from './specs.ts';

// Which networks a service may be on, and what it can publish there.

const invalid = (message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);

const portsOf = (spec: ServiceSpec): readonly PortConfig[] => spec.EndpointSpec?.Ports ?? [];

/** What can be said without a look at the networks. Throws ClusterError. */
export function checkAttachments(spec: ServiceSpec): void {
  const attachments = spec.TaskTemplate?.Networks ?? [];
  for (const { Target: target = '', Aliases: aliases = [] } of attachments) {
    if (target === '') throw invalid('network attachment: the target must be provided');
    if (target === ingressNetwork) {
      throw invalid(`Service cannot be explicitly attached to the ingress network "${target}"`);
    }
    for (const alias of aliases) {
      if (!/^[a-zA-Z0-9_](?:[-_.a-zA-Z0-9]*[a-zA-Z0-9_])?$/.test(alias) || alias.length > 253) {
        throw invalid(`network alias '${alias}' is not a name that can be asked for`);
      }
    }
    if (!isPredefinedNetwork(target)) continue;
    if (aliases.length > 0) throw invalid(`network ${target} has no names: leave the alias '${aliases[0]}' out`);
    if (target === 'bridge') continue;
    if (attachments.length > 1) {
      throw invalid(`network ${target} cannot be combined with others: a container has it alone`);
    }
    for (const port of portsOf(spec)) checkPort(target, port);
  }
}

/** A container on `host` listens on the node itself, so host mode says no more than which port that is. */
function checkPort(network: 'host' | 'none', port: PortConfig): void {
  if (network === 'none') throw invalid('network none reaches nobody: ports cannot be published, leave them out');
  const target = port.TargetPort ?? 0;
  if (port.PublishMode !== 'host') {
    throw invalid(
      `port ${target} cannot be published in ingress mode: on network host a container listens on its node itself; ` +
        `leave the port out, or publish it with mode=host,target=${target},published=${target}`,
    );
  }
  if (port.PublishedPort !== target) {
    throw invalid(
      `port ${target} cannot be published as ${port.PublishedPort || 'another'}: on network host a container listens on ` +
        `its node itself; leave the port out, or publish it with mode=host,target=${target},published=${target}`,
    );
  }
}

/** The same for the networks of its own that it is on. */
export function checkNetworkDrivers(spec: ServiceSpec, networks: readonly Pick<Network, 'Spec'>[]): void {
  if (portsOf(spec).length === 0) return;
  for (const { Spec } of networks) {
    const driver = Spec.DriverConfiguration?.Name;
    if (driver !== 'macvlan' && driver !== 'ipvlan') continue;
    throw invalid(
      `network ${Spec.Name} is of the driver ${driver}, where containers are reached by addresses of their own: ` +
        'ports cannot be published, leave them out',
    );
  }
}
