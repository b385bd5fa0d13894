import type {
  ClusterSpec,
  Driver,
  EndpointSpec,
  GenericResource,
  NetworkSpec,
  NodeSpec,
  Platform,
  PortConfig,
  Resources,
  ServiceSpec,
  TaskSpec,
} from './specs.ts';
import type { TaskState } from './task-state.ts';

// The objects of the replicated state: the Engine API's shapes, plus fields of our own that the API door leaves out (marked "ours").
// Objects are never changed in place. Each field has one writer, named beside it.

/** RFC 3339, UTC, as the API sends it. */
export type Timestamp = string;
export const toTimestamp = (ms: number): Timestamp => new Date(ms).toISOString();
export const fromTimestamp = (time: Timestamp): number => Date.parse(time);

/** `Version.Index` is the raft index of the last change; optimistic locking compares it. All four are set by the store. */
export interface Meta {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly CreatedAt: Timestamp;
  readonly UpdatedAt: Timestamp;
}

export interface TlsInfo {
  readonly TrustRoot?: string;
  readonly CertIssuerSubject?: string;
  readonly CertIssuerPublicKey?: string;
}

export interface NodeDescription {
  readonly Hostname: string;
  readonly Platform: Platform;
  readonly Resources: Resources;
  readonly Engine: {
    readonly EngineVersion?: string;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly Plugins?: readonly { readonly Type: string; readonly Name: string }[];
  };
  readonly TLSInfo?: TlsInfo;
  /** Ours: which runtimes the node's agent drives. */
  readonly Runtimes: readonly RuntimeName[];
  /** Ours: false when the engine does not answer; the node is then not ready for new tasks. */
  readonly RuntimeReady: boolean;
  /** Ours. */
  readonly Ingress?: {
    readonly Kind: 'nftables' | 'proxy' | 'off';
    /** What published ports do not do there as asked, e.g. whose clients are masqueraded; not all when they are many. */
    readonly Problems?: readonly string[];
  };
  /** Ours: the node's end of the mesh; absent where none was asked for. */
  readonly Mesh?: {
    /** The device is there and its probes are answered: traffic may be sent by it. */
    readonly up: boolean;
    /** Where the other nodes send the mesh's packets. */
    readonly dataPathAddr: string;
    /** Why it is not up. */
    readonly why?: string;
  };
  /** Ours: the node's end of the tunnels of encrypted networks; absent where there is no WireGuard. */
  readonly Tunnel?: {
    /** base64, public. */
    readonly key: string;
    /** Of the newest pre-shared key that the node was told of; 0: of none. */
    readonly generation: number;
    /** Where the other nodes send encrypted packets. */
    readonly dataPathAddr: string;
  };
  /** Ours: the containers on attachable networks that no service made; not all when they are very many. */
  readonly Guests?: readonly Guest[];
  /** Ours: what its overlay networks do not do there as asked; not all when they are many. */
  readonly NetworkProblems?: readonly string[];
}

/** A container on an attachable network that its user made, with the engine of its node. */
export interface Guest {
  readonly NetworkID: string;
  readonly ContainerID: string;
  readonly Name: string;
  /** It and its aliases, by which it is found on the network. */
  readonly Names: readonly string[];
  /** Of the node's block; without a prefix, at most one of each family. */
  readonly Addresses: readonly string[];
  /** Lower case, with colons. */
  readonly MAC: string;
}

export type RuntimeName = 'docker' | 'process';
export type NodeRole = 'worker' | 'manager';
export type NodeState = 'unknown' | 'down' | 'ready' | 'disconnected';

export interface Node extends Meta {
  /** Writer: the API (users), and the join (first version). */
  readonly Spec: NodeSpec & {
    readonly Role: NodeRole;
    readonly Availability: 'active' | 'pause' | 'drain';
    readonly Labels: Readonly<Record<string, string>>;
  };
  /** Writer: the dispatcher, from what the agent reports. */
  readonly Description?: NodeDescription;
  /** Writer: the dispatcher. `Addr` is the address that others reach the node's published ports at. */
  readonly Status: { readonly State: NodeState; readonly Message?: string; readonly Addr: string };
  /** Writer: the role manager. Present while the node is a raft member. `Leader` and `Reachability` are filled in at read. */
  readonly ManagerStatus?: { readonly RaftID: number; readonly Addr: string };
  /** Ours. Writer: the store: the Version.Index that Spec came with. */
  readonly SpecIndex?: number;
  /** Ours. Writer: the dispatcher: until when (ms) a clean stop is forgiven. */
  readonly RestartGraceUntil?: number;
  /** Ours. Writer: the dispatcher: since when (ms) the node is down. */
  readonly DownSince?: number;
  /**
   * Ours. Writer: the mesh allocator: the node's number in the mesh and the tunnels, from 1 to `maxMeshId`. It never changes, and is not given to another
   * node while a task of this one lives.
   */
  readonly MeshID?: number;
}

export const maxMeshId = 65_534;

export interface Endpoint {
  readonly Spec: EndpointSpec | Record<string, never>;
  readonly Ports?: readonly PortConfig[];
  readonly VirtualIPs?: readonly { readonly NetworkID: string; readonly Addr: string }[];
}

export type UpdateState =
  | 'updating'
  | 'paused'
  | 'completed'
  | 'rollback_started'
  | 'rollback_paused'
  | 'rollback_completed';

export interface UpdateStatus {
  readonly State: UpdateState;
  readonly StartedAt?: Timestamp;
  readonly CompletedAt?: Timestamp;
  readonly Message?: string;
}

export interface Service extends Meta {
  /** Writer: the API; the updater when it rolls back by itself. */
  readonly Spec: ServiceSpec & {
    readonly Name: string;
    readonly Labels: Readonly<Record<string, string>>;
    readonly TaskTemplate: TaskSpec;
  };
  readonly PreviousSpec?: Service['Spec'];
  /** Ours: changes whenever Spec does; tasks carry the one that they were made from. Chosen by the writer: a new id. */
  readonly SpecVersion: string;
  readonly PreviousSpecVersion?: string;
  /** Ours, and secret. Writer: as of Spec. What its images are pulled with, and were with PreviousSpec. */
  readonly PullAuth?: { readonly Spec?: PullAuth; readonly PreviousSpec?: PullAuth };
  /** Ours. Writer: the store: the Version.Index that Spec came with. */
  readonly SpecIndex?: number;
  /** Writer: the endpoint allocator. */
  readonly Endpoint: Endpoint;
  /** Writer: the updater; the API resets it with a new spec. */
  readonly UpdateStatus?: UpdateStatus;
  /** Ours. Writer: the updater: how far the latest update got, so that a new leader goes on with it. */
  readonly Update?: UpdateRun;
  /** Writer: the API, for jobs. */
  readonly JobStatus?: JobStatus;
}

/** Credentials of a registry, as the nodes get them that run tasks of the service. */
export interface PullAuth {
  /** Another whenever the content is. */
  readonly ID: string;
  /** A RegistryAuth as JSON. In no log line, answer or error, and on no disk but in the sealed log and snapshots. */
  readonly Data: string;
}

/** Which execution of a job this is, from 0, and when it was started: with each new spec (API 1.41). */
export interface JobStatus {
  readonly JobIteration: { readonly Index: number };
  readonly LastExecution: Timestamp;
}

/** One run of the updater: it belongs to the service's UpdateStatus as long as SpecVersion and StartedAt are the same. */
export interface UpdateRun {
  /** Tasks made while it runs carry it. */
  readonly ID: string;
  readonly SpecVersion: string;
  readonly StartedAt: Timestamp;
  /** Slots (nodes of a global service) that it set out to replace. */
  readonly Total: number;
  /** The task that failed and when (ms), by slot (node id of a global service). */
  readonly Failed: Readonly<Record<string, { readonly TaskID: string; readonly At: number }>>;
}

export type Protocol = 'tcp' | 'udp' | 'sctp';

/**
 * Where one target port of one running task is reached. The task's own node uses `localAddr:targetPort`, the others
 * `nodeAddr:nodePort`, a port published on the node for that task alone.
 */
export interface TaskEndpoint {
  readonly protocol: Protocol;
  readonly targetPort: number;
  readonly localAddr: string;
  /** The same for IPv6, where the task has such an address as well. */
  readonly localAddr6?: string;
  /** Where the task listens on `localAddr`; `targetPort` for containers, the assigned port for processes. */
  readonly localPort: number;
  readonly nodeAddr: string;
  readonly nodePort: number;
}

export interface TaskStatus {
  readonly Timestamp: Timestamp;
  readonly State: TaskState;
  readonly Message?: string;
  readonly Err?: string;
  readonly ContainerStatus?: { readonly ContainerID: string; readonly PID: number; readonly ExitCode: number };
  /** Host-mode ports as bound. */
  readonly PortStatus?: { readonly Ports?: readonly PortConfig[] };
  /** Ours: present once every ingress target port accepts connections (or at once with a healthcheck, UDP only, or the opt-out label). */
  readonly Endpoints?: readonly TaskEndpoint[];
  /** Ours: its agent has given it up. It runs still, and nobody is to be sent there. */
  readonly Withdrawn?: true;
}

export interface Task extends Meta {
  readonly Labels: Readonly<Record<string, string>>;
  readonly Spec: TaskSpec;
  readonly ServiceID: string;
  /** From 1, of a job from 0; absent for global tasks. */
  readonly Slot?: number;
  /** Of a job: the execution that it belongs to. */
  readonly JobIteration?: { readonly Index: number };
  /** Writer: the orchestrator (global), else the scheduler. */
  readonly NodeID?: string;
  /** Writer by state: see ownerOf. Never goes back. */
  readonly Status: TaskStatus;
  /** Writer: orchestrators, updater, restart supervisor. Never goes back. */
  readonly DesiredState: TaskState;
  /** Ours: the service's SpecVersion this was made from. */
  readonly SpecVersion: string;
  /** Ours: copied at creation, for containers' labels and templates. */
  readonly ServiceAnnotations: { readonly Name: string; readonly Labels: Readonly<Record<string, string>> };
  /** Ours: the service's ports as allocated (ingress and host). Writer: the task allocator, new -> pending. */
  readonly Ports?: readonly PortConfig[];
  /** Ours: the cluster's default log driver, where the spec names none. Writer: the task allocator, new -> pending. */
  readonly LogDriver?: Driver;
  /** Writer: the scheduler. What it got of the generic resources of its node; `GenericResources` where the API shows it. */
  readonly AssignedGenericResources?: readonly GenericResource[];
  /** Writer: the task allocator, new -> pending. Addresses as `10.0.1.5/24`. */
  readonly NetworksAttachments?: readonly NetworkAttachment[];
  /** Ours: the predecessor's restarts carried on, so that a new leader knows them. Times in ms. `rejected`: so many before this one in a row. */
  readonly Restarts?: { readonly count: number; readonly times: readonly number[]; readonly rejected?: number };
  /** Ours: desired `ready` becomes `running` at this time (ms): the restart delay. */
  readonly StartAt?: number;
  /** Ours: stop this task only when that one (start-first replacement) is up. */
  readonly ReplacedBy?: string;
  /** Ours. Writer: the restart supervisor: the restart policy lets no task follow this one. */
  readonly Final?: boolean;
  /** Ours: the update that was running when this task was made. */
  readonly UpdateID?: string;
  /** Ours. Writer: the updater: since when (ms) this task is seen up; its update's delay and monitor count from here. */
  readonly UpSince?: number;
}

export interface NetworkAttachment {
  readonly Network: { readonly ID: string };
  readonly Addresses: readonly string[];
  /** Ours: the network's spec, where the node's engine makes the network and gives the addresses. */
  readonly Local?: Network['Spec'];
}

export interface Network extends Meta {
  /** Writer: the API. */
  readonly Spec: NetworkSpec & { readonly Name: string; readonly Labels: Readonly<Record<string, string>> };
  /** Ours. Writer: the API. Who made it asked for this driver, or for none, which means it: it is shown so, and is an attachable overlay network. */
  readonly AskedDriver?: 'bridge';
  /** Ours. Writer: the network allocator; absent until it came by, and of networks that engines make. */
  readonly VNI?: number;
  /** Writer: the network allocator, from what the spec asks for; no configs until it came by. */
  readonly IPAM: { readonly Configs: readonly { readonly Subnet: string; readonly Gateway: string }[] };
  /** Ours. Writer: the gateway allocator: each node's own addresses on this network, by node id: one of each config, in their order, no prefix. */
  readonly Gateways: Readonly<Record<string, readonly string[]>>;
  /**
   * Ours. Writer: the gateway allocator, on attachable networks: the ranges that each node's engine gives addresses from, by node id: one of each
   * config, in their order. A node's gateways lie in them.
   */
  readonly Blocks?: Readonly<Record<string, readonly string[]>>;
}

/** A secret or a config. Writer: the API, which changes the labels alone. */
export interface Payload extends Meta {
  readonly Spec: {
    readonly Name: string;
    readonly Labels: Readonly<Record<string, string>>;
    /** base64, canonical. A secret's is in no log line, answer or error, and on no disk but in the sealed log and snapshots. */
    readonly Data: string;
    /** Present: the data is a template in this language. */
    readonly Templating?: Driver;
  };
}

/** A pre-shared key of the tunnels between the nodes. */
export interface TunnelKey {
  /** From 1. */
  readonly Generation: number;
  /** 32 bytes, base64. */
  readonly Key: string;
  /** ms since the epoch. */
  readonly MadeAt: number;
}

export interface TunnelKeys {
  readonly InUse: TunnelKey;
  /** Takes its place as soon as the nodes know of it. */
  readonly Next?: TunnelKey;
}

/** What takes the place of the cluster's root as soon as every node has a certificate of it. */
export interface RootRotation {
  /** PEM, each. */
  readonly Certificate: string;
  readonly Key: string;
  /** Its name and key, signed by the root that it replaces. */
  readonly CrossSigned: string;
}

/** Whom a certificate lets use the API over TCP. */
export interface ApiClient {
  /** Of the certificate, hexadecimal. */
  readonly Serial: string;
  readonly Name: string;
  /** ms since the epoch. */
  readonly IssuedAt: number;
  readonly ExpiresAt: number;
  /** It was taken back, and is refused. */
  readonly Revoked?: true;
}

export interface Cluster extends Meta {
  readonly Spec: ClusterSpec & { readonly Name: string; readonly Labels: Readonly<Record<string, string>> };
  readonly DefaultAddrPool: readonly string[];
  readonly SubnetSize: number;
  readonly DataPathPort: number;
  /** Ours, and secret: never in a log line, an inspect or an error. */
  readonly RootCA: {
    readonly Certificate: string;
    readonly Key: string;
    /** base36 SHA-256 of the certificate's DER, 50 characters; part of the tokens. */
    readonly Digest: string;
    readonly JoinTokens: { readonly Worker: string; readonly Manager: string };
    /** Writer: the API begins and replaces it, the root rotation controller ends it. */
    readonly Rotation?: RootRotation;
    /** The spec's `ForceRotate` that was followed last. */
    readonly LastForcedRotation?: number;
  };
  /** Ours, and secret as well. Writer: the tunnel key controller, and the API when asked for new ones. Present with the first encrypted network. */
  readonly TunnelKeys?: TunnelKeys;
  /** Ours, and secret: what the managers' disks are locked with; absent unless the cluster is locked (`EncryptionConfig.AutoLockManagers`). */
  readonly UnlockKey?: string;
  /** Ours: the network called ingress was taken away, and with it the publishing of ports. Writer: the API. */
  readonly NoIngress?: true;
  /** Ours: certificates of clients of the API over TCP that have not ended. Writer: the API. */
  readonly Clients?: readonly ApiClient[];
  /** Ours: raft ids that must never come back. */
  readonly RemovedRaftIDs: readonly number[];
}

export interface Objects {
  cluster: Cluster;
  nodes: Node;
  services: Service;
  tasks: Task;
  networks: Network;
  secrets: Payload;
  configs: Payload;
}
export type Table = keyof Objects;
export const tables = [
  'cluster',
  'nodes',
  'services',
  'tasks',
  'networks',
  'secrets',
  'configs',
] as const satisfies readonly Table[];
