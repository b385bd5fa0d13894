import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import type { GenericResource, Node } from '@swarmctl/shared/model';
import { type ApiContext, clusterOf } from './context.ts';
import { type EngineCounts, sumOfCounts } from './docker-host/engines.ts';
import type { EngineFacts, ManagerAccess, NodeInfo } from './ports.ts';
import { emptyClusterInfo, showClusterInfo } from './projection.ts';

// What `GET /info` tells: of its own engine as that says it, of the cluster on a manager.

type Plugins = Readonly<Record<string, readonly string[] | null>>;

/** As the engine says it, if that answers: what it is and can, not how much of it there is. */
const ofEngine = [
  ...['Driver', 'MemoryLimit', 'SwapLimit', 'KernelMemory', 'KernelMemoryTCP', 'CpuCfsPeriod', 'CpuCfsQuota'],
  ...['CPUShares', 'CPUSet', 'PidsLimit', 'IPv4Forwarding', 'BridgeNfIptables', 'BridgeNfIp6tables', 'OomKillDisable'],
  ...['LoggingDriver', 'CgroupDriver', 'CgroupVersion', 'OSVersion', 'IndexServerAddress', 'RegistryConfig'],
  ...['DockerRootDir', 'HttpProxy', 'HttpsProxy', 'NoProxy', 'Runtimes', 'DefaultRuntime', 'LiveRestoreEnabled'],
  ...['Isolation', 'InitBinary', 'ContainerdCommit', 'RuncCommit', 'InitCommit', 'SecurityOptions', 'CDISpecDirs'],
  ...['DefaultAddressPools', 'Containerd'],
];

export interface Facts {
  readonly info: NodeInfo;
  /** Undefined: it does not answer, or there is none. */
  readonly engine: EngineFacts | undefined;
  /** Of the cluster's engines. */
  readonly counts: EngineCounts;
  /** The client's. */
  readonly minor: number;
}

export async function showInfo(context: ApiContext, { info, engine, counts, minor }: Facts) {
  const manager = context.local.manager();
  const swarm = await swarmInfo(context, info, manager);
  const engineWarnings = (engine?.['Warnings'] ?? []) as readonly string[];
  const warnings = [...engineWarnings, ...('Warnings' in swarm ? swarm.Warnings : [])];
  return {
    ...withoutEngine(context, info),
    ...Object.fromEntries(ofEngine.flatMap((key) => (engine?.[key] === undefined ? [] : [[key, engine[key]]]))),
    DriverStatus: [...((engine?.['DriverStatus'] ?? []) as readonly string[][]), ...statusOf(info)],
    ...(minor >= 49 && { FirewallBackend: { Driver: info.ingress } }),
    ...(manager ? { ...counts, ...offered(manager.view().list('nodes')) } : sumOfCounts([engine ?? {}])),
    ...(!manager && engine && { Plugins: engine['Plugins'], GenericResources: engine['GenericResources'] ?? null }),
    Swarm: swarm,
    Warnings: warnings.length > 0 ? warnings : null,
  };
}

const statusOf = (info: NodeInfo): string[][] => [
  ['Runtime', info.runtime],
  ['Runtime ready', String(info.runtimeReady)],
  ['Ingress', info.ingress],
  ['Data folder', info.dataDir],
];

const noPlugins: Plugins = {
  Volume: ['local'],
  Network: ['bridge', 'host', 'null', 'overlay'],
  Authorization: null,
  Log: ['json-file', 'local'],
};

function withoutEngine(context: ApiContext, info: NodeInfo) {
  return {
    ID: info.nodeId,
    Driver: info.runtime,
    Plugins: noPlugins,
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
    CDISpecDirs: [],
  };
}

/** What all nodes together offer that are not down, and the drivers that there are on any of them. Nothing is said while no node has been described. */
function offered(nodes: readonly Node[]) {
  const described = nodes.flatMap(({ Status, Description }) =>
    Description && Status.State !== 'down' ? [Description] : [],
  );
  if (described.length === 0) return {};
  const sum = (amount: (one: (typeof described)[number]) => number | undefined) =>
    described.reduce((total, one) => total + (amount(one) ?? 0), 0);
  const generic = addUp(described.flatMap(({ Resources }) => Resources.GenericResources ?? []));
  const names = (type: string) => [
    ...new Set(
      described.flatMap(({ Engine }) =>
        (Engine.Plugins ?? []).flatMap(({ Type, Name }) => (Type === type ? [Name] : [])),
      ),
    ),
  ];
  const plugins = Object.fromEntries(
    Object.entries(noPlugins).map(([type, some]) => {
      const found = names(type).sort();
      return [type, found.length > 0 ? found : some];
    }),
  );
  return {
    NCPU: Math.round(sum(({ Resources }) => Resources.NanoCPUs) / 1e9),
    MemTotal: sum(({ Resources }) => Resources.MemoryBytes),
    GenericResources: generic.length > 0 ? generic : null,
    Plugins: plugins,
  };
}

/** Of those that are told by number, how many there are; the others one by one. */
function addUp(all: readonly GenericResource[]): GenericResource[] {
  const units = new Map<string, number>();
  for (const { DiscreteResourceSpec: discrete } of all) {
    const kind = discrete?.Kind;
    if (kind !== undefined) units.set(kind, (units.get(kind) ?? 0) + (discrete?.Value ?? 0));
  }
  return [
    ...[...units].map(([Kind, Value]) => ({ DiscreteResourceSpec: { Kind, Value } })),
    ...all.filter(({ NamedResourceSpec }) => NamedResourceSpec !== undefined),
  ];
}

const twoManagers =
  'WARNING: Running Swarm in a two-manager configuration. This configuration provides\n' +
  '         no fault tolerance, and poses a high risk to lose control over the cluster.\n' +
  '         Make it one manager, or three or more.';

async function swarmInfo(context: ApiContext, info: NodeInfo, manager: ManagerAccess | undefined) {
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
