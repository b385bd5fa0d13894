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

/** How a value is written. */
interface Kind<T> {
  readonly type?: ScalarFlag['type'];
  /** Throws for what is no such value. */
  readonly parse: (flag: string, value: string) => T;
}

const text: Kind<string> = { parse: (_, value) => value };
const words: Kind<string[]> = { parse: shellWords };
const number: Kind<number> = { parse: uint };
const integer: Kind<number> = {
  parse: (flag, value) => {
    if (!/^[+-]?\d+$/.test(value)) throw bad(flag, value, 'expected a whole number');
    return Number(value);
  },
};
const duration: Kind<number> = { parse: durationNs };
const cpus: Kind<number> = { parse: nanoCpus };
const size: Kind<number> = { parse: bytes };
const yesNo: Kind<boolean> = {
  type: 'boolean',
  parse: (flag, value) => {
    if (value !== 'true' && value !== 'false') throw bad(flag, value, 'expected true or false');
    return value === 'true';
  },
};
const share: Kind<number> = {
  parse: (flag, value) => {
    const ratio = Number(value);
    if (value.trim() === '' || !(ratio >= 0 && ratio <= 1)) throw bad(flag, value, 'expected a number from 0 to 1');
    return ratio;
  },
};
const choice = <const T extends string>(...allowed: readonly T[]): Kind<T> => ({
  parse: (flag, value) => oneOf(flag, value, allowed),
});

/** What it is given becomes a field of a part of the spec. */
const field = <P extends object, K extends keyof P>(
  name: string,
  { type = 'string', parse }: Kind<NonNullable<P[K]>>,
  describe: string,
  part: (spec: SpecDraft) => P,
  key: K,
  more: Pick<ScalarFlag, 'alias' | 'only'> = {},
): ScalarFlag => ({
  ...{ name, ...more, type, describe },
  set: (spec, value, flag) => {
    part(spec)[key] = parse(flag, value);
  },
});

const itself = (spec: SpecDraft) => spec;
const reservations = (spec: SpecDraft) => resources(spec, 'Reservations');
const updates = (spec: SpecDraft) => config(spec, 'UpdateConfig');
const rollbacks = (spec: SpecDraft) => config(spec, 'RollbackConfig');

const updateFlags = (kind: 'update' | 'rollback', done: string, part: typeof updates): ScalarFlag[] => [
  field(`${kind}-parallelism`, number, `Tasks ${done} at once (1; 0 for all)`, part, 'Parallelism'),
  field(`${kind}-delay`, duration, 'Time between batches (0s)', part, 'Delay'),
  field(`${kind}-monitor`, duration, 'How long a new task is watched for failure (5s)', part, 'Monitor'),
  field(`${kind}-max-failure-ratio`, share, 'Share of failed tasks to tolerate (0)', part, 'MaxFailureRatio'),
  field(`${kind}-order`, choice('stop-first', 'start-first'), 'stop-first or start-first (stop-first)', part, 'Order'),
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
  field('health-interval', duration, 'Time between checks (30s)', health, 'Interval'),
  field('health-timeout', duration, 'Longest run of a check (30s)', health, 'Timeout'),
  field('health-start-period', duration, 'Time in which failures do not count (0s)', health, 'StartPeriod'),
  field('health-start-interval', duration, 'Time between checks in the start period (5s)', health, 'StartInterval'),
  field('health-retries', number, 'Failures in a row that make it unhealthy (3)', health, 'Retries'),
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
  field('name', text, 'Service name', itself, 'Name', { only: 'create' }),
  field('image', text, 'Image', container, 'Image', { only: 'update' }),
  field('args', words, 'Arguments of the command', container, 'Args', { only: 'update' }),
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
  field('replicas-max-per-node', number, 'Most tasks on one node (0: no limit)', placement, 'MaxReplicas'),
  field('hostname', text, 'Container hostname', container, 'Hostname'),
  field('user', text, 'User name or UID[:group or GID]', container, 'User', { alias: 'u' }),
  field('workdir', text, 'Working directory in the container', container, 'Dir', { alias: 'w' }),
  field('entrypoint', words, "Replaces the image's entrypoint", container, 'Command'),
  field('tty', yesNo, 'Allocate a pseudo-TTY', container, 'TTY', { alias: 't' }),
  field('init', yesNo, 'Run an init inside the container', container, 'Init'),
  field('read-only', yesNo, "Mount the container's root read-only", container, 'ReadOnly'),
  field('stop-signal', text, 'Signal that stops the container', container, 'StopSignal'),
  field('stop-grace-period', duration, 'Time from the stop signal to a kill (10s)', container, 'StopGracePeriod'),
  field('oom-score-adj', integer, 'OOM preference (-1000 to 1000)', container, 'OomScoreAdj'),
  field('limit-cpu', cpus, 'CPUs at most', limits, 'NanoCPUs'),
  field('limit-memory', size, 'Memory at most', limits, 'MemoryBytes'),
  field('limit-pids', number, 'Processes at most (0: no limit)', limits, 'Pids'),
  field('reserve-cpu', cpus, 'CPUs to reserve', reservations, 'NanoCPUs'),
  field('reserve-memory', size, 'Memory to reserve', reservations, 'MemoryBytes'),
  field(
    'restart-condition',
    choice('none', 'on-failure', 'any'),
    'none, on-failure or any (any)',
    restart,
    'Condition',
  ),
  field('restart-delay', duration, 'Time between restarts (5s)', restart, 'Delay'),
  field('restart-max-attempts', number, 'Restarts before giving up (0: no limit)', restart, 'MaxAttempts'),
  field('restart-window', duration, 'Window in which restarts are counted', restart, 'Window'),
  field('endpoint-mode', choice('vip', 'dnsrr'), 'vip or dnsrr (vip)', endpoint, 'Mode'),
  field('log-driver', text, 'Logging driver', logDriver, 'Name'),
  ...updateFlags('update', 'updated', updates),
  field(
    'update-failure-action',
    choice('pause', 'continue', 'rollback'),
    'pause, continue or rollback (pause)',
    updates,
    'FailureAction',
  ),
  ...updateFlags('rollback', 'rolled back', rollbacks),
  field(
    'rollback-failure-action',
    choice('pause', 'continue'),
    'pause or continue (pause)',
    rollbacks,
    'FailureAction',
  ),
  ...healthFlags,
  field('drain-timeout', text, 'How long connections may go on before a stop (10s)', labels, 'swarmctl.drain-timeout'),
  field('runtime', text, 'docker or process (docker)', labels, 'swarmctl.runtime'),
  field(
    'ready-check',
    text,
    'connect or none: wait until ingress ports accept connections (connect)',
    labels,
    'swarmctl.ready-check',
  ),
  field(
    'pin',
    text,
    'Whether a manager replaces the tag by its digest: try, or strict to refuse what it cannot pin',
    labels,
    'swarmctl.pin',
  ),
  ...beyondFlags,
];

/** Docker has these flags; this cluster does not have what they need yet. */
export const absentFlags: Readonly<Record<string, string>> = {
  'credential-spec': 'credential specs are for Windows containers',
  isolation: 'isolation is for Windows containers',
};
