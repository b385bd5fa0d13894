import { labelNamed, type PortConfig, portLabel, portName, type ServiceSpec } from '@swarmctl/shared/model';
import { bytes, durationNs, nanoCpus, oneOf, uint } from '../units.ts';
import { beyondFlags } from './beyond-flags.ts';
import { attachment, bad, envEntry, mount, pair, preference, published, shellWords, ulimit } from './parse.ts';
import { withoutNames, withReference } from './payload-flag.ts';

// Every flag of `service create` and `service update`, once: what it is called, what it means, where in the spec it goes.

type Mutable<T> = T extends readonly (infer I)[]
  ? Mutable<I>[]
  : T extends object
    ? { -readonly [K in keyof T]: Mutable<T[K]> }
    : T;
type Fill<T> = Mutable<T>;
/** A spec being written; `container`, `template` and `update` make what is missing on the way. */
export type SpecDraft = Fill<ServiceSpec>;

const template = (spec: SpecDraft) => {
  spec.TaskTemplate ??= {};
  return spec.TaskTemplate;
};
const container = (spec: SpecDraft) => {
  const task = template(spec);
  task.ContainerSpec ??= {};
  return task.ContainerSpec;
};
const resources = (spec: SpecDraft, kind: 'Limits' | 'Reservations') => {
  const task = template(spec);
  task.Resources ??= {};
  task.Resources[kind] ??= {};
  return task.Resources[kind];
};
const limits = (spec: SpecDraft) =>
  resources(spec, 'Limits') as NonNullable<NonNullable<NonNullable<SpecDraft['TaskTemplate']>['Resources']>['Limits']>;
const restart = (spec: SpecDraft) => {
  const task = template(spec);
  task.RestartPolicy ??= {};
  return task.RestartPolicy;
};
const health = (spec: SpecDraft) => {
  const one = container(spec);
  one.Healthcheck ??= {};
  return one.Healthcheck;
};
const placement = (spec: SpecDraft) => {
  const task = template(spec);
  task.Placement ??= {};
  return task.Placement;
};
const logDriver = (spec: SpecDraft) => {
  const task = template(spec);
  task.LogDriver ??= {};
  return task.LogDriver;
};
const dns = (spec: SpecDraft) => {
  const one = container(spec);
  one.DNSConfig ??= {};
  return one.DNSConfig;
};
const endpoint = (spec: SpecDraft) => {
  spec.EndpointSpec ??= {};
  return spec.EndpointSpec;
};
const config = (spec: SpecDraft, kind: 'UpdateConfig' | 'RollbackConfig') => {
  spec[kind] ??= { Parallelism: 1 };
  return spec[kind];
};
const labels = (spec: SpecDraft) => {
  spec.Labels ??= {};
  return spec.Labels;
};

export interface ScalarFlag {
  readonly name: string;
  readonly alias?: string;
  readonly type: 'string' | 'boolean';
  readonly describe: string;
  /** Only of one of the two commands; both when absent. */
  readonly only?: 'create' | 'update';
  readonly set: (spec: SpecDraft, value: string, flag: string) => void;
}

/** A repeatable flag: `--x` at create, `--x-add` and `--x-rm` at update. */
export interface ListFlag {
  readonly name: string;
  readonly alias?: string;
  readonly describe: string;
  /** What `--x-rm` takes. */
  readonly removes: string;
  /** Adds or replaces. */
  readonly add: (spec: SpecDraft, value: string, flag: string) => void;
  readonly remove: (spec: SpecDraft, value: string, flag: string) => void;
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

const entries = (
  name: string,
  describe: string,
  get: (spec: SpecDraft) => Record<string, string>,
  alias?: string,
): ListFlag => ({
  name,
  ...(alias && { alias }),
  describe,
  removes: 'by key',
  add: (spec, value, flag) => {
    const [key, text] = pair(flag, value);
    get(spec)[key] = text;
  },
  remove: (spec, value) => {
    delete get(spec)[value];
  },
});

const words = (
  name: string,
  describe: string,
  get: (spec: SpecDraft) => { list: string[] | undefined; put: (list: string[]) => void },
  options: {
    alias?: string;
    keyOf?: (text: string) => string;
    parse?: (text: string, flag: string) => string | undefined;
    removes?: string;
  } = {},
): ListFlag => {
  const keyOf = options.keyOf ?? ((text) => text);
  const without = (list: readonly string[], key: string) => list.filter((one) => keyOf(one) !== key);
  return {
    name,
    ...(options.alias && { alias: options.alias }),
    describe,
    removes: options.removes ?? 'by value',
    add: (spec, value, flag) => {
      const text = options.parse ? options.parse(value, flag) : value;
      if (text === undefined) return;
      const place = get(spec);
      place.put([...without(place.list ?? [], keyOf(text)), text]);
    },
    remove: (spec, value) => {
      const place = get(spec);
      place.put(without(place.list ?? [], value));
    },
  };
};

const logOptions = (spec: SpecDraft) => {
  const driver = logDriver(spec);
  driver.Options ??= {};
  return driver.Options;
};
const containerLabels = (spec: SpecDraft) => {
  const one = container(spec);
  one.Labels ??= {};
  return one.Labels;
};
const sysctls = (spec: SpecDraft) => {
  const one = container(spec);
  one.Sysctls ??= {};
  return one.Sysctls;
};

const samePort = (a: { TargetPort?: number; Protocol?: string; PublishedPort?: number }, b: typeof a) =>
  a.TargetPort === b.TargetPort &&
  (a.Protocol || 'tcp') === (b.Protocol || 'tcp') &&
  a.PublishedPort === b.PublishedPort;

/** A port that answers on some addresses alone says so by a label: Docker's ports have no field for it. */
function addAddress(spec: SpecDraft, port: PortConfig, address: string): void {
  const key = portLabel('swarmctl.ingress.address', port);
  const known = labels(spec)[key]?.split(',') ?? [];
  labels(spec)[key] = [...known.filter((one) => one !== address), address].join(',');
}

/** Labels of a port that is published no more would be refused. */
function dropPortLabels(spec: SpecDraft, gone: readonly PortConfig[]): void {
  const names = gone.map(portName);
  for (const key of Object.keys(spec.Labels ?? {})) {
    const port = labelNamed(key)?.port;
    if (port && names.includes(portName(port))) delete labels(spec)[key];
  }
}

export const listFlags = (env: Readonly<Record<string, string | undefined>>): readonly ListFlag[] => [
  words(
    'env',
    'Environment variable (NAME=VALUE, or NAME from here)',
    (s) => ({
      list: container(s).Env,
      put: (l) => {
        container(s).Env = l;
      },
    }),
    {
      alias: 'e',
      keyOf: (text) => text.split('=')[0] ?? '',
      parse: (text, flag) => envEntry(flag, text, env),
      removes: 'by name',
    },
  ),
  entries('label', 'Service label', labels, 'l'),
  entries('container-label', 'Container label', containerLabels),
  entries('sysctl', 'Sysctl option', sysctls),
  entries('log-opt', 'Logging driver option', logOptions),
  words('constraint', 'Placement constraint, e.g. node.role==worker', (s) => ({
    list: placement(s).Constraints,
    put: (l) => {
      placement(s).Constraints = l;
    },
  })),
  words('group', 'Supplementary group', (s) => ({
    list: container(s).Groups,
    put: (l) => {
      container(s).Groups = l;
    },
  })),
  words(
    'host',
    'Line of the hosts file (name:ip)',
    (s) => ({
      list: container(s).Hosts,
      put: (l) => {
        container(s).Hosts = l;
      },
    }),
    {
      parse: (text, flag) => {
        const [name, ...address] = text.split(':');
        if (!name || address.length === 0) throw bad(flag, text, 'expected NAME:ADDRESS');
        return `${address.join(':')} ${name}`;
      },
    },
  ),
  words('dns', 'DNS server', (s) => ({
    list: dns(s).Nameservers,
    put: (l) => {
      dns(s).Nameservers = l;
    },
  })),
  words('dns-search', 'DNS search domain', (s) => ({
    list: dns(s).Search,
    put: (l) => {
      dns(s).Search = l;
    },
  })),
  words('dns-option', 'DNS option', (s) => ({
    list: dns(s).Options,
    put: (l) => {
      dns(s).Options = l;
    },
  })),
  words('cap-add', 'Linux capability to add', (s) => ({
    list: container(s).CapabilityAdd,
    put: (l) => {
      container(s).CapabilityAdd = l;
    },
  })),
  words('cap-drop', 'Linux capability to drop', (s) => ({
    list: container(s).CapabilityDrop,
    put: (l) => {
      container(s).CapabilityDrop = l;
    },
  })),
  {
    name: 'publish',
    alias: 'p',
    describe: 'Publish a port: [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL] or published=,target=,protocol=,mode=',
    removes: 'by target port',
    add: (spec, value, flag) => {
      const place = endpoint(spec);
      const { ports, address } = published(flag, value);
      for (const port of ports) {
        place.Ports = [...(place.Ports ?? []).filter((other) => !samePort(other, port)), port];
        if (address !== undefined) addAddress(spec, port, address);
      }
    },
    remove: (spec, value, flag) => {
      const { ports, address } = published(flag, value);
      if (address !== undefined)
        throw bad(flag, value, 'a port goes with all its addresses; expected TARGET[/PROTOCOL]');
      const [target] = ports;
      const place = endpoint(spec);
      const goes = (port: PortConfig) =>
        port.TargetPort === target?.TargetPort && (port.Protocol || 'tcp') === target?.Protocol;
      dropPortLabels(spec, (place.Ports ?? []).filter(goes));
      place.Ports = (place.Ports ?? []).filter((port) => !goes(port));
    },
  },
  {
    name: 'mount',
    describe: 'Mount: type=bind|volume|tmpfs,source=,target=,readonly,…',
    removes: 'by target path',
    add: (spec, value, flag) => {
      const one = mount(flag, value);
      container(spec).Mounts = [
        ...(container(spec).Mounts ?? []).filter((other) => other.Target !== one.Target),
        one as never,
      ];
    },
    remove: (spec, value) => {
      container(spec).Mounts = (container(spec).Mounts ?? []).filter((one) => one.Target !== value);
    },
  },
  {
    name: 'placement-pref',
    describe: 'Spread over a label: spread=node.labels.zone',
    removes: 'by value',
    add: (spec, value, flag) => {
      placement(spec).Preferences = [...(placement(spec).Preferences ?? []), preference(flag, value)];
    },
    remove: (spec, value, flag) => {
      const gone = preference(flag, value).Spread.SpreadDescriptor;
      placement(spec).Preferences = (placement(spec).Preferences ?? []).filter(
        (one) => one.Spread?.SpreadDescriptor !== gone,
      );
    },
  },
  {
    name: 'ulimit',
    describe: 'Ulimit: NAME=SOFT[:HARD]',
    removes: 'by name',
    add: (spec, value, flag) => {
      const one = ulimit(flag, value);
      container(spec).Ulimits = [...(container(spec).Ulimits ?? []).filter((other) => other.Name !== one.Name), one];
    },
    remove: (spec, value) => {
      container(spec).Ulimits = (container(spec).Ulimits ?? []).filter((one) => one.Name !== value);
    },
  },
  {
    name: 'network',
    describe: 'Network to be on: NAME, or name=NAME,alias=NAME[,alias=NAME...]',
    removes: 'by network',
    add: (spec, value, flag) => {
      const { target, aliases } = attachment(flag, value);
      const task = template(spec);
      task.Networks = [
        ...(task.Networks ?? []).filter((one) => one.Target !== target),
        { Target: target, ...(aliases.length > 0 && { Aliases: [...aliases] }) },
      ];
    },
    remove: (spec, value) => {
      const task = template(spec);
      task.Networks = (task.Networks ?? []).filter((one) => one.Target !== value);
    },
  },
  {
    name: 'secret',
    describe: 'Secret to expose: NAME, or source=NAME,target=PATH,uid=,gid=,mode=0444',
    removes: 'by name, all its versions',
    add: (spec, value) => {
      container(spec).Secrets = withReference(container(spec).Secrets, value);
    },
    remove: (spec, value) => {
      container(spec).Secrets = withoutNames(container(spec).Secrets, value);
    },
  },
  {
    name: 'config',
    describe: 'Config to expose: NAME, or source=NAME,target=PATH,uid=,gid=,mode=0444',
    removes: 'by name, all its versions',
    add: (spec, value) => {
      container(spec).Configs = withReference(container(spec).Configs, value);
    },
    remove: (spec, value) => {
      container(spec).Configs = withoutNames(container(spec).Configs, value);
    },
  },
  {
    name: 'generic-resource',
    describe: 'Generic resource to reserve: KIND=COUNT',
    removes: 'by kind',
    add: (spec, value, flag) => {
      const [kind, count] = pair(flag, value);
      const place = resources(spec, 'Reservations') as {
        GenericResources?: { DiscreteResourceSpec?: { Kind: string; Value: number } }[];
      };
      place.GenericResources = [
        ...(place.GenericResources ?? []).filter((one) => one.DiscreteResourceSpec?.Kind !== kind),
        { DiscreteResourceSpec: { Kind: kind, Value: uint(flag, count) } },
      ];
    },
    remove: (spec, value) => {
      const place = resources(spec, 'Reservations') as {
        GenericResources?: { DiscreteResourceSpec?: { Kind: string } }[];
      };
      place.GenericResources = (place.GenericResources ?? []).filter((one) => one.DiscreteResourceSpec?.Kind !== value);
    },
  },
];

/** Docker has these flags; this cluster does not have what they need yet. */
export const absentFlags: Readonly<Record<string, string>> = {
  'credential-spec': 'credential specs are for Windows containers',
  isolation: 'isolation is for Windows containers',
};
