import type { Clock, Logger } from '@swarmctl/shared/kit';
import type { Rotation } from './rotation.ts';

// What a published port of the proxy is, whatever its protocol.

export interface ProxyPort {
  /** The backends behind `rotation` have changed. */
  changed(): void;
  /** Open connections (for UDP: clients heard of lately) by task. */
  counts(): ReadonlyMap<string, number>;
  /** Takes no new ones; those there go on to their end. */
  stop(): void;
  /** Ends them too. */
  destroy(): void;
}

export interface PortModules {
  readonly rotation: Rotation;
  readonly clock: Clock;
  readonly log: Logger;
}

export const increment = (counts: Map<string, number>, key: string, by: 1 | -1): void => {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
};
