import { labelNames } from '../identity.ts';
import type { EngineEvent, EngineEventsOptions } from './engine-events.ts';

// Events of this node's containers: which task to look at again. After each opening of the stream every task is to be looked at.

export interface TaskEventsOptions extends Pick<EngineEventsOptions, 'opened'> {
  readonly labels: readonly string[];
  /** This daemon did it itself, and has looked since. */
  readonly isEcho: (containerId: string, action: string) => boolean;
  readonly changed: (taskId: string) => void;
}

// Nobody but this daemon creates a task's container, and it knows what it made.
const kinds = ['start', 'restart', 'die', 'oom', 'pause', 'unpause', 'destroy', 'health_status'];

export const taskEvents = ({
  labels,
  isEcho,
  changed,
  opened,
}: TaskEventsOptions): Pick<EngineEventsOptions, 'filters' | 'event' | 'opened'> => ({
  filters: { type: ['container'], label: [...labels], event: kinds },
  opened,
  event: ({ Action = '', Actor }: EngineEvent) => {
    const taskId = Actor?.Attributes?.[labelNames.taskId];
    if (taskId && !isEcho(Actor?.ID ?? '', Action)) changed(taskId);
  },
});
