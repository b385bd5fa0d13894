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

/** Nothing of it depends on what other processes have. */
export function isShareable({ protocol, proxy = {} }: IngressEntry): boolean {
  const { balance, mostConnections, mostPerClient, health } = proxy;
  return protocol === 'tcp' && !balance && !mostConnections && !mostPerClient && !health;
}

/** `share`: of how many such proxies that have equal parts of what can be shared. */
export function portOptionsOf(entry: IngressEntry, share = 1): ProxyPortOptions {
  const { protocol, clientAddress, proxy } = entry;
  const own = { ...defaults, ...(protocol === 'udp' && udpDefaults) };
  const partOf = (most: number) => (isShareable(entry) ? Math.ceil(most / share) : most);
  return {
    ...own,
    mostConnections: partOf(own.mostConnections),
    mostPending: partOf(own.mostPending),
    ...proxy,
    ...(clientAddress && { clientAddress }),
  };
}
