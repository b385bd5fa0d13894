import {
  completeNetworkSpec,
  completePayloadSpec,
  isPredefinedNetwork,
  type NetworkCreateRequest,
  type PayloadKind,
  type PayloadSpec,
  type ServiceSpec,
} from '@swarmctl/shared/model';
import { type BuildContext, defined } from './container-spec.ts';
import { type Dependency, dependenciesOf, inOrder } from './depends.ts';
import type { ComposeNetwork, ComposePayload } from './file-shape.ts';
import { type Declared, isExternal, nameOf, scoped, withNamespace } from './names.ts';
import { whyUnread } from './read-error.ts';
import type { Report } from './report.ts';
import { serviceSpec } from './service-spec.ts';
import type { Path, Place } from './tree.ts';
import { labelsOf } from './values.ts';

// A compose file as what the API is to be asked for. Everything that can be checked without the cluster has been.

export interface StackNetwork {
  readonly name: string;
  /** Absent: an external one. */
  readonly request?: NetworkCreateRequest;
  readonly path: Path;
}

export interface StackPayload {
  readonly kind: PayloadKind;
  readonly name: string;
  /** With its data; absent: an external one. */
  readonly spec?: PayloadSpec;
  readonly path: Path;
}

export interface StackService {
  readonly key: string;
  readonly name: string;
  /** Networks by name, secrets and configs with their names for ids. */
  readonly spec: ServiceSpec;
  readonly dependencies: readonly Dependency[];
  readonly path: Path;
}

export interface Stack {
  readonly name: string;
  /** Those that services are on. */
  readonly networks: readonly StackNetwork[];
  readonly payloads: readonly StackPayload[];
  /** Each behind those that it depends on. */
  readonly services: readonly StackService[];
  at(path: Path): Place;
}

/** Throws ClusterError with all that is wrong, a line each. */
export function toStack(context: BuildContext): Stack {
  const { project, report, stack } = context;
  const { file, problems } = project;
  const given = Object.entries(file.services ?? {});
  if (given.length === 0) report.error([], 'there are no services, or none whose profile is wanted');
  const payloads = (['secret', 'config'] as const).flatMap((kind) =>
    Object.entries(file[`${kind}s`] ?? {}).map(([key, payload]) => stackPayload(kind, key, payload, context)),
  );
  const services = given.map(([key, service]) => ({
    key,
    name: scoped(stack, key),
    spec: serviceSpec(key, service, context),
    dependencies: dependenciesOf(key, service, file, report),
    path: ['services', key],
  }));
  for (const [key, volume] of Object.entries(file.volumes ?? {})) {
    if (isExternal(volume)) refuseSettings('volume', volume, ['volumes', key], report);
  }
  const used = new Set(services.flatMap(({ spec }) => spec.TaskTemplate?.Networks?.map(({ Target }) => Target) ?? []));
  const networks = Object.entries({ default: {}, ...file.networks })
    .map(([key, network]) => stackNetwork(key, network, context))
    .filter(({ name }) => used.has(name) && !isPredefinedNetwork(name));
  const ordered = inOrder(services, report);
  problems.throwIfAny();
  return { name: stack, networks, payloads, services: ordered, at: project.at };
}

/** Of what is external. */
function refuseSettings(what: string, { name: _, external: __, ...settings }: Declared, path: Path, report: Report) {
  const [beside] = Object.keys(settings).filter((one) => !one.startsWith('x-'));
  if (beside) report.error([...path, beside], `the ${what} is external: its settings are made where it is made`);
}

function stackNetwork(key: string, network: ComposeNetwork, { stack, report }: BuildContext): StackNetwork {
  const path: Path = ['networks', key];
  const name = nameOf(stack, key, network);
  if (isExternal(network)) {
    refuseSettings('network', network, path, report);
    return { name, path };
  }
  const { driver, driver_opts: options, ipam, labels } = network;
  const request: NetworkCreateRequest = defined({
    Name: name,
    Driver: driver ?? 'overlay',
    Scope: 'swarm',
    Internal: network.internal || undefined,
    Attachable: network.attachable || undefined,
    EnableIPv4: network.enable_ipv4,
    EnableIPv6: network.enable_ipv6 || undefined,
    Options: options,
    Labels: withNamespace(labelsOf(labels), stack),
    IPAM: ipam && {
      Driver: ipam.driver ?? 'default',
      ...(ipam.options && { Options: ipam.options }),
      Config: (ipam.config ?? []).map(({ subnet, gateway, ip_range: range, aux_addresses: others }) =>
        defined({ Subnet: subnet, Gateway: gateway, IPRange: range, AuxiliaryAddresses: others }),
      ),
    },
  });
  report.checked(path, () => completeNetworkSpec(request));
  return { name, request, path };
}

function stackPayload(kind: PayloadKind, key: string, payload: ComposePayload, context: BuildContext): StackPayload {
  const { stack, report } = context;
  const path: Path = [`${kind}s`, key];
  const name = nameOf(stack, key, payload);
  if (isExternal(payload)) {
    refuseSettings(kind, payload, path, report);
    return { kind, name, path };
  }
  const [source, other] = (['file', 'environment', 'content'] as const).filter((one) => payload[one] !== undefined);
  if (other || !source) {
    const right = 'expected one of file, environment, content, or external: true';
    report.error(other ? [...path, other] : path, `${other ? `there is ${source} as well; ` : ''}${right}`);
    return { kind, name, path };
  }
  const data = contentOf(payload, source, path, context);
  if (!data) return { kind, name, path };
  const spec: PayloadSpec = defined({
    Name: name,
    Labels: withNamespace(labelsOf(payload.labels), stack),
    Data: data.toString('base64'),
    Templating: payload.template_driver === undefined ? undefined : { Name: payload.template_driver },
  });
  report.checked([...path, source], () => completePayloadSpec(kind, spec));
  return { kind, name, spec, path };
}

function contentOf(
  payload: ComposePayload,
  source: 'file' | 'environment' | 'content',
  path: Path,
  { project, report, read, show }: BuildContext,
): Buffer | undefined {
  const value = payload[source] ?? '';
  switch (source) {
    case 'content':
      return Buffer.from(value);
    case 'environment': {
      const content = project.lookup(value);
      if (content === undefined) report.error([...path, source], `the variable ${value} is not set`);
      return content === undefined ? undefined : Buffer.from(content);
    }
    case 'file':
      try {
        return read(value);
      } catch (error) {
        report.error([...path, source], `cannot read ${show(value)}: ${whyUnread(error)}`);
        return undefined;
      }
    default:
      return source satisfies never;
  }
}
