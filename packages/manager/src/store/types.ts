import type {
  Batch,
  Cluster,
  Network,
  Node,
  Objects,
  Payload,
  Service,
  StoreChange,
  StoreEvent,
  Table,
  Task,
} from '@swarmctl/shared/model';

// What the rest of the manager sees of the replicated state: a view to decide from, a way to propose, and events that say where to look.

/** A consistent, read-only view. Lists come in the order of the ids. Objects are frozen by contract: never change one. */
export interface View {
  /** The raft index that this view reflects. */
  readonly index: number;
  get<T extends Table>(table: T, id: string): Objects[T] | undefined;
  list<T extends Table>(table: T): readonly Objects[T][];
  /** Undefined before `init`. */
  cluster(): Cluster | undefined;
  serviceByName(name: string): Service | undefined;
  tasksOfService(serviceId: string): readonly Task[];
  tasksOfNode(nodeId: string): readonly Task[];
  tasksOfSlot(serviceId: string, slot: number): readonly Task[];
  nodesByHostname(hostname: string): readonly Node[];
  networkByName(name: string): Network | undefined;
  payloadByName(table: 'secrets' | 'configs', name: string): Payload | undefined;
  /** What of the network's addresses is written down somewhere; whether its holder still needs it is another matter. */
  addressesOf(networkId: string): HeldAddresses;
}

/** Who has an address: a task, a service as its virtual address, or a node as its own one. */
export interface AddressHolder {
  readonly kind: 'task' | 'service' | 'node';
  readonly id: string;
}

export interface HeldAddress {
  /** Without a prefix. */
  readonly address: string;
  readonly holders: readonly AddressHolder[];
}

export interface HeldAddresses {
  readonly size: number;
  get(address: string): HeldAddress | undefined;
  /** The same array as long as nothing changes. */
  values(): readonly HeldAddress[];
}

/**
 * A view with uncommitted changes laid over it, so that several deciders see each other's decisions within one pass.
 * `add` throws ClusterError as the store would refuse the change.
 */
export interface Overlay extends View {
  add(changes: readonly StoreChange[]): void;
  readonly changes: readonly StoreChange[];
}

/** Proposes one batch through raft; resolves when it is applied here. Rejects with ClusterError: `out-of-sequence`, `already-exists`, `not-found`, `no-leader`, `unavailable`. */
export interface Proposer {
  propose(changes: readonly StoreChange[]): Promise<{ readonly index: number }>;
}

export interface StoreWatch {
  /** Called synchronously after each applied batch, in order. Returns an unsubscriber. A restored snapshot comes as `reset`. */
  watch(listener: (events: readonly StoreEvent[] | 'reset', view: View) => void): () => void;
}

export type ApplyOutcome =
  | { readonly ok: true; readonly index: number; readonly events: readonly StoreEvent[] }
  | {
      readonly ok: false;
      readonly code: 'out-of-sequence' | 'already-exists' | 'not-found' | 'invalid-argument';
      readonly message: string;
    };

export type { Batch };
