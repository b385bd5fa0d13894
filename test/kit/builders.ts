import { rootCertificates } from 'node:tls';
import {
  type Cluster,
  type ContainerSpec,
  formatIp,
  type Network,
  type NetworkSpec,
  type Node,
  type NodeState,
  type Payload,
  type Placement,
  type PortConfig,
  parseIpRange,
  type Resources,
  type Service,
  type ServiceSpec,
  type StoreChange,
  type Task,
  type TaskSpec,
  type TaskState,
  toTimestamp,
} from '@swarmctl/shared/model';
import { Store } from '../../packages/manager/src/store/store.ts';

// Builders: valid objects of the replicated state from the few words that a test is about. What they return serves as a draft as well.

/** The time at which built objects were made: `ManualClock`'s start. */
export const builtAt = 1_700_000_000_000;

const meta = (ID: string) => ({
  ID,
  Version: { Index: 1 },
  CreatedAt: toTimestamp(builtAt),
  UpdatedAt: toTimestamp(builtAt),
});

let made = 0;
const nextId = (prefix: string): string => `${prefix}${String(++made).padStart(4, '0')}`;

/** The members that are there; `undefined` counts as absent. */
function given<T extends object>(members: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as never;
}

export interface NodeWords {
  id?: string;
  hostname?: string;
  role?: 'worker' | 'manager';
  availability?: 'active' | 'pause' | 'drain';
  state?: NodeState;
  labels?: Record<string, string>;
  engineLabels?: Record<string, string>;
  engineVersion?: string | undefined;
  plugins?: readonly { Type: string; Name: string }[];
  os?: string;
  arch?: string;
  cpus?: number;
  memoryMb?: number;
  generic?: Resources['GenericResources'];
  runtimes?: readonly ('docker' | 'process')[];
  runtimeReady?: boolean;
  addr?: string;
  raftId?: number;
  /** False: it has joined, and no agent has reported yet. */
  described?: boolean;
  /** Laid over the node as built. */
  set?: Partial<Node>;
}

/** A ready, active worker with 4 CPUs and 8 GiB on linux/x86_64. */
export function aNode(words: NodeWords = {}): Node {
  const ID = words.id ?? nextId('node');
  const addr = words.addr ?? '127.0.0.1';
  return {
    ...meta(ID),
    Spec: {
      Role: words.role ?? 'worker',
      Availability: words.availability ?? 'active',
      Labels: words.labels ?? {},
    },
    Status: { State: words.state ?? 'ready', Addr: addr },
    ...(words.described !== false && { Description: description(ID, words) }),
    ...(words.raftId !== undefined && { ManagerStatus: { RaftID: words.raftId, Addr: `${addr}:2377` } }),
    ...words.set,
  };
}

function description(id: string, words: NodeWords): NonNullable<Node['Description']> {
  return {
    Hostname: words.hostname ?? id,
    Platform: { OS: words.os ?? 'linux', Architecture: words.arch ?? 'x86_64' },
    Resources: {
      NanoCPUs: (words.cpus ?? 4) * 1e9,
      MemoryBytes: (words.memoryMb ?? 8192) * 2 ** 20,
      ...(words.generic && { GenericResources: words.generic }),
    },
    Engine: {
      ...given({ Labels: words.engineLabels, Plugins: words.plugins }),
      EngineVersion: words.engineVersion ?? '28.0.0',
    },
    Runtimes: words.runtimes ?? ['docker', 'process'],
    RuntimeReady: words.runtimeReady ?? true,
  };
}

export interface TaskSpecWords {
  image?: string;
  container?: ContainerSpec;
  constraints?: string[];
  /** Spread descriptors, outermost first. */
  spread?: string[];
  maxReplicas?: number;
  platforms?: Placement['Platforms'];
  cpus?: number;
  memoryMb?: number;
  generic?: Resources['GenericResources'];
  restart?: TaskSpec['RestartPolicy'];
  logDriver?: string;
  /** Ids of networks. */
  networks?: readonly string[];
}

/** What a service's tasks run; nothing is reserved or constrained unless it is said. */
export function aTaskSpec(words: TaskSpecWords = {}): TaskSpec {
  const placement = given({
    Constraints: words.constraints,
    Preferences: words.spread?.map((SpreadDescriptor) => ({ Spread: { SpreadDescriptor } })),
    MaxReplicas: words.maxReplicas,
    Platforms: words.platforms,
  });
  const reservations = given({
    NanoCPUs: words.cpus === undefined ? undefined : words.cpus * 1e9,
    MemoryBytes: words.memoryMb === undefined ? undefined : words.memoryMb * 2 ** 20,
    GenericResources: words.generic,
  });
  return {
    ContainerSpec: { Image: words.image ?? 'web:1', ...words.container },
    ForceUpdate: 0,
    Runtime: 'container',
    ...(Object.keys(placement).length > 0 && { Placement: placement }),
    ...(Object.keys(reservations).length > 0 && { Resources: { Reservations: reservations } }),
    ...(words.restart && { RestartPolicy: words.restart }),
    ...(words.networks && { Networks: words.networks.map((Target) => ({ Target })) }),
    ...(words.logDriver && { LogDriver: { Name: words.logDriver } }),
  };
}

export interface ServiceWords extends TaskSpecWords {
  id?: string;
  name?: string;
  labels?: Record<string, string>;
  /** 1 unless `global`. */
  replicas?: number;
  global?: boolean;
  /** A replicated job of so many completions, or a global one. */
  job?: 'global' | { completions: number; concurrent: number };
  /** Of a job: how often it was started before. */
  iteration?: number;
  ports?: PortConfig[];
  update?: ServiceSpec['UpdateConfig'];
  rollback?: ServiceSpec['RollbackConfig'];
  specVersion?: string;
  /** Laid over the service as built. */
  set?: Partial<Service>;
}

/** A replicated service of one replica. Its ports count as allocated as they are written. */
export function aService(words: ServiceWords = {}): Service {
  const ID = words.id ?? nextId('service');
  const endpoint = words.ports && { Mode: 'vip' as const, Ports: words.ports };
  return {
    ...meta(ID),
    Spec: {
      Name: words.name ?? ID,
      Labels: words.labels ?? {},
      TaskTemplate: aTaskSpec(words),
      Mode: modeOf(words),
      ...given({ UpdateConfig: words.update, RollbackConfig: words.rollback, EndpointSpec: endpoint }),
    },
    SpecVersion: words.specVersion ?? `${ID}-v1`,
    Endpoint: endpoint ? { Spec: endpoint, Ports: words.ports ?? [] } : { Spec: {} },
    ...(words.job && {
      JobStatus: { JobIteration: { Index: words.iteration ?? 0 }, LastExecution: toTimestamp(builtAt + 1) },
    }),
    ...words.set,
  };
}

function modeOf({ global, job, replicas = 1 }: ServiceWords): NonNullable<ServiceSpec['Mode']> {
  if (job === 'global') return { GlobalJob: {} };
  if (job) return { ReplicatedJob: { TotalCompletions: job.completions, MaxConcurrent: job.concurrent } };
  return global ? { Global: {} } : { Replicated: { Replicas: replicas } };
}

export interface TaskWords {
  id?: string;
  /** The service that it was made from; a new one that is in no store when absent. */
  service?: Service;
  slot?: number;
  node?: string | Node;
  state?: TaskState;
  desired?: TaskState;
  message?: string;
  err?: string;
  /** ms since the epoch: when it got into its state. */
  at?: number;
  status?: Partial<Task['Status']>;
  /** Laid over the task as built. */
  set?: Partial<Task>;
}

/** A task of the service, in slot 1 unless the service is global: `running` when it has a node, else `pending`. */
export function aTask(words: TaskWords = {}): Task {
  const service = words.service ?? aService();
  const nodeId = typeof words.node === 'object' ? words.node.ID : words.node;
  const state = words.state ?? (nodeId === undefined ? 'pending' : 'running');
  return {
    ...meta(words.id ?? nextId('task')),
    Labels: {},
    Spec: service.Spec.TaskTemplate,
    ServiceID: service.ID,
    ...(!service.Spec.Mode?.Global && !service.Spec.Mode?.GlobalJob && { Slot: words.slot ?? 1 }),
    ...(service.JobStatus && { JobIteration: service.JobStatus.JobIteration }),
    ...(nodeId !== undefined && { NodeID: nodeId }),
    Status: {
      Timestamp: toTimestamp(words.at ?? builtAt),
      State: state,
      ...given({ Message: words.message, Err: words.err }),
      ...words.status,
    },
    DesiredState: words.desired ?? (service.JobStatus ? 'complete' : 'running'),
    SpecVersion: service.SpecVersion,
    ServiceAnnotations: { Name: service.Spec.Name, Labels: service.Spec.Labels },
    ...(service.Endpoint.Ports && state !== 'new' && { Ports: service.Endpoint.Ports }),
    ...words.set,
  };
}

/** `count` tasks of the service in the slots from 1, with ids that sort by their slot. */
export const tasksOf = (service: Service, count: number, words: Omit<TaskWords, 'service' | 'slot' | 'id'> = {}) =>
  Array.from({ length: count }, (_, i) =>
    aTask({ ...words, service, slot: i + 1, id: `${service.ID}.${String(i + 1).padStart(5, '0')}` }),
  );

export function aCluster(set: Partial<Cluster> = {}): Cluster {
  return {
    ...meta('cluster1'),
    Spec: { Name: 'default', Labels: {} },
    DefaultAddrPool: ['10.0.0.0/8'],
    SubnetSize: 24,
    DataPathPort: 4789,
    RootCA: {
      // One that can be parsed, whoever's.
      Certificate: rootCertificates[0] ?? '',
      Key: 'key of the test cluster',
      Digest: 'd'.repeat(50),
      JoinTokens: {
        Worker: `SWMTKN-1-${'d'.repeat(50)}-${'w'.repeat(25)}`,
        Manager: `SWMTKN-1-${'d'.repeat(50)}-${'m'.repeat(25)}`,
      },
    },
    RemovedRaftIDs: [],
    ...set,
  };
}

export interface NetworkWords {
  id?: string;
  name?: string;
  /** As allocated; none: the allocator has not come by. */
  subnets?: readonly string[];
  vni?: number;
  /** Laid over the spec as built. */
  spec?: NetworkSpec;
  /** Laid over the network as built. */
  set?: Partial<Network>;
}

/** An overlay network as it was created; allocated when its subnets are given, with their first addresses as gateways. */
export function aNetwork(words: NetworkWords = {}): Network {
  const ID = words.id ?? nextId('network');
  const Configs = (words.subnets ?? []).map((Subnet) => ({ Subnet, Gateway: firstOf(Subnet) }));
  return {
    ...meta(ID),
    Spec: {
      DriverConfiguration: { Name: 'overlay' },
      IPAMOptions: { Driver: { Name: 'default' } },
      Scope: 'swarm',
      ...words.spec,
      Name: words.name ?? ID,
      Labels: words.spec?.Labels ?? {},
    },
    ...(words.subnets && { VNI: words.vni ?? 4096 }),
    IPAM: { Configs },
    Gateways: {},
    ...words.set,
  };
}

function firstOf(subnet: string): string {
  const range = parseIpRange(subnet);
  if (!range) throw new Error(`${subnet} is no subnet`);
  return formatIp({ family: range.family, value: range.first + 1n });
}

export interface PayloadWords {
  id?: string;
  name?: string;
  data?: string | Buffer;
  labels?: Record<string, string>;
  /** Its data is a template. */
  templated?: boolean;
}

/** A secret or a config; three bytes unless said. */
export function aPayload(words: PayloadWords = {}): Payload {
  const ID = words.id ?? nextId('payload');
  return {
    ...meta(ID),
    Spec: {
      Name: words.name ?? ID,
      Labels: words.labels ?? {},
      Data: Buffer.from(words.data ?? 'abc').toString('base64'),
      ...(words.templated && { Templating: { Name: 'golang' } }),
    },
  };
}

export interface StoreWords {
  cluster?: Cluster;
  nodes?: readonly Node[];
  services?: readonly Service[];
  tasks?: readonly Task[];
  networks?: readonly Network[];
  secrets?: readonly Payload[];
  configs?: readonly Payload[];
}

/** A store that holds these objects, as of index 1. */
export function aStore(words: StoreWords = {}): Store {
  const store = new Store();
  const changes: StoreChange[] = [
    ...(words.cluster ? [{ op: 'create', table: 'cluster', object: words.cluster } as const] : []),
    ...(words.nodes ?? []).map((object) => ({ op: 'create', table: 'nodes', object }) as const),
    ...(words.networks ?? []).map((object) => ({ op: 'create', table: 'networks', object }) as const),
    ...(words.secrets ?? []).map((object) => ({ op: 'create', table: 'secrets', object }) as const),
    ...(words.configs ?? []).map((object) => ({ op: 'create', table: 'configs', object }) as const),
    ...(words.services ?? []).map((object) => ({ op: 'create', table: 'services', object }) as const),
    ...(words.tasks ?? []).map((object) => ({ op: 'create', table: 'tasks', object }) as const),
  ];
  const outcome = store.apply(1, { now: builtAt, changes });
  if (!outcome.ok) throw new Error(outcome.message);
  return store;
}
