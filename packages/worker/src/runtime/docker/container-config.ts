import {
  type ContainerSpec,
  logDriverOf,
  type Mount,
  type PortConfig,
  type Task,
  type TaskSpec,
  taskName,
} from '@swarmctl/shared/model';
import { hostPorts, ingressPorts } from '@swarmctl/shared/wire';
import type Docker from 'dockerode';
import type { EngineEndpoints } from '../../network/types.ts';
import type { FileMount } from '../../secrets/task-mounts.ts';
import { orchestratorLabels } from '../identity.ts';
import { expandContainerSpec } from '../template.ts';
import { RuntimeError, type RuntimeNode } from '../types.ts';
import { beyond } from './beyond.ts';
import { networkConfig } from './networks.ts';
import { encodePorts, portKey, portsLabel } from './ports.ts';

// The one translator: a task's spec to what the engine makes a container from. Pure.

type HostConfig = NonNullable<Docker.ContainerCreateOptions['HostConfig']>;

/** `endpoints`: its networks, where it is on any; the first one only, see `connectOthers`. */
export function containerConfig(
  task: Task,
  node: RuntimeNode,
  endpoints?: EngineEndpoints,
): Docker.ContainerCreateOptions {
  const network = endpoints && networkConfig(endpoints);
  const spec = expandContainerSpec(task.Spec.ContainerSpec ?? {}, task, node);
  if (!spec.Image) throw refuse('ContainerSpec.Image is empty');
  return defined({
    name: taskName(task),
    Image: spec.Image,
    ...command(spec),
    Env: environment(task, spec),
    WorkingDir: spec.Dir,
    User: spec.User,
    Hostname: spec.Hostname,
    Tty: spec.TTY,
    OpenStdin: spec.OpenStdin,
    StopSignal: spec.StopSignal,
    Healthcheck: spec.Healthcheck,
    Labels: { ...spec.Labels, ...orchestratorLabels(task, node), [portsLabel]: encodePorts(task) },
    ExposedPorts: Object.fromEntries((task.Ports ?? []).map((port) => [portKey(port), {}])),
    HostConfig: {
      ...hostConfig(task, spec),
      ...(!isUnbridged(network?.mode) && { PortBindings: portBindings(task, node) }),
      ...(network && { NetworkMode: network.mode, ...(network.dns && { Dns: network.dns }) }),
    },
    NetworkingConfig: network?.networking,
  });
}

/** With the generic resources that the task got, as Swarm's tasks find them: `DOCKER_RESOURCE_GPU=uuid1,uuid2`. */
function environment({ AssignedGenericResources: assigned = [] }: Task, { Env }: ContainerSpec): string[] | undefined {
  const values = new Map<string, (string | number)[]>();
  for (const { NamedResourceSpec, DiscreteResourceSpec } of assigned) {
    const { Kind = '', Value = '' } = NamedResourceSpec ?? DiscreteResourceSpec ?? {};
    const name = `DOCKER_RESOURCE_${Kind.toUpperCase()}`;
    values.set(name, [...(values.get(name) ?? []), Value]);
  }
  return values.size > 0 ? [...(Env ?? []), ...[...values].map(([name, all]) => `${name}=${all.join()}`)] : Env;
}

/** The engine has no ports to bind: it listens on the node itself, or nowhere. */
const isUnbridged = (mode: string | undefined): boolean => mode === 'host' || mode === 'none';

/** With the files of the task's secrets and configs, for reading alone. */
export function withFiles(
  config: Docker.ContainerCreateOptions,
  files: readonly FileMount[],
): Docker.ContainerCreateOptions {
  if (files.length === 0) return config;
  const mounts = files.map(({ source, target }) => ({
    Type: 'bind' as const,
    Source: source,
    Target: target,
    ReadOnly: true,
    BindOptions: { Propagation: 'rprivate' as const },
  }));
  return { ...config, HostConfig: { ...config.HostConfig, Mounts: [...(config.HostConfig?.Mounts ?? []), ...mounts] } };
}

export const isLoopback = (addr: string): boolean => addr.startsWith('127.') || addr === '::1';

/** With a command, the whole invocation is replaced; arguments alone follow the image's entry point. */
function command(spec: ContainerSpec) {
  return {
    ...(spec.Command?.length && { Entrypoint: spec.Command }),
    ...(spec.Args?.length && { Cmd: spec.Args }),
  };
}

function hostConfig(task: Task, spec: ContainerSpec): HostConfig {
  const logDriver = logDriverOf(task);
  return defined({
    ...resources(task.Spec, spec),
    RestartPolicy: { Name: 'no' },
    Mounts: spec.Mounts?.map(engineMount) as HostConfig['Mounts'],
    Init: spec.Init,
    ReadonlyRootfs: spec.ReadOnly,
    GroupAdd: spec.Groups,
    Dns: spec.DNSConfig?.Nameservers,
    DnsSearch: spec.DNSConfig?.Search,
    DnsOptions: spec.DNSConfig?.Options,
    ExtraHosts: spec.Hosts?.flatMap(extraHosts),
    Sysctls: spec.Sysctls,
    CapAdd: spec.CapabilityAdd,
    CapDrop: spec.CapabilityDrop,
    OomScoreAdj: spec.OomScoreAdj,
    Isolation: spec.Isolation && spec.Isolation !== 'default' ? spec.Isolation : undefined,
    ...beyond(task.ServiceAnnotations.Labels, securityOptions(spec)),
    LogConfig: logDriver?.Name ? { Type: logDriver.Name, Config: logDriver.Options ?? {} } : undefined,
  });
}

/** Ingress ports at a port of the engine's choice on the node's address; host ports as published, on a loopback node only there. */
function portBindings(task: Task, node: RuntimeNode): Record<string, { HostIp: string; HostPort: string }[]> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  const bind = (port: PortConfig, HostIp: string, HostPort: string) => {
    bindings[portKey(port)] = [...(bindings[portKey(port)] ?? []), { HostIp, HostPort }];
  };
  // One target port may be published at several ports; one port of the node serves them all.
  const seen = new Set<string>();
  for (const port of ingressPorts(task)) {
    if (!seen.has(portKey(port))) bind(port, node.addr, '');
    seen.add(portKey(port));
  }
  for (const port of hostPorts(task)) {
    bind(port, isLoopback(node.addr) ? node.addr : '', port.PublishedPort ? String(port.PublishedPort) : '');
  }
  return bindings;
}

function resources(task: TaskSpec, spec: ContainerSpec): HostConfig {
  const { Limits: limits, Reservations: reservations, SwapBytes, MemorySwappiness } = task.Resources ?? {};
  return {
    NanoCpus: limits?.NanoCPUs || undefined,
    Memory: limits?.MemoryBytes || undefined,
    PidsLimit: limits?.Pids || undefined,
    MemoryReservation: reservations?.MemoryBytes || undefined,
    // The engine counts memory and swap together; -1 means no bound.
    MemorySwap: SwapBytes === undefined ? undefined : SwapBytes < 0 ? -1 : (limits?.MemoryBytes ?? 0) + SwapBytes,
    MemorySwappiness: MemorySwappiness === undefined || MemorySwappiness < 0 ? undefined : MemorySwappiness,
    Ulimits: spec.Ulimits?.map(({ Name = '', Soft = 0, Hard = 0 }) => ({ Name, Soft, Hard })),
  };
}

function engineMount(mount: Mount) {
  const { ClusterOptions: _, Type = 'volume', ...rest } = mount;
  return { ...rest, Type };
}

/** `IP name [name …]`, as in /etc/hosts, to `name:IP`. */
function extraHosts(line: string): string[] {
  const [ip, ...names] = line.trim().split(/\s+/);
  return names.map((name) => `${name}:${ip}`);
}

function securityOptions(spec: ContainerSpec): string[] | undefined {
  const privileges = spec.Privileges;
  if (!privileges) return undefined;
  if (privileges.CredentialSpec) throw refuse('Privileges.CredentialSpec is for Windows only');
  const options: string[] = [];
  if (privileges.NoNewPrivileges) options.push('no-new-privileges=true');
  const selinux = privileges.SELinuxContext;
  if (selinux?.Disable) options.push('label=disable');
  for (const part of ['User', 'Role', 'Type', 'Level'] as const) {
    const value = selinux?.[part];
    if (value) options.push(`label=${part.toLowerCase()}:${value}`);
  }
  options.push(...seccomp(privileges.Seccomp), ...apparmor(privileges.AppArmor?.Mode));
  return options;
}

function seccomp(given: { Mode?: string; Profile?: string } | undefined): string[] {
  switch (given?.Mode || 'default') {
    case 'default':
      return [];
    case 'unconfined':
      return ['seccomp=unconfined'];
    case 'custom':
      // The API carries the profile's bytes in base64.
      return [`seccomp=${Buffer.from(given?.Profile ?? '', 'base64').toString('utf8')}`];
    default:
      throw refuse(`Privileges.Seccomp.Mode must be default, unconfined or custom, not '${given?.Mode}'`);
  }
}

function apparmor(mode: string | undefined): string[] {
  switch (mode || 'default') {
    case 'default':
      return [];
    case 'disabled':
      return ['apparmor=unconfined'];
    default:
      throw refuse(`Privileges.AppArmor.Mode must be default or disabled, not '${mode}'`);
  }
}

const refuse = (message: string) => new RuntimeError(message, { permanent: true });

/** Without the members that are undefined: the engine takes an absent one for its default, JSON cannot say undefined anyway. */
function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
}
