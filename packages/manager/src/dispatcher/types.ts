import type { Clock, Logger, NewId } from '@swarmctl/shared/kit';
import type { Peer } from '@swarmctl/shared/wire';
import type { Proposer, StoreWatch, View } from '../store/types.ts';
import type { AlsoNeeded } from './payloads.ts';

// What the dispatcher is made of and with.

export interface DispatcherOptions {
  /** Between a node's heartbeats, where the cluster's spec says nothing. */
  readonly heartbeatMs?: number;
  /** Heartbeats that a node may miss, and what is added for a beat that is on its way. */
  readonly missedBeats?: number;
  readonly allowanceMs?: number;
  /** How long changes are gathered before they are sent. */
  readonly coalesceMs?: number;
  /** How long a stop waits for nodes that do not say that they route past the task; and for those that are not connected. */
  readonly holdMs?: number;
  readonly absentHoldMs?: number;
  /** How long a stream may take to say hello. */
  readonly helloMs?: number;
}

export type Settings = Required<DispatcherOptions>;

export const defaultSettings: Settings = {
  heartbeatMs: 1_000,
  missedBeats: 3,
  allowanceMs: 250,
  coalesceMs: 5,
  holdMs: 5_000,
  absentHoldMs: 2_000,
  helloMs: 5_000,
};

export const graceMsOf = (settings: Settings, heartbeatMs: number): number =>
  heartbeatMs * settings.missedBeats + settings.allowanceMs;

export type DispatcherStore = StoreWatch & { view(): View };

export interface DispatcherModules {
  readonly store: DispatcherStore;
  readonly proposer: Proposer;
  readonly clock: Clock;
  readonly log: Logger;
  readonly newId: NewId;
  /** Signs a node's request with the role that the state gives it. Rejects with what is wrong. */
  readonly renew: (nodeId: string, csr: string) => Promise<{ readonly certificate: string; readonly ca: string }>;
  readonly managers: () => readonly Peer[];
  /** Loads the image of a task into the engine of its node. Rejects with why it cannot be given. Absent: none are given. */
  readonly giveImage?: (nodeId: string, taskId: string) => Promise<void>;
  /** Secrets and configs that nodes need beside those of their tasks. */
  readonly alsoNeeded?: AlsoNeeded;
}
