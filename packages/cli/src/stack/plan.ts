import { messageOf } from '@swarmctl/shared/kit';
import {
  checkAllowed,
  completeServiceSpec,
  insertDefaults,
  type PayloadKind,
  type Service,
  type ServiceSpec,
} from '@swarmctl/shared/model';
import { imageLabel } from '../compose/names.ts';
import { Problems } from '../compose/problems.ts';
import type { Stack, StackNetwork, StackPayload, StackService } from '../compose/stack.ts';
import { baseOf, type Current, isOf, keyOf, newestOf, ownLabels, type StoredPayload } from './current.ts';
import { type Difference, differences } from './diff.ts';
import { type Fail, isNewNetwork, taken } from './plan-networks.ts';
import { checkPorts, portsFirst } from './plan-ports.ts';

// What is to be done so that a cluster has what a stack asks for. Pure: what cannot be had is an error before anything is written.

export interface ServicePlan {
  readonly service: StackService;
  /** Absent: it is to be made. */
  readonly stored?: Service;
  /** None: it stays as it is. */
  readonly differences: readonly Difference[];
}

export interface PayloadPlan {
  readonly payload: StackPayload;
  readonly act: 'create' | 'rotate' | 'label' | 'keep';
  readonly stored?: StoredPayload;
  /** Of the version that services are to use. */
  readonly versionName: string;
}

export interface Removal {
  readonly what: 'service' | 'network' | PayloadKind;
  readonly id: string;
  readonly name: string;
}

export interface Plan {
  readonly networks: readonly StackNetwork[];
  readonly payloads: readonly PayloadPlan[];
  /** In the order in which they are to be made. */
  readonly services: readonly ServicePlan[];
  /** Services first. */
  readonly removals: readonly Removal[];
}

/** Throws ClusterError with all that the cluster has otherwise, a line each. */
export function planOf(stack: Stack, current: Current, { prune }: { readonly prune: boolean }): Plan {
  const problems = new Problems();
  const fail = (path: StackService['path'], message: string) => problems.error(stack.at(path), path, message);
  const networks = stack.networks.filter((network) => isNewNetwork(network, stack, current, fail));
  const payloads = stack.payloads.flatMap((payload) => payloadPlan(payload, stack, current, fail) ?? []);
  const removals = prune ? leftovers(stack, current) : [];
  checkPorts(stack, current, removals, fail);
  const services = stack.services.map((service) => servicePlan(service, stack, current, payloads, fail));
  problems.throwIfAny('failed-precondition');
  return { networks, payloads, services: portsFirst(services), removals };
}

// --- secrets and configs ---

function payloadPlan(payload: StackPayload, stack: Stack, current: Current, fail: Fail): PayloadPlan | undefined {
  const { kind, name, spec, path } = payload;
  const stored = newestOf(current, payload);
  if (!spec) {
    if (stored) return { payload, act: 'keep', stored, versionName: stored.Spec.Name };
    fail(path, `there is no ${kind} ${name}, which is external; make it by "swarmctl ${kind} create ${name} FILE"`);
    return undefined;
  }
  if (!stored) return { payload, act: 'create', versionName: name };
  if (!isOf(stored.Spec.Labels, stack.name)) {
    fail(path, taken(kind, name));
    return undefined;
  }
  const next = current.outdated.get(keyOf(payload));
  if (next !== undefined) return { payload, act: 'rotate', stored, versionName: next };
  const isLabelled = differences(ownLabels(stored), spec.Labels).length === 0;
  return { payload, act: isLabelled ? 'keep' : 'label', stored, versionName: stored.Spec.Name };
}

// --- services ---

function servicePlan(
  service: StackService,
  stack: Stack,
  current: Current,
  payloads: readonly PayloadPlan[],
  fail: Fail,
): ServicePlan {
  try {
    checkAllowed(service.spec.Labels ?? {}, current.labels);
  } catch (error) {
    fail(service.path, messageOf(error));
  }
  const stored = current.services.find(({ Spec }) => Spec.Name === service.name);
  if (!stored) return { service, differences: [] };
  if (!isOf(stored.Spec.Labels, stack.name)) fail(service.path, taken('service', service.name));
  const [before, after] = [modeOf(stored.Spec), modeOf(service.spec)];
  if (before !== after) {
    fail(
      [...service.path, 'deploy', 'mode'],
      `the service is ${before}, which cannot become ${after}; remove it first`,
    );
  }
  const idOf = (target: string) => current.networks.find(({ Name }) => Name === target)?.Id ?? target;
  const ids = (kind: PayloadKind, name: string) => {
    const plan = payloads.find(({ payload }) => payload.kind === kind && payload.name === name);
    // One that is yet to be made has no id.
    const ID = plan?.act === 'keep' || plan?.act === 'label' ? (plan.stored?.ID ?? '') : '(new)';
    return { ID, Name: plan?.versionName ?? name };
  };
  // Defaults that one says and the other leaves out are no difference.
  const wanted = insertDefaults(completeServiceSpec(updatedSpec(service, stored, ids, idOf)));
  return { service, stored, differences: differences(insertDefaults(stored.Spec), wanted) };
}

export type PayloadIds = (kind: PayloadKind, name: string) => { readonly ID: string; readonly Name: string };

/** The spec with the ids of secrets and configs, and of networks where they are known. */
export function filledSpec(spec: ServiceSpec, ids: PayloadIds, networkId = (name: string) => name): ServiceSpec {
  const { ContainerSpec: container = {}, Networks, ...task } = spec.TaskTemplate ?? {};
  const Secrets = container.Secrets?.map((one) => {
    const { ID, Name } = ids('secret', one.SecretName ?? '');
    return { ...one, SecretID: ID, SecretName: Name };
  });
  const Configs = container.Configs?.map((one) => {
    const { ID, Name } = ids('config', one.ConfigName ?? '');
    return { ...one, ConfigID: ID, ConfigName: Name };
  });
  return {
    ...spec,
    TaskTemplate: {
      ...task,
      ContainerSpec: { ...container, ...(Secrets && { Secrets }), ...(Configs && { Configs }) },
      ...(Networks && { Networks: Networks.map((one) => ({ ...one, Target: networkId(one.Target ?? '') })) }),
    },
  };
}

/** An update forces nothing anew, and leaves an image that a client pinned to a digest as it is while the file names the same one. */
export function updatedSpec(
  { spec }: StackService,
  { Spec: stored }: Service,
  ids: PayloadIds,
  networkId?: (name: string) => string,
): ServiceSpec {
  const filled = filledSpec(spec, ids, networkId);
  const task = filled.TaskTemplate ?? {};
  // One that has been pinned anew is no longer as the file has it.
  const isAsInFile = task.ContainerSpec?.Image === spec.Labels?.[imageLabel];
  const isSameImage = isAsInFile && stored.Labels[imageLabel] === spec.Labels?.[imageLabel];
  const Image = isSameImage ? stored.TaskTemplate.ContainerSpec?.Image : task.ContainerSpec?.Image;
  const Platforms = task.Placement?.Platforms ?? (isSameImage ? stored.TaskTemplate.Placement?.Platforms : undefined);
  const { ForceUpdate } = stored.TaskTemplate;
  return {
    ...filled,
    TaskTemplate: {
      ...task,
      ContainerSpec: { ...task.ContainerSpec, ...(Image && { Image }) },
      ...((task.Placement || Platforms) && { Placement: { ...task.Placement, ...(Platforms && { Platforms }) } }),
      ...(ForceUpdate !== undefined && { ForceUpdate }),
    },
  };
}

const modeOf = ({ Mode }: ServiceSpec): string => {
  if (Mode?.ReplicatedJob) return 'replicated-job';
  if (Mode?.GlobalJob) return 'global-job';
  return Mode?.Global ? 'global' : 'replicated';
};

// --- what is no longer asked for ---

function leftovers(stack: Stack, current: Current): Removal[] {
  const wanted = new Set(stack.services.map(({ name }) => name));
  const networks = new Set(stack.networks.map(({ name }) => name));
  const payloads = new Set(stack.payloads.map(keyOf));
  return ownedBy(stack.name, current).filter(({ what, name, base }) => {
    if (what === 'service') return !wanted.has(name);
    return what === 'network' ? !networks.has(name) : !payloads.has(`${what} ${base}`);
  });
}

interface Owned extends Removal {
  /** The name that all versions of it share. */
  readonly base: string;
}

/** All that carries the stack's name, in the order in which it can be removed. */
export function ownedBy(stack: string, current: Pick<Current, 'services' | 'networks' | 'payloads'>): Owned[] {
  const owned = <T>(all: readonly T[], labels: (one: T) => Readonly<Record<string, string>> | null) =>
    all.filter((one) => isOf(labels(one), stack));
  return [
    ...owned(current.services, ({ Spec }) => Spec.Labels).map(({ ID, Spec: { Name } }) => ({
      ...{ what: 'service' as const, id: ID, name: Name, base: Name },
    })),
    ...(['secret', 'config'] as const).flatMap((what) =>
      owned(current.payloads[what], ({ Spec }) => Spec.Labels).map((one) => ({
        ...{ what, id: one.ID, name: one.Spec.Name, base: baseOf(one) },
      })),
    ),
    ...owned(current.networks, ({ Labels }) => Labels).map(({ Id, Name }) => ({
      ...{ what: 'network' as const, id: Id, name: Name, base: Name },
    })),
  ];
}
