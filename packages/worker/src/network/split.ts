import type { TaskEndpoint } from '@swarmctl/shared/model';
import { type IngressEntry, isProxied } from '@swarmctl/shared/wire';
import type { Listener } from './listeners.ts';
import type { ProxyIngress } from './proxy/ingress.ts';
import type { ProxyPool } from './proxy/pool.ts';
import type { Ingress, MeshState } from './types.ts';

// The kernel's ingress with what it cannot do beside it: ports whose labels ask for the proxy are the proxy's on this node too, and a relay
// answers on the others for clients of IPv6 that the kernel leads nowhere: those of ::1, and all of them where no task has such an address.

export interface SplitParts {
  readonly kernel: Ingress;
  readonly proxy: Pick<ProxyPool, 'apply' | 'problems' | 'listening' | 'close'>;
  readonly relay: Pick<ProxyIngress, 'apply' | 'problems' | 'listening' | 'close'>;
}

type Table = ReadonlyMap<string, IngressEntry>;

export class SplitIngress implements Ingress {
  readonly kind = 'nftables';
  readonly parts: SplitParts;
  /** Ports that the proxy has, or is on its way to. */
  #proxied: Table = new Map();
  #latest: Promise<void> = Promise.resolve();
  #version = 0;

  constructor(parts: SplitParts) {
    this.parts = parts;
  }

  apply(entries: Table, mesh?: MeshState, own?: readonly TaskEndpoint[]): Promise<void> {
    this.#latest = this.#apply(++this.#version, entries, mesh, own);
    return this.#latest;
  }

  /**
   * The kernel's rules come before sockets, so a port that changes hands is open all the time when its sockets open before the rules go,
   * and close after they have come. The relay's make way for the proxy's.
   */
  async #apply(version: number, entries: Table, mesh?: MeshState, own?: readonly TaskEndpoint[]): Promise<void> {
    const { kernel, proxy, relay } = this.parts;
    const [proxied, plain] = [new Map<string, IngressEntry>(), new Map<string, IngressEntry>()];
    for (const [key, entry] of entries) (isProxied(entry) ? proxied : plain).set(key, entry);
    const leaving = [...this.#proxied].filter(([key]) => plain.has(key));
    const isNew = [...proxied.keys()].some((key) => !this.#proxied.has(key));
    this.#proxied = new Map([...leaving, ...proxied]);
    const staying = new Map([...plain].filter(([key]) => !this.#proxied.has(key)));
    if (isNew) await relay.apply(staying);
    const opened = proxy.apply(this.#proxied);
    if (isNew) await opened;
    if (version !== this.#version) return this.#latest;
    await Promise.all([opened, kernel.apply(plain, mesh, own), relay.apply(staying)]);
    if (version !== this.#version) return this.#latest;
    if (leaving.length === 0) return;
    this.#proxied = proxied;
    await proxy.apply(proxied);
    if (version === this.#version) await relay.apply(plain);
  }

  problems(): ReadonlyMap<string, string> {
    const { kernel, proxy, relay } = this.parts;
    const all = new Map(relay.problems());
    for (const [key, problem] of [...proxy.problems(), ...kernel.problems()]) all.set(key, problem);
    return all;
  }

  async close(options?: { readonly keep?: boolean }): Promise<void> {
    const { kernel, proxy, relay } = this.parts;
    await Promise.all([kernel.close(options), proxy.close(), relay.close()]);
  }
}

/** Those of other programs, since nobody else has a socket where we listen. */
export function notOurs(all: readonly Listener[], ours: readonly Listener[]): Listener[] {
  const name = ({ protocol, addr, port }: Listener) => `${protocol} ${addr} ${port}`;
  const known = new Set(ours.map(name));
  return all.filter((one) => !known.has(name(one)));
}
