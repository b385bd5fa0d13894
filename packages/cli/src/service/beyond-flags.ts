import { type ContainerOptionName, containerLabels } from '@swarmctl/shared/model';
import type { ScalarFlag } from './scalar-flags.ts';

// Flags for what reaches beyond a container: each is a label, and the cluster must allow it.

/** By what the cluster calls it; `runtime` is taken. */
const names = {
  privileged: 'privileged',
  devices: 'device',
  gpus: 'gpus',
  'shm-size': 'shm-size',
  ipc: 'ipc',
  pid: 'pid',
  'security-opt': 'security-opt',
  cgroupns: 'cgroupns',
  userns: 'userns',
  runtime: 'oci-runtime',
} as const satisfies Readonly<Record<ContainerOptionName, string>>;

/** Given empty at an update, it goes. */
export const beyondFlags: readonly ScalarFlag[] = Object.entries(names).map(([option, name]) => {
  const label = `swarmctl.container.${option as ContainerOptionName}` as const;
  return {
    name,
    type: option === 'privileged' ? 'boolean' : 'string',
    describe: `${containerLabels[label].what.replace(/^./, (first) => first.toUpperCase())}; 'swarm update --allow' lets it`,
    set: (spec, value) => {
      spec.Labels ??= {};
      if (value === '' || value === 'false') delete spec.Labels[label];
      else spec.Labels[label] = value;
    },
  };
});
