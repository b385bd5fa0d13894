import type { NodeDescription, PortConfig, RuntimeName, Task, TaskEndpoint } from '@swarmctl/shared/model';
import type { LogLine, LogOptions } from '@swarmctl/shared/wire';

// The small port that every container runtime implements: idempotent verbs on tasks. Labels (or files) let a restarted agent readopt what
// runs. `docker` and `process` pass one contract test suite.

/** What a runtime knows of a task's container now. */
export interface ContainerState {
  readonly taskId: string;
  readonly containerId: string;
  readonly phase: 'created' | 'running' | 'exited';
  readonly pid: number;
  /** With `exited`. */
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
  /** Absent without a healthcheck. */
  readonly health?: 'starting' | 'healthy' | 'unhealthy';
  /** While running: where each port is reached. */
  readonly endpoints: readonly TaskEndpoint[];
  /** While running: host-mode ports as bound. */
  readonly hostPorts: readonly PortConfig[];
}

export interface RuntimeEvent {
  readonly taskId: string;
}

export interface Runtime {
  readonly name: RuntimeName;
  /** What the node offers, less what is reserved; `ready` false with a reason when the engine is away. Never throws. */
  describe(): Promise<{
    ready: boolean;
    reason?: string;
    description: Pick<NodeDescription, 'Platform' | 'Resources' | 'Engine'>;
  }>;
  /** Makes sure the container exists (image pulled if absent, ports reserved); throws RuntimeError. Idempotent. */
  prepare(task: Task, signal: AbortSignal): Promise<ContainerState>;
  /** Starts it if it never ran. Idempotent on a running one. */
  start(task: Task): Promise<ContainerState>;
  /** Undefined when there is no such container. */
  inspect(taskId: string): Promise<ContainerState | undefined>;
  /** Every container of this node and cluster. */
  list(): Promise<readonly ContainerState[]>;
  /** Sends the stop signal, waits `graceMs` at most, kills. Resolves when it has exited. Idempotent. */
  stop(task: Task, graceMs: number): Promise<void>;
  /** Removes the container (killing it if needed), its anonymous volumes and files. Idempotent. */
  remove(taskId: string): Promise<void>;
  /** Ends when the container's log ends (or at once without `follow`). Throws RuntimeError when there is none. */
  logs(taskId: string, options: LogOptions, signal: AbortSignal): AsyncIterable<LogLine>;
  /** Calls back when something about a task's container may have changed that no verb here has returned (exit, health, removal, a start by others). */
  watch(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void;
  /** Established TCP connections into the task's ingress ports right now; undefined when it cannot be told. */
  connections(task: Task): Promise<number | undefined>;
  close(): Promise<void>;
}

export class RuntimeError extends Error {
  readonly permanent: boolean;
  constructor(message: string, options: { permanent?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RuntimeError';
    this.permanent = options.permanent ?? false;
  }
}

/** What a runtime must know of its node. */
export interface RuntimeNode {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly hostname: string;
  /** Address that ports for other nodes are published on. */
  readonly addr: string;
}
