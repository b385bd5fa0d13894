import {
  type Constraint,
  canonicalArch,
  logDriverOf,
  type Node,
  nodeMeets,
  type Platform,
  parseConstraints,
  runtimeOf,
  type Task,
} from '@swarmctl/shared/model';
import { type Candidate, type Demand, demandOf, nameOf, unitsOf } from './load.ts';

// Which nodes a task may go to. The first filter that a node does not pass says why; their words reach the user in the task's status.
// What a node is does not change while tasks are placed, so those filters are asked once for each list of nodes and each set of wishes.

/** What a group of equal tasks asks of a node. */
export interface Wanted {
  readonly demand: Demand;
  readonly maxReplicas: number;
  /** For each node of the view: the place, among all filters, of the first steady one that it does not pass; else `passed`. */
  readonly verdicts: Int8Array;
  /** The places of the other filters, as far as they can matter. */
  readonly moving: readonly number[];
}

interface Wishes {
  readonly constraints: readonly string[];
  readonly platforms: readonly Platform[];
  readonly runtime: 'docker' | 'process';
  readonly volumeDrivers: readonly string[];
  readonly networkDrivers: readonly string[];
  readonly logDriver: string | undefined;
  /** A network of it is encrypted. */
  readonly encrypted: boolean;
}

type Reason = (nodes: number) => string;

/** One thing that a filter looks for. */
interface Part {
  readonly text: string;
  readonly isAt: (candidate: Candidate) => boolean;
}

type Filter = {
  /** Why so many nodes do not come into question. */
  readonly reason: Reason;
  /** What it is that may be lacking, for people: absent where the reason says it. */
  readonly parts?: (wishes: Wishes, demand: Demand) => readonly Part[];
} & (
  | { readonly steady: (wishes: Wishes, constraints: readonly Constraint[]) => (node: Node) => boolean }
  | {
      readonly matters: (demand: Demand, maxReplicas: number) => boolean;
      readonly passes: (wanted: Wanted, candidate: Candidate) => boolean;
    }
);

const onNodes =
  (text: string): Reason =>
  (nodes) =>
    `${text} on ${nodes} ${nodes === 1 ? 'node' : 'nodes'}`;

const ready: Filter = {
  steady: () => (node) =>
    node.Status.State === 'ready' && node.Spec.Availability === 'active' && node.Description?.RuntimeReady === true,
  reason: (nodes) => `${nodes} ${nodes === 1 ? 'node' : 'nodes'} not available for new tasks`,
};

const hasCpus = ({ cpus }: Demand, candidate: Candidate): boolean =>
  cpus === 0 || candidate.cpus + cpus <= (candidate.node.Description?.Resources.NanoCPUs ?? 0);

const hasMemory = ({ memory }: Demand, candidate: Candidate): boolean =>
  memory === 0 || candidate.memory + memory <= (candidate.node.Description?.Resources.MemoryBytes ?? 0);

const hasUnits = (kind: string, wanted: number, candidate: Candidate, units: ReadonlyMap<string, number>): boolean =>
  candidate.taken(kind) + wanted <= (units.get(kind) ?? 0);

const unitsAt = ({ node }: Candidate) => unitsOf(node.Description?.Resources);

const resources: Filter = {
  matters: (demand) => demand.cpus > 0 || demand.memory > 0 || demand.generic.length > 0,
  passes({ demand }, candidate) {
    if (!hasCpus(demand, candidate) || !hasMemory(demand, candidate)) return false;
    if (demand.generic.length === 0) return true;
    const units = unitsAt(candidate);
    return (
      demand.generic.every(([kind, wanted]) => hasUnits(kind, wanted, candidate, units)) &&
      demand.named.every((named) => candidate.hasFree(named))
    );
  },
  reason: onNodes('insufficient resources'),
  parts: (_, demand) => [
    { text: 'CPUs', isAt: (candidate) => hasCpus(demand, candidate) },
    { text: 'memory', isAt: (candidate) => hasMemory(demand, candidate) },
    ...demand.generic.map(([kind, wanted]) => ({
      text: kind,
      isAt: (candidate: Candidate) => hasUnits(kind, wanted, candidate, unitsAt(candidate)),
    })),
    ...demand.named.map((named) => ({
      text: nameOf(named),
      isAt: (candidate: Candidate) => candidate.hasFree(named),
    })),
  ],
};

function hasPlugin(node: Node, type: string, name: string): boolean {
  const there = node.Description?.Engine.Plugins ?? [];
  // An engine that names no log drivers at all does not report them.
  if (type === 'Log' && !there.some(({ Type }) => Type === 'Log')) return true;
  return there.some(({ Type, Name }) => Type === type && (Name === name || Name === `${name}:latest`));
}

const pluginsOf = ({ volumeDrivers, networkDrivers, logDriver }: Wishes): readonly (readonly [string, string])[] => [
  ...volumeDrivers.map((name) => ['Volume', name] as const),
  ...networkDrivers.map((name) => ['Network', name] as const),
  ...(logDriver === undefined ? [] : [['Log', logDriver] as const]),
];

const plugins: Filter = {
  steady: (wishes) => {
    const wanted = pluginsOf(wishes);
    return (node) => wanted.every(([type, name]) => hasPlugin(node, type, name));
  },
  reason: onNodes('missing plugin'),
  parts: (wishes) =>
    pluginsOf(wishes).map(([type, name]) => ({
      text: `${type.toLowerCase()} driver ${name}`,
      isAt: ({ node }) => hasPlugin(node, type, name),
    })),
};

const constraints: Filter = {
  steady: (_, parsed) => (parsed.length === 0 ? () => true : (node) => nodeMeets(node, parsed)),
  reason: onNodes('scheduling constraints not satisfied'),
  parts: (wishes) =>
    wishes.constraints.map((text) => {
      const parsed = constraintsOf([text]);
      return { text, isAt: ({ node }) => nodeMeets(node, parsed) };
    }),
};

const platform: Filter = {
  steady:
    ({ platforms }) =>
    ({ Description }) =>
      platforms.length === 0 ||
      platforms.some(
        ({ OS, Architecture }) =>
          (!OS || OS.toLowerCase() === Description?.Platform.OS?.toLowerCase()) &&
          (!Architecture || canonicalArch(Architecture) === canonicalArch(Description?.Platform.Architecture ?? '')),
      ),
  reason: onNodes('unsupported platform'),
};

const hostPorts: Filter = {
  matters: (demand) => demand.hostPorts.length > 0,
  passes: ({ demand }, candidate) => !demand.hostPorts.some((port) => candidate.usesPort(port)),
  reason: onNodes('host-mode port already in use'),
};

const maxReplicas: Filter = {
  matters: (_, most) => most > 0,
  passes: (wanted, candidate) => candidate.tasksOf(wanted.demand.serviceId) < wanted.maxReplicas,
  reason: () => 'max replicas per node limit exceed',
};

const runtime: Filter = {
  steady: (wishes) => (node) => node.Description?.Runtimes.includes(wishes.runtime) === true,
  reason: onNodes('required runtime not offered'),
};

const encryption: Filter = {
  steady: (wishes) => (node) => !wishes.encrypted || node.Description?.Tunnel !== undefined,
  reason: onNodes('no WireGuard for an encrypted network'),
};

const filters: readonly Filter[] = [
  ...[ready, resources, plugins, constraints, platform, hostPorts, maxReplicas, runtime],
  encryption,
];
const passed = filters.length;

/** `encrypted`: a network of the task is. */
export function wantedBy(task: Task, nodes: readonly Node[], encrypted: boolean): Wanted {
  const demand = demandOf(task);
  const most = task.Spec.Placement?.MaxReplicas ?? 0;
  return {
    demand,
    maxReplicas: most,
    verdicts: verdictsOf(wishesOf(task, encrypted), nodes),
    moving: filters.flatMap((filter, place) => ('passes' in filter && filter.matters(demand, most) ? [place] : [])),
  };
}

function wishesOf(task: Task, encrypted: boolean): Wishes {
  const { Placement, ContainerSpec } = task.Spec;
  const logDriver = logDriverOf(task)?.Name;
  return {
    constraints: Placement?.Constraints ?? [],
    platforms: Placement?.Platforms ?? [],
    runtime: runtimeOf(task.ServiceAnnotations.Labels),
    volumeDrivers: (ContainerSpec?.Mounts ?? [])
      .filter((mount) => (mount.Type ?? 'volume') === 'volume')
      .map((mount) => mount.VolumeOptions?.DriverConfig?.Name ?? '')
      .filter((name) => name !== '' && name !== 'local'),
    networkDrivers: (task.NetworksAttachments ?? []).flatMap(({ Local }) => Local?.DriverConfiguration?.Name ?? []),
    logDriver: logDriver && logDriver !== 'none' ? logDriver : undefined,
    encrypted,
  };
}

/** A view hands out the same list of nodes as long as nothing in it changes. */
const known = new WeakMap<readonly Node[], Map<string, Int8Array>>();

function verdictsOf(wishes: Wishes, nodes: readonly Node[]): Int8Array {
  let byWishes = known.get(nodes);
  if (!byWishes) {
    byWishes = new Map();
    known.set(nodes, byWishes);
  }
  const key = JSON.stringify(wishes);
  let verdicts = byWishes.get(key);
  if (!verdicts) {
    verdicts = judge(wishes, nodes);
    byWishes.set(key, verdicts);
  }
  return verdicts;
}

function judge(wishes: Wishes, nodes: readonly Node[]): Int8Array {
  const parsed = constraintsOf(wishes.constraints);
  const steady = filters.map((filter) => ('steady' in filter ? filter.steady(wishes, parsed) : () => true));
  return Int8Array.from(nodes, (node) => {
    const place = steady.findIndex((passes) => !passes(node));
    return place < 0 ? passed : place;
  });
}

/** The API lets no malformed constraint in; one that is there all the same is met by no node. */
function constraintsOf(texts: readonly string[]): readonly Constraint[] {
  try {
    return parseConstraints(texts);
  } catch {
    return [{ key: '', operator: '==', value: '' }];
  }
}

/** The place of the first filter that keeps the task off the node; `passed` when none does. */
function obstacle(wanted: Wanted, candidate: Candidate): number {
  const verdict = wanted.verdicts[candidate.at] ?? 0;
  for (const place of wanted.moving) {
    if (place > verdict) break;
    const filter = filters[place];
    if (filter && 'passes' in filter && !filter.passes(wanted, candidate)) return place;
  }
  return verdict;
}

export const fits = (wanted: Wanted, candidate: Candidate): boolean => obstacle(wanted, candidate) === passed;

/** `insufficient resources on 2 nodes; unsupported platform on 1 node`: what stands in the way most often comes first. */
export function explain(wanted: Wanted, candidates: readonly Candidate[]): string {
  const counts = filters.map(() => 0);
  for (const candidate of candidates) {
    const place = obstacle(wanted, candidate);
    if (place !== passed) counts[place] = (counts[place] ?? 0) + 1;
  }
  return counts
    .map((count, place) => ({ count, text: count > 0 ? (filters[place]?.reason(count) ?? '') : '' }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count)
    .map(({ text }) => text)
    .join('; ');
}

/**
 * `node.labels.zone==east on 3 nodes, gpu on 1 node`: what exactly the nodes lack that a filter with parts keeps the task off, and how many of those;
 * empty where none does.
 */
export function lacking(task: Task, wanted: Wanted, candidates: readonly Candidate[]): string {
  const wishes = wishesOf(task, false);
  const obstacles = candidates.map((candidate) => obstacle(wanted, candidate));
  return filters
    .flatMap(({ parts }, place) => {
      const kept = parts ? candidates.filter((_, at) => obstacles[at] === place) : [];
      if (!parts || kept.length === 0) return [];
      return parts(wishes, wanted.demand).map(({ text, isAt }) => ({
        text,
        count: kept.filter((candidate) => !isAt(candidate)).length,
      }));
    })
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count)
    .map(({ text, count }) => onNodes(text)(count))
    .join(', ');
}
