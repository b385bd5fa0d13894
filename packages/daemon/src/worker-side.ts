import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '@swarmctl/shared/kit';
import { parseIp, type RegistryAuth, type RuntimeName } from '@swarmctl/shared/model';
import {
  Agent,
  createDockerGuests,
  createDockerNetworks,
  createDockerRuntime,
  createIngress,
  createMesh,
  createNetworks,
  createProcessRuntime,
  createTaskMounts,
  describeIngress,
  EngineDoor,
  engineAddress,
  fewProblems,
  ImageRequests,
  type Ingress,
  type KernelMesh,
  LogHistory,
  type NodeNetworks,
  NodeTunnel,
  openHttpIngress,
  PathMtus,
  PayloadStore,
  type Runtime,
  type TaskMounts,
  WithHttp,
} from '@swarmctl/worker';
import { markOf } from './config.ts';
import { clearLeftovers, forgetLeftovers } from './leftovers.ts';
import type { StartWorker, WorkerHandle, WorkerModules, WorkerOptions } from './ports.ts';

// The worker side of a node: the agent over the runtime, the ingress and the mesh that the configuration names.

export const startWorker: StartWorker = async (options, modules) => {
  const { config, nodeId, addr } = options;
  const { clock, log } = modules;
  const answers = { nodeId, ingressAddrs: config.ingressAddr, advertiseAddr: addr };
  const payloads = new PayloadStore();
  const httpModules = { clock, log: log.child({ module: 'http' }), secrets: payloads };
  await clearLeftovers(options, {
    clear: async (earlier) => {
      await openHttpIngress({ ...answers, nodeId: earlier }, httpModules).close();
      await mountsOf({ ...options, nodeId: earlier }, modules, payloads)?.keepOnly(() => false);
    },
    log,
  });
  const plain = await createIngress(
    config.ingress,
    {
      ...answers,
      processes: config.ingressProcesses === undefined ? undefined : Number(config.ingressProcesses),
    },
    { clock, log: log.child({ module: 'ingress' }) },
  );
  const http = openHttpIngress(answers, httpModules);
  // What an earlier daemon of this node left would answer.
  if (plain.kind === 'off') await http.close();
  const ingress = plain.kind === 'off' ? plain : new WithHttp(plain, http);
  const dataPathAddr = config.dataPathAddr ?? addr;
  const paths = new PathMtus(dataPathAddr, { clock, log: log.child({ module: 'paths' }) });
  const mesh = await createMesh(
    config.mesh,
    {
      nodeId,
      dataPathAddr,
      mark: markOf(config.meshMark) ?? 0,
      ingress: ingress.kind,
    },
    { clock, log: log.child({ module: 'mesh' }), paths },
  );
  const tunnel = await tunnelOf(options, modules, ingress, paths);
  const networks = networksOf(options, modules, ingress, { paths, ...(tunnel && { tunnel }) });
  const mounts = mountsOf(options, modules, payloads);
  const given = { ...(networks && { networks }), ...(mounts && { mounts }) };
  const images = new ImageRequests();
  const runtime = createRuntime(options, modules, {
    ...given,
    pullAuth: (id) => registryAuth(payloads, id),
    askForImage: (taskId, signal) => images.ask(taskId, signal),
  });
  return workerOf(
    { ingress, ...(mesh && { mesh }), ...(tunnel && { tunnel }), ...given, payloads, images, runtime },
    options,
    modules,
  );
};

export function workerOf(
  parts: {
    readonly ingress: Ingress;
    readonly mesh?: KernelMesh;
    readonly tunnel?: NodeTunnel;
    readonly networks?: NodeNetworks;
    readonly mounts?: TaskMounts;
    readonly payloads?: PayloadStore;
    readonly images?: ImageRequests;
    readonly runtime: Runtime;
  },
  options: WorkerOptions,
  modules: WorkerModules,
): WorkerHandle {
  const { config, dataDir, nodeId, addr } = options;
  const { ingress, mesh, tunnel, networks, mounts, payloads, images, runtime } = parts;
  const { link, clock, random, newId, log } = modules;
  let labels = labelsOf(options.labels);
  const door = new EngineDoor(
    { engine: config.runtime === 'docker' ? engineAddress(config.dockerHost) : undefined },
    { clock, log: log.child({ module: 'engine-door' }) },
  );
  const closing = new AbortController();
  const agent = new Agent(
    {
      nodeId,
      hostname: config.hostname,
      addr,
      journalPath: join(dataDir, 'agent', 'tasks.json'),
      // One more than the cores: a start waits for the disk, too.
      parallelStarts: availableParallelism() + 1,
    },
    {
      runtimes: new Map<RuntimeName, Runtime>([[runtime.name, runtime]]),
      ingress,
      ...(mesh && { mesh }),
      ...(networks && { networks }),
      ...(mounts && { mounts }),
      ...(payloads && { payloads }),
      ...(images && { images }),
      history: new LogHistory(
        { folder: join(dataDir, 'agent', 'logs'), totalBytes: config.logHistory },
        { clock, log: log.child({ module: 'logs' }) },
      ),
      link,
      clock,
      random,
      newId,
      log: log.child({ module: 'agent' }),
      hooks: {
        role: modules.onRole,
        removed: modules.onRemoved,
        roots: modules.onRoots,
        tlsInfo: modules.tlsInfo,
        engineLabels: () => labels,
        engineWanted: (wanted) =>
          void link.openEngine(wanted, closing.signal).then(
            (stream) => door.accept(stream),
            (error) => log.warn({ manager: wanted.manager.addr, error: messageOf(error) }, 'cannot let a manager in'),
          ),
        ingress: () => describeIngress(ingress),
        mesh: () => mesh?.describe(),
        tunnel: () => tunnel?.describe(),
        guests: () => networks?.guests(),
        networkProblems: () => networks && fewProblems(networks.problems()),
        tunnels: (view) => tunnel?.apply(view),
      },
    },
  );
  mesh?.onDescribe(() => agent.redescribe());
  tunnel?.onDescribe(() => agent.redescribe());
  networks?.onChange(() => agent.redescribe());
  const ended = agent.run(new AbortController().signal);
  ended.catch((error) => modules.onFatal(new Error(`the agent failed: ${messageOf(error)}`, { cause: error })));
  let closed = false;
  const close = async (how: { readonly keep: boolean }) => {
    if (closed) return;
    closed = true;
    closing.abort(new Error('the node stops'));
    door.close();
    await ingress.close(how);
    await mesh?.close(how);
    await networks?.close();
    await tunnel?.close(how);
    await runtime.close();
  };
  return {
    status: () => ({
      runtimeReady: agent.description?.RuntimeReady ?? false,
      engineVersion: agent.description?.Engine.EngineVersion ?? '',
      ingress: ingress.kind,
    }),
    relabel: (given) => {
      labels = labelsOf(given);
      agent.redescribe();
    },
    redescribe: () => agent.redescribe(),
    async stop(graceMs) {
      agent.stop(graceMs);
      await ended.catch(() => undefined);
      // The kernel goes on routing to what goes on running.
      await close({ keep: true });
    },
    async purge() {
      agent.stop(0);
      await ended.catch(() => undefined);
      await agent.purge();
      await close({ keep: false });
      forgetLeftovers(nodeId);
    },
  };
}

/** The node may change the kernel's network, and its engine is on this machine. */
const hasNetworks = ({ config }: WorkerOptions, ingress: Ingress): boolean =>
  config.runtime === 'docker' && ingress.kind === 'nftables' && (config.dockerHost ?? 'unix:').startsWith('unix:');

async function tunnelOf(options: WorkerOptions, modules: WorkerModules, ingress: Ingress, paths: PathMtus) {
  const { config, dataDir, nodeId, addr } = options;
  const dataPathAddr = config.dataPathAddr ?? addr;
  if (!hasNetworks(options, ingress) || !parseIp(dataPathAddr)) return undefined;
  const log = modules.log.child({ module: 'tunnel' });
  const logPath = join(dataDir, 'agent', 'wireguard.log');
  return NodeTunnel.open({ nodeId, dataPathAddr, logPath }, { clock: modules.clock, log, paths });
}

function networksOf(
  options: WorkerOptions,
  modules: WorkerModules,
  ingress: Ingress,
  given: { readonly paths: PathMtus; readonly tunnel?: NodeTunnel },
) {
  const { config, nodeId, clusterId, addr } = options;
  const { clock, random, log } = modules;
  if (!hasNetworks(options, ingress)) return undefined;
  const node = { nodeId, clusterId, hostname: config.hostname, addr };
  const engine = { dockerHost: config.dockerHost };
  const common = { clock, log: log.child({ module: 'networks' }) };
  return createNetworks(
    { nodeId, dataPathAddr: config.dataPathAddr ?? addr },
    {
      engine: createDockerNetworks(engine, node),
      guestEngine: createDockerGuests(engine, node, common),
      random,
      ...common,
      ...given,
    },
  );
}

/** Of a root daemon whose engine is on this machine. */
function mountsOf({ config, nodeId, clusterId, addr }: WorkerOptions, modules: WorkerModules, payloads: PayloadStore) {
  const isLocal = (config.dockerHost ?? 'unix:').startsWith('unix:');
  if (config.runtime !== 'docker' || !isLocal || process.getuid?.() !== 0) return undefined;
  const log = modules.log.child({ module: 'secrets' });
  return createTaskMounts({ nodeId, clusterId, hostname: config.hostname, addr }, { payloads, log });
}

function createRuntime(
  options: WorkerOptions,
  modules: WorkerModules,
  given: {
    readonly networks?: NodeNetworks;
    readonly mounts?: TaskMounts;
    readonly pullAuth: (serviceId: string) => RegistryAuth | undefined;
    readonly askForImage: (taskId: string, signal: AbortSignal) => Promise<string | undefined>;
  },
): Runtime {
  const { config, dataDir, nodeId, clusterId, addr } = options;
  const { clock, random } = modules;
  const node = { nodeId, clusterId, hostname: config.hostname, addr };
  const reserved = {
    reservedNanoCpus: Math.round(config.reservedCpus * 1e9),
    reservedMemoryBytes: config.reservedMemory,
  };
  const log = modules.log.child({ module: 'runtime' });
  return config.runtime === 'docker'
    ? createDockerRuntime({ dockerHost: config.dockerHost, ...reserved, clock, log, ...given }, node)
    : createProcessRuntime({ dataDir, allowRoot: config.processAllowRoot, ...reserved, clock, random, log }, node);
}

function registryAuth(payloads: PayloadStore, serviceId: string): RegistryAuth | undefined {
  const found = payloads.get(serviceId, 'registry-auth');
  return found && (JSON.parse(Buffer.from(found.data).toString('utf8')) as RegistryAuth);
}

/** `name=value`, or a name alone for an empty value. */
const labelsOf = (labels: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    labels.map((label) => {
      const at = label.indexOf('=');
      return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
    }),
  );
