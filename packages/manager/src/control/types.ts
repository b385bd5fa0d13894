import type { StoreChange, StoreEvent } from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';

// The shape of everything that decides: a pure, synchronous function from a view to changes as data. One loop runs them all.

/** What a controller looks at, e.g. a service id. */
export type Key = string;

export interface Env {
  /** ms since the epoch. */
  readonly now: number;
  newId(): string;
  /** In [0, 1). */
  random(): number;
}

export interface Decision {
  readonly changes: readonly StoreChange[];
  /** Look at this key again at this time (ms), whatever happens. */
  readonly wakeAt?: number;
}

export interface Controller {
  readonly name: string;
  /** Events say where to look, never what is true. */
  marks(event: StoreEvent, view: View): readonly Key[];
  /** All keys, for a new leader and after a restored snapshot. */
  all(view: View): readonly Key[];
  decide(view: View, key: Key, env: Env): Decision;
}
