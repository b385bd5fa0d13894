// Whether packets as large as the mesh lets in get through to each peer: some are sent beside the probes, and when the small ones are
// answered and these are not, there is a narrower link on the way. Pure.

const tries = 3;
/** MTUs that usual tunnels and links leave. */
const rungs = [8_900, 4_000, 1_450, 1_430, 1_400, 1_370, 1_280];

export const narrower = (mtu: number): number | undefined => rungs.find((rung) => rung < mtu);

export class SizeTracker {
  /** Large packets that are to be sent yet; one less than none: the last has had its time. */
  readonly #left = new Map<string, number>();

  /** Tries them all, from the beginning. */
  begin(ids: readonly string[]): void {
    this.#left.clear();
    for (const id of ids) this.#left.set(id, tries);
  }

  /** To be asked with each probe of a peer that answers: send a large one, it is `lost`, or nothing is to be done. */
  next(id: string): 'send' | 'lost' | undefined {
    const left = this.#left.get(id);
    if (left === undefined) return undefined;
    if (left === 0) {
      this.#left.delete(id);
      return 'lost';
    }
    this.#left.set(id, left - 1);
    return 'send';
  }

  /** Nothing is proven by what was lost so far. */
  again(id: string): void {
    if (this.#left.has(id)) this.#left.set(id, tries);
  }

  /** A large one came back. */
  answered(id: string): void {
    this.#left.delete(id);
  }
}
