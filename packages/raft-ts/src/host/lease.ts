import type { RaftTiming } from './types.ts';

// A leader's lease: for how long no other member can be elected, so that reads need not ask (Ongaro's thesis, 6.4.1). It counts from before a
// ReadIndex round was sent that a quorum then confirmed: every member of the quorum has heard of its leader since, and with check-quorum grants no
// vote for an election time-out. What breaks that promise ends the lease: a transfer, whose target is elected all the same, for the whole term; a
// change of the configuration, until the next round. A restarted member knows of no leader, so it grants no vote for as long (`hasForgotten`).

/** One member's clock may run this much slower than another's. */
const drift = 0.8;

export const leaseMs = ({ tickMs, electionTicks }: RaftTiming): number => (electionTicks - 1) * tickMs * drift;

export class Lease {
  readonly #lengthMs: number;
  readonly #electionTicks: number;
  readonly #epoch: number;
  #ticksLived: number;
  #round: { readonly key: string; readonly askedAt: number } | undefined;
  #number = 0;
  #until = Number.NEGATIVE_INFINITY;
  #broken = false;

  /** `restarted`: promises of before may still hold. */
  constructor(timing: RaftTiming, random: () => number, restarted: boolean) {
    this.#lengthMs = leaseMs(timing);
    this.#electionTicks = timing.electionTicks;
    this.#epoch = Math.floor(random() * 2 ** 32);
    this.#ticksLived = restarted ? 0 : timing.electionTicks + 1;
  }

  tick(): void {
    this.#ticksLived++;
  }

  /** This member may have promised, before it was restarted, not to vote yet. */
  get hasForgotten(): boolean {
    return this.#ticksLived <= this.#electionTicks;
  }

  holds(now: number): boolean {
    return now < this.#until;
  }

  /** The context of a round to ask now, if one is due: none is under way, and the lease is past its half. Only for a leader. */
  due(now: number): Uint8Array | undefined {
    if (this.#broken || this.#until - now > this.#lengthMs / 2) return undefined;
    if (this.#round !== undefined && now - this.#round.askedAt < this.#lengthMs) return undefined;
    const context = Buffer.alloc(11);
    context.writeUInt32LE(this.#epoch, 0);
    context.writeUIntLE(this.#number++, 4, 6);
    context[10] = 1;
    this.#round = { key: context.toString('latin1'), askedAt: now };
    return context;
  }

  /** True when the context was of a round here. */
  confirm(context: Uint8Array): boolean {
    if (context.length !== 11) return false;
    if (this.#round?.key !== Buffer.from(context).toString('latin1')) return true;
    this.#until = Math.max(this.#until, this.#round.askedAt + this.#lengthMs);
    this.#round = undefined;
    return true;
  }

  /** Until the next round. */
  end(): void {
    this.#round = undefined;
    this.#until = Number.NEGATIVE_INFINITY;
  }

  /** For this term. */
  break(): void {
    this.#broken = true;
    this.end();
  }

  /** Another term. */
  renew(): void {
    this.#broken = false;
    this.end();
  }
}
