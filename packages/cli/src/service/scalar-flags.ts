import { bytes, durationNs, nanoCpus, oneOf, uint } from '../units.ts';
import { beyondFlags } from './beyond-flags.ts';
import {
  config,
  container,
  endpoint,
  health,
  labels,
  limits,
  logDriver,
  placement,
  resources,
  restart,
  type SpecDraft,
} from './draft.ts';
import { bad, shellWords } from './parse.ts';

// The flags of `service create` and `service update` that have one value, once: what each is called, what it means, where in the spec it goes.

export interface ScalarFlag {
  readonly name: string;
  readonly alias?: string;
  readonly type: 'string' | 'boolean';
  readonly describe: string;
  /** Only of one of the two commands; both when absent. */
  readonly only?: 'create' | 'update';
  readonly set: (spec: SpecDraft, value: string, flag: string) => void;
}

const isTrue = (flag: string, value: string) => {
  if (value !== 'true' && value !== 'false') throw bad(flag, value, 'expected true or false');
  return value === 'true';
};

const updateFlags = (kind: 'update' | 'rollback', field: 'UpdateConfig' | 'RollbackConfig'): ScalarFlag[] => [
  {
    name: `${kind}-parallelism`,
    type: 'string',
    describe: `Tasks ${kind === 'update' ? 'updated' : 'rolled back'} at once (1; 0 for all)`,
    set: (s, v, f) => {
      config(s, field).Parallelism = uint(f, v);
    },
  },
  {
    name: `${kind}-delay`,
    type: 'string',
    describe: 'Time between batches (0s)',
    set: (s, v, f) => {
      config(s, field).Delay = durationNs(f, v);
    },
  },
  {
    name: `${kind}-failure-action`,
    type: 'string',
    describe: kind === 'update' ? 'pause, continue or rollback (pause)' : 'pause or continue (pause)',
    set: (s, v, f) => {
      config(s, field).FailureAction = oneOf(
        f,
        v,
        kind === 'update' ? ['pause', 'continue', 'rollback'] : ['pause', 'continue'],
      );
    },
  },
  {
    name: `${kind}-monitor`,
    type: 'string',
    describe: 'How long a new task is watched for failure (5s)',
    set: (s, v, f) => {
      config(s, field).Monitor = durationNs(f, v);
    },
  },
  {
    name: `${kind}-max-failure-ratio`,
    type: 'string',
    describe: 'Share of failed tasks to tolerate (0)',
    set: (s, v, f) => {
      const ratio = Number(v);
      if (v.trim() === '' || !(ratio >= 0 && ratio <= 1)) throw bad(f, v, 'expected a number from 0 to 1');
      config(s, field).MaxFailureRatio = ratio;
    },
  },
  {
    name: `${kind}-order`,
    type: 'string',
    describe: 'stop-first or start-first (stop-first)',
    set: (s, v, f) => {
      config(s, field).Order = oneOf(f, v, ['stop-first', 'start-first']);
    },
  },
];

const healthFlags: ScalarFlag[] = [
  {
    name: 'health-cmd',
    type: 'string',
    describe: 'Command that checks health',
    set: (s, v) => {
      health(s).Test = v === '' ? [] : ['CMD-SHELL', v];
    },
  },
  {
    name: 'health-interval',
    type: 'string',
    describe: 'Time between checks (30s)',
    set: (s, v, f) => {
      health(s).Interval = durationNs(f, v);
    },
  },
  {
    name: 'health-timeout',
    type: 'string',
    describe: 'Longest run of a check (30s)',
    set: (s, v, f) => {
      health(s).Timeout = durationNs(f, v);
    },
  },
  {
    name: 'health-start-period',
    type: 'string',
    describe: 'Time in which failures do not count (0s)',
    set: (s, v, f) => {
      health(s).StartPeriod = durationNs(f, v);
    },
  },
  {
    name: 'health-start-interval',
    type: 'string',
    describe: 'Time between checks in the start period (5s)',
    set: (s, v, f) => {
      health(s).StartInterval = durationNs(f, v);
    },
  },
  {
    name: 'health-retries',
    type: 'string',
    describe: 'Failures in a row that make it unhealthy (3)',
    set: (s, v, f) => {
      health(s).Retries = uint(f, v);
    },
  },
  {
    name: 'no-healthcheck',
    type: 'boolean',
    describe: "Disable the image's healthcheck",
    set: (s, v) => {
      if (v === 'true') container(s).Healthcheck = { Test: ['NONE'] };
    },
  },
];

const modes = {
  replicated: { Replicated: {} },
  global: { Global: {} },
  'replicated-job': { ReplicatedJob: {} },
  'global-job': { GlobalJob: {} },
} as const;

export const scalarFlags: readonly ScalarFlag[] = [
  {
    name: 'name',
    type: 'string',
    only: 'create',
    describe: 'Service name',
    set: (s, v) => {
      s.Name = v;
    },
  },
  {
    name: 'image',
    type: 'string',
    only: 'update',
    describe: 'Image',
    set: (s, v) => {
      container(s).Image = v;
    },
  },
  {
    name: 'args',
    type: 'string',
    only: 'update',
    describe: 'Arguments of the command',
    set: (s, v, f) => {
      container(s).Args = shellWords(f, v);
    },
  },
  {
    name: 'mode',
    type: 'string',
    only: 'create',
    describe: 'replicated, global, replicated-job or global-job (replicated)',
    set: (s, v, f) => {
      s.Mode = { ...modes[oneOf(f, v, ['replicated', 'global', 'replicated-job', 'global-job'])] };
    },
  },
  {
    name: 'replicas',
    type: 'string',
    describe: 'Number of tasks; of a job: of completions',
    set: (s, v, f) => {
      if (s.Mode?.Global || s.Mode?.GlobalJob)
        throw bad(f, v, 'replicas can only be used with replicated or replicated-job mode');
      const count = uint(f, v);
      // As many at once as there are, unless `max-concurrent` says less.
      s.Mode = s.Mode?.ReplicatedJob
        ? { ReplicatedJob: { MaxConcurrent: count, ...s.Mode.ReplicatedJob, TotalCompletions: count } }
        : { Replicated: { Replicas: count } };
    },
  },
  {
    name: 'max-concurrent',
    type: 'string',
    describe: 'Number of tasks of a job that may run at once (replicas; 0: no limit)',
    set: (s, v, f) => {
      if (!s.Mode?.ReplicatedJob) throw bad(f, v, 'max-concurrent can only be used with replicated-job mode');
      s.Mode = { ReplicatedJob: { TotalCompletions: 1, ...s.Mode.ReplicatedJob, MaxConcurrent: uint(f, v) } };
    },
  },
  {
    name: 'replicas-max-per-node',
    type: 'string',
    describe: 'Most tasks on one node (0: no limit)',
    set: (s, v, f) => {
      placement(s).MaxReplicas = uint(f, v);
    },
  },
  {
    name: 'hostname',
    type: 'string',
    describe: 'Container hostname',
    set: (s, v) => {
      container(s).Hostname = v;
    },
  },
  {
    name: 'user',
    alias: 'u',
    type: 'string',
    describe: 'User name or UID[:group or GID]',
    set: (s, v) => {
      container(s).User = v;
    },
  },
  {
    name: 'workdir',
    alias: 'w',
    type: 'string',
    describe: 'Working directory in the container',
    set: (s, v) => {
      container(s).Dir = v;
    },
  },
  {
    name: 'entrypoint',
    type: 'string',
    describe: "Replaces the image's entrypoint",
    set: (s, v, f) => {
      container(s).Command = shellWords(f, v);
    },
  },
  {
    name: 'tty',
    alias: 't',
    type: 'boolean',
    describe: 'Allocate a pseudo-TTY',
    set: (s, v, f) => {
      container(s).TTY = isTrue(f, v);
    },
  },
  {
    name: 'init',
    type: 'boolean',
    describe: 'Run an init inside the container',
    set: (s, v, f) => {
      container(s).Init = isTrue(f, v);
    },
  },
  {
    name: 'read-only',
    type: 'boolean',
    describe: "Mount the container's root read-only",
    set: (s, v, f) => {
      container(s).ReadOnly = isTrue(f, v);
    },
  },
  {
    name: 'stop-signal',
    type: 'string',
    describe: 'Signal that stops the container',
    set: (s, v) => {
      container(s).StopSignal = v;
    },
  },
  {
    name: 'stop-grace-period',
    type: 'string',
    describe: 'Time from the stop signal to a kill (10s)',
    set: (s, v, f) => {
      container(s).StopGracePeriod = durationNs(f, v);
    },
  },
  {
    name: 'oom-score-adj',
    type: 'string',
    describe: 'OOM preference (-1000 to 1000)',
    set: (s, v) => {
      container(s).OomScoreAdj = Number(v);
    },
  },
  {
    name: 'limit-cpu',
    type: 'string',
    describe: 'CPUs at most',
    set: (s, v, f) => {
      limits(s).NanoCPUs = nanoCpus(f, v);
    },
  },
  {
    name: 'limit-memory',
    type: 'string',
    describe: 'Memory at most',
    set: (s, v, f) => {
      limits(s).MemoryBytes = bytes(f, v);
    },
  },
  {
    name: 'limit-pids',
    type: 'string',
    describe: 'Processes at most (0: no limit)',
    set: (s, v, f) => {
      limits(s).Pids = uint(f, v);
    },
  },
  {
    name: 'reserve-cpu',
    type: 'string',
    describe: 'CPUs to reserve',
    set: (s, v, f) => {
      resources(s, 'Reservations').NanoCPUs = nanoCpus(f, v);
    },
  },
  {
    name: 'reserve-memory',
    type: 'string',
    describe: 'Memory to reserve',
    set: (s, v, f) => {
      resources(s, 'Reservations').MemoryBytes = bytes(f, v);
    },
  },
  {
    name: 'restart-condition',
    type: 'string',
    describe: 'none, on-failure or any (any)',
    set: (s, v, f) => {
      restart(s).Condition = oneOf(f, v, ['none', 'on-failure', 'any']);
    },
  },
  {
    name: 'restart-delay',
    type: 'string',
    describe: 'Time between restarts (5s)',
    set: (s, v, f) => {
      restart(s).Delay = durationNs(f, v);
    },
  },
  {
    name: 'restart-max-attempts',
    type: 'string',
    describe: 'Restarts before giving up (0: no limit)',
    set: (s, v, f) => {
      restart(s).MaxAttempts = uint(f, v);
    },
  },
  {
    name: 'restart-window',
    type: 'string',
    describe: 'Window in which restarts are counted',
    set: (s, v, f) => {
      restart(s).Window = durationNs(f, v);
    },
  },
  {
    name: 'endpoint-mode',
    type: 'string',
    describe: 'vip or dnsrr (vip)',
    set: (s, v, f) => {
      endpoint(s).Mode = oneOf(f, v, ['vip', 'dnsrr']);
    },
  },
  {
    name: 'log-driver',
    type: 'string',
    describe: 'Logging driver',
    set: (s, v) => {
      logDriver(s).Name = v;
    },
  },
  ...updateFlags('update', 'UpdateConfig'),
  ...updateFlags('rollback', 'RollbackConfig'),
  ...healthFlags,
  {
    name: 'drain-timeout',
    type: 'string',
    describe: 'How long connections may go on before a stop (10s)',
    set: (s, v) => {
      labels(s)['swarmctl.drain-timeout'] = v;
    },
  },
  {
    name: 'runtime',
    type: 'string',
    describe: 'docker or process (docker)',
    set: (s, v) => {
      labels(s)['swarmctl.runtime'] = v;
    },
  },
  {
    name: 'ready-check',
    type: 'string',
    describe: 'connect or none: wait until ingress ports accept connections (connect)',
    set: (s, v) => {
      labels(s)['swarmctl.ready-check'] = v;
    },
  },
  {
    name: 'pin',
    type: 'string',
    describe: 'Whether a manager replaces the tag by its digest: try, or strict to refuse what it cannot pin',
    set: (s, v) => {
      labels(s)['swarmctl.pin'] = v;
    },
  },
  ...beyondFlags,
];

/** Docker has these flags; this cluster does not have what they need yet. */
export const absentFlags: Readonly<Record<string, string>> = {
  'credential-spec': 'credential specs are for Windows containers',
  isolation: 'isolation is for Windows containers',
};
