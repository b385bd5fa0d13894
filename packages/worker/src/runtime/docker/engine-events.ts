import type { Readable } from 'node:stream';
import { type Clock, delay, type Logger, linesOf, messageOf } from '@swarmctl/shared/kit';
import type Docker from 'dockerode';

// The engine's events, as hints: the stream is opened anew whenever it ends, and what happened meanwhile is not told.

export interface EngineEvent {
  readonly Type?: string;
  readonly Action?: string;
  readonly Actor?: { readonly ID?: string; readonly Attributes?: Readonly<Record<string, string>> };
}

export interface EngineEventsOptions {
  readonly docker: Pick<Docker, 'getEvents'>;
  readonly filters: NonNullable<Docker.GetEventsOptions['filters']>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Events may have been missed. A rejection opens the stream anew. */
  readonly opened: () => void | Promise<void>;
  readonly event: (event: EngineEvent) => void;
}

const firstDelayMs = 100;
const lastDelayMs = 2_000;

/** Until the signal aborts. Never rejects. */
export async function followEngine(options: EngineEventsOptions, signal: AbortSignal): Promise<void> {
  const { docker, filters, clock, log, opened, event } = options;
  let waitMs = firstDelayMs;
  while (!signal.aborted) {
    try {
      const stream = (await docker.getEvents({ filters, abortSignal: signal })) as Readable;
      try {
        await opened();
        waitMs = firstDelayMs;
        for await (const line of linesOf(stream)) event(JSON.parse(line) as EngineEvent);
      } finally {
        // Should nobody have come to read it.
        stream.destroy();
      }
    } catch (error) {
      if (signal.aborted) return;
      log.debug({ error: messageOf(error), waitMs }, 'engine events lost');
    }
    await delay(clock, waitMs, signal).catch(() => {});
    waitMs = Math.min(waitMs * 2, lastDelayMs);
  }
}
