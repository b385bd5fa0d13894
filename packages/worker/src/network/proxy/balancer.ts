import type { Clock } from '@swarmctl/shared/kit';
import type { Target } from '../plan.ts';

// Whose turn it is behind one published port: everybody's in turn or that of the least busy, and not of those that failed lately.

export interface ProxyBackend extends Target {
  readonly taskId: string;
}

/** How long a backend that failed is passed over: doubled by each failure in a row. */
const firstBackOffMs = 1_000;
const mostBackOffMs = 30_000;

/** A backend with what is known of it. The same as long as its task is behind the port at the same place. */
export class Backend implements ProxyBackend {
  readonly taskId: string;
  readonly addr: string;
  readonly port: number;
  /** Has not left. */
  isHere = true;
  /** Connections there, and on their way. */
  active = 0;
  /** In a row, of real connections. */
  failures = 0;
  /** Passed over until then. */
  until = 0;
  /** By active health. */
  isDown = false;

  constructor({ taskId, addr, port }: ProxyBackend) {
    this.taskId = taskId;
    this.addr = addr;
    this.port = port;
  }
}

export class Balancer {
  readonly #clock: Clock;
  #backends: readonly Backend[] = [];
  #draining: readonly Backend[] = [];
  /** Those that left while they had connections. */
  readonly #left = new Set<Backend>();
  #next = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get backends(): readonly Backend[] {
    return this.#backends;
  }

  /** The turn stays where it is, whoever comes or goes. Nothing new goes to those that are draining; what they have is theirs until they leave. */
  set(wanted: readonly ProxyBackend[], draining: readonly ProxyBackend[] = []): void {
    const before = this.#backends;
    const known = new Map([...before, ...this.#draining].map((backend) => [placeOf(backend), backend]));
    this.#backends = wanted.map((backend) => known.get(placeOf(backend)) ?? new Backend(backend));
    const now = new Set(this.#backends);
    this.#draining = draining.flatMap((backend) => known.get(placeOf(backend)) ?? []);
    const here = new Set([...now, ...this.#draining]);
    for (const backend of known.values()) {
      if (here.has(backend)) continue;
      backend.isHere = false;
      if (backend.active > 0) this.#left.add(backend);
    }
    const upcoming = [...before.slice(this.#next), ...before.slice(0, this.#next)].find((backend) => now.has(backend));
    this.#next = upcoming ? this.#backends.indexOf(upcoming) : 0;
  }

  /**
   * The backend to use now, with one connection more to its name; to be given back by `release`. Not one of `tried`. Those that failed
   * lately come after all others, the one that has waited longest first.
   */
  take(balance: 'round-robin' | 'least-connections', tried: readonly Backend[] = []): Backend | undefined {
    const count = this.#backends.length;
    const now = this.#clock.monotonic();
    let best: number | undefined;
    let last: Backend | undefined;
    for (let step = 0; step < count; step++) {
      const at = (this.#next + step) % count;
      const backend = this.#backends[at] as Backend;
      if (tried.includes(backend)) continue;
      if (backend.isDown || backend.until > now) {
        if (!last || backend.until < last.until) last = backend;
        continue;
      }
      if (best === undefined || backend.active < (this.#backends[best] as Backend).active) best = at;
      if (balance === 'round-robin') break;
    }
    const chosen = best === undefined ? last : this.#backends[best];
    if (!chosen) return undefined;
    if (best !== undefined) this.#next = (best + 1) % count;
    // The others wait for how it fares this time.
    if (chosen.failures > 0) chosen.until = now + backOffMs(chosen);
    chosen.active++;
    return chosen;
  }

  release(backend: Backend): void {
    if (--backend.active === 0) this.#left.delete(backend);
  }

  failed(backend: Backend): void {
    backend.failures++;
    backend.until = this.#clock.monotonic() + backOffMs(backend);
  }

  succeeded(backend: Backend): void {
    backend.failures = 0;
    backend.until = 0;
  }

  /** Open connections by task. */
  counts(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { taskId, active } of new Set([...this.#backends, ...this.#draining, ...this.#left]))
      if (active > 0) counts.set(taskId, (counts.get(taskId) ?? 0) + active);
    return counts;
  }
}

const backOffMs = ({ failures }: Backend): number => Math.min(mostBackOffMs, firstBackOffMs * 2 ** (failures - 1));

const placeOf = ({ taskId, addr, port }: ProxyBackend): string => `${taskId} ${addr} ${port}`;
