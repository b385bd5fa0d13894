// How large packets may be on the way to one node, found by trying. Pure: times are arguments, ms that only grow.
//
// A size is tried between two small packets. Only when both of those come back, several times in a row, is a loss the size's: a busy node,
// a full queue or a broken way proves nothing.

/** Each try waits so long for its answers. */
const waitMs = 500;
const mostTries = 4;
/** Of a size that got through before. */
const mostTriesOfKnown = 10;
/** What was found is tried again. */
const confirmMs = 30_000;
/** Larger ones are tried again, later each time. */
const raiseMs = [60_000, 120_000, 300_000, 600_000];
/** After tries that proved nothing. */
const unprovenMs = [1_000, 2_000, 5_000, 10_000, 30_000];
/** A look that comes this late was held up here: answers may not have been read. */
const lateMs = 400;

export const smallSize = 200;

export interface Probe {
  /** To be given back by `answered`. */
  readonly token: number;
  /** Bytes, IP header included. */
  readonly size: number;
}

interface Round {
  readonly number: number;
  readonly size: number;
  readonly sentAt: number;
  readonly answers: Set<number>;
}

/** In the order of their sending. */
const parts = { before: 0, large: 1, after: 2 } as const;

export class PathSearch {
  readonly #least: number;
  #cap: number;
  /** Gets through, as far as is known. */
  #low: number;
  /** The least that does not. */
  #high: number;
  #found: number | undefined;
  #round: Round | undefined;
  #rounds = 0;
  #misses = 0;
  #unproven = 0;
  #nextAt = 0;
  #confirmAt = 0;
  #isConfirming = false;
  #raiseAt = 0;
  #raises = 0;

  /** `cap`: what the first link takes; `least`: taken for granted; `found`: by an earlier search, true until this one has come to its own. */
  constructor(cap: number, least: number, found?: number) {
    this.#cap = Math.max(cap, least);
    this.#least = least;
    this.#found = found;
    this.#low = least;
    this.#high = this.#cap + 1;
  }

  /** The largest size that gets through; what the first link takes until something else was found. */
  get mtu(): number {
    return Math.min(this.#found ?? this.#cap, this.#cap);
  }

  /** It was found by trying. */
  get isProven(): boolean {
    return this.#found !== undefined;
  }

  /** The first link takes this. */
  limit(cap: number): void {
    const next = Math.max(cap, this.#least);
    if (next === this.#cap) return;
    const wasOpen = this.#high === this.#cap + 1;
    this.#cap = next;
    this.#low = Math.min(this.#low, next);
    this.#high = wasOpen ? next + 1 : Math.min(this.#high, next + 1);
    this.#forgetRound();
  }

  answered(token: number): void {
    const round = this.#round;
    if (round?.number === Math.floor(token / 4)) round.answers.add(token % 4);
  }

  /** What to send, in this order, and when to look again. */
  look(now: number): { readonly send: readonly Probe[]; readonly nextAt: number } {
    if (this.#round && !this.#endRound(this.#round, now)) return { send: [], nextAt: this.#round.sentAt + waitMs };
    this.#settle(now);
    const size = now < this.#nextAt ? undefined : this.#target(now);
    if (size === undefined) return { send: [], nextAt: Math.max(this.#nextAt, this.#dueAt()) };
    const number = ++this.#rounds;
    this.#round = { number, size, sentAt: now, answers: new Set() };
    const token = number * 4;
    return {
      send: [
        { token: token + parts.before, size: smallSize },
        { token: token + parts.large, size },
        { token: token + parts.after, size: smallSize },
      ],
      nextAt: now + waitMs,
    };
  }

  /** False while it goes on. */
  #endRound({ size, sentAt, answers }: Round, now: number): boolean {
    const end = sentAt + waitMs;
    if (answers.has(parts.large)) this.#through(size, now);
    else if (now < end) return false;
    else if (answers.size === 2 && now <= end + lateMs) this.#missed(size);
    else this.#nextAt = now + (unprovenMs[Math.min(this.#unproven++, unprovenMs.length - 1)] ?? 0);
    this.#round = undefined;
    return true;
  }

  #through(size: number, now: number): void {
    this.#low = Math.max(this.#low, size);
    this.#high = Math.max(this.#high, size + 1);
    [this.#misses, this.#unproven] = [0, 0];
    if (this.#isConfirming) this.#confirmAt = now + confirmMs;
    this.#isConfirming = false;
  }

  #missed(size: number): void {
    this.#unproven = 0;
    if (++this.#misses < (this.#isConfirming ? mostTriesOfKnown : mostTries)) return;
    this.#misses = 0;
    this.#high = size;
    if (this.#isConfirming) [this.#low, this.#raises] = [this.#least, 0];
    this.#isConfirming = false;
  }

  #isSearching(): boolean {
    return this.#high - this.#low > 1;
  }

  #settle(now: number): void {
    if (this.#isSearching() || this.#isConfirming || this.#found === this.#low) return;
    this.#found = this.#low;
    this.#confirmAt = now + confirmMs;
    this.#raiseLater(now);
  }

  #raiseLater(now: number): void {
    this.#raiseAt = now + (raiseMs[Math.min(this.#raises++, raiseMs.length - 1)] ?? 0);
  }

  #target(now: number): number | undefined {
    if (this.#isConfirming) return this.#low;
    if (!this.#isSearching()) {
      if (now >= this.#confirmAt) {
        this.#isConfirming = true;
        return this.#low;
      }
      if (this.#low === this.#cap || now < this.#raiseAt) return undefined;
      this.#high = this.#cap + 1;
      this.#raiseLater(now);
    }
    // Most ways are as wide as their first link.
    if (this.#high === this.#cap + 1) return this.#cap;
    return (this.#low + this.#high) >> 1;
  }

  #dueAt(): number {
    return this.#low === this.#cap ? this.#confirmAt : Math.min(this.#confirmAt, this.#raiseAt);
  }

  #forgetRound(): void {
    this.#round = undefined;
    this.#misses = 0;
    this.#isConfirming = false;
    this.#nextAt = 0;
  }
}
