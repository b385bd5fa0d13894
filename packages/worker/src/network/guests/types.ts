// What of a node's engine is needed to have its users' own containers on the cluster's networks.

/** A container that runs and is no task. */
export interface EngineGuest {
  readonly containerId: string;
  readonly name: string;
  /** Of its first process; another one after it was started anew. */
  readonly pid: number;
  /** Resolvers that its user chose; none: those of the machine. */
  readonly nameservers: readonly string[];
  /** Where it is on a network that was asked for. */
  readonly networks: readonly {
    readonly bridge: string;
    /** At most one of each family; canonical. */
    readonly addresses: readonly string[];
    readonly mac: string;
    /** Its own and its aliases. */
    readonly names: readonly string[];
    /** What it alone calls others, in lower case, and their names. */
    readonly links: readonly (readonly [alias: string, name: string])[];
  }[];
  /** It is on other networks as well, whose names are the engine's to answer. */
  readonly isElsewhere: boolean;
}

export interface GuestEngine {
  /** All on the node's networks on these bridges. Rejects with what the engine says. */
  list(bridges: ReadonlySet<string>): Promise<readonly EngineGuest[]>;
  /**
   * Tells when the list may be another, also after it may have missed that, and of each network that the engine has no more, by the engine's name
   * of it; until the signal aborts. Never rejects.
   */
  follow(tell: { changed(): void; lost(network: string): void }, signal: AbortSignal): Promise<void>;
}
