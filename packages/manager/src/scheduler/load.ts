import {
  fromTimestamp,
  type GenericResource,
  isTerminal,
  type Node,
  type PortConfig,
  type Resources,
  stateOrder,
  type Task,
  wantsLife,
} from '@swarmctl/shared/model';

// What a node's tasks take of it. Worked out once for each list of tasks: a view hands out the same list as long as nothing in it changes.

export interface Load {
  cpus: number;
  memory: number;
  /** Units taken, by the kind of generic resource. */
  readonly generic: Map<string, number>;
  /** `kind=value`: named ones of them that are taken. */
  readonly named: Set<string>;
  /** `tcp/8080`: host-mode ports in use. */
  readonly ports: Set<string>;
  /** Tasks that shall live here, all and by service. */
  tasks: number;
  readonly byService: Map<string, number>;
  /** When (ms) tasks failed here, by `failureKey`. */
  readonly failures: ReadonlyMap<string, readonly number[]>;
}

/** What one task takes. */
export interface Demand {
  readonly serviceId: string;
  readonly cpus: number;
  readonly memory: number;
  /** Those asked for by name count among the units of their kind. */
  readonly generic: readonly (readonly [kind: string, units: number])[];
  readonly named: readonly Named[];
  readonly hostPorts: readonly string[];
}

const none: readonly never[] = [];

export function demandOf(task: Pick<Task, 'ServiceID' | 'Spec' | 'Ports'>): Demand {
  const reserved = task.Spec.Resources?.Reservations;
  return {
    serviceId: task.ServiceID,
    cpus: reserved?.NanoCPUs ?? 0,
    memory: reserved?.MemoryBytes ?? 0,
    generic: reserved?.GenericResources?.length ? [...unitsOf(reserved)] : none,
    named: namedIn(reserved?.GenericResources),
    hostPorts: hostPortsOf(task.Ports),
  };
}

/** Only ports with a number can clash. */
export const hostPortsOf = (ports: readonly PortConfig[] | undefined): readonly string[] =>
  ports?.length
    ? ports
        .filter((port) => port.PublishMode === 'host' && port.PublishedPort)
        .map((port) => `${port.Protocol || 'tcp'}/${port.PublishedPort}`)
    : none;

const namedIn = (resources: readonly GenericResource[] | undefined): readonly Named[] =>
  resources?.length ? resources.flatMap(({ NamedResourceSpec: named }) => named ?? []) : none;

/** Generic resources as numbers: of named ones, how many there are. */
export function unitsOf(resources: Resources | undefined): ReadonlyMap<string, number> {
  const units = new Map<string, number>();
  for (const { DiscreteResourceSpec: discrete, NamedResourceSpec: named } of resources?.GenericResources ?? []) {
    const kind = discrete?.Kind ?? named?.Kind;
    if (kind !== undefined) units.set(kind, (units.get(kind) ?? 0) + (discrete ? (discrete.Value ?? 0) : 1));
  }
  return units;
}

export const failureKey = (task: Pick<Task, 'ServiceID' | 'SpecVersion'>): string =>
  `${task.ServiceID}/${task.SpecVersion}`;

const known = new WeakMap<readonly Task[], Load>();

function loadOf(tasks: readonly Task[]): Load {
  let load = known.get(tasks);
  if (!load) {
    load = sumUp(tasks);
    known.set(tasks, load);
  }
  return load;
}

function sumUp(tasks: readonly Task[]): Load {
  const failures = new Map<string, number[]>();
  const load: Load = emptyLoad(failures);
  for (const task of tasks) {
    const { State, Timestamp } = task.Status;
    if (State === 'failed' || State === 'rejected') {
      const key = failureKey(task);
      const times = failures.get(key);
      if (times) times.push(fromTimestamp(Timestamp));
      else failures.set(key, [fromTimestamp(Timestamp)]);
    }
    // A copy that is to stop takes its room until it has stopped; one that the scheduler has not confirmed takes none yet.
    if (isTerminal(State) || stateOrder[State] < stateOrder.assigned) continue;
    addTo(load, demandOf(task), wantsLife(task.DesiredState));
    addNamed(load, task.AssignedGenericResources);
  }
  return load;
}

const emptyLoad = (failures: Load['failures']): Load => ({
  cpus: 0,
  memory: 0,
  generic: new Map(),
  named: new Set(),
  ports: new Set(),
  tasks: 0,
  byService: new Map(),
  failures,
});

function addTo(load: Load, demand: Demand, lives: boolean): void {
  load.cpus += demand.cpus;
  load.memory += demand.memory;
  for (const [kind, units] of demand.generic) load.generic.set(kind, (load.generic.get(kind) ?? 0) + units);
  for (const port of demand.hostPorts) load.ports.add(port);
  if (!lives) return;
  load.tasks++;
  load.byService.set(demand.serviceId, (load.byService.get(demand.serviceId) ?? 0) + 1);
}

function addNamed(load: Load, resources: readonly GenericResource[] | undefined): void {
  for (const named of namedIn(resources)) load.named.add(nameOf(named));
}

type Named = NonNullable<GenericResource['NamedResourceSpec']>;
export const nameOf = ({ Kind, Value }: Named): string => `${Kind}=${Value}`;

/** A node with its load: what its tasks take, and what the decision at hand has placed there. */
export class Candidate {
  readonly node: Node;
  /** Its place in the view's list of nodes. */
  readonly at: number;
  readonly #there: Load;
  #placed: Load | undefined;

  constructor(node: Node, at: number, tasks: readonly Task[]) {
    this.node = node;
    this.at = at;
    this.#there = loadOf(tasks);
  }

  get cpus(): number {
    return this.#there.cpus + (this.#placed?.cpus ?? 0);
  }

  get memory(): number {
    return this.#there.memory + (this.#placed?.memory ?? 0);
  }

  get tasks(): number {
    return this.#there.tasks + (this.#placed?.tasks ?? 0);
  }

  tasksOf(serviceId: string): number {
    return (this.#there.byService.get(serviceId) ?? 0) + (this.#placed?.byService.get(serviceId) ?? 0);
  }

  taken(kind: string): number {
    return (this.#there.generic.get(kind) ?? 0) + (this.#placed?.generic.get(kind) ?? 0);
  }

  /** The node offers this very one, and no task has it. */
  hasFree(named: Named): boolean {
    return this.#offered(named.Kind).some((one) => one.Value === named.Value) && this.#isFree(named);
  }

  usesPort(port: string): boolean {
    return this.#there.ports.has(port) || this.#placed?.ports.has(port) === true;
  }

  failures(key: string): readonly number[] | undefined {
    const { failures } = this.#there;
    return failures.size === 0 ? undefined : failures.get(key);
  }

  place(demand: Demand): void {
    this.#placed ??= emptyLoad(noFailures);
    addTo(this.#placed, demand, true);
  }

  /**
   * Which generic resources a task gets that was placed here: those that it named, of other named ones some that are free, of others so many. Undefined: it
   * wants none.
   */
  claim({ generic, named }: Demand): readonly GenericResource[] | undefined {
    if (generic.length === 0) return undefined;
    this.#placed ??= emptyLoad(noFailures);
    const claimed = generic.flatMap(([kind, units]) => {
      const asked = named.filter(({ Kind }) => Kind === kind);
      return this.#claimed(kind, units, asked);
    });
    addNamed(this.#placed, claimed);
    return claimed;
  }

  #claimed(kind: string, units: number, asked: readonly Named[]): GenericResource[] {
    const names = this.#offered(kind);
    if (names.length === 0) return [{ DiscreteResourceSpec: { Kind: kind, Value: units } }];
    const isAsked = ({ Value }: Named) => asked.some((one) => one.Value === Value);
    return [...names.filter(isAsked), ...names.filter((one) => !isAsked(one) && this.#isFree(one))]
      .slice(0, units)
      .map((NamedResourceSpec) => ({ NamedResourceSpec }));
  }

  #offered(kind: string | undefined): readonly Named[] {
    return namedIn(this.node.Description?.Resources.GenericResources).filter(({ Kind }) => Kind === kind);
  }

  #isFree(named: Named): boolean {
    return !this.#there.named.has(nameOf(named)) && this.#placed?.named.has(nameOf(named)) !== true;
  }
}

const noFailures: Load['failures'] = new Map();
