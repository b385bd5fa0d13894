import type { Clock, Logger, NewId, Random } from '@swarmctl/shared/kit';
import type { NodeDescription, NodeRole, RuntimeName, TlsInfo } from '@swarmctl/shared/model';
import type { EngineWanted, Peer, TunnelView } from '@swarmctl/shared/wire';
import type { LogHistory } from '../logs/log-history.ts';
import type { NodeNetworks } from '../network/node-networks.ts';
import type { Ingress, Mesh } from '../network/types.ts';
import type { Runtime } from '../runtime/types.ts';
import type { PayloadStore } from '../secrets/payload-store.ts';
import type { TaskMounts } from '../secrets/task-mounts.ts';
import type { ImageRequests } from './image-requests.ts';
import type { Link } from './link.ts';
import type { Probe } from './probe.ts';

// What an agent is made of and with.

export interface AgentOptions {
  readonly nodeId: string;
  readonly hostname: string;
  /** How others reach this node's published ports. */
  readonly addr: string;
  /** The journal's file; its folder is made. */
  readonly journalPath: string;
  /** Asked of the managers by a clean stop: move nothing for so long. */
  readonly restartGraceMs?: number;
  readonly describeEveryMs?: number;
  /** Containers that are prepared at a time, most of which wait for a registry; 8. */
  readonly parallelPrepares?: number;
  /** Containers that are started at a time, which is work for the processor: beyond its cores they hinder each other; 3. */
  readonly parallelStarts?: number;
}

/** What the managers tell the daemon through its agent. */
export interface AgentHooks {
  managers?(managers: readonly Peer[]): void;
  role?(role: NodeRole): void;
  /** The node is not in the cluster any more. The agent has ended its link; its tasks still run until `purge`. */
  removed?(reason: string): void;
  certificate?(certificate: string, ca: string): void;
  /** The roots to trust, PEM, of the cluster's object of that revision; the last one signs. */
  roots?(ca: string, revision: number): void;
  /** A manager asks for a stream to this node's engine. */
  engineWanted?(wanted: EngineWanted): void;
  /** What the node says of its certificate; `redescribe` when it is another. */
  tlsInfo?(): TlsInfo | undefined;
  /** What it says of its ingress. */
  ingress?(): NodeDescription['Ingress'] | undefined;
  /** What the node says of its end of the mesh; `redescribe` when it is another. */
  mesh?(): NodeDescription['Mesh'] | undefined;
  /** What the node says of its end of the tunnels of encrypted networks; `redescribe` when it is another. */
  tunnel?(): NodeDescription['Tunnel'] | undefined;
  /** The containers on its attachable networks that no service made; `redescribe` when they are others. */
  guests?(): NodeDescription['Guests'] | undefined;
  /** What its overlay networks do not do as asked. */
  networkProblems?(): NodeDescription['NetworkProblems'] | undefined;
  /** What the managers say of the tunnels. It is in no journal. */
  tunnels?(view: TunnelView): void;
  /** `name=value` labels of the engine, as the daemon was given them. */
  engineLabels?(): Readonly<Record<string, string>>;
}

export interface AgentModules {
  /** By name; the first describes the machine. */
  readonly runtimes: ReadonlyMap<RuntimeName, Runtime>;
  readonly ingress: Ingress;
  /** Absent where there can be none. */
  readonly mesh?: Mesh;
  readonly networks?: NodeNetworks;
  /** Absent where tasks get no files of secrets and configs. */
  readonly mounts?: TaskMounts;
  /** Absent: logs go with their containers. */
  readonly history?: LogHistory;
  /** Where the secrets and configs go that this node is given; absent: nowhere else. */
  readonly payloads?: PayloadStore;
  /** Absent: the managers are asked for no images. */
  readonly images?: ImageRequests;
  readonly link: Link;
  readonly clock: Clock;
  readonly random: Random;
  readonly newId: NewId;
  readonly log: Logger;
  readonly probe?: Probe;
  readonly hooks?: AgentHooks;
}
