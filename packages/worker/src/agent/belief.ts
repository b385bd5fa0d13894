// Whether a manager that knows less than this node has seen is believed: a leader that lost its followers does not know it at once, and what it says is
// then out of date. When all are behind for long, the cluster was restored from an earlier state.

/** For so long it is not. */
export const disbeliefMs = 15_000;

export class Belief {
  #disbelievedSince: number | undefined;

  /** `revision`: the manager's; `seen`: this node's; `now`: monotonic ms. */
  in(revision: number, seen: number, now: number): 'yes' | 'not yet' | 'for want of better' {
    if (revision >= seen) {
      this.#disbelievedSince = undefined;
      return 'yes';
    }
    this.#disbelievedSince ??= now;
    if (now - this.#disbelievedSince < disbeliefMs) return 'not yet';
    this.#disbelievedSince = undefined;
    return 'for want of better';
  }
}
