import { connect } from 'node:net';
import { type Clock, delay } from '@swarmctl/shared/kit';
import type { TaskEndpoint } from '@swarmctl/shared/model';
import type { ContainerState } from '../runtime/types.ts';

// Whether a task without a healthcheck serves: its published TCP ports accept connections.

/** True when `host:port` accepted a connection. Never rejects. */
export type Probe = (host: string, port: number, signal: AbortSignal) => Promise<boolean>;

const connectTimeoutMs = 1_000;
const probeEveryMs = 50;

export const connectProbe: Probe = (host, port, signal) =>
  new Promise((resolve) => {
    const socket = connect({ host, port, timeout: connectTimeoutMs });
    const end = (accepted: boolean) => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(accepted);
    };
    const onAbort = () => end(false);
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
    if (signal.aborted) end(false);
  });

/** Resolves true once every TCP endpoint has accepted, false when it was aborted before. */
export async function untilReachable(
  endpoints: readonly TaskEndpoint[],
  modules: { readonly probe: Probe; readonly clock: Clock },
  signal: AbortSignal,
): Promise<boolean> {
  let missing = endpoints.filter(({ protocol }) => protocol === 'tcp');
  for (;;) {
    const accepted = await Promise.all(
      missing.map(({ localAddr, localPort }) => modules.probe(localAddr, localPort, signal)),
    );
    if (signal.aborted) return false;
    missing = missing.filter((_, i) => !accepted[i]);
    if (missing.length === 0) return true;
    await delay(modules.clock, probeEveryMs, signal).catch(() => undefined);
    if (signal.aborted) return false;
  }
}

/** Whether one container can be reached: the one that is probed, or was found reachable. */
export class ContainerProbe {
  readonly #modules: { readonly probe: Probe; readonly clock: Clock };
  readonly #signal: AbortSignal;
  #probed: { readonly containerId: string; readonly abort: AbortController; isReachable: boolean } | undefined;

  constructor(modules: { readonly probe: Probe; readonly clock: Clock }, signal: AbortSignal) {
    this.#modules = modules;
    this.#signal = signal;
  }

  isReachable(containerId: string | undefined): boolean {
    return this.#probed?.isReachable === true && this.#probed.containerId === containerId;
  }

  /** Probes this one from now on, if it does not yet. `done` is called when it can be reached, or was stopped. */
  follow({ containerId, endpoints }: Pick<ContainerState, 'containerId' | 'endpoints'>, done: () => void): void {
    if (this.#probed?.containerId === containerId) return;
    this.stop();
    const abort = new AbortController();
    const probed = { containerId, abort, isReachable: false };
    this.#probed = probed;
    void untilReachable(endpoints, this.#modules, AbortSignal.any([abort.signal, this.#signal])).then((all) => {
      probed.isReachable = all;
      done();
    });
  }

  stop(): void {
    this.#probed?.abort.abort();
  }
}
