import { type Static, Type } from '@sinclair/typebox';
import { ClusterError } from '../kit/errors.ts';
import { type ContainerLabelName, type ContainerOptionName, containerLabels } from './container-options.ts';
import { normalise } from './normalise.ts';
import type { ServiceSpec } from './specs.ts';

// Keys of an engine's containers that Docker's container specs have not, and Docker passes over. Who writes one believes in it: what labels ask for as well
// (container-options.ts) becomes that label, anything else is refused with the word that does the same.

const opt = Type.Optional;
const strings = Type.Array(Type.String());

/** As in `POST /containers/create`. */
const Fields = Type.Object({
  Privileged: opt(Type.Boolean()),
  Devices: opt(
    Type.Array(
      Type.Object({
        PathOnHost: opt(Type.String()),
        PathInContainer: opt(Type.String()),
        CgroupPermissions: opt(Type.String()),
      }),
    ),
  ),
  DeviceRequests: opt(
    Type.Array(
      Type.Object({
        Driver: opt(Type.String()),
        Count: opt(Type.Integer()),
        DeviceIDs: opt(strings),
        Capabilities: opt(Type.Array(strings)),
        Options: opt(Type.Record(Type.String(), Type.String())),
      }),
    ),
  ),
  ShmSize: opt(Type.Integer({ minimum: 0 })),
  IpcMode: opt(Type.String()),
  PidMode: opt(Type.String()),
  SecurityOpt: opt(strings),
  CgroupnsMode: opt(Type.String()),
  UsernsMode: opt(Type.String()),
  Runtime: opt(Type.String()),
});
type Fields = Static<typeof Fields>;

/** What does the same, if anything does. */
const others = {
  Binds: 'Mounts',
  Tmpfs: 'Mounts of type tmpfs',
  VolumesFrom: 'Mounts',
  CapAdd: 'CapabilityAdd',
  CapDrop: 'CapabilityDrop',
  ExtraHosts: 'Hosts',
  Dns: 'DNSConfig.Nameservers',
  DnsSearch: 'DNSConfig.Search',
  DnsOptions: 'DNSConfig.Options',
  GroupAdd: 'Groups',
  ReadonlyRootfs: 'ReadOnly',
  WorkingDir: 'Dir',
  Entrypoint: 'Command',
  Cmd: 'Args',
  NetworkMode: 'Networks of the TaskTemplate',
  PortBindings: 'Ports of the EndpointSpec',
  LogConfig: 'LogDriver of the TaskTemplate',
  RestartPolicy: 'RestartPolicy of the TaskTemplate',
  Memory: 'Resources.Limits.MemoryBytes of the TaskTemplate',
  MemorySwap: 'Resources.SwapBytes of the TaskTemplate',
  NanoCpus: 'Resources.Limits.NanoCPUs of the TaskTemplate',
  PidsLimit: 'Resources.Limits.Pids of the TaskTemplate',
  UTSMode: '',
  Cgroup: '',
  CgroupParent: '',
  CpuShares: '',
  CpusetCpus: '',
  DeviceCgroupRules: '',
  Links: '',
  MaskedPaths: '',
  ReadonlyPaths: '',
  OomKillDisable: '',
  StorageOpt: '',
  Annotations: '',
  MacAddress: '',
} as const;

const Container = Type.Object({
  ...Fields.properties,
  ...Object.fromEntries(Object.keys(others).map((name) => [name, opt(Type.Unknown())])),
});
const Body = Type.Object({ TaskTemplate: opt(Type.Object({ ContainerSpec: opt(Container) })) });

const optionOf = {
  Privileged: 'privileged',
  Devices: 'devices',
  DeviceRequests: 'gpus',
  ShmSize: 'shm-size',
  IpcMode: 'ipc',
  PidMode: 'pid',
  SecurityOpt: 'security-opt',
  CgroupnsMode: 'cgroupns',
  UsernsMode: 'userns',
  Runtime: 'runtime',
} as const satisfies Record<keyof Fields, ContainerOptionName>;

const wrong = (field: string, message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ContainerSpec.${field}: ${message}`);

/** The service that `body` asks for, of which `spec` is what Docker knows; nothing of it is changed. Throws `invalid-argument` naming the key. */
export function withContainerFields(spec: ServiceSpec, body: unknown): ServiceSpec {
  const given: Fields & Readonly<Record<string, unknown>> =
    normalise(Body, body ?? {}).TaskTemplate?.ContainerSpec ?? {};
  for (const [field, instead] of Object.entries(others)) {
    if (isEmpty(given[field])) continue;
    throw wrong(field, instead === '' ? 'services cannot have it' : `services have ${instead} for it`);
  }
  const labels: Record<string, string> = {};
  for (const field of Object.keys(optionOf) as (keyof Fields)[]) {
    if (isEmpty(given[field])) continue;
    const label: ContainerLabelName = `swarmctl.container.${optionOf[field]}`;
    const value = labelValue(field, given);
    const right = containerLabels[label].check(value);
    if (right !== undefined) throw wrong(field, `expected ${right}, not ${JSON.stringify(given[field])}`);
    const other = spec.Labels?.[label];
    if (other !== undefined && other !== value) {
      throw wrong(field, `the label '${label}' says otherwise: '${other}', not '${value}'; leave one of them out`);
    }
    labels[label] = value;
  }
  return Object.keys(labels).length > 0 ? { ...spec, Labels: { ...spec.Labels, ...labels } } : spec;
}

/** As clients send what nobody said. */
const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  value === 0 ||
  value === '' ||
  (typeof value === 'object' && Object.keys(value).length === 0);

/** As the label has it. */
function labelValue(field: keyof Fields, given: Fields): string {
  switch (field) {
    case 'Devices':
      return (given.Devices ?? [])
        .map(({ PathOnHost: host = '', PathInContainer: inside, CgroupPermissions: permissions }) =>
          [host, inside || host, ...(permissions ? [permissions] : [])].join(':'),
        )
        .join();
    case 'DeviceRequests':
      return gpusOf(given.DeviceRequests ?? []);
    case 'SecurityOpt':
      // Engines take a colon as well.
      return (given.SecurityOpt ?? []).map((one) => (one.includes('=') ? one : one.replace(':', '='))).join();
    default:
      return String(given[field]);
  }
}

function gpusOf(requests: NonNullable<Fields['DeviceRequests']>): string {
  const [one, second] = requests;
  const isGpu =
    one !== undefined &&
    second === undefined &&
    ['', 'nvidia'].includes(one.Driver ?? '') &&
    isEmpty(one.Options) &&
    (one.Capabilities ?? []).every((all) => all.length === 1 && all[0] === 'gpu');
  if (!isGpu) throw wrong('DeviceRequests', 'expected one request of the capability gpu alone, without options');
  if (one.DeviceIDs?.length) return `device=${one.DeviceIDs.join()}`;
  return (one.Count ?? 0) < 0 ? 'all' : String(one.Count ?? 0);
}
