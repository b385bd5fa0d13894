import { connect } from 'node:net';
import { type Clock, delay } from '@swarmctl/shared/kit';
import type { TaskEndpoint } from '@swarmctl/shared/model';

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
