import {
  caDigest,
  createRootCa,
  defaultCertificateLifeMs,
  formatJoinToken,
  newTokenSecret,
  newUnlockKey,
} from '@swarmctl/shared/kit';
import { type ClusterSpec, type Draft, type NodeRole, second } from '@swarmctl/shared/model';

// The objects that a cluster and a node begin with.

export interface NewClusterOptions {
  readonly clusterId: string;
  readonly spec: ClusterSpec;
  readonly defaultAddrPool?: readonly string[];
  readonly subnetSize?: number;
  readonly dataPathPort?: number;
  readonly now: number;
}

/** A cluster with a root of its own and fresh join tokens. */
export async function newCluster(options: NewClusterOptions): Promise<Draft<'cluster'>> {
  const root = await createRootCa(options.now);
  const digest = caDigest(root.certificate);
  const token = () => formatJoinToken({ digest, secret: newTokenSecret() });
  return {
    ID: options.clusterId,
    Spec: withDefaults(options.spec),
    DefaultAddrPool: options.defaultAddrPool?.length ? options.defaultAddrPool : ['10.0.0.0/8'],
    SubnetSize: options.subnetSize || 24,
    DataPathPort: options.dataPathPort || 4789,
    RootCA: {
      Certificate: root.certificate,
      Key: root.key,
      Digest: digest,
      JoinTokens: { Worker: token(), Manager: token() },
    },
    ...(options.spec.EncryptionConfig?.AutoLockManagers && { UnlockKey: newUnlockKey() }),
    RemovedRaftIDs: [],
  };
}

/** Of 50 ms. What members of one cluster must agree on is not left to a setting. */
export const fixedTicks = { ElectionTick: 8, HeartbeatTick: 2 };

/** Zero values mean "the default", as clients send them. */
function withDefaults(spec: ClusterSpec): Draft<'cluster'>['Spec'] {
  const { Orchestration, Raft, Dispatcher, CAConfig } = spec;
  return {
    ...spec,
    Name: 'default',
    Labels: spec.Labels ?? {},
    Orchestration: { TaskHistoryRetentionLimit: Orchestration?.TaskHistoryRetentionLimit ?? 5 },
    Raft: {
      SnapshotInterval: Raft?.SnapshotInterval || 10_000,
      KeepOldSnapshots: 0,
      LogEntriesForSlowFollowers: Raft?.LogEntriesForSlowFollowers || 500,
      ...fixedTicks,
    },
    Dispatcher: { HeartbeatPeriod: Dispatcher?.HeartbeatPeriod || second },
    CAConfig: { ...CAConfig, NodeCertExpiry: CAConfig?.NodeCertExpiry || defaultCertificateLifeMs * 1_000_000 },
    TaskDefaults: spec.TaskDefaults ?? {},
    EncryptionConfig: { AutoLockManagers: false, ...spec.EncryptionConfig },
  };
}

export interface NewNodeOptions {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly availability: 'active' | 'pause' | 'drain';
  readonly hostname: string;
  readonly addr: string;
  readonly raft?: { readonly id: number; readonly addr: string };
}

/** A node of which its agent has not spoken yet. */
export const newNode = (options: NewNodeOptions): Draft<'nodes'> => ({
  ID: options.nodeId,
  Spec: { Role: options.role, Availability: options.availability, Labels: {} },
  Description: {
    Hostname: options.hostname,
    Platform: {},
    Resources: {},
    Engine: {},
    Runtimes: [],
    RuntimeReady: false,
  },
  Status: { State: 'unknown', Addr: options.addr },
  ...(options.raft && { ManagerStatus: { RaftID: options.raft.id, Addr: options.raft.addr } }),
});
