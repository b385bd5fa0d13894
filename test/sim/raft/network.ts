import { below, type Random } from '@swarmctl/shared/kit';
import type { Message } from '../../../packages/raft-ts/src/core/index.ts';

// A simulated network: messages are lost, doubled, delayed and so reordered; members can be cut off from each other.

export interface NetworkFaults {
  readonly loss: number;
  readonly duplicate: number;
  /** Steps on the way: from 1 to this. */
  readonly maxDelay: number;
}

export class Network {
  faults: NetworkFaults;
  readonly #random: Random;
  #queue: { readonly due: number; readonly m: Message }[] = [];
  /** Members talk only within a group; those in none are alone. Undefined: everybody talks. */
  #groups: readonly ReadonlySet<number>[] | undefined;

  constructor(random: Random, faults: NetworkFaults) {
    this.#random = random;
    this.faults = faults;
  }

  partition(groups: readonly ReadonlySet<number>[]): void {
    this.#groups = groups;
  }

  heal(): void {
    this.#groups = undefined;
  }

  reaches(a: number, b: number): boolean {
    return this.#groups === undefined || this.#groups.some((group) => group.has(a) && group.has(b));
  }

  /** False when the message is lost at once. */
  send(m: Message, now: number): boolean {
    if (!this.reaches(m.from, m.to) || this.#random() < this.faults.loss) return false;
    const copies = this.#random() < this.faults.duplicate ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      this.#queue.push({ due: now + 1 + below(this.#random, this.faults.maxDelay), m });
    }
    return true;
  }

  /** Messages that arrive now, in random order. */
  arrivals(now: number): Message[] {
    const due = this.#queue.filter((item) => item.due <= now);
    if (due.length === 0) return [];
    this.#queue = this.#queue.filter((item) => item.due > now);
    const messages = due.map((item) => item.m);
    for (let i = messages.length - 1; i > 0; i--) {
      const j = below(this.#random, i + 1);
      [messages[i], messages[j]] = [messages[j]!, messages[i]!];
    }
    return messages;
  }
}
