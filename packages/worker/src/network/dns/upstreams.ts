import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Clock } from '@swarmctl/shared/kit';
import type { Upstream } from './forward.ts';

// The machine's own resolvers, from its resolv.conf, which may change at any time.

const lookMs = 2_000;

export class HostResolvers {
  readonly #file: string;
  readonly #clock: Clock;
  #lookedAt: number | undefined;
  #changed: number | undefined;
  #upstreams: readonly Upstream[] = [];

  constructor(clock: Clock, file = '/etc/resolv.conf') {
    this.#clock = clock;
    this.#file = file;
  }

  async list(): Promise<readonly Upstream[]> {
    const now = this.#clock.monotonic();
    if (this.#lookedAt !== undefined && now - this.#lookedAt < lookMs) return this.#upstreams;
    this.#lookedAt = now;
    try {
      const { mtimeMs } = await stat(this.#file);
      if (mtimeMs !== this.#changed) this.#upstreams = parseResolvConf(await readFile(this.#file, 'utf8'));
      this.#changed = mtimeMs;
    } catch {
      // It may be being replaced: what it said last is better than nothing.
    }
    return this.#upstreams;
  }
}

export function parseResolvConf(text: string): Upstream[] {
  const addrs = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, addr]) => String(addr));
  return addrs.filter((addr) => isIP(addr.replace(/%.*$/, '')) !== 0).map((addr) => ({ addr, port: 53 }));
}
