import type { ProxyHealth, ProxyOptions } from '@swarmctl/shared/model';
import type { IngressEntry } from '@swarmctl/shared/wire';

// How a published port of the proxy behaves.

/** What an entry may ask for (see there), and what is settled for all ports. */
export interface ProxyPortOptions extends Required<Omit<ProxyOptions, 'balance' | 'health'>> {
  readonly clientAddress: NonNullable<IngressEntry['clientAddress']>;
  readonly balance: 'round-robin' | 'least-connections';
  /** Those that wait for a backend alone. */
  readonly mostPending: number;
  /** 0: never. */
  readonly idleMs: number;
  /** Absent: failures of real connections count alone. */
  readonly health?: ProxyHealth;
}

const defaults: ProxyPortOptions = {
  ...{ clientAddress: 'keep', balance: 'round-robin' },
  ...{ mostConnections: 16_384, mostPerClient: Number.POSITIVE_INFINITY, mostPending: 1_024 },
  ...{ connectMs: 3_000, idleMs: 0 },
};

/** UDP has no end: a client that was quiet for so long is forgotten. */
const udpDefaults: Partial<ProxyPortOptions> = { mostConnections: 4_096, idleMs: 30_000 };

/** `share`: of how many such proxies, which have what is not the entry's own limit by equal parts. */
export function portOptionsOf({ protocol, clientAddress, proxy }: IngressEntry, share = 1): ProxyPortOptions {
  const own = { ...defaults, ...(protocol === 'udp' && udpDefaults) };
  return {
    ...own,
    mostConnections: Math.ceil(own.mostConnections / share),
    mostPending: Math.ceil(own.mostPending / share),
    ...proxy,
    ...(clientAddress && { clientAddress }),
  };
}
