import type { IngressEntry } from '@swarmctl/shared/wire';

// How a published port of the proxy behaves.

export interface ProxyPortOptions {
  readonly clientAddress: NonNullable<IngressEntry['clientAddress']>;
  readonly balance: 'round-robin' | 'least-connections';
  /** Open at a time, and those that wait for a backend. What is beyond a limit is refused at once. For UDP: clients heard of lately. */
  readonly mostConnections: number;
  readonly mostPerClient: number;
  /** Those that wait for a backend alone. */
  readonly mostPending: number;
  /** A backend that does not take a connection within it is passed over. */
  readonly connectMs: number;
  /** Connections without any data for so long are ended; 0: never. */
  readonly idleMs: number;
  /** Active health: backends are connected to in turns. Absent: none, failures of real connections count alone. */
  readonly health?: ProxyHealthOptions;
}

export interface ProxyHealthOptions {
  readonly everyMs: number;
  readonly timeoutMs: number;
  /** Failures in a row until a backend is passed over, successes in a row until it is back. */
  readonly fall: number;
  readonly rise: number;
}

const defaults: ProxyPortOptions = {
  ...{ clientAddress: 'keep', balance: 'round-robin' },
  ...{ mostConnections: 16_384, mostPerClient: Number.POSITIVE_INFINITY, mostPending: 1_024 },
  ...{ connectMs: 3_000, idleMs: 0 },
};

/** UDP has no end: a client that was quiet for so long is forgotten. */
const udpDefaults: Partial<ProxyPortOptions> = { mostConnections: 4_096, idleMs: 30_000 };

/** What is chosen for an entry, where it says nothing itself. */
export type ChoosePortOptions = (entry: IngressEntry) => Partial<ProxyPortOptions>;

export function portOptionsOf(entry: IngressEntry, choose?: ChoosePortOptions): ProxyPortOptions {
  const { clientAddress } = entry;
  return {
    ...defaults,
    ...(entry.protocol === 'udp' && udpDefaults),
    ...choose?.(entry),
    ...(clientAddress && { clientAddress }),
  };
}
