// A spec as Docker's daemon sends it: empty fields are left out, but for those that are always there. Stored specs keep what users wrote.

interface Rule {
  /** Always sent, with these values when they are empty. */
  readonly always?: Readonly<Record<string, unknown>>;
  /** Sent when they are there, zero or not: a zero says something else than nothing. */
  readonly zeros?: readonly string[];
}

const update: Rule = {
  always: { Parallelism: 0, FailureAction: 'pause', MaxFailureRatio: 0, Order: 'stop-first' },
  zeros: ['Monitor'],
};

/** By the name of the field that holds the object; the first five are those of whole objects. */
const rules = {
  ServiceSpec: { always: { Labels: {} } },
  NodeSpec: { always: { Labels: {} } },
  NetworkSpec: { always: { Labels: {} } },
  ClusterSpec: {
    always: {
      Labels: {},
      Orchestration: {},
      Raft: {},
      Dispatcher: {},
      CAConfig: {},
      TaskDefaults: {},
      EncryptionConfig: {},
    },
  },
  EndpointSpec: {},
  TaskTemplate: { always: { ForceUpdate: 0 } },
  Replicated: { zeros: ['Replicas'] },
  ReplicatedJob: { zeros: ['MaxConcurrent', 'TotalCompletions'] },
  UpdateConfig: update,
  RollbackConfig: update,
  RestartPolicy: { always: { Condition: 'any', MaxAttempts: 0 }, zeros: ['Delay', 'Window'] },
  Resources: { zeros: ['SwapBytes', 'MemorySwappiness'] },
  ContainerSpec: { zeros: ['Init', 'StopGracePeriod'] },
  TmpfsOptions: { zeros: ['Mode'] },
  Privileges: { always: { CredentialSpec: null, SELinuxContext: null, NoNewPrivileges: false } },
  CredentialSpec: { always: { Config: '', File: '', Registry: '' } },
  SELinuxContext: { always: { Disable: false, User: '', Role: '', Type: '', Level: '' } },
  Ulimits: { always: { Name: '', Hard: 0, Soft: 0 } },
  Secrets: { always: { File: null, SecretID: '', SecretName: '' } },
  Configs: { always: { ConfigID: '', ConfigName: '' } },
  File: { always: { Name: '', UID: '', GID: '', Mode: 0o444 }, zeros: ['Mode'] },
  Preferences: { always: { Spread: null } },
  Spread: { always: { SpreadDescriptor: '' } },
  Orchestration: { zeros: ['TaskHistoryRetentionLimit'] },
  Raft: { always: { ElectionTick: 0, HeartbeatTick: 0 }, zeros: ['KeepOldSnapshots'] },
  EncryptionConfig: { always: { AutoLockManagers: false } },
} as const satisfies Record<string, Rule>;

type Whole = 'ServiceSpec' | 'NodeSpec' | 'NetworkSpec' | 'ClusterSpec' | 'EndpointSpec' | 'TaskTemplate' | 'Resources';

/** Objects whose keys are the user's. */
const maps: ReadonlySet<string> = new Set(['Labels', 'Options', 'DriverOpts', 'Sysctls', 'AuxiliaryAddresses']);

const sent = new WeakMap<object, object>();

/** Objects of the state never change, so each is looked at once. */
export function asSent(kind: Whole, spec: object): object {
  let result = sent.get(spec);
  if (!result) {
    result = objectAsSent(kind, spec);
    sent.set(spec, result);
  }
  return result;
}

function objectAsSent(name: string, value: object): object {
  const { always = {}, zeros = [] }: Rule = Object.hasOwn(rules, name) ? rules[name as keyof typeof rules] : {};
  const result: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined || member === null) continue;
    if (!isEmpty(key, member) || (zeros.includes(key) && typeof member !== 'object')) {
      result[key] = memberAsSent(key, member);
    }
  }
  for (const [key, member] of Object.entries(always)) {
    result[key] ??= typeof member === 'object' && member !== null ? objectAsSent(key, member) : member;
  }
  return result;
}

/** An object that is no map is there although it says nothing. */
const isEmpty = (key: string, value: unknown): boolean =>
  value === 0 ||
  value === '' ||
  value === false ||
  (Array.isArray(value) ? value.length === 0 : maps.has(key) && Object.keys(value as object).length === 0);

function memberAsSent(key: string, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => memberAsSent(key, item));
  return typeof value === 'object' && value !== null && !maps.has(key) ? objectAsSent(key, value) : value;
}
