import type { Writable } from 'node:stream';
import { ClusterError } from '@swarmctl/shared/kit';
import type { Node, ReservedLabel } from '@swarmctl/shared/model';
import { type ApiContext, leading } from '../context.ts';
import type { EngineRoom } from './engines.ts';

// The node whose engine builds with BuildKit. A build is a conversation over several connections (the client's session, its gRPC, the request itself), all of
// which must come to one engine, and the next build should find its cache: so it is the same node for all, by the cluster's state alone, and stays it
// while it is at work.

const wishLabel = 'swarmctl.builder' satisfies ReservedLabel;

/** Whom its label names, then a worker before a manager, then who has been in the cluster longest, so that nobody who joins takes the caches away. */
export function builderAmong(nodes: readonly Node[]): Node | undefined {
  const rank = ({ Spec, CreatedAt, ID }: Node) =>
    `${Spec.Labels[wishLabel] === 'true' ? 0 : 1} ${Spec.Role === 'worker' ? 0 : 1} ${CreatedAt} ${ID}`;
  const [best] = nodes
    .filter(({ Spec }) => Spec.Labels[wishLabel] !== 'false')
    .sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
  return best;
}

export class Builder {
  readonly #context: ApiContext;
  readonly #room: EngineRoom;
  #node: Node | undefined;
  readonly #open = new Set<Writable>();

  constructor(context: ApiContext, room: EngineRoom) {
    this.#context = context;
    this.#room = room;
  }

  /** Who builds, at least until that connection closes. Leader only. Throws `unavailable` when no node may, and says why. */
  async nodeFor(connection: Writable): Promise<Node> {
    const manager = await leading(this.#context);
    const nodes = this.#room.nodes();
    const isThere = (id: string | undefined) => nodes.some(({ ID }) => ID === id);
    if (this.#open.size === 0 || !isThere(this.#node?.ID)) {
      const wish = { constraints: [], others: () => 0, among: isThere };
      const may = manager.nodesForHandMade(manager.view(), wish);
      this.#node = builderAmong(may.nodes);
      this.#open.clear();
      if (!this.#node) {
        const why = may.nodes.length > 0 ? `label ${wishLabel}=false on all that could` : may.why;
        throw new ClusterError('unavailable', `no node that could build${why && ` (${why})`}`);
      }
    }
    if (!connection.destroyed) {
      this.#open.add(connection);
      connection.once('close', () => this.#open.delete(connection));
    }
    return this.#node as Node;
  }
}
