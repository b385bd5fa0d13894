import { isDeepStrictEqual } from 'node:util';
import type { View } from '../store/types.ts';

// What every node with an end of something is told of the others with one, and which session was told it as it is.

/** Who has an end, and what all of them share; undefined where there is nothing to share. */
export interface Ends<Peer, Common> {
  readonly peers: readonly Peer[];
  readonly common: Common | undefined;
}

export abstract class PeerTracker<Peer extends { readonly nodeId: string }, Common, NodeView> {
  #ends: Ends<Peer, Common> = { peers: [], common: undefined };
  #touched = true;
  #version = 0;
  readonly #shown = new WeakMap<object, number>();

  protected abstract endsOf(view: View): Ends<Peer, Common>;
  protected abstract viewOf(self: Peer, common: Common, others: readonly Peer[]): NodeView;

  /** Something of it may have changed. */
  touch(): void {
    this.#touched = true;
  }

  /** Brings it to `view`. */
  refresh(view: View): void {
    if (!this.#touched) return;
    this.#touched = false;
    const ends = this.endsOf(view);
    if (isDeepStrictEqual(ends, this.#ends)) return;
    this.#ends = ends;
    this.#version++;
  }

  /** What the node's session has not been shown yet. */
  unshown(session: object, nodeId: string): NodeView | undefined {
    return this.#shown.get(session) === this.#version ? undefined : this.view(nodeId);
  }

  /** The session is shown it as of the last `refresh`. */
  shown(session: object): void {
    this.#shown.set(session, this.#version);
  }

  /** Undefined for a node without an end, and while there is nothing to share. */
  view(nodeId: string): NodeView | undefined {
    const { peers, common } = this.#ends;
    const self = peers.find((peer) => peer.nodeId === nodeId);
    if (!self || common === undefined) return undefined;
    return this.viewOf(
      self,
      common,
      peers.filter((peer) => peer !== self),
    );
  }
}
