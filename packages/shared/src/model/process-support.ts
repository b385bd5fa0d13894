import type { PortConfig, ServiceSpec } from './specs.ts';

// What the `process` runtime cannot honour is refused when the service is made, not ignored on the node.

/** Why a service labelled `swarmctl.runtime=process` cannot run so; undefined when it can. */
export function unsupportedByProcess(spec: ServiceSpec): string | undefined {
  const container = spec.TaskTemplate?.ContainerSpec ?? {};
  const refused = (
    [
      'Mounts',
      'Secrets',
      'Configs',
      'Groups',
      'Privileges',
      'Hosts',
      'DNSConfig',
      'CapabilityAdd',
      'CapabilityDrop',
      'Sysctls',
      'Ulimits',
      'OomScoreAdj',
      'Hostname',
      'Init',
      'TTY',
      'OpenStdin',
      'ReadOnly',
    ] as const
  ).find((field) => isSet(container[field]));
  if (refused) return `the process runtime does not support ContainerSpec.${refused}`;
  const label = Object.keys(spec.Labels ?? {}).find((key) => key.startsWith('swarmctl.container.'));
  if (label) return `the process runtime does not support ${label}`;
  if (isSet(spec.TaskTemplate?.LogDriver)) return 'the process runtime does not support LogDriver';
  if (isSet(spec.TaskTemplate?.Networks)) return "the process runtime has no networks but the machine's";
  if (!container.Command?.length && !container.Args?.length) {
    return 'the process runtime needs a command: ContainerSpec.Command or ContainerSpec.Args';
  }
  return unsupportedPorts(spec);
}

/** A process listens itself, so one target port is one port of the machine. */
function unsupportedPorts(spec: ServiceSpec): string | undefined {
  const ports = spec.EndpointSpec?.Ports ?? [];
  if (ports.some((port) => port.Protocol === 'sctp')) return 'the process runtime has no sctp ports';
  const key = (port: PortConfig) => `${port.Protocol || 'tcp'}/${port.TargetPort}`;
  const host = ports.filter((port) => port.PublishMode === 'host').map(key);
  const twice = host.find(
    (one, i) => host.indexOf(one) !== i || ports.some((p) => p.PublishMode !== 'host' && key(p) === one),
  );
  if (twice) return `the process runtime can publish target port ${twice} only once when it is in host mode`;
  return undefined;
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object') return Object.values(value).some(isSet);
  return true;
}
