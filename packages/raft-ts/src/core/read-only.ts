import { jointCommitted, type Voters } from './quorum/joint.ts';
import type { Message } from './types.ts';

// Linearizable reads that wait for a quorum to confirm that this member still leads. Reads are numbered; a heartbeat
// carries the number of the last one, and its response confirms all reads up to there.

export interface WaitingRead {
  readonly request: Message;
  /** The commit index when the request came: what the reader must have applied. */
  readonly index: number;
}

export class ReadOnly {
  #waiting: WaitingRead[] = [];
  #confirmed = 0;
  readonly #acked = new Map<number, number>();

  add(request: Message, commit: number): void {
    this.#waiting.push({ request, index: commit });
  }

  /** What heartbeats carry; empty when no read waits. */
  heartbeatContext(): Uint8Array {
    if (this.#waiting.length === 0) return new Uint8Array(0);
    const number = this.#confirmed + this.#waiting.length;
    const context = new Uint8Array(8);
    const view = new DataView(context.buffer);
    view.setUint32(0, number % 2 ** 32, true);
    view.setUint32(4, Math.floor(number / 2 ** 32), true);
    return context;
  }

  acknowledge(from: number, context: Uint8Array): void {
    if (context.length !== 8) return;
    const view = new DataView(context.buffer, context.byteOffset, 8);
    const number = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
    this.#acked.set(from, Math.max(this.#acked.get(from) ?? 0, number));
  }

  /** Takes out the reads that a quorum has confirmed. */
  takeConfirmed(voters: Voters): WaitingRead[] {
    const confirmed = Math.min(
      jointCommitted(voters, (id) => this.#acked.get(id)),
      this.#confirmed + this.#waiting.length,
    );
    if (confirmed <= this.#confirmed) return [];
    const reads = this.#waiting.splice(0, confirmed - this.#confirmed);
    this.#confirmed = confirmed;
    return reads;
  }
}
