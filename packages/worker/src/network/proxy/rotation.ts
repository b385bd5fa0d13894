import type { Clock } from '@swarmctl/shared/kit';
import type { IngressBackend } from '@swarmctl/shared/wire';
import { type Target, targetOf } from '../plan.ts';

// Whose turn it is behind one published port.

export interface ProxyBackend extends Target {
  readonly taskId: string;
}

/** A backend that just refused is asked last. */
const failedMs = 1_000;

export class Rotation {
  readonly #clock: Clock;
  readonly #failedAt = new Map<string, number>();
  #backends: readonly ProxyBackend[] = [];
  #next = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(backends: readonly IngressBackend[], nodeId: string): void {
    this.#backends = backends.map((backend) => ({ ...targetOf(backend, nodeId), taskId: backend.taskId }));
    for (const taskId of this.#failedAt.keys()) if (!this.has(taskId)) this.#failedAt.delete(taskId);
  }

  has(taskId: string): boolean {
    return this.#backends.some((backend) => backend.taskId === taskId);
  }

  get isEmpty(): boolean {
    return this.#backends.length === 0;
  }

  /** Everybody in the order to try; the next turn starts one further. */
  turn(): ProxyBackend[] {
    const start = this.#next++ % (this.#backends.length || 1);
    const order = [...this.#backends.slice(start), ...this.#backends.slice(0, start)];
    const now = this.#clock.monotonic();
    const isFailing = ({ taskId }: ProxyBackend) => now - (this.#failedAt.get(taskId) ?? -failedMs) < failedMs;
    return [...order.filter((backend) => !isFailing(backend)), ...order.filter(isFailing)];
  }

  failed(backend: ProxyBackend): void {
    if (this.has(backend.taskId)) this.#failedAt.set(backend.taskId, this.#clock.monotonic());
  }
}
