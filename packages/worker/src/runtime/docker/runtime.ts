import { readFile } from 'node:fs/promises';
import { type Clock, delay, inTime, type Logger, messageOf, realClock, silentLogger } from '@swarmctl/shared/kit';
import { payloadReferences, type RegistryAuth, type Task } from '@swarmctl/shared/model';
import { ingressPorts, type LogLine, type LogOptions } from '@swarmctl/shared/wire';
import type Docker from 'dockerode';
import { networkIdsOf, type TaskNetworks } from '../../network/node-networks.ts';
import type { EngineEndpoints } from '../../network/types.ts';
import type { FileMount, TaskMounts } from '../../secrets/task-mounts.ts';
import { labelNames, ownLabels } from '../identity.ts';
import type { Reserved } from '../offer.ts';
import { countConnections } from '../proc-net.ts';
import { type ContainerState, type Runtime, RuntimeError, type RuntimeEvent, type RuntimeNode } from '../types.ts';
import { askTwice, EngineCalls } from './calls.ts';
import { connect, defaultDockerHost, isOnThisMachine, parseDockerHost } from './connect.ts';
import { containerConfig, withFiles } from './container-config.ts';
import { containerState, type StateView } from './container-state.ts';
import { describeEngine, describeMachine, type EngineInfo, fileTrouble } from './describe.ts';
import { followEngine } from './engine-events.ts';
import { asStartError, isConflict, isNoSuchImage, isNotFound, isNotModified } from './errors.ts';
import { taskEvents } from './events.ts';
import { pullImage } from './image.ts';
import { type EngineVersion, lateFieldsOf, unknownTo } from './late-fields.ts';
import { LocalNetworks } from './local-networks.ts';
import { notes, openLogs, parseLogs } from './logs.ts';
import { connectOthers } from './networks.ts';
import { stopContainer } from './stop.ts';

// Containers of a Docker engine (or Podman's service). A container is known by its labels; the map from task to container id only saves
// look-ups, so a restarted daemon, or another engine client, changes nothing.

export interface DockerRuntimeOptions extends Reserved {
  /** `unix:///path` or `tcp://host:port`. */
  readonly dockerHost?: string;
  readonly clock?: Clock;
  readonly log?: Logger;
  /** Absent: this node carries no overlay networks. */
  readonly networks?: Pick<TaskNetworks, 'attach'>;
  /** What a service's images are pulled with, by its id; absent: nothing. */
  readonly pullAuth?: (serviceId: string) => RegistryAuth | undefined;
  /** Has the managers load a task's image; resolves with why they cannot. Absent: nobody is asked. */
  readonly askForImage?: (taskId: string, signal: AbortSignal) => Promise<string | undefined>;
  /** Absent: this node gives containers no secrets and configs. */
  readonly mounts?: Pick<TaskMounts, 'provide'>;
}

export const createDockerRuntime = (options: DockerRuntimeOptions, node: RuntimeNode): Runtime =>
  new DockerRuntime(options, node);

const describeTimeoutMs = 5_000;
/** After a removal that another began. */
const removalTimeoutMs = 30_000;
/** While another call makes, or removes, the container of that name. */
const conflictTimeoutMs = 5_000;
const pollMs = 50;

class DockerRuntime implements Runtime {
  readonly name = 'docker';
  readonly #options: DockerRuntimeOptions;
  readonly #node: RuntimeNode;
  readonly #view: StateView;
  readonly #dockerHost: string;
  readonly #docker: Docker;
  readonly #calls: EngineCalls;
  readonly #localNetworks: LocalNetworks;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #ids = new Map<string, string>();
  /** Containers made by this object and not started yet: no need to ask whether they ran. */
  readonly #fresh = new Set<string>();
  /** Containers that this object starts, whose event is still to come. */
  readonly #echoes = new Set<string>();
  readonly #closed = new AbortController();
  /** What the engine said of itself last. */
  #engine: EngineInfo | undefined;
  #described: Awaited<ReturnType<Runtime['describe']>>['description'];

  constructor(options: DockerRuntimeOptions, node: RuntimeNode) {
    this.#options = options;
    this.#node = node;
    this.#dockerHost = options.dockerHost ?? defaultDockerHost;
    const address = parseDockerHost(this.#dockerHost);
    this.#view = { node, reachable: isOnThisMachine(address) };
    this.#docker = connect(address);
    this.#calls = new EngineCalls(this.#dockerHost);
    this.#localNetworks = new LocalNetworks(this.#docker, node);
    this.#clock = options.clock ?? realClock;
    this.#log = options.log ?? silentLogger;
    this.#described = describeMachine(options);
  }

  async describe() {
    try {
      // The types do not know that it takes one.
      const ask = this.#docker.info as (options: { abortSignal: AbortSignal }) => Promise<EngineInfo>;
      const limit = { what: 'its answer', ms: describeTimeoutMs };
      const info = await inTime(this.#clock, limit, (abortSignal) => ask.call(this.#docker, { abortSignal }));
      this.#engine = info;
      this.#described = describeEngine(info, this.#options);
      return { ready: true, description: this.#described };
    } catch (error) {
      const reason = `the Docker engine at ${this.#dockerHost} does not answer: ${messageOf(error)}`;
      return { ready: false, reason, description: this.#described };
    }
  }

  async prepare(task: Task, signal: AbortSignal): Promise<ContainerState> {
    const known = this.#ids.has(task.ID) ? await this.inspect(task.ID) : undefined;
    if (known && known.phase !== 'created') return known;
    const overlays = await this.#attach(task);
    return this.#calls.call(() =>
      this.#localNetworks.during(task, async (local) => {
        const endpoints = { networks: { ...overlays?.networks, ...local }, dns: overlays?.dns ?? [] };
        const state = known ?? (await this.#make(containerConfig(task, this.#node, endpoints), task, signal));
        // Also one that was made, and not connected, before.
        await connectOthers(this.#docker, state.containerId, endpoints);
        return state;
      }),
    );
  }

  async #attach(task: Task): Promise<EngineEndpoints | undefined> {
    if (networkIdsOf(task).length === 0) return undefined;
    const { networks } = this.#options;
    if (!networks) {
      const why =
        'this node carries no overlay networks: swarmd must be root, with nftables and an engine on this machine';
      throw new RuntimeError(why, { permanent: true });
    }
    try {
      return await networks.attach(task);
    } catch (error) {
      throw new RuntimeError(messageOf(error), { cause: error });
    }
  }

  async #files(task: Task): Promise<readonly FileMount[]> {
    if (payloadReferences(task.Spec.ContainerSpec).length === 0) return [];
    const { mounts } = this.#options;
    const trouble = mounts ? fileTrouble(this.#engine) : 'swarmd must be root, with an engine on this machine';
    if (!mounts || trouble) {
      throw new RuntimeError(`this node gives no secrets and configs to containers: ${trouble}`, { permanent: true });
    }
    return mounts.provide(task);
  }

  async #make(plain: Docker.ContainerCreateOptions, task: Task, signal: AbortSignal): Promise<ContainerState> {
    await this.#refuseLate(plain);
    const config = withFiles(plain, await this.#files(task));
    try {
      return await this.#create(task, config);
    } catch (error) {
      if (!isNoSuchImage(error)) throw this.#calls.translate(error);
    }
    try {
      await this.#fetchImage(task, config.Image ?? '', signal);
      return await this.#create(task, config);
    } catch (error) {
      throw this.#calls.translate(error);
    }
  }

  /** From its registry, else from the cluster. Throws `No such image: …`, permanent, when neither gives it. */
  async #fetchImage(task: Task, image: string, signal: AbortSignal): Promise<void> {
    const { pullAuth, askForImage } = this.#options;
    try {
      this.#log.info({ task: task.ID, image }, 'pulling image');
      await pullImage(this.#docker, { image, auth: pullAuth?.(task.ServiceID) }, signal);
    } catch (error) {
      const mayAsk = error instanceof RuntimeError && error.permanent && askForImage !== undefined;
      const problem = mayAsk ? await askForImage(task.ID, signal) : '';
      if (problem === undefined) return;
      if (problem === '') throw error;
      throw new RuntimeError(`${messageOf(error)}; ${problem}`, { permanent: true, cause: error });
    }
  }

  async #refuseLate(config: Docker.ContainerCreateOptions): Promise<void> {
    const late = lateFieldsOf(config);
    // Few ask for any, so the engine is seldom asked.
    const problem = late.length > 0 ? unknownTo((await this.#docker.version()) as EngineVersion, late) : undefined;
    if (problem) throw new RuntimeError(problem, { permanent: true });
  }

  async start(task: Task): Promise<ContainerState> {
    const id = await this.#idOf(task.ID);
    if (!id) throw noContainer(task.ID);
    if (!this.#fresh.delete(id)) {
      const state = await this.inspect(task.ID);
      if (!state) throw noContainer(task.ID);
      if (state.phase !== 'created') return state;
    }
    // One that an earlier daemon made may have lost them.
    await this.#files(task);
    await this.#startId(id);
    const state = await this.inspect(task.ID);
    if (!state) throw noContainer(task.ID);
    return state;
  }

  async #startId(id: string): Promise<void> {
    this.#echoes.add(id);
    try {
      await askTwice(() => this.#docker.getContainer(id).start());
    } catch (error) {
      this.#echoes.delete(id);
      if (!isNotModified(error)) throw asStartError(error, this.#dockerHost);
    }
  }

  async inspect(taskId: string): Promise<ContainerState | undefined> {
    const id = await this.#idOf(taskId);
    return id === undefined ? undefined : this.#inspectId(taskId, id);
  }

  async list(): Promise<readonly ContainerState[]> {
    const states: ContainerState[] = [];
    const found = [...(await this.#find()).entries()];
    // A few at a time: a node may hold hundreds.
    for (let i = 0; i < found.length; i += 8) {
      const some = await Promise.all(found.slice(i, i + 8).map(([taskId, id]) => this.#inspectId(taskId, id)));
      for (const state of some) if (state) states.push(state);
    }
    return states;
  }

  async stop(task: Task, graceMs: number): Promise<void> {
    const id = await this.#idOf(task.ID);
    const info = id === undefined ? undefined : await this.#info(id);
    if (!info?.State.Running) return;
    await stopContainer(info, graceMs, { docker: this.#docker, calls: this.#calls, clock: this.#clock });
    await this.#leave(info);
  }

  /** Its networks of this engine alone may be nobody's now. */
  #leave(info: Docker.ContainerInspectInfo | undefined): Promise<void> {
    return this.#calls.call(() => this.#localNetworks.left(Object.keys(info?.NetworkSettings.Networks ?? {})));
  }

  async remove(taskId: string): Promise<void> {
    const id = await this.#idOf(taskId);
    if (id === undefined) return;
    const info = await this.#info(id);
    const gone = (error: unknown) => isNotFound(error) || isConflict(error);
    await this.#calls.call(() => this.#docker.getContainer(id).remove({ force: true, v: true }), gone);
    // A conflict means that a removal is under way.
    const end = this.#clock.monotonic() + removalTimeoutMs;
    while (await this.#info(id)) {
      if (this.#clock.monotonic() > end) throw new RuntimeError(`container ${id.slice(0, 12)} cannot be removed`);
      await delay(this.#clock, pollMs);
    }
    this.#forget(taskId, id);
    await this.#leave(info);
  }

  async *logs(taskId: string, options: LogOptions, signal: AbortSignal): AsyncGenerator<LogLine> {
    const id = await this.#idOf(taskId);
    const info = id && (await this.#info(id));
    if (!info) throw noContainer(taskId);
    // Asked for only when there are some: not every engine keeps a place for none.
    const driver = info.HostConfig.LogConfig?.Config ?? {};
    const details = options.details === true && notes.some((name) => name in driver);
    const stream = await this.#calls.call(() => openLogs(this.#docker, info.Id, { ...options, details }, signal));
    try {
      yield* parseLogs(stream as AsyncIterable<Uint8Array>, info.Config.Tty, taskId, details);
    } catch (error) {
      if (!signal.aborted) throw this.#calls.translate(error);
    } finally {
      (stream as NodeJS.ReadableStream & { destroy?: () => void }).destroy?.();
    }
  }

  watch(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void {
    const source = {
      labels: ownLabels(this.#node),
      isEcho: (id: string, action: string) => action === 'start' && this.#echoes.delete(id),
      opened: async () => {
        this.#echoes.clear();
        const before = [...this.#ids.keys()];
        for (const taskId of new Set([...before, ...(await this.#find()).keys()])) listener({ taskId });
      },
      changed: (taskId: string) => listener({ taskId }),
    };
    const stop = AbortSignal.any([signal, this.#closed.signal]);
    const modules = { docker: this.#docker, clock: this.#clock, log: this.#log };
    void followEngine({ ...modules, ...taskEvents(source) }, stop);
  }

  async connections(task: Task): Promise<number | undefined> {
    const ports = ingressPorts(task).filter((port) => (port.Protocol || 'tcp') === 'tcp');
    const targets = new Set(ports.map((port) => port.TargetPort ?? 0));
    if (targets.size === 0) return 0;
    const state = await this.inspect(task.ID);
    if (state?.phase !== 'running') return 0;
    // A process of that number is the container's only if it is in its cgroup: the engine may be elsewhere.
    const cgroup = await readFile(`/proc/${state.pid}/cgroup`, 'utf8').catch(() => '');
    return cgroup.includes(state.containerId) ? countConnections(state.pid, targets) : undefined;
  }

  async close(): Promise<void> {
    this.#closed.abort();
  }

  async #create(task: Task, config: Docker.ContainerCreateOptions): Promise<ContainerState> {
    const end = this.#clock.monotonic() + conflictTimeoutMs;
    for (;;) {
      try {
        const { id } = await askTwice(() => this.#docker.createContainer(config));
        this.#ids.set(task.ID, id);
        this.#fresh.add(id);
        return { taskId: task.ID, containerId: id, phase: 'created', pid: 0, endpoints: [], hostPorts: [] };
      } catch (error) {
        if (!isConflict(error)) throw error;
        // The container is there, made before; or the name is, and a call that still runs will show the container soon.
        const state = await this.inspect(task.ID);
        if (state) return state;
        if (this.#clock.monotonic() > end) throw error;
      }
      await delay(this.#clock, pollMs);
    }
  }

  async #idOf(taskId: string): Promise<string | undefined> {
    return this.#ids.get(taskId) ?? (await this.#find(`${labelNames.taskId}=${taskId}`)).get(taskId);
  }

  /** Our containers by task; by both our labels, always. */
  async #find(...more: string[]): Promise<Map<string, string>> {
    const filters = { label: [...ownLabels(this.#node), ...more] };
    const found = await this.#calls.call(() =>
      this.#docker.listContainers({ all: true, filters: JSON.stringify(filters) }),
    );
    const ids = new Map<string, string>();
    for (const { Id, Labels } of found) {
      const taskId = Labels[labelNames.taskId];
      if (!taskId) continue;
      ids.set(taskId, Id);
      this.#ids.set(taskId, Id);
    }
    return ids;
  }

  async #inspectId(taskId: string, id: string): Promise<ContainerState | undefined> {
    const info = await this.#info(id);
    if (!info) {
      this.#forget(taskId, id);
      return undefined;
    }
    return containerState(info, this.#view);
  }

  async #info(id: string): Promise<Docker.ContainerInspectInfo | undefined> {
    return this.#calls.call(() => this.#docker.getContainer(id).inspect(), isNotFound);
  }

  #forget(taskId: string, id: string): void {
    if (this.#ids.get(taskId) === id) this.#ids.delete(taskId);
    this.#fresh.delete(id);
    this.#echoes.delete(id);
  }
}

const noContainer = (taskId: string) =>
  new RuntimeError(`there is no container of task ${taskId} here`, { permanent: true });
