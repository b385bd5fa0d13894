import { type Clock, delay } from '@swarmctl/shared/kit';
import { drainTimeoutMsOf, type Task } from '@swarmctl/shared/model';
import type { Runtime } from '../runtime/types.ts';

// The last connections of a task that no node routes to any more.

const lookEveryMs = 75;
/** Where the runtime cannot tell, requests get this long. */
const blindMs = 2_000;

/** Resolves when the task has had no connection twice in a row, or its time is over. */
export async function drainConnections(
  task: Task,
  modules: { readonly runtime: Pick<Runtime, 'connections'>; readonly clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  const { runtime, clock } = modules;
  const began = clock.monotonic();
  const mostMs = drainTimeoutMsOf(task.ServiceAnnotations.Labels);
  for (let quiet = 0; quiet < 2 && !signal.aborted; ) {
    const count = await runtime.connections(task).catch(() => undefined);
    quiet = count === 0 ? quiet + 1 : 0;
    const waited = clock.monotonic() - began;
    if (quiet >= 2 || waited >= (count === undefined ? Math.min(mostMs, blindMs) : mostMs)) return;
    await delay(clock, lookEveryMs, signal).catch(() => undefined);
  }
}
