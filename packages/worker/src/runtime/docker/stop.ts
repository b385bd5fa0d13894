import { type Clock, ifLate, inTime } from '@swarmctl/shared/kit';
import type Docker from 'dockerode';
import { RuntimeError } from '../types.ts';
import type { EngineCalls } from './calls.ts';
import { isConflict, isNotFound } from './errors.ts';

// How a container is brought to its end: by the signal that it asks for, and when it has not ended in time by the one that nobody survives.

export interface StopModules {
  readonly docker: Pick<Docker, 'getContainer'>;
  readonly calls: EngineCalls;
  readonly clock: Clock;
}

/** After SIGKILL. */
const endTimeoutMs = 30_000;

/** Resolves when it runs no more. Rejects with RuntimeError. */
export async function stopContainer(
  info: Docker.ContainerInspectInfo,
  graceMs: number,
  modules: StopModules,
): Promise<void> {
  const container = modules.docker.getContainer(info.Id);
  const signal = (info.Config as { StopSignal?: string }).StopSignal || 'SIGTERM';
  if (graceMs > 0) await kill(container, signal, modules);
  if (graceMs > 0 && (await hasEnded(container, graceMs, modules))) return;
  await kill(container, 'SIGKILL', modules);
  if (!(await hasEnded(container, endTimeoutMs, modules)))
    throw new RuntimeError(`container ${info.Id.slice(0, 12)} does not end, even when killed`);
}

async function kill(container: Docker.Container, signal: string, { calls }: StopModules): Promise<void> {
  await calls.call(
    () => container.kill({ signal }),
    (error) => isNotFound(error) || isConflict(error),
  );
}

/** Waits for the end; false after `ms`. */
async function hasEnded(container: Docker.Container, ms: number, { calls, clock }: StopModules): Promise<boolean> {
  return inTime(clock, { what: 'the end of a container', ms }, async (abortSignal) => {
    await calls.call(() => container.wait({ abortSignal }), isNotFound);
    return true;
  }).catch(ifLate(false));
}
