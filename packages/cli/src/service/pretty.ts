import { isIPv6 } from 'node:net';
import {
  type ContainerSpec,
  isJobMode,
  jobSizeOf,
  type PortConfig,
  publishedOptionsOf,
  rollbackConfigOf,
  type Service,
  type ServiceSpec,
  type TaskSpec,
  updateConfigOf,
} from '@swarmctl/shared/model';
import { showBytes, showNs } from '../units.ts';

// `service inspect --pretty`.

export function prettyService(service: Service): string {
  const { Spec: spec } = service;
  const container = spec.TaskTemplate.ContainerSpec ?? {};
  const resources = spec.TaskTemplate.Resources;
  const size = jobSizeOf(spec);
  const lines: (string | undefined)[] = [
    '',
    `ID:\t\t${service.ID}`,
    `Name:\t\t${spec.Name}`,
    ...section(
      'Labels:',
      Object.entries(spec.Labels).map(([key, value]) => ` ${key}=${value}`),
    ),
    `Service Mode:\t${modeName(spec.Mode)}`,
    spec.Mode?.Replicated ? ` Replicas:\t${spec.Mode.Replicated.Replicas ?? 1}` : undefined,
    size && ` Max Concurrent:\t${size.concurrent}`,
    size && ` Total Completions:\t${size.completions}`,
    ...updateStatus(service),
    'Placement:',
    ...list(' Constraints:\t', spec.TaskTemplate.Placement?.Constraints),
    ...list(
      ' Preferences:\t',
      spec.TaskTemplate.Placement?.Preferences?.map(({ Spread }) => `spread=${Spread?.SpreadDescriptor ?? ''}`),
    ),
    spec.TaskTemplate.Placement?.MaxReplicas
      ? ` Max Replicas Per Node: ${spec.TaskTemplate.Placement.MaxReplicas}`
      : undefined,
    ...(isJobMode(spec.Mode)
      ? []
      : [...config('UpdateConfig:', updateConfigOf(spec)), ...config('RollbackConfig:', rollbackConfigOf(spec))]),
    'ContainerSpec:',
    ` Image:\t\t${container.Image ?? ''}`,
    ...list(' Entrypoint:\t', container.Command),
    ...list(' Args:\t\t', container.Args),
    ...list(' Env:\t\t', container.Env),
    container.User ? ` User:\t\t${container.User}` : undefined,
    container.Dir ? ` Dir:\t\t${container.Dir}` : undefined,
    container.Hostname ? ` Hostname:\t${container.Hostname}` : undefined,
    container.Init === undefined ? undefined : ` Init:\t\t${container.Init}`,
    ...list(' Hosts:\t\t', container.Hosts),
    ...list(' Cap add:\t', container.CapabilityAdd),
    ...list(' Cap drop:\t', container.CapabilityDrop),
    ...list(
      ' Sysctls:\t',
      Object.entries(container.Sysctls ?? {}).map(([key, value]) => `${key}=${value}`),
    ),
    ...list(
      ' Ulimits:\t',
      container.Ulimits?.map(({ Name, Soft, Hard }) => `${Name}=${Soft}:${Hard}`),
    ),
    ...healthcheck(container.Healthcheck),
    ...section(
      'Mounts:',
      (container.Mounts ?? []).map(
        (mount) =>
          ` Target:\t${mount.Target}\n  Source:\t${mount.Source ?? ''}\n  ReadOnly:\t${mount.ReadOnly ?? false}\n  Type:\t\t${mount.Type ?? 'volume'}`,
      ),
    ),
    ...section(
      'Configs:',
      (container.Configs ?? []).map(({ File, ConfigName }) => file(File?.Name, ConfigName)),
    ),
    ...section(
      'Secrets:',
      (container.Secrets ?? []).map(({ File, SecretName }) => file(File?.Name, SecretName)),
    ),
    ...logDriver(spec.TaskTemplate.LogDriver),
    'Resources:',
    ...limits(' Reservations:', resources?.Reservations),
    ...limits(' Limits:', resources?.Limits),
    `Endpoint Mode:\t${spec.EndpointSpec?.Mode ?? 'vip'}`,
    ...section(
      'Ports:',
      (service.Endpoint.Ports ?? []).map(
        (port) =>
          ` PublishedPort = ${port.PublishedPort ?? 0}\n  Protocol = ${port.Protocol}\n  TargetPort = ${port.TargetPort}\n  PublishMode = ${port.PublishMode}${addressLine(service, port)}`,
      ),
    ),
  ];
  return `${lines.filter((line) => line !== undefined).join('\n')}\n`;
}

export function modeName(mode: ServiceSpec['Mode']): string {
  if (mode?.ReplicatedJob) return 'Replicated Job';
  if (mode?.GlobalJob) return 'Global Job';
  return mode?.Global ? 'Global' : 'Replicated';
}

const file = (target: string | undefined, source: string | undefined): string =>
  ` Target:\t${target ?? ''}\n  Source:\t${source ?? ''}`;

const section = (title: string, lines: readonly string[]): string[] => (lines.length > 0 ? [title, ...lines] : []);
const list = (title: string, items: readonly string[] | undefined): string[] =>
  items && items.length > 0 ? [`${title}[${items.join(', ')}]`] : [];

function updateStatus(service: Service): string[] {
  const status = service.UpdateStatus;
  if (!status) return [];
  return [
    'UpdateStatus:',
    ` State:\t\t${status.State}`,
    ...(status.StartedAt ? [` Started:\t${status.StartedAt}`] : []),
    ...(status.CompletedAt ? [` Completed:\t${status.CompletedAt}`] : []),
    ` Message:\t${status.Message ?? ''}`,
  ];
}

const config = (title: string, value: ReturnType<typeof updateConfigOf>): string[] => [
  title,
  ` Parallelism:\t${value.parallelism}`,
  ...(value.delayMs > 0 ? [` Delay:\t\t${showNs(value.delayMs * 1e6)}`] : []),
  ` On failure:\t${value.failureAction}`,
  ` Monitoring Period: ${showNs(value.monitorMs * 1e6)}`,
  ` Max failure ratio: ${value.maxFailureRatio}`,
  ` Order:      ${value.order}`,
];

function limits(
  title: string,
  value: { NanoCPUs?: number; MemoryBytes?: number; Pids?: number } | undefined,
): string[] {
  const lines = [
    ...(value?.NanoCPUs ? [`  CPU:\t\t${value.NanoCPUs / 1e9}`] : []),
    ...(value?.MemoryBytes ? [`  Memory:\t${showBytes(value.MemoryBytes)}`] : []),
    ...(value?.Pids ? [`  PIDs:\t\t${value.Pids}`] : []),
  ];
  return section(title, lines);
}

function healthcheck(value: ContainerSpec['Healthcheck']): string[] {
  if (!value) return [];
  const { Test, Interval, Timeout, StartPeriod, Retries } = value;
  const time = (title: string, ns: number | undefined) => (ns ? [`  ${title}\t${showNs(ns)}`] : []);
  return [
    ' Healthcheck:',
    ...list('  Test:\t\t', Test),
    ...time('Interval:', Interval),
    ...time('Timeout:', Timeout),
    ...time('Start period:', StartPeriod),
    ...(Retries ? [`  Retries:\t${Retries}`] : []),
  ];
}

const logDriver = (driver: TaskSpec['LogDriver']): string[] =>
  driver
    ? [
        'Log Driver:',
        ` Name:\t\t${driver.Name ?? ''}`,
        ...list(
          ' Options:\t',
          Object.entries(driver.Options ?? {}).map(([key, value]) => `${key}=${value}`),
        ),
      ]
    : [];

const addressesOf = ({ Spec }: Service, port: PortConfig) => publishedOptionsOf(Spec.Labels ?? {}, port).addresses;

function addressLine(service: Service, port: PortConfig): string {
  const addresses = port.PublishMode === 'host' ? [] : addressesOf(service, port);
  return addresses.length > 0 ? `\n  Addresses = ${addresses.join(', ')}` : '';
}

/** `*:8080->80/tcp`, or with the address that the port answers on alone. */
export function publishedAt(service: Service, port: PortConfig): string {
  const addresses = addressesOf(service, port).map((addr) => (isIPv6(addr) ? `[${addr}]` : addr));
  return (addresses.length > 0 ? addresses : ['*'])
    .map((addr) => `${addr}:${port.PublishedPort}->${port.TargetPort}/${port.Protocol}`)
    .join(', ');
}
