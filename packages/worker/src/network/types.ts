import type { Task, TaskEndpoint } from '@swarmctl/shared/model';
import type { IngressEntry, MeshView, NetworkView } from '@swarmctl/shared/wire';

// The network of one node, in parts that know of each other only what stands here: the ingress, the mesh between the nodes, overlay
// networks, the resolver of names, virtual addresses. Each takes what is wanted, makes it true, says what it reached.

export interface Ingress {
  readonly kind: 'nftables' | 'proxy' | 'off';
  /**
   * Makes `entries` (the whole wanted table, by key) true; later calls replace earlier ones, calls are coalesced. Resolves when this or a
   * newer table is in force for new connections. A port that cannot be bound is reported by `problems`, not thrown. Without a mesh, other
   * nodes' tasks are reached by the ports that those nodes publish for them, masqueraded. `own`: of all tasks here; what comes for one by the
   * mesh is let in whether the table has it or not, since other nodes' tables are a moment earlier or later.
   */
  apply(entries: ReadonlyMap<string, IngressEntry>, mesh?: MeshState, own?: readonly TaskEndpoint[]): Promise<void>;
  /** Per key, what a port does not do here as asked (e.g. taken by another program; the clients of a family are masqueraded). */
  problems(): ReadonlyMap<string, string>;
  /**
   * Removes every trace. With `keep`, what the kernel does by itself goes on without this daemon (nftables alone): the next one takes it
   * over without a gap. Idempotent.
   */
  close(options?: { readonly keep?: boolean }): Promise<void>;
}

export interface IngressOptions {
  readonly nodeId: string;
  /** Addresses that published ports answer on; empty: every local address (a loopback advertise address means only itself). */
  readonly ingressAddrs: readonly string[];
  readonly advertiseAddr: string;
}

/** How packets to another node's tasks travel, best first. `masquerade` goes to the node's own published port, and always works. */
export interface Way {
  readonly kind: 'direct' | 'mesh' | 'masquerade';
  /** Where the node is reached so; port: the endpoint's `nodePort`. */
  readonly v4: string;
  /** Absent: IPv6 clients cannot go this way. */
  readonly v6?: string;
}

/** The part of a mark that says whose it is; the rest is the peer's mesh id. */
export const meshMarkMask = 0xffff_0000;

/** What is true of the mesh now. Never changed in place. */
export interface MeshState {
  readonly device: string;
  /** This node's mesh id. */
  readonly self: number;
  /** This node's own mesh addresses: what other nodes send to, and nobody else may. */
  readonly addresses: { readonly v4: string; readonly v6: string };
  /** Upper 16 bits of the marks of connections that came by the mesh; to be tested under `meshMarkMask`. */
  readonly mark: number;
  /** Never undefined. */
  wayTo(nodeId: string): Way;
  /** By the source MAC of a frame from a peer (lower case, colons): the mark that leads the answers back to it. */
  readonly marks: ReadonlyMap<string, number>;
  /** Data path addresses of the peers: nobody else's mesh packets are taken. */
  readonly senders: readonly string[];
  /** Each node's address and its mesh address, of one family: a node must not see its own address come from the mesh. */
  readonly own: readonly { readonly node: string; readonly mesh: string }[];
  /** Of the device; what comes in must be clamped to it. */
  readonly mtu?: number;
  /** Its packets outside, by UDP. */
  readonly vxlan?: { readonly vni: number; readonly port: number };
  /** Families whose packets from the mesh are routed by the main table, whatever their mark. */
  readonly routedByMain?: readonly (4 | 6)[];
  /** Nodes that stopped answering, also beside the mesh. The agent leaves their tasks out of what it applies wherever others serve. */
  readonly gone?: ReadonlySet<string>;
}

export interface Mesh {
  /** Later calls replace earlier ones. Resolves with what is true once this or a newer view is in force. */
  apply(view: MeshView): Promise<MeshState>;
  /** Undefined before the first `apply` and where there can be no mesh. */
  state(): MeshState | undefined;
  /** A peer's way changed without a new view. Returns an unsubscriber. */
  onChange(listener: (state: MeshState) => void): () => void;
  /** What does not work and what may be the cause, a sentence each. */
  problems(): readonly string[];
  /** Removes every trace; with `keep`, it goes on without this daemon until the next one takes it over. Idempotent. */
  close(options?: { readonly keep?: boolean }): Promise<void>;
}

export interface MeshOptions {
  readonly nodeId: string;
  /** Where other nodes send the mesh's packets to, and where they come from. */
  readonly dataPathAddr: string;
  /** Upper 16 bits of the marks that are used. */
  readonly mark: number;
}

/** What the engine is told of a container's networks when it is made. */
export interface EngineEndpoints {
  /** By the engine's name of the network, as in `NetworkingConfig.EndpointsConfig`. */
  readonly networks: Readonly<
    Record<
      string,
      {
        readonly IPAMConfig?: { readonly IPv4Address?: string; readonly IPv6Address?: string };
        readonly MacAddress?: string;
        readonly Aliases?: string[];
        readonly DriverOpts?: Record<string, string>;
      }
    >
  >;
  /** The resolvers of those networks, as in `HostConfig.Dns`; empty: those of the task. */
  readonly dns: readonly string[];
}

export interface Overlay {
  /** The whole wanted set, by network id. Resolves when it is in force; later calls replace earlier ones. */
  apply(views: ReadonlyMap<string, NetworkView>): Promise<void>;
  /** The task's networks are there when this resolves. Rejects with ClusterError when one cannot be had. */
  attach(task: Task): Promise<EngineEndpoints>;
  /** Its container is gone. */
  detached(taskId: string): void;
  close(): Promise<void>;
}

export interface Resolver {
  /** Answers by these from now on. */
  set(views: ReadonlyMap<string, NetworkView>): void;
  /** Answers for the network at `addr`, its gateway on this node, UDP and TCP 53. */
  listen(networkId: string, addr: string): Promise<void>;
  close(): Promise<void>;
}

export interface Vip {
  /** The container runs; resolves when its virtual addresses work. */
  started(taskId: string, pid: number, networks: readonly string[]): Promise<void>;
  apply(views: ReadonlyMap<string, NetworkView>): Promise<void>;
}
