import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type ApiContext, clusterOf } from './context.ts';
import { ContainerCounts } from './docker-host/counts.ts';
import type { DockerHost } from './docker-host/host.ts';
import type { NodeInfo } from './ports.ts';
import { emptyClusterInfo, showClusterInfo } from './projection.ts';
import { apiVersion, minApiVersion, minorOf } from './version.ts';

// What a client asks of the machine that it talks to: ping, version, info.

export function systemRoutes(app: FastifyInstance, context: ApiContext, host: DockerHost): void {
  const counts = new ContainerCounts(context, host.room);
  const ping = (request: FastifyRequest, reply: FastifyReply) => {
    const state = context.local.state();
    const swarm = state === 'active' ? `active/${context.local.manager() ? 'manager' : 'worker'}` : state;
    return reply.headers({
      'Cache-Control': 'no-cache, no-store, must-revalidate',
      Pragma: 'no-cache',
      'Content-Type': 'text/plain; charset=utf-8',
      'Builder-Version': '',
      ...(minorOf(request) >= 42 && { Swarm: swarm }),
    });
  };
  app.get('/_ping', async (request, reply) => ping(request, reply).send('OK'));
  app.head('/_ping', async (request, reply) => ping(request, reply).send());
  app.get('/version', async () => versionInfo(context));
  app.get('/info', async (request) => {
    const info = context.local.info();
    const [swarm, counted] = await Promise.all([swarmInfo(context, info), counts.of(request)]);
    const warnings = 'Warnings' in swarm ? swarm.Warnings : null;
    return { ...engineInfo(context, info, minorOf(request)), ...counted, Swarm: swarm, Warnings: warnings };
  });
}

function versionInfo(context: ApiContext) {
  const info = context.local.info();
  const details = {
    ApiVersion: apiVersion,
    MinAPIVersion: minApiVersion,
    GitCommit: 'none',
    GoVersion: `node ${process.version}`,
    Os: 'linux',
    Arch: dockerArch(info.architecture),
    KernelVersion: info.kernel,
    BuildTime: '1970-01-01T00:00:00.000000000+00:00',
  };
  return {
    Platform: { Name: 'swarmd' },
    Components: [{ Name: 'Engine', Version: context.version, Details: { ...details, Experimental: 'false' } }],
    Version: context.version,
    ...details,
  };
}

export const dockerArch = (architecture: string): string =>
  ({ x86_64: 'amd64', aarch64: 'arm64' })[architecture] ?? architecture;

function engineInfo(context: ApiContext, info: NodeInfo, minor: number) {
  return {
    ID: info.nodeId,
    Driver: info.runtime,
    DriverStatus: [
      ['Runtime', info.runtime],
      ['Runtime ready', String(info.runtimeReady)],
      ['Ingress', info.ingress],
    ],
    Plugins: {
      Volume: ['local'],
      Network: ['bridge', 'host', 'null'],
      Authorization: null,
      Log: ['json-file', 'local'],
    },
    MemoryLimit: true,
    SwapLimit: true,
    KernelMemoryTCP: false,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    Debug: false,
    NFd: 0,
    OomKillDisable: false,
    NGoroutines: 0,
    SystemTime: new Date(context.clock.now()).toISOString(),
    LoggingDriver: 'json-file',
    CgroupDriver: 'cgroupfs',
    CgroupVersion: '2',
    NEventsListener: 0,
    KernelVersion: info.kernel,
    OperatingSystem: info.operatingSystem,
    OSVersion: '',
    OSType: 'linux',
    Architecture: info.architecture,
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: { InsecureRegistryCIDRs: ['127.0.0.0/8'], IndexConfigs: {}, Mirrors: [] },
    NCPU: info.cpus,
    MemTotal: info.memoryBytes,
    GenericResources: null,
    DockerRootDir: info.dataDir,
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Name: info.hostname,
    Labels: info.labels,
    ExperimentalBuild: false,
    ServerVersion: context.version,
    Runtimes: {},
    DefaultRuntime: info.runtime,
    LiveRestoreEnabled: false,
    Isolation: '',
    InitBinary: '',
    ContainerdCommit: { ID: '' },
    RuncCommit: { ID: '' },
    InitCommit: { ID: '' },
    SecurityOptions: [],
    ...(minor >= 49 && { FirewallBackend: { Driver: info.ingress } }),
    CDISpecDirs: [],
  };
}

const twoManagers =
  'WARNING: Running Swarm in a two-manager configuration. This configuration provides\n' +
  '         no fault tolerance, and poses a high risk to lose control over the cluster.\n' +
  '         Make it one manager, or three or more.';

async function swarmInfo(context: ApiContext, info: NodeInfo) {
  const state = context.local.state();
  const base = {
    NodeID: info.nodeId,
    NodeAddr: info.addr,
    LocalNodeState: state,
    ControlAvailable: false,
    Error: info.error,
    RemoteManagers:
      info.managers.length > 0 ? info.managers.map((peer) => ({ NodeID: peer.nodeId, Addr: peer.addr })) : null,
  };
  const manager = context.local.manager();
  if (!manager) return base;
  try {
    await manager.readIndex();
    const view = manager.view();
    const nodes = view.list('nodes');
    const managers = nodes.filter((node) => node.ManagerStatus).length;
    return {
      ...base,
      ControlAvailable: true,
      Nodes: nodes.length,
      Managers: managers,
      Cluster: showClusterInfo(clusterOf(view)),
      ...(managers === 2 && { Warnings: [twoManagers] }),
    };
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    return { ...base, ControlAvailable: true, Error: messageOf(error), Cluster: emptyClusterInfo };
  }
}
