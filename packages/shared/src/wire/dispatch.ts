import type {
  ClientAddress,
  HttpOptions,
  NodeDescription,
  NodeRole,
  PayloadKind,
  PortConfig,
  Protocol,
  ProxyOptions,
  Task,
  TaskEndpoint,
  TaskStatus,
  UnixTime,
} from '../model/index.ts';
import type { EngineWanted } from './engine.ts';

export type { ClientAddress, HttpOptions, ProxyOptions };

// The worker link: messages between an agent and the dispatcher of the leading manager, over whatever carries frames (`Link`).

/** A manager as nodes know it. */
export interface Peer {
  readonly nodeId: string;
  readonly addr: string;
}

export interface StatusUpdate {
  readonly taskId: string;
  readonly status: TaskStatus;
}

/** `protocol/publishedPort`, with `@address` for a port that answers on that address alone, with `#service` for a share of a port of HTTP. */
export const ingressKey = (protocol: Protocol, publishedPort: number, address?: string, service?: string): string =>
  `${protocol}/${publishedPort}${address === undefined ? '' : `@${address}`}${service === undefined ? '' : `#${service}`}`;

/**
 * One published port with everything behind it. `key` is its `ingressKey`; a port on several addresses is several entries, and so is a port of
 * HTTP that several services share, each with `http` and a key of its own.
 */
export interface IngressEntry {
  readonly key: string;
  readonly serviceId: string;
  readonly serviceName: string;
  readonly protocol: Protocol;
  readonly publishedPort: number;
  readonly targetPort: number;
  /** Answers on this address alone, in canonical form; absent: on every address that the node's ingress has. */
  readonly address?: string;
  /** Ranges (canonical, both families) whose clients are let in; to others the port does not exist. Absent: everybody. */
  readonly allow?: readonly string[];
  /** Absent: `keep`. */
  readonly clientAddress?: ClientAddress;
  /** Absent: nothing is asked of the proxy. */
  readonly proxy?: ProxyOptions;
  /** Requests are passed on, not connections: those to these hosts and paths. */
  readonly http?: HttpOptions;
  /** In a stable order (by task id), so that an unchanged set is an unchanged rule. */
  readonly backends: readonly IngressBackend[];
  /** UDP: tasks that are to stop and serve still. Nothing new is sent to them; flows that lead to them go on until they leave this list. */
  readonly draining?: readonly IngressBackend[];
}

/** The proxy answers it on every node, since the kernel cannot do what is asked. */
export const isProxied = ({ clientAddress, proxy }: Pick<IngressEntry, 'clientAddress' | 'proxy'>): boolean =>
  proxy !== undefined || clientAddress === 'proxy-v1' || clientAddress === 'proxy-v2';

export interface IngressBackend extends TaskEndpoint {
  readonly taskId: string;
  readonly nodeId: string;
}

/** One node of the mesh. */
export interface MeshPeer {
  readonly nodeId: string;
  readonly meshId: number;
  /** Where its mesh's packets go: its data path address. */
  readonly addr: string;
  /** What it is known by otherwise, where that is another address. */
  readonly nodeAddr?: string;
  /** Its end is up, by its own word. */
  readonly up: boolean;
}

/** The mesh as one node needs it. */
export interface MeshView {
  /** This node's mesh id. */
  readonly self: number;
  readonly vni: number;
  /** UDP. */
  readonly port: number;
  /** A peer's mesh addresses are the pools' first plus its mesh id. */
  readonly pool4: string;
  readonly pool6: string;
  /** All other nodes that have a mesh id, by it. */
  readonly peers: readonly MeshPeer[];
}

/** One node at the other end of a tunnel. */
export interface TunnelPeer {
  readonly nodeId: string;
  /** Inside of the tunnels. */
  readonly addr: string;
  /** Where its encrypted packets go: its data path address. */
  readonly nodeAddr: string;
  /** WireGuard's, base64, public. */
  readonly key: string;
}

/** The tunnels of encrypted networks as one node needs them. Secret by its `psk`: in no journal, no log line, no error. */
export interface TunnelView {
  /** This node's own address inside. */
  readonly addr: string;
  /** Of all inside addresses. */
  readonly pool: string;
  /** UDP, of the encrypted packets. */
  readonly port: number;
  /** What all peers share, base64. */
  readonly psk: string;
  /** Of the newest pre-shared key, which may not be in use yet: to be said in the node's description, so that the managers know who is in touch. */
  readonly generation: number;
  /** All other nodes that have WireGuard. */
  readonly peers: readonly TunnelPeer[];
}

/** An overlay network as one node needs it that has tasks on it, or may have guests. */
export interface NetworkView {
  readonly id: string;
  readonly name: string;
  readonly vni: number;
  /** UDP; the cluster's data path port. */
  readonly port: number;
  readonly encrypted: boolean;
  readonly internal: boolean;
  /** Containers made by hand may be on it. */
  readonly attachable?: true;
  /** Bytes; packets are no larger though the ways would leave more. */
  readonly mtu?: number;
  /** `gateway` is this node's own address there; `block` what its engine gives such containers, where it has one. */
  readonly subnets: readonly { readonly subnet: string; readonly gateway: string; readonly block?: string }[];
  /** Tasks, guests and gateways on other nodes; `nodeAddr` is inside of the tunnels where the network is encrypted. */
  readonly far: readonly { readonly addr: string; readonly mac: string; readonly nodeAddr: string }[];
  /** What can be asked for by name, and who serves it. */
  readonly names: readonly NetworkName[];
}

export interface NetworkName {
  readonly name: string;
  /** Absent: the tasks' addresses are the answer. */
  readonly vip?: string;
  /** `taskId` of a guest: its container's. */
  readonly tasks: readonly { readonly taskId: string; readonly slot?: number; readonly addr: string }[];
}

/** A service's credentials at its registry come as payloads do; their name is the service's id, their data a RegistryAuth as JSON. */
export type NodePayloadKind = PayloadKind | 'registry-auth';

/** A secret or a config as the nodes get it that use it. It stays in their memory. */
export interface NodePayload {
  readonly kind: NodePayloadKind;
  readonly id: string;
  readonly name: string;
  /** Which name its versions share, and the number of this one. */
  readonly version: { readonly base: string; readonly number: number };
  readonly data: Uint8Array;
  /** The data is a Go-style template. */
  readonly templated: boolean;
}

/** A piece of one, so that on a slow line something else gets through between them. All but `data` is the whole's. */
export interface PayloadPart extends NodePayload {
  /** Where the piece begins; 0 begins anew. Bytes. */
  readonly at: number;
  /** Of the whole, bytes. */
  readonly size: number;
}

export interface LogOptions {
  readonly follow: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Lines from the end, per task; undefined: all. */
  readonly tail?: number;
  /** With it, and of that moment, too. */
  readonly since?: UnixTime;
  readonly until?: UnixTime;
  /** What the log driver notes with each line. */
  readonly details?: boolean;
}

/** `logs` messages of one subscription that may be under way, unanswered by `logs-ack`, and how large each may be. */
export const logsWindow = 8;
export const logsChunkBytes = 64 * 1024;

export interface LogLine {
  readonly taskId: string;
  readonly stream: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds. */
  readonly time: string;
  /** With `details`, and if there are any: what the log driver noted, `name=value,…` in the order of names, each escaped as in a URL's query. */
  readonly attrs?: string;
  /** Without its newline; a terminal's ends with `\r`. */
  readonly line: Uint8Array;
}

export type AgentMessage =
  | {
      readonly type: 'hello';
      readonly protocol: 1;
      /** Changes with each start of the daemon. */
      readonly instance: string;
      /** How others reach this node's published ports. */
      readonly addr: string;
      readonly description: NodeDescription;
      /** Latest status of every task that the agent knows. */
      readonly statuses: readonly StatusUpdate[];
      /** Ingress revision that the node has applied; 0 at first. */
      readonly revision: number;
    }
  | { readonly type: 'heartbeat'; readonly revision: number }
  /** The ingress table, mesh and networks up to `revision` are in force on this node. Sent at once. */
  | { readonly type: 'applied'; readonly revision: number }
  | { readonly type: 'status'; readonly sequence: number; readonly updates: readonly StatusUpdate[] }
  | { readonly type: 'describe'; readonly description: NodeDescription; readonly addr: string }
  | { readonly type: 'logs'; readonly subscription: string; readonly lines: readonly LogLine[] }
  | { readonly type: 'logs-end'; readonly subscription: string; readonly error?: string }
  | { readonly type: 'renew'; readonly csr: string }
  /** No registry gives the image of this task of the node's. Only to a manager that gives images; answered by `image-given`. */
  | { readonly type: 'image-wanted'; readonly taskId: string }
  /** A clean stop: the node will be back; move nothing for `graceMs`. Answered by `goodbye-ack`. */
  | { readonly type: 'goodbye'; readonly graceMs: number };

export type ManagerMessage =
  | {
      readonly type: 'welcome';
      readonly session: string;
      readonly heartbeatMs: number;
      readonly nodeRole: NodeRole;
      /** It may be asked for images. */
      readonly givesImages?: true;
    }
  /** Not the leader: try there. Followed by the end of the stream. */
  | { readonly type: 'redirect'; readonly leader?: Peer; readonly managers: readonly Peer[] }
  /**
   * What the node should run and route. `full` replaces everything; the first after `welcome` always is. `revision` is the
   * store index that this brings the node to. A task's DesiredState is the one that the agent may act on now: `shutdown`
   * is held back until every ready node routes past the task, or 5 s.
   */
  | {
      readonly type: 'update';
      readonly full: boolean;
      readonly revision: number;
      readonly tasks: readonly Task[];
      /** Tasks to forget: stop if running, remove the container and its files. */
      readonly removedTasks: readonly string[];
      readonly ingress: readonly IngressEntry[];
      readonly removedIngress: readonly string[];
      /** Whole whenever it changed; absent: as it was (in a full update: there is none). */
      readonly mesh?: MeshView;
      /** Whole whenever it changed; absent: as it was. */
      readonly tunnel?: TunnelView;
      /** Those that changed, each whole; absent: none did. */
      readonly networks?: readonly NetworkView[];
      /** Ids of networks that this node has no part in any more. */
      readonly removedNetworks?: readonly string[];
      /** Ids of the payloads that this node is to have, all of them came before; absent: as they were (in a full update: none). */
      readonly payloads?: readonly string[];
    }
  /** Content of secrets and configs, ahead of the update that tells of who uses them. */
  | { readonly type: 'payloads'; readonly parts: readonly PayloadPart[] }
  | { readonly type: 'status-ack'; readonly sequence: number }
  /** From now on; the agent beats at once. */
  | { readonly type: 'heartbeat-period'; readonly heartbeatMs: number }
  /** Answers each heartbeat, so that an agent notices a manager that has gone without a word. */
  | { readonly type: 'heartbeat-ack' }
  | { readonly type: 'managers'; readonly managers: readonly Peer[] }
  | EngineWanted
  /** The role that the state gives this node; the daemon renews its certificate and starts or stops its manager. */
  | { readonly type: 'role'; readonly role: NodeRole }
  /**
   * The roots to trust, PEM, of the cluster's object of that revision; the last one signs. A node whose certificate is not of that one has it renewed.
   * First after `welcome`, then whenever they change; while nodes are to renew, some get it at a time.
   */
  | { readonly type: 'roots'; readonly ca: string; readonly revision: number }
  | {
      readonly type: 'logs-subscribe';
      readonly subscription: string;
      readonly taskIds: readonly string[];
      readonly options: LogOptions;
    }
  | { readonly type: 'logs-unsubscribe'; readonly subscription: string }
  /** So many `logs` messages were passed on: the agent may send as many more. */
  | { readonly type: 'logs-ack'; readonly subscription: string; readonly count: number }
  | { readonly type: 'certificate'; readonly certificate: string; readonly ca: string }
  /** The node's engine has the task's image now, or why the managers could not give it. */
  | { readonly type: 'image-given'; readonly taskId: string; readonly problem?: string }
  | { readonly type: 'goodbye-ack' }
  /** The node is no longer in the cluster. Followed by the end of the stream. */
  | { readonly type: 'removed'; readonly reason: string }
  | { readonly type: 'error'; readonly code: string; readonly message: string };

/** Host-mode ports of a task, as the runtime must bind them. */
export const hostPorts = (task: Task): readonly PortConfig[] =>
  (task.Ports ?? []).filter((port) => port.PublishMode === 'host');
export const ingressPorts = (task: Task): readonly PortConfig[] =>
  (task.Ports ?? []).filter((port) => port.PublishMode !== 'host');
