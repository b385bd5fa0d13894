import type { PathMtus } from '../path-mtu.ts';
import type { TunnelState } from '../wireguard/tunnel.ts';
import { isVersion4 } from './identity.ts';

// How large the packets of one network may be on this node: what the ways to its other nodes leave, or the tunnels that it goes through.

/** Ethernet, IP, UDP and VXLAN around a frame of a network, in packets from `local`. */
export const overheadOf = (local: string): number => (isVersion4(local) ? 50 : 70);

export class NetworkMtu {
  /** What the engine gives containers; undefined: unknown. */
  given: number | undefined;
  /** What the ways to these nodes leave; undefined: to be found. */
  #least: { readonly peers: string; readonly mtu: number } | undefined;
  /** Of the bridge that an earlier daemon left; 0: there was none. */
  #before: number | undefined;

  /** The ways may have become narrower or wider. */
  forget(): void {
    this.#least = undefined;
  }

  /** By the ways from `local` to `nodeAddrs`. `bridge`: the MTU of the bridge that is there; absent: there is none. */
  async byWays(
    paths: Pick<PathMtus, 'least' | 'isProven'>,
    { local, nodeAddrs, bridge = 0 }: { local: string; nodeAddrs: readonly string[]; bridge?: number | undefined },
  ): Promise<number> {
    const all = [...new Set(nodeAddrs)].sort();
    const peers = all.join();
    if (this.#least?.peers === peers) return this.#least.mtu;
    this.#before ??= bridge;
    const least = (await paths.least(all)) - overheadOf(local);
    // What an earlier daemon found holds until the ways are tried again.
    const mtu = this.#before > 0 && !paths.isProven(all) ? Math.min(least, this.#before) : least;
    if (this.#before === 0) this.given ??= mtu;
    this.#least = { peers, mtu };
    return mtu;
  }

  /** Through the tunnels. */
  inside({ addr, mtu }: TunnelState, bridge: number | undefined): number {
    const left = mtu - overheadOf(addr);
    if (bridge === undefined) this.given ??= left;
    return left;
  }
}
