import { ClusterError, messageOf } from '../kit/errors.ts';
import { parseConstraints } from './constraints.ts';
import { isJobMode } from './defaults.ts';
import { isImageReference } from './image.ts';
import { parseIp } from './ip.ts';
import {
  checkReservedLabels,
  labelNamed,
  portLabel,
  portName,
  publishedOptionsOf,
  type ReservedLabel,
  runtimeOf,
} from './labels.ts';
import type { Service } from './objects.ts';
import { checkPayloadReferences } from './payload-references.ts';
import { unsupportedByProcess } from './process-support.ts';
import { type ProxyLabelName, proxyLabels } from './proxy-options.ts';
import { checkResources } from './resource-rules.ts';
import { checkAttachments } from './service-networks.ts';
import type { ContainerSpec, EndpointSpec, Mount, PortConfig, ServiceSpec, TaskSpec } from './specs.ts';
import { checkTemplates } from './templates.ts';

// Cross-field rules of a service's spec and the defaults that are stored with it, with Docker's messages where clients match on text.

const grpc = (code: 'InvalidArgument', message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = ${code} desc = ${message}`);
const invalid = (message: string) => grpc('InvalidArgument', message);
const notYet = (what: string) => new ClusterError('unimplemented', `${what} are not supported yet`);

/** What is understood but not there yet, here alone: an option that is accepted works. Whoever builds one takes its line out. */
const absentFeatures: readonly { readonly what: string; readonly asked: (spec: ServiceSpec) => unknown }[] = [
  { what: 'TaskTemplate.PluginSpec: plugin tasks', asked: (spec) => spec.TaskTemplate?.PluginSpec },
  {
    what: 'TaskTemplate.NetworkAttachmentSpec: network attachment tasks',
    asked: (spec) => spec.TaskTemplate?.NetworkAttachmentSpec,
  },
];

/** Checks a normalised spec and returns it with the defaults that are stored. Throws ClusterError; changes nothing. */
export function completeServiceSpec(given: ServiceSpec): Service['Spec'] {
  const spec = withNetworksInTemplate(given);
  const template = spec.TaskTemplate ?? {};
  const { ContainerSpec: container = {} } = template;
  checkRuntime(template);
  refuseAbsentFeatures(spec);
  checkName(spec.Name ?? '');
  checkAttachments(spec);
  const labels = spec.Labels ?? {};
  checkReservedLabels('service', labels);
  checkMode(spec);
  checkContainer(template);
  checkTemplatesOf(spec);
  checkResources(template);
  checkPlacement(template);
  const complete: Service['Spec'] = {
    ...spec,
    Name: spec.Name ?? '',
    Labels: labels,
    TaskTemplate: {
      ...template,
      ContainerSpec: { ...container, Isolation: container.Isolation || 'default' },
      ForceUpdate: template.ForceUpdate ?? 0,
      Runtime: 'container',
    },
    Mode: completeMode(spec.Mode ?? {}),
    ...(spec.EndpointSpec && { EndpointSpec: completeEndpoint(spec.EndpointSpec) }),
  };
  checkPortLabels(labels, complete.EndpointSpec?.Ports ?? []);
  if (runtimeOf(labels) === 'process') {
    const problem = unsupportedByProcess(complete);
    if (problem) throw invalid(problem);
  }
  return complete;
}

function checkTemplatesOf({ Name = '', Labels = {}, TaskTemplate }: ServiceSpec): void {
  try {
    checkTemplates(TaskTemplate?.ContainerSpec ?? {}, { Name, Labels });
  } catch (error) {
    throw invalid(messageOf(error));
  }
}

function checkRuntime({ Runtime: runtime = '', ContainerSpec: container, PluginSpec: plugin }: TaskSpec): void {
  if (!['', 'container', 'plugin'].includes(runtime)) throw new ClusterError('invalid-argument', 'unsupported runtime');
  if (runtime === 'plugin' ? !plugin : !container) {
    throw new ClusterError('invalid-argument', 'mismatched Runtime and *Spec fields');
  }
}

/** The place of old clients counts where the new one is empty, and is shown to those who use it; what is done goes by the new one alone. */
function withNetworksInTemplate(spec: ServiceSpec): ServiceSpec {
  const { Networks: old, ...rest } = spec;
  if (!old?.length || !spec.TaskTemplate || spec.TaskTemplate.Networks?.length) return rest;
  return { ...spec, TaskTemplate: { ...spec.TaskTemplate, Networks: old } };
}

/** A DNS label, as Swarm insists on. */
export function checkName(name: string): void {
  if (!/^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9])*$/.test(name) || name.length > 63) {
    throw invalid(
      name.length > 63 ? 'name must be 63 characters or fewer' : 'name must be valid as a DNS name component',
    );
  }
}

function refuseAbsentFeatures(spec: ServiceSpec): void {
  for (const { what, asked } of absentFeatures) if (asked(spec)) throw notYet(what);
}

/** What labels say of ports must be of ports that there are, and that can have it. */
export function checkPortLabels(labels: Readonly<Record<string, string>>, ports: readonly PortConfig[]): void {
  const ingress = ports.filter((port) => port.PublishMode !== 'host');
  const names = ingress.filter((port) => port.PublishedPort).map((port) => portName(port));
  for (const key of Object.keys(labels)) {
    const port = labelNamed(key)?.port;
    const name = port && portName(port);
    if (name === undefined || names.includes(name)) continue;
    const right = names.length > 0 ? `it publishes ${names.join(', ')}` : 'it publishes none by number';
    throw new ClusterError(
      'invalid-argument',
      `label '${key}': the service publishes no port ${name} in ingress mode; ${right}`,
      { label: key },
    );
  }
  const idle = ingress.length === 0 && Object.keys(labels).find((key) => key.startsWith('swarmctl.ingress.'));
  if (idle) {
    const message = `label '${idle}': the service publishes no port in ingress mode`;
    throw new ClusterError('invalid-argument', message, { label: idle });
  }
  for (const port of ingress) checkProxyLabels(labels, port);
  checkHttpLabels(labels, ingress);
}

/** Labels of HTTP are for TCP ports that have a route, and not beside what is done to connections as such. */
function checkHttpLabels(labels: Readonly<Record<string, string>>, ports: readonly PortConfig[]): void {
  const refuse = (label: string, message: string) => {
    throw new ClusterError('invalid-argument', `label '${label}': ${message}`, { label });
  };
  const asked = Object.keys(labels).filter((key) => key.startsWith('swarmctl.http.'));
  if (asked.length === 0) return;
  if (ports.length === 0) refuse(asked[0] ?? '', 'the service publishes no port in ingress mode');
  const routed = ports.filter((port) => publishedOptionsOf(labels, port).http);
  const appliesTo = (key: string, port: PortConfig) => [undefined, portName(port)].includes(portOf(key));
  const orphan = asked.find((key) => !routed.some((port) => appliesTo(key, port)));
  if (orphan) refuse(orphan, 'the port has no swarmctl.http.route; give that as well');
  for (const port of routed) {
    const name = `${port.Protocol} port ${port.PublishedPort || port.TargetPort}`;
    if (port.Protocol !== 'tcp') {
      const label = 'swarmctl.http.route';
      refuse(
        label,
        `it is for tcp ports, and the service publishes ${name}; give it to tcp ports one by one, as ${label}.PUBLISHED/tcp`,
      );
    }
    const { proxy, clientAddress } = publishedOptionsOf(labels, port);
    const beside =
      clientAddress !== undefined && clientAddress !== 'keep'
        ? 'swarmctl.ingress.client-address'
        : (Object.keys(proxyLabels) as ProxyLabelName[]).find(
            (label) => proxy && (labels[portLabel(label, port)] ?? labels[label]) !== undefined,
          );
    const instead = beside === 'swarmctl.ingress.client-address' ? '; X-Forwarded-For names the client there' : '';
    if (beside) refuse(beside, `it cannot be had on ${name}, which swarmctl.http.route makes one of HTTP${instead}`);
  }
}

const portOf = (key: string): string | undefined => {
  const port = labelNamed(key)?.port;
  return port && portName(port);
};

/** The proxy must be able to do what is asked of it for a port, and what cannot be had with it may not be asked beside it. */
function checkProxyLabels(labels: Readonly<Record<string, string>>, port: PortConfig): void {
  const refuse = (label: ReservedLabel, message: string) => {
    throw new ClusterError('invalid-argument', `label '${label}': ${message}`, { label });
  };
  const value = (label: ReservedLabel) => labels[portLabel(label, port)] ?? labels[label];
  // Which the kernel does as well.
  const isPlain = (label: ReservedLabel) => ['keep', 'masquerade', 'round-robin', undefined].includes(value(label));
  const [clientAddress, interval] = ['swarmctl.ingress.client-address', 'swarmctl.ingress.health-interval'] as const;
  const asked = (Object.keys(proxyLabels) as ProxyLabelName[]).filter((label) => !isPlain(label));
  const protocols = (label: ReservedLabel): readonly string[] =>
    label in proxyLabels ? proxyLabels[label as ProxyLabelName].protocols : ['tcp'];
  const foreign = [clientAddress, ...asked].find(
    (label) => !isPlain(label) && !protocols(label).includes(port.Protocol || 'tcp'),
  );
  if (foreign) {
    const right = protocols(foreign).join(' and ');
    refuse(
      foreign,
      `'${value(foreign)}' is for ${right} ports, and the service publishes ${port.Protocol} port ` +
        `${port.PublishedPort || port.TargetPort}; give it to ${right} ports one by one, as ${foreign}.PUBLISHED/tcp`,
    );
  }
  const orphan = asked.find((label) => label.startsWith('swarmctl.ingress.health-'));
  if (orphan && !asked.includes(interval)) refuse(orphan, `without ${interval} tasks are not checked; give both`);
  if (asked.length > 0 && value(clientAddress) === 'keep')
    refuse(
      clientAddress,
      `'keep' cannot be had with ${asked.join(', ')}, which the proxy does; make it proxy-v1, proxy-v2 or masquerade`,
    );
}

function checkMode(spec: ServiceSpec): void {
  const modes = [spec.Mode?.Replicated, spec.Mode?.Global, spec.Mode?.ReplicatedJob, spec.Mode?.GlobalJob];
  if (modes.filter((mode) => mode !== undefined).length > 1) {
    throw new ClusterError('invalid-argument', 'must specify only one service mode');
  }
  if (!isJobMode(spec.Mode)) return;
  const why = 'each change of its spec starts it anew; leave it out';
  if (spec.UpdateConfig) throw invalid(`Jobs may not have an update config: ${why}`);
  if (spec.RollbackConfig) throw invalid(`Jobs may not have a rollback config: ${why}`);
}

/** Moby's defaults: one replica; one completion, or as many as there may be at once. */
function completeMode({ Global, GlobalJob, Replicated, ReplicatedJob }: NonNullable<ServiceSpec['Mode']>) {
  if (Global) return { Global: {} };
  if (GlobalJob) return { GlobalJob: {} };
  if (!ReplicatedJob) return { Replicated: { Replicas: Replicated?.Replicas ?? 1 } };
  const { MaxConcurrent = 1, TotalCompletions = MaxConcurrent } = ReplicatedJob;
  return { ReplicatedJob: { MaxConcurrent, TotalCompletions } };
}

function checkContainer(template: TaskSpec): void {
  const container = template.ContainerSpec ?? {};
  if (!container.Image) throw invalid('ContainerSpec: image reference must be provided');
  if (!isImageReference(container.Image)) {
    throw invalid(`ContainerSpec: ${JSON.stringify(container.Image)} is not a valid repository/tag`);
  }
  for (const entry of container.Env ?? []) {
    if (entry === '' || entry.startsWith('=')) throw invalid(`ContainerSpec: invalid environment variable: ${entry}`);
  }
  const targets = new Set<string>();
  for (const mount of container.Mounts ?? []) {
    checkMount(mount);
    if (targets.has(mount.Target ?? '')) throw invalid(`ContainerSpec: duplicate mount point: ${mount.Target}`);
    targets.add(mount.Target ?? '');
  }
  checkPrivileges(container);
  for (const line of container.Hosts ?? []) {
    const [address = '', name] = line.trim().split(/\s+/);
    if (name === undefined || (address !== 'host-gateway' && !parseIp(address)))
      throw invalid(`ContainerSpec: Hosts must be lines such as '10.0.0.1 name', not '${line}'`);
  }
  for (const { Name: name } of container.Ulimits ?? []) {
    if (!name) throw invalid('ContainerSpec: Ulimits must have a Name, such as nofile');
  }
  checkPayloadReferences(container);
  const health = container.Healthcheck;
  for (const [name, value] of Object.entries({
    Interval: health?.Interval,
    Timeout: health?.Timeout,
    StartPeriod: health?.StartPeriod,
    StartInterval: health?.StartInterval,
  })) {
    if (value !== undefined && value !== 0 && value < 1_000_000) {
      throw invalid(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
    }
  }
  if ((health?.Retries ?? 0) < 0) throw invalid('ContainerSpec: Retries in HealthConfig cannot be negative');
}

/** Of Windows alone, or of values that no engine knows. */
function checkPrivileges({ Isolation, Privileges }: ContainerSpec): void {
  const known = (field: string, value: string | undefined, ...values: string[]) => {
    if (value && !values.includes(value))
      throw invalid(`ContainerSpec: ${field} must be one of ${values.join(', ')}, not '${value}'`);
  };
  if (Isolation === 'process' || Isolation === 'hyperv')
    throw invalid(`ContainerSpec: Isolation '${Isolation}' is for Windows only`);
  known('Isolation', Isolation, 'default');
  if (Privileges?.CredentialSpec) throw invalid('ContainerSpec: Privileges.CredentialSpec is for Windows only');
  known('Privileges.Seccomp.Mode', Privileges?.Seccomp?.Mode, 'default', 'unconfined', 'custom');
  known('Privileges.AppArmor.Mode', Privileges?.AppArmor?.Mode, 'default', 'disabled');
}

const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
const mountOptions = {
  BindOptions: 'bind',
  VolumeOptions: 'volume',
  ImageOptions: 'image',
  TmpfsOptions: 'tmpfs',
} as const;

/** As the engines would refuse it, but before there is a task. */
function checkMountOptions(mount: Mount, type: string): void {
  for (const [field, right] of Object.entries(mountOptions)) {
    if (mount[field as keyof typeof mountOptions] !== undefined && type !== right)
      throw invalid(`ContainerSpec: mount of ${mount.Target}: ${field} is for type ${right}, not ${type}`);
  }
  const propagation = mount.BindOptions?.Propagation;
  if (propagation && !propagations.includes(propagation))
    throw new ClusterError(
      'invalid-argument',
      `invalid MountPropagation: "${propagation}": for the mount of ${mount.Target} it must be one of ${propagations.join(', ')}`,
    );
}

function checkMount(mount: Mount): void {
  if (!mount.Target) throw invalid('ContainerSpec: "": mount target must not be empty');
  const type = mount.Type ?? 'volume';
  if (type === 'cluster') throw notYet('cluster volumes');
  checkMountOptions(mount, type);
  if (type === 'npipe') throw invalid('ContainerSpec: mount type npipe is for Windows only');
  if (type === 'bind') {
    if (!mount.Source) throw invalid('ContainerSpec: invalid bind mount source, must not be empty');
    if (!mount.Source.startsWith('/')) {
      throw invalid(`ContainerSpec: invalid bind mount source, must be an absolute path: ${mount.Source}`);
    }
  }
  if (type === 'tmpfs' && mount.Source) throw invalid('ContainerSpec: invalid tmpfs source, source must be empty');
  if (!mount.Target.startsWith('/')) {
    throw invalid(`ContainerSpec: invalid mount target, must be an absolute path: ${mount.Target}`);
  }
}

function checkPlacement(template: TaskSpec): void {
  parseConstraints(template.Placement?.Constraints);
  for (const preference of template.Placement?.Preferences ?? []) {
    const descriptor = preference.Spread?.SpreadDescriptor;
    if (!descriptor)
      throw invalid('placement preference: only spread is supported, with a descriptor such as node.labels.zone');
  }
}

function completeEndpoint(endpoint: EndpointSpec): EndpointSpec {
  const ports = (endpoint.Ports ?? []).map(completePort);
  const mode = endpoint.Mode || 'vip';
  const seen = new Set<string>();
  for (const port of ports) {
    if (!port.TargetPort) throw invalid('EndpointSpec: TargetPort must be from 1 to 65535');
    if (mode === 'dnsrr' && port.PublishMode === 'ingress') {
      throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
    }
    if (!port.PublishedPort) continue;
    const key = `${port.Protocol} ${port.PublishedPort}`;
    if (seen.has(key)) throw invalid('EndpointSpec: duplicate published ports provided');
    seen.add(key);
  }
  return { ...endpoint, Mode: mode, ...(endpoint.Ports && { Ports: ports }) };
}

const completePort = (port: PortConfig): PortConfig => ({
  ...port,
  Protocol: port.Protocol || 'tcp',
  PublishMode: port.PublishMode || 'ingress',
});
