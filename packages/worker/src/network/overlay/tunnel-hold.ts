import { ClusterError } from '@swarmctl/shared/kit';
import type { NetworkView } from '@swarmctl/shared/wire';
import type { TunnelState } from '../wireguard/tunnel.ts';
import type { OverlayTunnel } from './types.ts';

// What the encrypted networks of a node have of its tunnels. These are held as long as there is such a network, also one that an earlier daemon
// left: nothing of it may leave in clear.

export interface LeftNetwork {
  readonly vni: number;
  readonly port: number;
}

export class TunnelHold {
  readonly #tunnel: OverlayTunnel | undefined;
  /** What was asked for, and what came of it; undefined: it is to be asked for. */
  #held: { readonly wish: string; readonly inside?: TunnelState | undefined; readonly error?: unknown } | undefined;
  /** Networks of an earlier daemon, as long as they may be there. */
  left: readonly LeftNetwork[] = [];

  constructor(tunnel: OverlayTunnel | undefined) {
    this.#tunnel = tunnel;
  }

  get device(): string | undefined {
    return this.#tunnel?.device;
  }

  /** What the networks have of them; undefined: nothing yet. */
  get inside(): TunnelState | undefined {
    return this.#held?.inside;
  }

  /** The tunnels are asked again. */
  forget(): void {
    this.#held = undefined;
  }

  /** Asks for what these networks need, before they are there and until they are gone. Never rejects. */
  async hold(encrypted: readonly NetworkView[]): Promise<void> {
    if (!this.#tunnel) return;
    const uses = encrypted.map(({ vni, port, far }) => ({ vni, port, peers: far.map(({ nodeAddr }) => nodeAddr) }));
    uses.push(...this.left.map((one) => ({ ...one, peers: [] })));
    const wish = JSON.stringify(uses);
    if (this.#held?.wish === wish && this.#held.error === undefined) return;
    this.#held = await this.#tunnel.hold(uses).then(
      (inside) => ({ wish, inside }),
      (error: unknown) => ({ wish, error }),
    );
  }

  /** False: they are still to come. Throws why they cannot be had. */
  isUp(): boolean {
    if (!this.#tunnel) throw new ClusterError('failed-precondition', 'this node cannot encrypt');
    if (this.#held?.error !== undefined) throw this.#held.error;
    return this.inside !== undefined;
  }
}
