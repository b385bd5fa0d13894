import { type Static, type TObject, type TProperties, type TSchema, Type } from '@sinclair/typebox';

export type { TSchema as Schema } from '@sinclair/typebox';

// The specs that users write, in the Engine API's names and shapes (API 1.41-1.50). Durations are nanoseconds. The spec that is
// posted is the spec that is stored: what is absent stays absent, defaults are filled in at read (defaults.ts).

const opt = <T extends TSchema>(schema: T) => Type.Optional(schema);
const object = <T extends TProperties>(properties: T): TObject<T> => Type.Object(properties);
const oneOf = <const T extends readonly string[]>(...values: T) => oneOfAs(undefined, ...values);
/** `refused`: Docker's words for another value, which stands for `%s` in them. */
const oneOfAs = <const T extends readonly string[]>(refused: string | undefined, ...values: T) =>
  Type.Unsafe<T[number]>(Type.String({ enum: [...values], ...(refused !== undefined && { 'x-refused': refused }) }));
/** Of those that Docker reads in any case: kept in lower case. */
const anyCase = <T extends TSchema>(schema: T): T => ({ ...schema, 'x-any-case': true });
const grpc = (words: string) => `rpc error: code = InvalidArgument desc = ${words}`;
const strings = Type.Array(Type.String());
const stringMap = Type.Record(Type.String(), Type.String());
const uint = Type.Integer({ minimum: 0 });
const int = Type.Integer();
/** Of which only changes count, so that tools take any number of 64 bits; kept modulo 2^53, to which 1 can still be added. */
const counter = Type.Integer({ minimum: 0, 'x-wraps': true });

/** Nanoseconds; kept as a number, so at most 2^53 (104 days). */
export const Nanoseconds = Type.Integer({ minimum: 0 });
const nanosecondsAs = (refused: string) => Type.Integer({ minimum: 0, 'x-refused': grpc(refused) });
const healthTime = (name: string) => nanosecondsAs(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);

export const Driver = object({ Name: opt(Type.String()), Options: opt(stringMap) });
export type Driver = Static<typeof Driver>;

export const Platform = object({ Architecture: opt(Type.String()), OS: opt(Type.String()) });
export type Platform = Static<typeof Platform>;

export const Mount = object({
  Type: opt(anyCase(oneOfAs('invalid MountType: "%s"', 'bind', 'volume', 'tmpfs', 'npipe', 'cluster', 'image'))),
  Source: opt(Type.String()),
  Target: opt(Type.String()),
  ReadOnly: opt(Type.Boolean()),
  Consistency: opt(Type.String()),
  BindOptions: opt(
    object({
      Propagation: opt(Type.String()),
      NonRecursive: opt(Type.Boolean()),
      CreateMountpoint: opt(Type.Boolean()),
      ReadOnlyNonRecursive: opt(Type.Boolean()),
      ReadOnlyForceRecursive: opt(Type.Boolean()),
    }),
  ),
  VolumeOptions: opt(
    object({
      NoCopy: opt(Type.Boolean()),
      Labels: opt(stringMap),
      Subpath: opt(Type.String()),
      DriverConfig: opt(Driver),
    }),
  ),
  ImageOptions: opt(object({ Subpath: opt(Type.String()) })),
  TmpfsOptions: opt(object({ SizeBytes: opt(int), Mode: opt(uint), Options: opt(Type.Array(strings)) })),
  ClusterOptions: opt(object({})),
});
export type Mount = Static<typeof Mount>;

export const Healthcheck = object({
  Test: opt(strings),
  Interval: opt(healthTime('Interval')),
  Timeout: opt(healthTime('Timeout')),
  StartPeriod: opt(healthTime('StartPeriod')),
  StartInterval: opt(healthTime('StartInterval')),
  Retries: opt(int),
});
export type Healthcheck = Static<typeof Healthcheck>;

const FileTarget = object({
  Name: opt(Type.String()),
  UID: opt(Type.String()),
  GID: opt(Type.String()),
  Mode: opt(uint),
});
export const SecretReference = object({
  File: opt(FileTarget),
  SecretID: opt(Type.String()),
  SecretName: opt(Type.String()),
});
export type SecretReference = Static<typeof SecretReference>;
export const ConfigReference = object({
  File: opt(FileTarget),
  Runtime: opt(object({})),
  ConfigID: opt(Type.String()),
  ConfigName: opt(Type.String()),
});
export type ConfigReference = Static<typeof ConfigReference>;

export const ContainerSpec = object({
  Image: opt(Type.String()),
  Labels: opt(stringMap),
  Command: opt(strings),
  Args: opt(strings),
  Hostname: opt(Type.String()),
  Env: opt(strings),
  Dir: opt(Type.String()),
  User: opt(Type.String()),
  Groups: opt(strings),
  Privileges: opt(
    object({
      CredentialSpec: opt(
        object({ Config: opt(Type.String()), File: opt(Type.String()), Registry: opt(Type.String()) }),
      ),
      SELinuxContext: opt(
        object({
          Disable: opt(Type.Boolean()),
          User: opt(Type.String()),
          Role: opt(Type.String()),
          Type: opt(Type.String()),
          Level: opt(Type.String()),
        }),
      ),
      Seccomp: opt(object({ Mode: opt(Type.String()), Profile: opt(Type.String()) })),
      AppArmor: opt(object({ Mode: opt(Type.String()) })),
      NoNewPrivileges: opt(Type.Boolean()),
    }),
  ),
  Init: opt(Type.Boolean()),
  StopSignal: opt(Type.String()),
  TTY: opt(Type.Boolean()),
  OpenStdin: opt(Type.Boolean()),
  ReadOnly: opt(Type.Boolean()),
  Mounts: opt(Type.Array(Mount)),
  StopGracePeriod: opt(Nanoseconds),
  Healthcheck: opt(Healthcheck),
  Hosts: opt(strings),
  DNSConfig: opt(object({ Nameservers: opt(strings), Search: opt(strings), Options: opt(strings) })),
  Secrets: opt(Type.Array(SecretReference)),
  Configs: opt(Type.Array(ConfigReference)),
  Isolation: opt(Type.String()),
  Sysctls: opt(stringMap),
  CapabilityAdd: opt(strings),
  CapabilityDrop: opt(strings),
  Ulimits: opt(Type.Array(object({ Name: opt(Type.String()), Hard: opt(int), Soft: opt(int) }))),
  OomScoreAdj: opt(int),
});
export type ContainerSpec = Static<typeof ContainerSpec>;

export const GenericResource = object({
  NamedResourceSpec: opt(object({ Kind: opt(Type.String()), Value: opt(Type.String()) })),
  DiscreteResourceSpec: opt(object({ Kind: opt(Type.String()), Value: opt(int) })),
});
export type GenericResource = Static<typeof GenericResource>;

export const Resources = object({
  NanoCPUs: opt(int),
  MemoryBytes: opt(int),
  GenericResources: opt(Type.Array(GenericResource)),
});
export type Resources = Static<typeof Resources>;

export const Limit = object({ NanoCPUs: opt(int), MemoryBytes: opt(int), Pids: opt(int) });

export const RestartPolicy = object({
  Condition: opt(oneOfAs('invalid RestartCondition: "%s"', '', 'none', 'on-failure', 'any')),
  Delay: opt(nanosecondsAs('TaskSpec: restart-delay cannot be negative')),
  MaxAttempts: opt(uint),
  Window: opt(nanosecondsAs('TaskSpec: restart-window cannot be negative')),
});
export type RestartPolicy = Static<typeof RestartPolicy>;

export const Placement = object({
  Constraints: opt(strings),
  Preferences: opt(Type.Array(object({ Spread: opt(object({ SpreadDescriptor: opt(Type.String()) })) }))),
  MaxReplicas: opt(uint),
  Platforms: opt(Type.Array(Platform)),
});
export type Placement = Static<typeof Placement>;

export const NetworkAttachmentConfig = object({
  Target: opt(Type.String()),
  Aliases: opt(strings),
  DriverOpts: opt(stringMap),
});

export const TaskSpec = object({
  ContainerSpec: opt(ContainerSpec),
  PluginSpec: opt(object({})),
  NetworkAttachmentSpec: opt(object({ ContainerID: opt(Type.String()) })),
  Resources: opt(
    object({
      Limits: opt(Limit),
      Reservations: opt(Resources),
      SwapBytes: opt(int),
      MemorySwappiness: opt(int),
    }),
  ),
  RestartPolicy: opt(RestartPolicy),
  Placement: opt(Placement),
  Networks: opt(Type.Array(NetworkAttachmentConfig)),
  LogDriver: opt(Driver),
  ForceUpdate: opt(counter),
  Runtime: opt(Type.String()),
});
export type TaskSpec = Static<typeof TaskSpec>;

const ratio = Type.Number({
  ...{ minimum: 0, maximum: 1 },
  'x-refused': grpc('TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1'),
});

export const UpdateConfig = object({
  Parallelism: opt(uint),
  Delay: opt(nanosecondsAs('TaskSpec: update-delay cannot be negative')),
  FailureAction: opt(oneOfAs('unrecognized update failure action %s', '', 'pause', 'continue', 'rollback')),
  Monitor: opt(nanosecondsAs('TaskSpec: update-monitor cannot be negative')),
  MaxFailureRatio: opt(ratio),
  Order: opt(oneOfAs('unrecognized update order %s', '', 'stop-first', 'start-first')),
});
export type UpdateConfig = Static<typeof UpdateConfig>;

export const PortConfig = object({
  Name: opt(Type.String()),
  Protocol: opt(anyCase(oneOf('', 'tcp', 'udp', 'sctp'))),
  TargetPort: opt(Type.Integer({ minimum: 0, maximum: 65535 })),
  PublishedPort: opt(Type.Integer({ minimum: 0, maximum: 65535 })),
  PublishMode: opt(anyCase(oneOf('', 'ingress', 'host'))),
});
export type PortConfig = Static<typeof PortConfig>;

export const EndpointSpec = object({
  Mode: opt(anyCase(oneOfAs('invalid resolution mode: "%s"', '', 'vip', 'dnsrr'))),
  Ports: opt(Type.Array(PortConfig)),
});
export type EndpointSpec = Static<typeof EndpointSpec>;

export const ServiceMode = object({
  Replicated: opt(object({ Replicas: opt(uint) })),
  Global: opt(object({})),
  ReplicatedJob: opt(object({ MaxConcurrent: opt(uint), TotalCompletions: opt(uint) })),
  GlobalJob: opt(object({})),
});
export type ServiceMode = Static<typeof ServiceMode>;

export const ServiceSpec = object({
  Name: opt(Type.String()),
  Labels: opt(stringMap),
  TaskTemplate: opt(TaskSpec),
  Mode: opt(ServiceMode),
  UpdateConfig: opt(UpdateConfig),
  RollbackConfig: opt(UpdateConfig),
  Networks: opt(Type.Array(NetworkAttachmentConfig)),
  EndpointSpec: opt(EndpointSpec),
});
export type ServiceSpec = Static<typeof ServiceSpec>;

const IpamConfig = object({
  Subnet: opt(Type.String()),
  IPRange: opt(Type.String()),
  Gateway: opt(Type.String()),
  AuxiliaryAddresses: opt(stringMap),
});

/** A network as the cluster keeps it, and as a task's inspect shows it. */
export const NetworkSpec = object({
  Name: opt(Type.String()),
  Labels: opt(stringMap),
  DriverConfiguration: opt(Driver),
  IPv6Enabled: opt(Type.Boolean()),
  Internal: opt(Type.Boolean()),
  Attachable: opt(Type.Boolean()),
  Ingress: opt(Type.Boolean()),
  IPAMOptions: opt(object({ Driver: opt(Driver), Configs: opt(Type.Array(IpamConfig)) })),
  ConfigFrom: opt(object({ Network: opt(Type.String()) })),
  Scope: opt(Type.String()),
});
export type NetworkSpec = Static<typeof NetworkSpec>;

/** What `POST /networks/create` takes: the same in other words. */
export const NetworkCreateRequest = object({
  Name: opt(Type.String()),
  CheckDuplicate: opt(Type.Boolean()),
  Driver: opt(Type.String()),
  Scope: opt(Type.String()),
  Internal: opt(Type.Boolean()),
  Attachable: opt(Type.Boolean()),
  Ingress: opt(Type.Boolean()),
  ConfigOnly: opt(Type.Boolean()),
  ConfigFrom: opt(object({ Network: opt(Type.String()) })),
  IPAM: opt(
    object({
      Driver: opt(Type.String()),
      Options: opt(stringMap),
      Config: opt(Type.Array(IpamConfig)),
    }),
  ),
  EnableIPv4: opt(Type.Boolean()),
  EnableIPv6: opt(Type.Boolean()),
  Options: opt(stringMap),
  Labels: opt(stringMap),
});
export type NetworkCreateRequest = Static<typeof NetworkCreateRequest>;

export const NodeSpec = object({
  Name: opt(Type.String()),
  Labels: opt(stringMap),
  Role: opt(Type.String()),
  Availability: opt(Type.String()),
});
export type NodeSpec = Static<typeof NodeSpec>;

export const ClusterSpec = object({
  Name: opt(Type.String()),
  Labels: opt(stringMap),
  Orchestration: opt(object({ TaskHistoryRetentionLimit: opt(int) })),
  Raft: opt(
    object({
      SnapshotInterval: opt(uint),
      KeepOldSnapshots: opt(uint),
      LogEntriesForSlowFollowers: opt(uint),
      ElectionTick: opt(int),
      HeartbeatTick: opt(int),
    }),
  ),
  Dispatcher: opt(
    object({ HeartbeatPeriod: opt(nanosecondsAs('heartbeat time period cannot be a negative duration')) }),
  ),
  CAConfig: opt(
    object({
      NodeCertExpiry: opt(nanosecondsAs('minimum certificate expiry time is: 1h0m0s')),
      ExternalCAs: opt(Type.Array(object({}))),
      SigningCACert: opt(Type.String()),
      SigningCAKey: opt(Type.String()),
      ForceRotate: opt(uint),
    }),
  ),
  TaskDefaults: opt(object({ LogDriver: opt(Driver) })),
  EncryptionConfig: opt(object({ AutoLockManagers: opt(Type.Boolean()) })),
});
export type ClusterSpec = Static<typeof ClusterSpec>;

export const InitRequest = object({
  ListenAddr: opt(Type.String()),
  AdvertiseAddr: opt(Type.String()),
  DataPathAddr: opt(Type.String()),
  DataPathPort: opt(uint),
  ForceNewCluster: opt(Type.Boolean()),
  Spec: opt(ClusterSpec),
  AutoLockManagers: opt(Type.Boolean()),
  Availability: opt(Type.String()),
  DefaultAddrPool: opt(strings),
  SubnetSize: opt(uint),
});
export type InitRequest = Static<typeof InitRequest>;

export const JoinRequest = object({
  ListenAddr: opt(Type.String()),
  AdvertiseAddr: opt(Type.String()),
  DataPathAddr: opt(Type.String()),
  RemoteAddrs: opt(strings),
  JoinToken: opt(Type.String()),
  Availability: opt(Type.String()),
});
export type JoinRequest = Static<typeof JoinRequest>;

export const UnlockRequest = object({ UnlockKey: opt(Type.String()) });
export type UnlockRequest = Static<typeof UnlockRequest>;

/** Ours: who asks to use the API over TCP. */
export const ClientRequest = object({
  /** For people. */
  Name: opt(Type.String()),
  /** PEM, with an ECDSA P-256 key. */
  CSR: opt(Type.String()),
  /** How long the certificate is valid, ns; 0: 90 days. */
  Expiry: opt(uint),
});
export type ClientRequest = Static<typeof ClientRequest>;
