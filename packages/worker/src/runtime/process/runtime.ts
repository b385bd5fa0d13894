import { mkdirSync } from 'node:fs';
import { access, constants, mkdir } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import {
  type Clock,
  delay,
  type Logger,
  messageOf,
  type Random,
  realClock,
  realRandom,
  silentLogger,
} from '@swarmctl/shared/kit';
import type { Task } from '@swarmctl/shared/model';
import { ingressPorts, type LogLine, type LogOptions } from '@swarmctl/shared/wire';
import { offer, type Reserved } from '../offer.ts';
import { countConnections } from '../proc-net.ts';
import { machine } from '../template.ts';
import { type ContainerState, type Runtime, RuntimeError, type RuntimeEvent, type RuntimeNode } from '../types.ts';
import { type Cgroups, detectCgroups, makeCgroups, processesIn, releaseCgroups, removeCgroups } from './cgroups.ts';
import { readLogs } from './log-reader.ts';
import { assignPorts, localAddrOf } from './ports.ts';
import { bootId, isAlive, killQuietly } from './proc.ts';
import { checkSupported, processConfig } from './process-config.ts';
import { ShimLinks, startShim } from './shim-link.ts';
import { type TaskFiles, TaskFolders } from './task-folder.ts';
import { readAccounts, resolveUser } from './users.ts';

// Plain processes of the machine, for nodes without an engine. A shim stands by each and outlives this daemon; all that is known of a task
// is in its folder, so a restarted daemon reads it there.

export interface ProcessRuntimeOptions extends Reserved {
  /** The tasks' folders are in `process` under it. */
  readonly dataDir: string;
  /** As root: also run what names no user, or root. */
  readonly allowRoot?: boolean;
  /** Size at which an output file is rotated (10 MiB); three are kept. */
  readonly logFileBytes?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Logger;
}

export const createProcessRuntime = (options: ProcessRuntimeOptions, node: RuntimeNode): Runtime =>
  new ProcessRuntime(options, node);

const killedCode = 137;
const endTimeoutMs = 30_000;
const pollMs = 20;

class ProcessRuntime implements Runtime {
  readonly name = 'process';
  readonly #options: ProcessRuntimeOptions;
  readonly #node: RuntimeNode;
  readonly #folders: TaskFolders;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #cgroups: Cgroups | string;
  readonly #links: ShimLinks;
  readonly #listeners = new Set<(event: RuntimeEvent) => void>();
  /** Ports are given one task after the other, so that no two get the same. */
  #preparing: Promise<unknown> = Promise.resolve();
  readonly #starting = new Map<string, Promise<void>>();

  constructor(options: ProcessRuntimeOptions, node: RuntimeNode) {
    this.#options = options;
    this.#node = node;
    this.#folders = new TaskFolders(join(options.dataDir, 'process'));
    this.#links = new ShimLinks(
      (taskId) => this.#folders.path(taskId),
      (taskId) => this.#changed(taskId),
    );
    this.#clock = options.clock ?? realClock;
    this.#random = options.random ?? realRandom;
    this.#log = options.log ?? silentLogger;
    this.#cgroups = process.getuid?.() === 0 ? detectCgroups() : 'the daemon is not root';
    mkdirSync(this.#folders.root, { recursive: true, mode: 0o700 });
  }

  async describe() {
    const limits = typeof this.#cgroups === 'string' ? `none (${this.#cgroups})` : this.#limits(this.#cgroups);
    const description = {
      Platform: { Architecture: machine(), OS: process.platform },
      Resources: offer(cpus().length * 1e9, totalmem(), this.#options),
      Engine: {
        EngineVersion: `process (node ${process.versions.node})`,
        Labels: { 'swarmctl.process.limits': limits },
      },
    };
    try {
      await mkdir(this.#folders.root, { recursive: true, mode: 0o700 });
      await access(this.#folders.root, constants.W_OK);
      return { ready: true, description };
    } catch (error) {
      return { ready: false, reason: `the folder for tasks cannot be written: ${messageOf(error)}`, description };
    }
  }

  async prepare(task: Task, signal: AbortSignal): Promise<ContainerState> {
    const prepared = this.#preparing.then(() => this.#prepare(task, signal));
    this.#preparing = prepared.catch(() => {});
    return prepared;
  }

  async start(task: Task): Promise<ContainerState> {
    const files = await this.#folders.read(task.ID);
    if (!files) throw noProcess(task.ID);
    if (!files.claim && !files.exit) await this.#startOnce(task.ID);
    const state = await this.inspect(task.ID);
    if (!state) throw noProcess(task.ID);
    return state;
  }

  async inspect(taskId: string): Promise<ContainerState | undefined> {
    const files = await this.#folders.read(taskId);
    return files && this.#isOurs(files) ? this.#stateOf(files) : undefined;
  }

  async list(): Promise<readonly ContainerState[]> {
    const states = await Promise.all((await this.#folders.list()).map((taskId) => this.inspect(taskId)));
    return states.filter((state) => state !== undefined);
  }

  async stop(task: Task, graceMs: number): Promise<void> {
    const state = await this.inspect(task.ID);
    if (state?.phase !== 'running') return;
    if (graceMs > 0) {
      const files = await this.#folders.read(task.ID);
      await this.#signal(task.ID, files?.config.stopSignal ?? 'SIGTERM');
      if (await this.#ended(task.ID, graceMs)) return;
    }
    await this.#kill(task.ID);
  }

  async remove(taskId: string): Promise<void> {
    const files = await this.#folders.read(taskId);
    if (!files || !this.#isOurs(files)) return;
    if ((await this.#stateOf(files)).phase === 'running') await this.#kill(taskId);
    await this.#links.drop(taskId);
    await this.#folders.remove(taskId);
    await removeCgroups(files.config);
    this.#changed(taskId);
  }

  async *logs(taskId: string, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
    if (!(await this.inspect(taskId))) throw noProcess(taskId);
    const source = {
      folder: this.#folders.path(taskId),
      taskId,
      clock: this.#clock,
      ended: async () => ((await this.inspect(taskId))?.phase ?? 'exited') === 'exited',
    };
    yield* readLogs(source, options, signal);
  }

  watch(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
    // Opens the lines to the shims that run already; what ended meanwhile is told too.
    void this.list().then(
      (states) => {
        for (const { taskId } of states) this.#changed(taskId);
      },
      (error) => this.#log.warn({ error: messageOf(error) }, 'tasks cannot be read'),
    );
  }

  async connections(task: Task): Promise<number | undefined> {
    const targets = new Set(ingressPorts(task).map((port) => `${port.Protocol || 'tcp'}/${port.TargetPort}`));
    const state = await this.inspect(task.ID);
    const ports = (state?.endpoints ?? [])
      .filter(({ protocol, targetPort }) => protocol === 'tcp' && targets.has(`tcp/${targetPort}`))
      .map(({ localPort }) => localPort);
    return ports.length > 0 ? countConnections(process.pid, new Set(ports)) : 0;
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#links.close();
    if (typeof this.#cgroups !== 'string') await releaseCgroups(this.#cgroups);
  }

  async #prepare(task: Task, signal: AbortSignal): Promise<ContainerState> {
    const known = await this.inspect(task.ID);
    if (known) return known;
    signal.throwIfAborted();
    checkSupported(task);
    const own = process.getuid?.() ?? 0;
    const wanted = task.Spec.ContainerSpec?.User;
    const user = resolveUser(wanted, await readAccounts(), own, this.#options.allowRoot ?? false);
    const assigned = await assignPorts(task, await this.#portsTaken(), this.#random);
    const config = await processConfig(task, {
      node: this.#node,
      user,
      assigned,
      localAddr: localAddrOf(this.#node.addr),
      path: process.env['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      logFileBytes: this.#options.logFileBytes ?? 10 * 1024 * 1024,
    });
    await this.#folders.create({ ...config, ...(await this.#limit(task)) });
    return this.#must(task.ID);
  }

  async #limit(task: Task) {
    if (typeof this.#cgroups !== 'string') return makeCgroups(this.#cgroups, task.ID, task.Spec);
    if (task.Spec.Resources?.Limits)
      this.#log.warn({ task: task.ID, reason: this.#cgroups }, 'limits are not enforced here');
    return { cgroups: [] };
  }

  async #must(taskId: string): Promise<ContainerState> {
    const state = await this.inspect(taskId);
    if (!state) throw noProcess(taskId);
    return state;
  }

  /** Ports given to tasks that may not listen on them yet. */
  async #portsTaken(): Promise<Set<number>> {
    const taken = new Set<number>();
    for (const taskId of await this.#folders.list()) {
      const files = await this.#folders.read(taskId);
      if (!files || files.exit) continue;
      for (const { localPort } of files.config.endpoints) taken.add(localPort);
      for (const { PublishedPort } of files.config.hostPorts) if (PublishedPort) taken.add(PublishedPort);
    }
    return taken;
  }

  #startOnce(taskId: string): Promise<void> {
    const running = this.#starting.get(taskId);
    if (running) return running;
    const started = startShim(this.#folders.path(taskId), this.#clock).finally(() => {
      this.#starting.delete(taskId);
      this.#changed(taskId);
    });
    this.#starting.set(taskId, started);
    return started;
  }

  async #stateOf(files: TaskFiles): Promise<ContainerState> {
    const { config, claim, run } = files;
    const { taskId } = config;
    const base = { taskId, containerId: taskId, endpoints: [], hostPorts: [] };
    if (files.exit) return { ...base, phase: 'exited', pid: 0, ...exited(files.exit) };
    if (!claim) return { ...base, phase: 'created', pid: 0 };
    if (!isAlive(claim)) return { ...base, phase: 'exited', pid: 0, ...exited(await this.#bury(files)) };
    const link = await this.#links.get(taskId);
    const health = config.health && (link?.health ?? 'starting');
    return {
      ...base,
      phase: 'running',
      pid: run?.pid ?? 0,
      ...(health && { health }),
      endpoints: config.endpoints,
      hostPorts: config.hostPorts,
    };
  }

  /** The shim is gone without a word (killed, or the machine restarted): its command must not run on unseen. */
  async #bury(files: TaskFiles): Promise<{ code: number; oomKilled?: boolean }> {
    const { taskId } = files.config;
    // It may have written it between the two readings.
    const exit = await this.#folders.readExit(taskId);
    if (exit) return exit;
    const sameBoot = files.claim?.bootId === bootId();
    if (sameBoot) {
      // Its own group's leader may be gone while others of the group live; the cgroup finds those.
      if (files.run && isAlive(files.run)) killQuietly(-files.run.pid);
      for (const pid of await processesIn(files.config)) killQuietly(pid);
    }
    const lost = {
      code: killedCode,
      error: sameBoot ? 'the shim was killed' : 'the machine was restarted',
      at: new Date(this.#clock.now()).toISOString(),
    };
    this.#log.warn({ task: taskId, error: lost.error }, 'process lost');
    await this.#folders.writeExit(taskId, lost);
    return lost;
  }

  async #signal(taskId: string, signal: string): Promise<void> {
    const link = await this.#links.get(taskId);
    if (link) return link.signal(signal);
    const files = await this.#folders.read(taskId);
    if (files?.run && isAlive(files.run))
      killQuietly(signal === 'SIGKILL' ? -files.run.pid : files.run.pid, signal as NodeJS.Signals);
  }

  async #kill(taskId: string): Promise<void> {
    await this.#signal(taskId, 'SIGKILL');
    if (!(await this.#ended(taskId, endTimeoutMs)))
      throw new RuntimeError(`the process of task ${taskId} does not end, even when killed`);
  }

  /** False after `ms`. */
  async #ended(taskId: string, ms: number): Promise<boolean> {
    const end = this.#clock.monotonic() + ms;
    for (;;) {
      const state = await this.inspect(taskId);
      if (state?.phase !== 'running') return true;
      const left = end - this.#clock.monotonic();
      if (left <= 0) return false;
      const link = await this.#links.get(taskId);
      const woken = new AbortController();
      void link?.closed.then(() => woken.abort());
      await delay(this.#clock, link ? left : Math.min(left, pollMs), woken.signal).catch(() => {});
    }
  }

  #isOurs({ config }: TaskFiles): boolean {
    return config.nodeId === this.#node.nodeId && config.clusterId === this.#node.clusterId;
  }

  #changed(taskId: string): void {
    for (const listener of this.#listeners) listener({ taskId });
  }

  #limits({ version, places }: Cgroups): string {
    return `cgroup v${version}: ${[...places.keys()].join(', ')}`;
  }
}

const exited = ({ code, oomKilled }: { code: number; oomKilled?: boolean }) => ({
  exitCode: code,
  ...(oomKilled && { oomKilled }),
});

const noProcess = (taskId: string) =>
  new RuntimeError(`there is no process of task ${taskId} here`, { permanent: true });
