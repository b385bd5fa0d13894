import type { Clock, Logger, NewId, Random } from '@swarmctl/shared/kit';
import type { NodeRole, TlsInfo } from '@swarmctl/shared/model';
import type { DaemonConfig } from './config.ts';
import type { DirectLink } from './link.ts';

// What the node needs of its worker side: the agent with its runtime and its ingress.

export interface WorkerOptions {
  readonly config: DaemonConfig;
  readonly dataDir: string;
  readonly nodeId: string;
  readonly clusterId: string;
  /** The host where others reach this node's published ports. */
  readonly addr: string;
  /** Of the engine, `name=value` each. */
  readonly labels: readonly string[];
}

export interface WorkerModules {
  readonly link: DirectLink;
  /** The role that the state gives this node, as a manager tells it. */
  readonly onRole: (role: NodeRole) => void;
  /** The roots to trust, as a manager tells them. */
  readonly onRoots: (ca: string, revision: number) => void;
  /** Of the certificate that this node has now. */
  readonly tlsInfo: () => TlsInfo | undefined;
  /** A manager says that this node is no longer in the cluster. */
  readonly onRemoved: (reason: string) => void;
  /** The worker cannot go on. */
  readonly onFatal: (error: Error) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly newId: NewId;
  readonly log: Logger;
}

export interface WorkerStatus {
  readonly runtimeReady: boolean;
  readonly engineVersion: string;
  /** What serves published ports. */
  readonly ingress: string;
}

export interface WorkerHandle {
  status(): WorkerStatus;
  relabel(labels: readonly string[]): void;
  /** The node has another certificate. */
  redescribe(): void;
  /** Says goodbye for `graceMs`, if that is not 0, and stops; what runs goes on running. */
  stop(graceMs: number): Promise<void>;
  /** Stops for good: ends and removes everything that this node runs for the cluster. */
  purge(): Promise<void>;
}

export type StartWorker = (options: WorkerOptions, modules: WorkerModules) => Promise<WorkerHandle>;
