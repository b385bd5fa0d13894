// Which peers answer over the mesh: when each is to be asked, and what their silence means. Pure: times are arguments, ms that only grow.

export const probeMs = 1_000;
/** After one that was not answered the next come sooner, so that a dead peer is known within two seconds. */
export const againMs = 250;
export const missedMost = 3;
/** Of a peer that has never answered, until that is a reason to complain. */
const missedLong = 10;
/** A look that comes this late was held up here: the peers could not be heard. */
const lateMs = 400;

export type Answers = 'unknown' | 'yes' | 'no';

interface Peer {
  answers: Answers;
  /** It has answered once. */
  hasAnswered: boolean;
  missed: number;
  isAwaited: boolean;
  sentAt: number;
  nextAt: number;
}

export class EchoTracker {
  readonly #peers = new Map<string, Peer>();

  /** Peers that are to be asked from now on; new ones at once. */
  follow(ids: readonly string[], now: number): void {
    const wanted = new Set(ids);
    for (const id of this.#peers.keys()) if (!wanted.has(id)) this.#peers.delete(id);
    for (const id of ids) {
      if (this.#peers.has(id)) continue;
      this.#peers.set(id, {
        answers: 'unknown',
        hasAnswered: false,
        missed: 0,
        isAwaited: false,
        sentAt: now,
        nextAt: now,
      });
    }
  }

  answers(id: string): Answers {
    return this.#peers.get(id)?.answers ?? 'unknown';
  }

  /** It did answer, and does not any more. */
  fellSilent(id: string): boolean {
    const peer = this.#peers.get(id);
    return peer?.answers === 'no' && peer.hasAnswered;
  }

  isSilentForLong(id: string): boolean {
    return this.fellSilent(id) || (this.#peers.get(id)?.missed ?? 0) >= missedLong;
  }

  /** At least one question in a row is unanswered. */
  isMissing(id: string): boolean {
    return (this.#peers.get(id)?.missed ?? 0) > 0;
  }

  /** When to look next; undefined without peers. */
  get nextAt(): number | undefined {
    let least: number | undefined;
    for (const { nextAt } of this.#peers.values()) if (least === undefined || nextAt < least) least = nextAt;
    return least;
  }

  /** Whom to ask now; `changed` holds those whose silence has become certain. */
  look(now: number): { readonly ask: string[]; readonly changed: string[] } {
    const ask: string[] = [];
    const changed: string[] = [];
    for (const [id, peer] of this.#peers) {
      if (now < peer.nextAt) continue;
      const isLate = now - peer.nextAt > lateMs;
      if (peer.isAwaited && !isLate) {
        peer.missed++;
        if (peer.missed >= missedMost && peer.answers !== 'no') {
          peer.answers = 'no';
          changed.push(id);
        }
      }
      peer.isAwaited = true;
      peer.sentAt = now;
      // Each question waits `againMs` for its answer, and one that comes in time moves the next to a whole period after it was asked.
      peer.nextAt = now + (peer.answers === 'no' ? probeMs : againMs);
      ask.push(id);
    }
    return { ask, changed };
  }

  /** True when it makes a difference. */
  answered(id: string): boolean {
    const peer = this.#peers.get(id);
    if (!peer) return false;
    const makes = peer.answers !== 'yes';
    peer.answers = 'yes';
    peer.hasAnswered = true;
    peer.missed = 0;
    peer.isAwaited = false;
    peer.nextAt = peer.sentAt + probeMs;
    return makes;
  }
}
