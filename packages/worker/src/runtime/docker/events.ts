import { type Clock, delay, type Logger, messageOf } from '@swarmctl/shared/kit';
import type Docker from 'dockerode';
import { labelNames } from '../identity.ts';

// The engine's events as hints: which task to look at again. The stream is opened anew whenever it ends; after each opening every task is
// to be looked at, since what happened meanwhile is not told.

export interface EventSource {
  readonly docker: Docker;
  readonly labels: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
  /** Every task that is, or was, known. */
  readonly knownTasks: () => Promise<readonly string[]>;
  /** Events may have been missed. */
  readonly reopened: () => void;
  /** This daemon did it itself, and has looked since. */
  readonly isEcho: (containerId: string, action: string) => boolean;
}

// Nobody but this daemon creates a task's container, and it knows what it made.
const kinds = ['start', 'restart', 'die', 'oom', 'pause', 'unpause', 'destroy', 'health_status'];
const firstDelayMs = 100;
const lastDelayMs = 2_000;

export async function followEvents(
  source: EventSource,
  changed: (taskId: string) => void,
  signal: AbortSignal,
): Promise<void> {
  let waitMs = firstDelayMs;
  while (!signal.aborted) {
    try {
      const stream = await source.docker.getEvents({
        filters: { type: ['container'], label: [...source.labels], event: kinds },
        abortSignal: signal,
      });
      source.reopened();
      for (const taskId of await source.knownTasks()) changed(taskId);
      waitMs = firstDelayMs;
      await readEvents(stream, source.isEcho, changed);
    } catch (error) {
      if (signal.aborted) return;
      source.log.debug({ error: messageOf(error), waitMs }, 'engine events lost');
    }
    await delay(source.clock, waitMs, signal).catch(() => {});
    waitMs = Math.min(waitMs * 2, lastDelayMs);
  }
}

async function readEvents(
  stream: NodeJS.ReadableStream,
  isEcho: EventSource['isEcho'],
  changed: (taskId: string) => void,
): Promise<void> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines.filter((one) => one.trim() !== '')) {
      const { Action = '', Actor } = JSON.parse(line) as EngineEvent;
      const taskId = Actor?.Attributes?.[labelNames.taskId];
      if (taskId && !isEcho(Actor?.ID ?? '', Action)) changed(taskId);
    }
  }
}

interface EngineEvent {
  readonly Action?: string;
  readonly Actor?: { readonly ID?: string; readonly Attributes?: Readonly<Record<string, string>> };
}
