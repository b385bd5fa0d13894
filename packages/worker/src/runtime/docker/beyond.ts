import { containerOptionsOf } from '@swarmctl/shared/model';
import type Docker from 'dockerode';

// What a service's labels ask for beyond its container: managers let through what the cluster allows alone.

type HostConfig = NonNullable<Docker.ContainerCreateOptions['HostConfig']> & {
  readonly MaskedPaths?: readonly string[];
  readonly ReadonlyPaths?: readonly string[];
};

/** `securityOptions` are those of the spec. */
export function beyond(
  labels: Readonly<Record<string, string>>,
  securityOptions: readonly string[] | undefined,
): HostConfig {
  const { devices, gpus, ...options } = containerOptionsOf(labels);
  // The engine has no such option; its clients say it so.
  const showsPaths = options.securityOptions.includes('systempaths=unconfined');
  const others = options.securityOptions.filter((option) => option !== 'systempaths=unconfined');
  const all = [...(securityOptions ?? []), ...others];
  return {
    ...(options.privileged && { Privileged: true }),
    ...(devices.length > 0 && {
      Devices: devices.map(({ host, container, permissions }) => ({
        PathOnHost: host,
        PathInContainer: container,
        CgroupPermissions: permissions,
      })),
    }),
    ...(gpus && {
      DeviceRequests: [
        { Capabilities: [['gpu']], ...('ids' in gpus ? { DeviceIDs: [...gpus.ids] } : { Count: gpus.count }) },
      ],
    }),
    ...(options.shmSizeBytes !== undefined && { ShmSize: options.shmSizeBytes }),
    ...(options.ipc !== undefined && { IpcMode: options.ipc }),
    ...(options.pid !== undefined && { PidMode: options.pid }),
    ...(options.cgroupns !== undefined && { CgroupnsMode: options.cgroupns as 'private' | 'host' }),
    ...(options.userns !== undefined && { UsernsMode: options.userns }),
    ...(options.runtime !== undefined && { Runtime: options.runtime }),
    ...(showsPaths && { MaskedPaths: [], ReadonlyPaths: [] }),
    ...((securityOptions || all.length > 0) && { SecurityOpt: all }),
  };
}
