import { RaftError } from './errors.ts';

// Who waits for leadership to have moved to another member.

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  ticksLeft: number;
}

export interface Leadership {
  readonly self: number;
  readonly leader: number;
  readonly transferring: boolean;
}

export class Transfers {
  #waiters: Waiter[] = [];

  get waiting(): boolean {
    return this.#waiters.length > 0;
  }

  wait(ticks: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject, ticksLeft: ticks });
    });
  }

  check({ self, leader, transferring }: Leadership): void {
    if (leader !== 0 && leader !== self) {
      for (const { resolve } of this.#waiters.splice(0)) resolve();
    } else if (leader === self && !transferring) {
      this.rejectAll(new RaftError('dropped', 'the other member did not take over in time'));
    }
  }

  tick(): void {
    for (const waiter of this.#waiters) waiter.ticksLeft--;
    const late = this.#waiters.filter(({ ticksLeft }) => ticksLeft <= 0);
    this.#waiters = this.#waiters.filter(({ ticksLeft }) => ticksLeft > 0);
    for (const { reject } of late) reject(new RaftError('no-quorum', 'no member took over in time'));
  }

  rejectAll(error: Error): void {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }
}
