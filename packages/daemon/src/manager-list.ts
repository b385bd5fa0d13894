import type { Random } from '@swarmctl/shared/kit';
import type { Peer } from '@swarmctl/shared/wire';

// The managers that this node knows, and which of them it believes to lead.

export class ManagerList {
  #peers: readonly Peer[];
  #leader: string | undefined;
  readonly #onChange: (peers: readonly Peer[]) => void;

  /** `peers` as stored: the likeliest leader first. */
  constructor(peers: readonly Peer[], onChange: (peers: readonly Peer[]) => void = () => undefined) {
    this.#peers = peers;
    this.#leader = peers[0]?.addr;
    this.#onChange = onChange;
  }

  get peers(): readonly Peer[] {
    return this.#peers;
  }

  /** An empty list says nothing: a node must not forget its only way back. */
  update(peers: readonly Peer[]): void {
    if (peers.length > 0) this.#set(peers);
  }

  /** This manager leads. */
  prefer(leader: Peer): void {
    this.#leader = leader.addr;
    const known = this.#peers.some((peer) => peer.addr === leader.addr);
    this.#set(known ? this.#peers : [leader, ...this.#peers]);
  }

  /** Whom to ask, in this order: who led last, then the others by lot. */
  inTurn(random: Random): readonly Peer[] {
    const ranked = this.#peers.map((peer) => ({ peer, rank: peer.addr === this.#leader ? -1 : random() }));
    return ranked.sort((a, b) => a.rank - b.rank).map(({ peer }) => peer);
  }

  #set(peers: readonly Peer[]): void {
    const ordered = [...peers].sort((a, b) => Number(b.addr === this.#leader) - Number(a.addr === this.#leader));
    if (JSON.stringify(ordered) === JSON.stringify(this.#peers)) return;
    this.#peers = ordered;
    this.#onChange(ordered);
  }
}
