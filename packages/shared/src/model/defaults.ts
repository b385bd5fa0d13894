import type { JobStatus, Service, Task } from './objects.ts';
import type { Driver, RestartPolicy, ServiceSpec, TaskSpec, UpdateConfig } from './specs.ts';

// What an absent field means. The stored spec keeps what the user wrote; whoever decides asks here, and so does `insertDefaults`.

export const second = 1_000_000_000;
export const nsToMs = (ns: number): number => ns / 1_000_000;

export interface EffectiveRestartPolicy {
  readonly condition: 'none' | 'on-failure' | 'any';
  readonly delayMs: number;
  /** 0: no limit. */
  readonly maxAttempts: number;
  /** 0: the whole life of the slot. */
  readonly windowMs: number;
}

export function restartPolicyOf(spec: TaskSpec): EffectiveRestartPolicy {
  const policy: RestartPolicy = spec.RestartPolicy ?? {};
  return {
    condition: policy.Condition || 'any',
    delayMs: nsToMs(policy.Delay ?? 5 * second),
    maxAttempts: policy.MaxAttempts ?? 0,
    windowMs: nsToMs(policy.Window ?? 0),
  };
}

export interface EffectiveUpdateConfig {
  /** 0: all at once. */
  readonly parallelism: number;
  readonly delayMs: number;
  readonly failureAction: 'pause' | 'continue' | 'rollback';
  readonly monitorMs: number;
  readonly maxFailureRatio: number;
  readonly order: 'stop-first' | 'start-first';
}

const effective = (config: UpdateConfig | undefined): EffectiveUpdateConfig => ({
  // An absent config updates one task at a time; one that is there but says 0 means all at once.
  parallelism: config?.Parallelism ?? (config ? 0 : 1),
  delayMs: nsToMs(config?.Delay ?? 0),
  failureAction: config?.FailureAction || 'pause',
  monitorMs: nsToMs(config?.Monitor ?? 5 * second),
  maxFailureRatio: config?.MaxFailureRatio ?? 0,
  order: config?.Order || 'stop-first',
});

export const updateConfigOf = (spec: ServiceSpec): EffectiveUpdateConfig => effective(spec.UpdateConfig);

/** A rollback can only pause or go on when it fails. */
export function rollbackConfigOf(spec: ServiceSpec): EffectiveUpdateConfig {
  const config = effective(spec.RollbackConfig);
  return config.failureAction === 'rollback' ? { ...config, failureAction: 'pause' } : config;
}

export const stopGraceMsOf = (spec: TaskSpec): number => nsToMs(spec.ContainerSpec?.StopGracePeriod ?? 10 * second);

/** Replicas wanted of a replicated service; undefined for the other modes. */
export const replicasOf = (spec: ServiceSpec): number | undefined =>
  spec.Mode?.Replicated || !(spec.Mode?.Global || isJobMode(spec.Mode))
    ? (spec.Mode?.Replicated?.Replicas ?? 1)
    : undefined;

export const isGlobal = (service: Pick<Service, 'Spec'>): boolean => service.Spec.Mode?.Global !== undefined;

/** Of a spec: whether its tasks are to end. */
export const isJobMode = (mode: ServiceSpec['Mode']): boolean =>
  mode?.ReplicatedJob !== undefined || mode?.GlobalJob !== undefined;

export const isJob = <S extends Pick<Service, 'JobStatus'>>(
  service: S,
): service is S & { readonly JobStatus: JobStatus } => service.JobStatus !== undefined;

/** Completions wanted of a replicated job, and how many of its tasks may be at work at once; undefined for the other modes. */
export function jobSizeOf(spec: ServiceSpec): { completions: number; concurrent: number } | undefined {
  const job = spec.Mode?.ReplicatedJob;
  if (!job) return undefined;
  const completions = job.TotalCompletions ?? job.MaxConcurrent ?? 1;
  // No limit is the limit of all.
  return { completions, concurrent: job.MaxConcurrent || completions };
}

type Placed = Pick<Task, 'Slot' | 'NodeID'>;

/** What stands for a task's slot in its name: the node's id where there is none, and for a job's slot 0, as Docker has it. */
export const slotName = (task: Placed): string => String(task.Slot || task.NodeID || '');

/** `<service>.<slot>`: what tasks that follow each other have in common. */
export const placeName = (task: Placed & Pick<Task, 'ServiceAnnotations'>): string =>
  `${task.ServiceAnnotations.Name}.${slotName(task)}`;

/** `<service>.<slot>.<task id>` */
export const taskName = (task: Placed & Pick<Task, 'ServiceAnnotations' | 'ID'>): string =>
  `${placeName(task)}.${task.ID}`;

/** Finished tasks kept for each slot, or each node of a global service. */
export const defaultTaskHistory = 5;

/** The spec as `inspect` shows it with `insertDefaults=true` (Moby fills exactly these). */
export function insertDefaults(spec: Service['Spec']): Service['Spec'] {
  const config = (given: UpdateConfig | undefined): UpdateConfig => ({
    Parallelism: given ? 0 : 1,
    FailureAction: 'pause',
    Monitor: 5 * second,
    MaxFailureRatio: 0,
    Order: 'stop-first',
    ...given,
  });
  const container = spec.TaskTemplate.ContainerSpec;
  return {
    ...spec,
    TaskTemplate: {
      ...spec.TaskTemplate,
      ...(container && {
        ContainerSpec: {
          ...container,
          StopGracePeriod: container.StopGracePeriod ?? 10 * second,
          DNSConfig: container.DNSConfig ?? {},
        },
      }),
      Resources: spec.TaskTemplate.Resources ?? {},
      RestartPolicy: { Condition: 'any', Delay: 5 * second, MaxAttempts: 0, ...spec.TaskTemplate.RestartPolicy },
      Placement: spec.TaskTemplate.Placement ?? {},
    },
    // Jobs have no updates, and clients send back what they read.
    ...(!isJobMode(spec.Mode) && {
      UpdateConfig: config(spec.UpdateConfig),
      RollbackConfig: config(spec.RollbackConfig),
    }),
  };
}

/** The spec's, or else what the cluster's default was when the task was made. */
export const logDriverOf = ({ Spec, LogDriver }: Pick<Task, 'Spec' | 'LogDriver'>): Driver | undefined =>
  Spec.LogDriver?.Name ? Spec.LogDriver : LogDriver;
