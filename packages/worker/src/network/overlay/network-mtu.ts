import type { PathMtus } from '../path-mtu.ts';
import type { TunnelState } from '../wireguard/tunnel.ts';
import { isVersion4 } from './identity.ts';

// How large the packets of one network may be on this node: what the ways to its other nodes leave, or the tunnels that it goes through; and no
// larger than the network's user says.

/** Ethernet, IP, UDP and VXLAN around a frame of a network, in packets from `local`. */
export const overheadOf = (local: string): number => (isVersion4(local) ? 50 : 70);

const largest = 65_535;

interface ByWays {
  readonly local: string;
  readonly nodeAddrs: readonly string[];
  /** The MTU of the bridge that is there; absent: there is none. */
  readonly bridge?: number | undefined;
  /** What the network's user allows, bytes. */
  readonly most?: number | undefined;
}

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

  /** By the ways from `local` to `nodeAddrs`. */
  async byWays(
    paths: Pick<PathMtus, 'least' | 'isProven'>,
    { local, nodeAddrs, bridge = 0, most = largest }: ByWays,
  ): Promise<number> {
    const all = [...new Set(nodeAddrs)].sort();
    const peers = all.join();
    if (this.#least?.peers === peers) return this.#least.mtu;
    this.#before ??= bridge;
    const least = Math.min((await paths.least(all)) - overheadOf(local), most);
    // What an earlier daemon found holds until the ways are tried again.
    const mtu = this.#before > 0 && !paths.isProven(all) ? Math.min(least, this.#before) : least;
    if (this.#before === 0) this.given ??= mtu;
    this.#least = { peers, mtu };
    return mtu;
  }

  /** Through the tunnels. */
  inside({ addr, mtu }: TunnelState, { bridge, most = largest }: Pick<ByWays, 'bridge' | 'most'>): number {
    const left = Math.min(mtu - overheadOf(addr), most);
    if (bridge === undefined) this.given ??= left;
    return left;
  }
}
