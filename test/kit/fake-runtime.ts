import type { PortConfig, RuntimeName, Task } from '@swarmctl/shared/model';
import { ingressPorts, type LogLine, type LogOptions } from '@swarmctl/shared/wire';
import {
  type ContainerState,
  type Runtime,
  RuntimeError,
  type RuntimeEvent,
} from '../../packages/worker/src/runtime/types.ts';

// Containers that are only remembered. They outlive the agent that drives them, as real ones do; tests make them exit, fall ill or hold
// connections, and read what was asked for.

interface FakeContainer {
  state: ContainerState;
  readonly task: Task;
}

/** What happens to tasks of an image; everything works unless it is said. */
export interface ImageManners {
  readonly prepareError?: RuntimeError;
  readonly startError?: RuntimeError;
  readonly health?: ContainerState['health'];
  /** Prepare waits for it. */
  readonly pulled?: Promise<void>;
}

export class FakeRuntime implements Runtime {
  readonly name: RuntimeName;
  readonly addr: string;
  readonly calls: string[] = [];
  readonly images = new Map<string, ImageManners>();
  readonly containers = new Map<string, FakeContainer>();
  readonly open = new Map<string, number | undefined>();
  /** Lines of a task's log; with `follow` the log of one that has begun stays open. */
  readonly lines = new Map<string, readonly string[]>();
  away = false;
  /** Lines that readers have taken. */
  linesRead = 0;
  stopsWait: Promise<void> | undefined;
  #listeners = new Set<(event: RuntimeEvent) => void>();
  #ports = 30_000;

  constructor(name: RuntimeName = 'docker', addr = '127.0.0.1') {
    this.name = name;
    this.addr = addr;
  }

  async describe() {
    const description = {
      Platform: { OS: 'linux', Architecture: 'x86_64' },
      Resources: { NanoCPUs: 4e9, MemoryBytes: 8e9 },
      Engine: { EngineVersion: '28.0.0' },
    };
    return this.away ? { ready: false, reason: 'away', description } : { ready: true, description };
  }

  async prepare(task: Task, signal: AbortSignal): Promise<ContainerState> {
    this.#call(`prepare ${task.ID}`);
    const manners = this.#mannersOf(task);
    if (manners.pulled) {
      await Promise.race([
        manners.pulled,
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('called off')))),
      ]);
    }
    if (manners.prepareError) throw manners.prepareError;
    const known = this.containers.get(task.ID);
    if (known) return known.state;
    const state: ContainerState = {
      taskId: task.ID,
      containerId: `c-${task.ID}`,
      phase: 'created',
      pid: 0,
      endpoints: [],
      hostPorts: [],
    };
    this.containers.set(task.ID, { state, task });
    return state;
  }

  async start(task: Task): Promise<ContainerState> {
    this.#call(`start ${task.ID}`);
    const container = this.containers.get(task.ID);
    if (!container) throw new RuntimeError('no such container', { permanent: true });
    const manners = this.#mannersOf(task);
    if (manners.startError) throw manners.startError;
    if (container.state.phase === 'created') {
      container.state = {
        ...container.state,
        phase: 'running',
        pid: 100,
        ...(manners.health && { health: manners.health }),
        endpoints: ingressPorts(task).map((port) => ({
          protocol: port.Protocol || 'tcp',
          targetPort: port.TargetPort ?? 0,
          localAddr: '172.17.0.2',
          localPort: port.TargetPort ?? 0,
          nodeAddr: this.addr,
          nodePort: ++this.#ports,
        })),
        hostPorts: (task.Ports ?? []).filter((port: PortConfig) => port.PublishMode === 'host'),
      };
    }
    return container.state;
  }

  async inspect(taskId: string): Promise<ContainerState | undefined> {
    this.#answer();
    return this.containers.get(taskId)?.state;
  }

  async list(): Promise<readonly ContainerState[]> {
    this.#answer();
    return [...this.containers.values()].map(({ state }) => state);
  }

  async stop(task: Task, graceMs: number): Promise<void> {
    this.#call(`stop ${task.ID} ${graceMs}`);
    await this.stopsWait;
    this.exit(task.ID, 137);
  }

  async remove(taskId: string): Promise<void> {
    this.#call(`remove ${taskId}`);
    this.containers.delete(taskId);
  }

  async *logs(taskId: string, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
    this.#answer();
    for (const text of this.lines.get(taskId) ?? []) {
      if (signal.aborted) return;
      this.linesRead++;
      yield { taskId, stream: 'stdout', time: '2026-01-01T00:00:00.000000000Z', line: Buffer.from(text) };
    }
    const begun = this.containers.get(taskId)?.state.phase !== 'created';
    if (options.follow && begun && !signal.aborted) {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
  }

  watch(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
  }

  async connections(task: Task): Promise<number | undefined> {
    return this.open.has(task.ID) ? this.open.get(task.ID) : 0;
  }

  async close(): Promise<void> {}

  // --- what tests do to containers ---

  exit(taskId: string, exitCode: number): void {
    this.#change(taskId, (state) =>
      state.phase === 'running' ? { ...state, phase: 'exited', pid: 0, exitCode, endpoints: [], hostPorts: [] } : state,
    );
  }

  setHealth(taskId: string, health: NonNullable<ContainerState['health']>): void {
    this.#change(taskId, (state) => ({ ...state, health }));
  }

  lose(taskId: string): void {
    this.containers.delete(taskId);
    this.#tell(taskId);
  }

  running(): string[] {
    return [...this.containers].flatMap(([id, { state }]) => (state.phase === 'running' ? [id] : []));
  }

  #change(taskId: string, change: (state: ContainerState) => ContainerState): void {
    const container = this.containers.get(taskId);
    if (container) container.state = change(container.state);
    this.#tell(taskId);
  }

  #tell(taskId: string): void {
    for (const listener of this.#listeners) listener({ taskId });
  }

  #mannersOf(task: Task): ImageManners {
    return this.images.get(task.Spec.ContainerSpec?.Image ?? '') ?? {};
  }

  #call(what: string): void {
    this.#answer();
    this.calls.push(what);
  }

  #answer(): void {
    if (this.away) throw new RuntimeError('the engine is away');
  }
}
