import {
  type Constraint,
  canonicalArch,
  nodeMeets,
  type Platform,
  parseConstraints,
  runtimeOf,
  type Task,
} from '@swarmctl/shared/model';
import { type Candidate, type Demand, demandOf, unitsOf } from './load.ts';

// Which nodes a task may go to. The first filter that a node does not pass says why; their words reach the user in the task's status.

/** What a task asks of its node, read once for a group of equal tasks. */
export interface Wanted {
  readonly demand: Demand;
  readonly constraints: readonly Constraint[];
  readonly platforms: readonly Platform[];
  readonly maxReplicas: number;
  readonly runtime: 'docker' | 'process';
  readonly volumeDrivers: readonly string[];
  readonly logDriver: string | undefined;
}

export function wantedBy(task: Task): Wanted {
  const { Placement, ContainerSpec, LogDriver } = task.Spec;
  return {
    demand: demandOf(task),
    constraints: constraintsOf(Placement?.Constraints),
    platforms: Placement?.Platforms ?? [],
    maxReplicas: Placement?.MaxReplicas ?? 0,
    runtime: runtimeOf(task.ServiceAnnotations.Labels),
    volumeDrivers: (ContainerSpec?.Mounts ?? [])
      .filter((mount) => (mount.Type ?? 'volume') === 'volume')
      .map((mount) => mount.VolumeOptions?.DriverConfig?.Name ?? '')
      .filter((name) => name !== '' && name !== 'local'),
    logDriver: LogDriver?.Name && LogDriver.Name !== 'none' ? LogDriver.Name : undefined,
  };
}

/** The API lets no malformed constraint in; one that is there all the same is met by no node. */
function constraintsOf(texts: readonly string[] | undefined): readonly Constraint[] {
  try {
    return parseConstraints(texts);
  } catch {
    return [{ key: '', operator: '==', value: '' }];
  }
}

export interface Filter {
  readonly name: string;
  /** Another answer is possible after a task was placed. */
  readonly depends: boolean;
  passes(wanted: Wanted, candidate: Candidate): boolean;
  /** Why so many nodes do not come into question. */
  reason(nodes: number): string;
}

const onNodes = (text: string) => (nodes: number) => `${text} on ${nodes} ${nodes === 1 ? 'node' : 'nodes'}`;

const ready: Filter = {
  name: 'ready',
  depends: false,
  passes: (_, { node }) =>
    node.Status.State === 'ready' && node.Spec.Availability === 'active' && node.Description?.RuntimeReady === true,
  reason: (nodes) => `${nodes} ${nodes === 1 ? 'node' : 'nodes'} not available for new tasks`,
};

const resources: Filter = {
  name: 'resources',
  depends: true,
  passes({ demand }, { node, load }) {
    const offered = node.Description?.Resources;
    if (demand.cpus > 0 && load.cpus + demand.cpus > (offered?.NanoCPUs ?? 0)) return false;
    if (demand.memory > 0 && load.memory + demand.memory > (offered?.MemoryBytes ?? 0)) return false;
    if (demand.generic.length === 0) return true;
    const units = unitsOf(offered);
    return demand.generic.every(([kind, wanted]) => (load.generic.get(kind) ?? 0) + wanted <= (units.get(kind) ?? 0));
  },
  reason: onNodes('insufficient resources'),
};

const plugins: Filter = {
  name: 'plugins',
  depends: false,
  passes({ volumeDrivers, logDriver }, { node }) {
    if (volumeDrivers.length === 0 && logDriver === undefined) return true;
    const there = node.Description?.Engine.Plugins ?? [];
    const has = (type: string, name: string) =>
      there.some((plugin) => plugin.Type === type && (plugin.Name === name || plugin.Name === `${name}:latest`));
    if (!volumeDrivers.every((name) => has('Volume', name))) return false;
    // An engine that names no log drivers at all does not report them.
    return logDriver === undefined || has('Log', logDriver) || !there.some((plugin) => plugin.Type === 'Log');
  },
  reason: onNodes('missing plugin'),
};

const constraints: Filter = {
  name: 'constraints',
  depends: false,
  passes: (wanted, { node }) => wanted.constraints.length === 0 || nodeMeets(node, wanted.constraints),
  reason: onNodes('scheduling constraints not satisfied'),
};

const platform: Filter = {
  name: 'platform',
  depends: false,
  passes({ platforms }, { node }) {
    const there = node.Description?.Platform;
    return (
      platforms.length === 0 ||
      platforms.some(
        ({ OS, Architecture }) =>
          (!OS || OS.toLowerCase() === there?.OS?.toLowerCase()) &&
          (!Architecture || canonicalArch(Architecture) === canonicalArch(there?.Architecture ?? '')),
      )
    );
  },
  reason: onNodes('unsupported platform'),
};

const hostPorts: Filter = {
  name: 'host ports',
  depends: true,
  passes: ({ demand }, { load }) => !demand.hostPorts.some((port) => load.ports.has(port)),
  reason: onNodes('host-mode port already in use'),
};

const maxReplicas: Filter = {
  name: 'max replicas',
  depends: true,
  passes: (wanted, { load }) =>
    wanted.maxReplicas === 0 || (load.byService.get(wanted.demand.serviceId) ?? 0) < wanted.maxReplicas,
  reason: () => 'max replicas per node limit exceed',
};

const runtime: Filter = {
  name: 'runtime',
  depends: false,
  passes: (wanted, { node }) => node.Description?.Runtimes.includes(wanted.runtime) === true,
  reason: onNodes('required runtime not offered'),
};

const filters: readonly Filter[] = [ready, resources, plugins, constraints, platform, hostPorts, maxReplicas, runtime];
const dependent = filters.filter((filter) => filter.depends);

/** The first filter that keeps the task off the node. */
export const obstacle = (wanted: Wanted, candidate: Candidate): Filter | undefined =>
  filters.find((filter) => !filter.passes(wanted, candidate));

/** For a node that was passed before: whether what was placed since leaves room. */
export const stillFits = (wanted: Wanted, candidate: Candidate): boolean =>
  dependent.every((filter) => filter.passes(wanted, candidate));

/** `insufficient resources on 2 nodes; unsupported platform on 1 node`: what stands in the way most often comes first. */
export function explain(wanted: Wanted, candidates: Iterable<Candidate>): string {
  const counts = new Map<Filter, number>(filters.map((filter) => [filter, 0]));
  for (const candidate of candidates) {
    const filter = obstacle(wanted, candidate);
    if (filter) counts.set(filter, (counts.get(filter) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([filter, count]) => filter.reason(count))
    .join('; ');
}
