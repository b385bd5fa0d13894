import type { Clock, Logger, Timer } from '@swarmctl/shared/kit';
import { type RunCommand, runCommand } from './command.ts';
import { canonical, Looker } from './mesh/look.ts';
import { PathSearch, type Probe } from './path-mtu-search.ts';

// How large packets may be between this node and others, for all that wraps packets in packets: what the kernel knows (the first link, routes,
// what routers said), and where the mesh leads there, what is found by trying.

export interface PathMtuModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly run?: RunCommand;
}

/** Sends one packet that nobody on the way may cut. Its answer is told by `answered`. */
export type SendProbe = (addr: string, probe: Probe) => void;

interface Followed {
  readonly search: PathSearch;
  nextAt: number;
  isSettling: boolean;
}

/** What the kernel said holds so long. */
const freshMs = 1_000;
const plainMtu = 1_500;
const mostMtu = 65_535;

export class PathMtus {
  readonly #local: string;
  readonly #modules: PathMtuModules;
  readonly #looker: Looker;
  readonly #caps = new Map<string, number>();
  readonly #askedAt = new Map<string, number>();
  /** By trying. */
  readonly #found = new Map<string, number>();
  readonly #followed = new Map<string, Followed>();
  readonly #listeners = new Set<() => void>();
  #send: SendProbe = () => undefined;
  #timer: Timer | undefined;
  #own: number | undefined;
  #isClosed = false;

  /** `local`: where this node's packets to others come from. */
  constructor(local: string, modules: PathMtuModules) {
    this.#local = canonical(local);
    this.#modules = modules;
    this.#looker = new Looker(modules.run ?? runCommand);
  }

  /** The largest packet in bytes, IP header included, that gets to each of `addrs` whole, as far as is known. Rejects without `ip`. */
  async least(addrs: readonly string[]): Promise<number> {
    const all = [...new Set(addrs.map(canonical))];
    const now = this.#modules.clock.monotonic();
    const isStale = (key: string) => now - (this.#askedAt.get(key) ?? Number.NEGATIVE_INFINITY) >= freshMs;
    if ([...all, this.#local].some(isStale)) await this.#ask(all.filter(isStale));
    const known = [this.#own, ...all.flatMap((addr) => [this.#caps.get(addr), this.#found.get(addr)])];
    const least = Math.min(...known.filter((mtu) => mtu !== undefined));
    return Number.isFinite(least) ? Math.min(least, mostMtu) : plainMtu;
  }

  /** The ways to all of `addrs` were tried: `least` is what gets through, not what is hoped for. */
  isProven(addrs: readonly string[]): boolean {
    return addrs.every((addr) => this.#found.has(canonical(addr)));
  }

  /** Tries the ways to these from now on, by `send`; later calls replace earlier ones. */
  follow(addrs: readonly string[], send: SendProbe): void {
    if (this.#isClosed) return;
    this.#send = send;
    const all = new Set(addrs.map(canonical));
    // What was found of a node that is away holds until it is back.
    for (const addr of this.#followed.keys()) if (!all.has(addr)) this.#followed.delete(addr);
    for (const addr of all) {
      if (this.#followed.has(addr)) continue;
      const search = new PathSearch(this.#capOf(addr), leastOf(addr), this.#found.get(addr));
      this.#followed.set(addr, { search, nextAt: 0, isSettling: false });
    }
    this.#look();
  }

  answered(addr: string, token: number): void {
    const followed = this.#followed.get(canonical(addr));
    if (!followed) return;
    followed.search.answered(token);
    followed.nextAt = 0;
    this.#look();
  }

  /** `least` or `isProven` says something else for somebody. Returns an unsubscriber. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#followed.clear();
  }

  #look(): void {
    if (this.#isClosed) return;
    const { clock } = this.#modules;
    let next = Number.POSITIVE_INFINITY;
    for (const [addr, followed] of this.#followed) {
      const now = clock.monotonic();
      if (followed.nextAt <= now) {
        const { send, nextAt } = followed.search.look(now);
        followed.nextAt = nextAt;
        for (const probe of send) this.#send(addr, probe);
        if (this.#isNews(addr, followed)) void this.#settle(addr, followed);
      }
      next = Math.min(next, followed.nextAt);
    }
    this.#timer?.cancel();
    if (!Number.isFinite(next)) return;
    // Answers that lie there already are read before the second timer, so a busy process does not miss them.
    const ms = Math.max(1, next - clock.monotonic());
    const again = () => {
      this.#timer = clock.after(1, () => this.#look(), { unref: true });
    };
    this.#timer = clock.after(ms, again, { unref: true });
  }

  #isNews(addr: string, { search }: Followed): boolean {
    const found = this.#found.get(addr);
    return found === undefined ? search.isProven : search.mtu !== Math.min(found, this.#capOf(addr));
  }

  /** What got through may have been cut by the kernel, which learnt of a narrow link from a router just now. */
  async #settle(addr: string, followed: Followed): Promise<void> {
    if (followed.isSettling) return;
    followed.isSettling = true;
    await this.#ask([addr]).catch(() => undefined);
    followed.isSettling = false;
    const { search } = followed;
    if (this.#isClosed || this.#followed.get(addr) !== followed || !this.#isNews(addr, followed)) return;
    const before = this.#found.get(addr);
    this.#found.set(addr, search.mtu);
    const firstLink = this.#capOf(addr);
    if (search.mtu < firstLink)
      this.#modules.log.warn({ node: addr, mtu: search.mtu, firstLink }, 'the way to a node is narrower than it seems');
    else if (before !== undefined)
      this.#modules.log.info({ node: addr, mtu: search.mtu }, 'the way to a node is as wide as its first link');
    for (const listener of this.#listeners) listener();
  }

  #capOf(addr: string): number {
    return Math.min(this.#caps.get(addr) ?? mostMtu, this.#own ?? plainMtu);
  }

  /** Asks the kernel; a node without a way to it counts for nothing. */
  async #ask(addrs: readonly string[]): Promise<void> {
    const devices = await this.#looker.devices();
    const own = devices.find(({ addresses }) => addresses.some(({ addr }) => addr === this.#local));
    this.#own = own?.mtu;
    const caps = await this.#looker.mtusTo(addrs, devices);
    const now = this.#modules.clock.monotonic();
    this.#askedAt.set(this.#local, now);
    for (const addr of addrs) {
      this.#askedAt.set(addr, now);
      const cap = caps.get(addr);
      if (cap === undefined) this.#caps.delete(addr);
      else this.#caps.set(addr, cap);
      this.#followed.get(addr)?.search.limit(this.#capOf(addr));
    }
  }
}

/** Taken for granted: what every host must take. */
const leastOf = (addr: string): number => (addr.includes(':') ? 1_280 : 576);
