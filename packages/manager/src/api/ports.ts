import type { Duplex } from 'node:stream';
import type { InitRequest, JoinRequest, Network, Node, Service, StoreChange } from '@swarmctl/shared/model';
import type { LogEntry, LogNote, LogWish, Peer } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';
import type { EventJournal } from './events/journal.ts';

// What the API door needs of the node it stands on, and of the manager when one runs there.

/** What a container that no service asks for wants of its node. */
export interface HandMade {
  /** As of services: `node.hostname==one`. */
  readonly constraints: readonly string[];
  readonly logDriver?: string | undefined;
  readonly volumeDriver?: string | undefined;
  /** Containers by hand that run on a node already; tasks are counted in the view. */
  readonly others: (nodeId: string) => number;
  /** Other nodes do not come into question. */
  readonly among: (nodeId: string) => boolean;
}

export interface ManagerAccess {
  isLeader(): boolean;
  leader(): Peer | undefined;
  view(): View;
  /** Resolves once the local view reflects everything committed before the call; rejects `no-leader`. */
  readIndex(): Promise<void>;
  /** Leader only. */
  propose(changes: readonly StoreChange[]): Promise<{ readonly index: number }>;
  /** What raft says of a manager: does it lead, was it heard of. */
  raftStatus(nodeId: string): { readonly leader: boolean; readonly reachable: boolean };
  /** The message to refuse a spec with when one of its ports is taken; `selfId` is the service being updated. */
  portConflict(view: View, spec: Service['Spec'], selfId?: string): string | undefined;
  /** The message to refuse a network with whose subnets or number cannot be had. */
  networkConflict(view: View, spec: Network['Spec']): string | undefined;
  /** What its maker should know of a network that can be had. */
  networkWarning(view: View, network: Pick<Network, 'Spec' | 'AskedDriver'>): string | undefined;
  /** Leader only. Followed, a service's later tasks are among them; it ends when there can be no more lines, and throws when this manager leads no more. */
  logs(wish: LogWish, signal: AbortSignal): AsyncIterable<LogEntry | LogNote>;
  /** What happened lately, on any manager. */
  events(): EventJournal;
  /** Leader only: an authenticated stream to a node's engine door, which speaks HTTP. Rejects `unavailable` when the node is away. */
  openEngine(nodeId: string): Promise<Duplex>;
  /** Leader only: it leads since so short a time that the node may be there and has not come to it yet. */
  isAwaited(nodeId: string): boolean;
  /** Nodes that may have a container made by hand, the best first; if there is none, why. */
  nodesForHandMade(view: View, wish: HandMade): { readonly nodes: readonly Node[]; readonly why: string };
  /** An authenticated stream to the leader's API; `here` when this manager turns out to lead. */
  dialLeader(signal: AbortSignal): Promise<Duplex | 'here'>;
}

export interface NodeInfo {
  readonly nodeId: string;
  readonly addr: string;
  readonly hostname: string;
  readonly error: string;
  readonly managers: readonly Peer[];
  readonly runtime: string;
  readonly runtimeReady: boolean;
  readonly engineVersion: string;
  readonly ingress: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly architecture: string;
  readonly kernel: string;
  readonly operatingSystem: string;
  readonly labels: readonly string[];
  readonly dataDir: string;
}

/** What an engine says of itself in `GET /info`. */
export type EngineFacts = Readonly<Record<string, unknown>>;

export type LocalState = 'inactive' | 'pending' | 'active' | 'error' | 'locked';

export interface LocalAccess {
  state(): LocalState;
  manager(): ManagerAccess | undefined;
  info(): NodeInfo;
  /** Of this node's engine; undefined when it does not answer at once, or there is none. Never rejects. */
  engineFacts(): Promise<EngineFacts | undefined>;
  /** Resolves with the node's id. */
  init(request: InitRequest): Promise<string>;
  join(request: JoinRequest): Promise<void>;
  leave(force: boolean): Promise<void>;
  /** Of a locked manager, which then goes on. Rejects `invalid-argument` for another key, `conflict` when it is not locked. */
  unlock(key: string): Promise<void>;
}
