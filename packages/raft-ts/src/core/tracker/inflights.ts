import { panic } from '../assert.ts';

// The append messages on their way to one follower, limited by count and by bytes.

export class Inflights {
  readonly #maxCount: number;
  readonly #maxBytes: number;
  #sent: { readonly lastIndex: number; readonly bytes: number }[] = [];
  #bytes = 0;

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#sent.length;
  }

  /** Whether nothing more may be sent. The byte limit may be exceeded by the message that reaches it. */
  full(): boolean {
    return this.#sent.length >= this.#maxCount || this.#bytes >= this.#maxBytes;
  }

  /** Notes a message that ends at `lastIndex`; indices ascend. */
  add(lastIndex: number, bytes: number): void {
    if (this.full()) panic('cannot add into a full inflights');
    this.#sent.push({ lastIndex, bytes });
    this.#bytes += bytes;
  }

  /** Frees the messages that end at or before `index`. */
  freeUpTo(index: number): void {
    let freed = 0;
    for (const { lastIndex, bytes } of this.#sent) {
      if (lastIndex > index) break;
      this.#bytes -= bytes;
      freed++;
    }
    if (freed > 0) this.#sent.splice(0, freed);
  }

  reset(): void {
    this.#sent = [];
    this.#bytes = 0;
  }
}
