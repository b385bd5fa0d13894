import type { Entry, Message } from '../core/types.ts';
import type { HostClock } from './clock.ts';

// Applies committed entries in slices, so that a long run of them does not hold up heartbeats.

export interface ApplierEnv {
  readonly clock: HostClock;
  /** Applies one entry and returns its outcome. */
  readonly apply: (entry: Entry) => unknown;
  /** After each slice: what was applied, with its outcomes. */
  readonly applied: (slice: readonly Outcome[]) => void;
  /** All entries of the core's message are applied. */
  readonly done: (message: Message) => void;
  readonly failed: (error: unknown) => void;
}

export interface Outcome {
  readonly entry: Entry;
  readonly result: unknown;
}

/** Milliseconds of applying before others get their turn. */
const sliceMs = 5;

export class Applier {
  readonly #env: ApplierEnv;
  #queue: Message[] = [];
  /** Entries of the first message that are applied already. */
  #position = 0;
  #scheduled = false;
  #stopped = false;
  #idleWaiters: (() => void)[] = [];
  index: number;
  term: number;

  constructor(env: ApplierEnv, at: { index: number; term: number }) {
    this.#env = env;
    this.index = at.index;
    this.term = at.term;
  }

  /** Soon, behind what the caller has begun: others wait for messages and writes. */
  push(message: Message): void {
    this.#queue.push(message);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#run());
  }

  /** Resolves when nothing waits to be applied. */
  idle(): Promise<void> {
    if (this.#queue.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#queue = [];
    this.#wakeIdle();
  }

  #run(): void {
    this.#scheduled = false;
    if (this.#stopped) return;
    try {
      this.#slice();
    } catch (error) {
      this.stop();
      this.#env.failed(error);
      return;
    }
    if (this.#queue.length === 0) {
      this.#wakeIdle();
    } else if (!this.#stopped && !this.#scheduled) {
      this.#scheduled = true;
      this.#env.clock.soon(() => this.#run());
    }
  }

  #slice(): void {
    const { clock, apply, applied, done } = this.#env;
    const until = clock.now() + sliceMs;
    const outcomes: Outcome[] = [];
    const whole: Message[] = [];
    while (this.#queue.length > 0 && clock.now() < until) {
      const message = this.#queue[0]!;
      const entry = message.entries[this.#position];
      if (entry === undefined) {
        whole.push(message);
        this.#queue.shift();
        this.#position = 0;
        continue;
      }
      outcomes.push({ entry, result: apply(entry) });
      this.#position++;
      this.index = entry.index;
      this.term = entry.term;
    }
    if (outcomes.length > 0) applied(outcomes);
    for (const message of whole) done(message);
  }

  #wakeIdle(): void {
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const wake of waiters) wake();
  }
}
