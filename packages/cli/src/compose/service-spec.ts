import { completeServiceSpec, parseConstraints, type ServiceSpec, type TaskSpec } from '@swarmctl/shared/model';
import { beyondLabels } from './container-labels.ts';
import { type BuildContext, containerSpec, defined } from './container-spec.ts';
import type { Deploy, Rolling } from './deploy-shape.ts';
import type { ComposeNetwork } from './file-shape.ts';
import { help } from './load.ts';
import { declaredAs, imageLabel, nameOf, scoped, withNamespace } from './names.ts';
import { portSpecs } from './port-spec.ts';
import type { Report } from './report.ts';
import { resourcesOf } from './resources.ts';
import type { ComposeService } from './service-shape.ts';
import type { Path } from './tree.ts';
import { durationNs, labelsOf } from './values.ts';

// A service as the API has it, as `docker stack deploy` would ask for it.

/** What is wrong is reported; then the spec is not to be used. */
export function serviceSpec(key: string, service: ComposeService, context: BuildContext): ServiceSpec {
  const { stack, report } = context;
  const path: Path = ['services', key];
  const { ports, labels } = portSpecs(service.ports ?? [], [...path, 'ports'], report);
  const deploy = service.deploy ?? {};
  if (!service.image) {
    report.error(path, 'the image is missing: nothing is built here, so a service needs one that nodes can pull');
  }
  const networks = attachments(key, service, context);
  const task: TaskSpec = defined({
    ContainerSpec: containerSpec(key, service, context),
    Resources: resourcesOf(service, path, report),
    RestartPolicy: restartPolicy(service, path, report),
    Placement: placement(service, path, report),
    Networks: networks.length > 0 ? networks : undefined,
    LogDriver: service.logging && defined({ Name: service.logging.driver, Options: service.logging.options }),
  });
  const spec: ServiceSpec = defined({
    Name: scoped(stack, key),
    Labels: withNamespace(
      {
        ...labels,
        ...beyondLabels(service, path, report),
        ...labelsOf(deploy.labels),
        [imageLabel]: service.image ?? '',
      },
      stack,
    ),
    TaskTemplate: task,
    Mode: mode(service, path, report),
    UpdateConfig: rolling(deploy.update_config),
    RollbackConfig: rolling(deploy.rollback_config),
    EndpointSpec: defined({ Mode: deploy.endpoint_mode, Ports: ports.length > 0 ? [...ports] : undefined }),
  });
  if (!context.project.problems.hasErrors) {
    report.checked(path, () => completeServiceSpec(spec), [...path, 'deploy', 'labels']);
  }
  return spec;
}

function mode({ deploy = {}, scale }: ComposeService, path: Path, report: Report): ServiceSpec['Mode'] {
  const { mode: wish = 'replicated', replicas = scale } = deploy;
  if (scale !== undefined && replicas !== scale) {
    report.error([...path, 'scale'], `it is ${scale}, and deploy.replicas is ${replicas}: leave one of them out`);
  }
  switch (wish) {
    case 'replicated':
      return { Replicated: replicas === undefined ? {} : { Replicas: replicas } };
    case 'replicated-job':
      return { ReplicatedJob: replicas === undefined ? {} : { MaxConcurrent: replicas, TotalCompletions: replicas } };
    case 'global':
    case 'global-job':
      if (replicas !== undefined) {
        report.error([...path, 'deploy', 'replicas'], `mode ${wish} has a task on each node: leave replicas out`);
      }
      return wish === 'global' ? { Global: {} } : { GlobalJob: {} };
    default:
      return wish satisfies never;
  }
}

const timeOf = (value: string | undefined) => (value === undefined ? undefined : durationNs(value));

const rolling = (given: Rolling | undefined): ServiceSpec['UpdateConfig'] | undefined =>
  given &&
  defined({
    Parallelism: given.parallelism ?? 1,
    Delay: timeOf(given.delay),
    FailureAction: given.failure_action,
    Monitor: timeOf(given.monitor),
    MaxFailureRatio: given.max_failure_ratio,
    Order: given.order,
  });

/** `deploy.restart_policy` counts before `restart`, as the specification says. */
function restartPolicy(
  { deploy = {}, restart }: ComposeService,
  path: Path,
  report: Report,
): TaskSpec['RestartPolicy'] | undefined {
  const { restart_policy: policy } = deploy;
  if (policy) {
    if (restart) report.warn([...path, 'restart'], 'deploy.restart_policy counts instead');
    return defined({
      Condition: policy.condition,
      Delay: timeOf(policy.delay),
      MaxAttempts: policy.max_attempts,
      Window: timeOf(policy.window),
    });
  }
  if (restart === undefined) return undefined;
  const [condition, attempts] = restart.split(':');
  if (condition === 'no' || condition === 'false') return { Condition: 'none' };
  if (condition !== 'on-failure') return { Condition: 'any' };
  return { Condition: 'on-failure', ...(attempts && { MaxAttempts: Number(attempts) }) };
}

function placement(
  { deploy = {}, platform }: ComposeService,
  path: Path,
  report: Report,
): TaskSpec['Placement'] | undefined {
  const given: NonNullable<Deploy['placement']> = deploy.placement ?? {};
  const [os, architecture, variant, more] = platform?.split('/') ?? [];
  // The only one that there is of it.
  const isUsual = variant === undefined || (architecture === 'arm64' && variant === 'v8');
  if (platform !== undefined && (!os || !architecture || more !== undefined)) {
    report.error([...path, 'platform'], `expected one such as linux/amd64, not '${platform}'`);
  } else if (!isUsual) {
    report.error([...path, 'platform'], `nodes do not tell variants of ${architecture} apart: leave '/${variant}' out`);
  }
  for (const [i, constraint] of (given.constraints ?? []).entries()) {
    report.checked([...path, 'deploy', 'placement', 'constraints', i], () => parseConstraints([constraint]));
  }
  const spec = defined({
    Constraints: given.constraints && [...given.constraints],
    Preferences: given.preferences?.map(({ spread = '' }) => ({ Spread: { SpreadDescriptor: spread } })),
    MaxReplicas: given.max_replicas_per_node,
    Platforms: os && architecture ? [{ OS: os, Architecture: architecture }] : undefined,
  });
  return Object.keys(spec).length > 0 ? spec : undefined;
}

/** Networks of the engine that a container has alone. */
const modes = ['host', 'none', 'bridge'];

type Attachments = NonNullable<TaskSpec['Networks']>;

function attachments(key: string, service: ComposeService, { stack, project, report }: BuildContext): Attachments {
  const path: Path = ['services', key];
  const { network_mode: mode } = service;
  // None at all is as if nothing was said.
  const networks = Object.keys(service.networks ?? {}).length > 0 ? service.networks : undefined;
  if (mode !== undefined && !['', 'default'].includes(mode)) {
    if (networks) report.error([...path, 'network_mode'], 'there are networks as well: leave one of them out');
    if (modes.includes(mode)) return [{ Target: mode }];
    const right = mode.startsWith('service:') ? '; services on a common network reach each other by name' : '';
    report.error([...path, 'network_mode'], `'${mode}' cannot be had; expected one of ${modes.join(', ')}${right}`);
    return [];
  }
  const known: Readonly<Record<string, ComposeNetwork>> = { default: {}, ...project.file.networks };
  const wanted = Object.entries(networks ?? { default: {} });
  const found = wanted.flatMap(([name, { aliases = [] }]) => {
    const declared = declaredAs(known, name);
    if (!declared) {
      report.error(
        [...path, 'networks', name],
        `there is no network ${name} under networks${help(name, Object.keys(known))}`,
      );
      return [];
    }
    const Target = nameOf(stack, name, declared);
    // Those of the engine have no names.
    if (modes.includes(Target)) return [{ Target, ...(aliases.length > 0 && { Aliases: [...aliases] }) }];
    return [{ Target, Aliases: [...aliases, key] }];
  });
  return found.sort((a, b) => (a.Target < b.Target ? -1 : 1));
}
