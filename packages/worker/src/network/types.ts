import type { IngressEntry } from '@swarmctl/shared/wire';

// The ingress of one node: takes the wanted table, makes it true, says what it reached.

export interface Ingress {
  readonly kind: 'nftables' | 'proxy' | 'off';
  /**
   * Makes `entries` (the whole wanted table, by key) true; later calls replace earlier ones, calls are coalesced. Resolves when this or a
   * newer table is in force for new connections. A port that cannot be bound is reported by `problems`, not thrown.
   */
  apply(entries: ReadonlyMap<string, IngressEntry>): Promise<void>;
  /** Per key, why a port does not answer here (e.g. taken by another program). */
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
