import type { Clock, Timer } from '@swarmctl/shared/kit';
import type { ProxyHealth } from '@swarmctl/shared/model';
import type { Backend, Balancer } from './balancer.ts';
import type { Opening, Streams } from './streams/types.ts';

// Active health of one TCP port's backends: each is connected to now and then. Who fails some times in a row is passed over.

interface HealthModules {
  readonly balancer: Balancer;
  readonly streams: Streams;
  readonly clock: Clock;
  /** Somebody is passed over now, or not any more. */
  readonly changed: () => void;
}

export class HealthChecks {
  readonly #options: ProxyHealth;
  readonly #modules: HealthModules;
  /** Failures in a row are negative. */
  readonly #runs = new WeakMap<Backend, number>();
  readonly #open = new Map<Backend, { readonly opening: Opening; readonly timer: Timer }>();
  #timer: Timer | undefined;

  constructor(options: ProxyHealth, modules: HealthModules) {
    this.#options = options;
    this.#modules = modules;
    this.#look();
  }

  /** Whether it does what `options` say. */
  follows(options: ProxyHealth | undefined): boolean {
    return JSON.stringify(options) === JSON.stringify(this.#options);
  }

  /** Tasks that are passed over. */
  get down(): readonly string[] {
    return this.#modules.balancer.backends.filter(({ isDown }) => isDown).map(({ taskId }) => taskId);
  }

  close(): void {
    this.#timer?.cancel();
    for (const { opening, timer } of this.#open.values()) {
      timer.cancel();
      opening.abort();
    }
    this.#open.clear();
    for (const backend of this.#modules.balancer.backends) backend.isDown = false;
  }

  #look(): void {
    const { balancer, clock } = this.#modules;
    for (const backend of balancer.backends) if (!this.#open.has(backend)) this.#check(backend);
    this.#timer = clock.after(this.#options.everyMs, () => this.#look(), { unref: true });
  }

  #check(backend: Backend): void {
    const { streams, clock } = this.#modules;
    const opening = streams.connect(backend, (stream) => {
      stream?.close();
      timer.cancel();
      this.#report(backend, stream !== undefined);
    });
    const timer = clock.after(
      this.#options.timeoutMs,
      () => {
        opening.abort();
        this.#report(backend, false);
      },
      { unref: true },
    );
    this.#open.set(backend, { opening, timer });
  }

  #report(backend: Backend, isWell: boolean): void {
    this.#open.delete(backend);
    const before = this.#runs.get(backend) ?? 0;
    const run = isWell ? Math.max(before, 0) + 1 : Math.min(before, 0) - 1;
    this.#runs.set(backend, run);
    if (run === -this.#options.fall) this.#turn(backend, true);
    if (run < this.#options.rise) return;
    this.#turn(backend, false);
    this.#modules.balancer.succeeded(backend);
  }

  #turn(backend: Backend, isDown: boolean): void {
    if (backend.isDown === isDown) return;
    backend.isDown = isDown;
    this.#modules.changed();
  }
}
