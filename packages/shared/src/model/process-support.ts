import type { ServiceSpec } from './specs.ts';

// What the `process` runtime cannot honour is refused when the service is made, not ignored on the node.

/** Why a service labelled `swarmctl.runtime=process` cannot run so; undefined when it can. */
export function unsupportedByProcess(spec: ServiceSpec): string | undefined {
  const container = spec.TaskTemplate?.ContainerSpec ?? {};
  const refused = (
    [
      'Mounts',
      'Groups',
      'Privileges',
      'Hosts',
      'DNSConfig',
      'CapabilityAdd',
      'CapabilityDrop',
      'Sysctls',
      'Ulimits',
      'Hostname',
      'Init',
      'TTY',
      'OpenStdin',
      'ReadOnly',
    ] as const
  ).find((field) => isSet(container[field]));
  if (refused) return `the process runtime does not support ContainerSpec.${refused}`;
  if (isSet(spec.TaskTemplate?.LogDriver)) return 'the process runtime does not support LogDriver';
  if (!container.Command?.length && !container.Args?.length) {
    return 'the process runtime needs a command: ContainerSpec.Command or ContainerSpec.Args';
  }
  return undefined;
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object') return Object.values(value).some(isSet);
  return true;
}
