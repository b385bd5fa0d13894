import { ServiceSpec as Schema, type ServiceSpec, type TaskSpec } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { containerConfig } from '../../packages/worker/src/runtime/docker/container-config.ts';
import { type TestApi, testApi } from './api.ts';
import { aCluster, aNetwork, aNode, aPayload, aStore, aTask } from './index.ts';
import { leavesOf, pathsOf } from './spec-paths.ts';

// No field of a service's spec is passed over: each is given back as it was asked for, and reaches what is sent to a node's engine, or whoever honours it
// is named; or it is refused with its name.

const node = { nodeId: 'n1', clusterId: 'c1', hostname: 'h', addr: '10.0.0.1' };
const base64 = (text: string) => Buffer.from(text).toString('base64');

type Sent = Readonly<Record<string, unknown>>;
const inHost = (HostConfig: object): Sent => ({ HostConfig });
const container = (ContainerSpec: NonNullable<TaskSpec['ContainerSpec']>): TaskSpec => ({ ContainerSpec });
const mount = (one: NonNullable<NonNullable<TaskSpec['ContainerSpec']>['Mounts']>[number], type = one.Type): Row => [
  container({ Mounts: [one] }),
  inHost({ Mounts: [{ ...one, Type: type }] }),
];
type Row = readonly [template: TaskSpec, sent: Sent];

const honoured: readonly Row[] = [
  [container({ Image: 'web:2' }), { Image: 'web:2' }],
  [container({ Labels: { mine: '1' } }), { Labels: { mine: '1' } }],
  [container({ Command: ['a', 'b'], Args: ['c'] }), { Entrypoint: ['a', 'b'], Cmd: ['c'] }],
  [container({ Hostname: '{{.Service.Name}}' }), { Hostname: 'made' }],
  [container({ Env: ['A=1', 'SLOT={{.Task.Slot}}'] }), { Env: ['A=1', 'SLOT=1'] }],
  [container({ Dir: '/d', User: 'u:g' }), { WorkingDir: '/d', User: 'u:g' }],
  [container({ Groups: ['audio'] }), inHost({ GroupAdd: ['audio'] })],
  [container({ Privileges: { NoNewPrivileges: true } }), inHost({ SecurityOpt: ['no-new-privileges=true'] })],
  [container({ Privileges: { SELinuxContext: { Disable: true } } }), inHost({ SecurityOpt: ['label=disable'] })],
  [
    container({ Privileges: { SELinuxContext: { User: 'u', Role: 'r', Type: 't', Level: 'l' } } }),
    inHost({ SecurityOpt: ['label=user:u', 'label=role:r', 'label=type:t', 'label=level:l'] }),
  ],
  [
    container({ Privileges: { Seccomp: { Mode: 'custom', Profile: base64('{"a":1}') } } }),
    inHost({ SecurityOpt: ['seccomp={"a":1}'] }),
  ],
  [container({ Privileges: { Seccomp: { Mode: 'unconfined' } } }), inHost({ SecurityOpt: ['seccomp=unconfined'] })],
  [container({ Privileges: { AppArmor: { Mode: 'disabled' } } }), inHost({ SecurityOpt: ['apparmor=unconfined'] })],
  [container({ Init: false }), inHost({ Init: false })],
  [
    container({ StopSignal: 'SIGINT', TTY: true, OpenStdin: true }),
    { StopSignal: 'SIGINT', Tty: true, OpenStdin: true },
  ],
  [container({ ReadOnly: true }), inHost({ ReadonlyRootfs: true })],
  [
    container({
      Healthcheck: {
        ...{ Test: ['CMD', 'x'], Interval: 1e9, Timeout: 2e9, StartPeriod: 3e9, StartInterval: 4e9, Retries: 5 },
      },
    }),
    {
      Healthcheck: {
        ...{ Test: ['CMD', 'x'], Interval: 1e9, Timeout: 2e9, StartPeriod: 3e9, StartInterval: 4e9, Retries: 5 },
      },
    },
  ],
  [container({ Hosts: ['1.2.3.4 a b'] }), inHost({ ExtraHosts: ['a:1.2.3.4', 'b:1.2.3.4'] })],
  [
    container({ DNSConfig: { Nameservers: ['9.9.9.9'], Search: ['s'], Options: ['o'] } }),
    inHost({ Dns: ['9.9.9.9'], DnsSearch: ['s'], DnsOptions: ['o'] }),
  ],
  [container({ Sysctls: { 'net.core.somaxconn': '9' } }), inHost({ Sysctls: { 'net.core.somaxconn': '9' } })],
  [
    container({ CapabilityAdd: ['CAP_NET_ADMIN'], CapabilityDrop: ['ALL'] }),
    inHost({ CapAdd: ['CAP_NET_ADMIN'], CapDrop: ['ALL'] }),
  ],
  [
    container({ Ulimits: [{ Name: 'nofile', Hard: 20, Soft: 10 }] }),
    inHost({ Ulimits: [{ Name: 'nofile', Hard: 20, Soft: 10 }] }),
  ],
  [container({ OomScoreAdj: 5 }), inHost({ OomScoreAdj: 5 })],
  mount({ Source: 'v', Target: '/t' }, 'volume'),
  mount({ Type: 'bind', Source: '/s', Target: '/t', ReadOnly: true, Consistency: 'cached' }),
  mount({
    ...{ Type: 'bind', Source: '/s', Target: '/t' },
    BindOptions: {
      ...{ Propagation: 'rslave', NonRecursive: true, CreateMountpoint: true },
      ...{ ReadOnlyNonRecursive: true, ReadOnlyForceRecursive: true },
    },
  }),
  mount({
    ...{ Type: 'volume', Source: 'v', Target: '/t' },
    VolumeOptions: {
      ...{ NoCopy: true, Labels: { a: 'b' }, Subpath: 'p' },
      DriverConfig: { Name: 'local', Options: { type: 'nfs' } },
    },
  }),
  mount({ Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 9, Mode: 0o700, Options: [['exec']] } }),
  mount({ Type: 'image', Source: 'i:1', Target: '/t', ImageOptions: { Subpath: 'p' } }),
  [
    { Resources: { Limits: { NanoCPUs: 5e8, MemoryBytes: 64e6, Pids: 10 } } },
    inHost({ NanoCpus: 5e8, Memory: 64e6, PidsLimit: 10 }),
  ],
  [{ Resources: { Reservations: { MemoryBytes: 32e6 } } }, inHost({ MemoryReservation: 32e6 })],
  [
    { Resources: { Limits: { MemoryBytes: 64e6 }, SwapBytes: 16e6, MemorySwappiness: 10 } },
    inHost({ MemorySwap: 80e6, MemorySwappiness: 10 }),
  ],
  [
    { LogDriver: { Name: 'local', Options: { 'max-size': '1m' } } },
    inHost({ LogConfig: { Type: 'local', Config: { 'max-size': '1m' } } }),
  ],
];

/** What never reaches an engine's containers as such: by whom it is honoured, which its own tests say. */
const kept: readonly (readonly [by: string, spec: ServiceSpec])[] = [
  ['the agent', { TaskTemplate: container({ StopGracePeriod: 7e9 }) }],
  [
    'nobody, since it is the only one',
    { TaskTemplate: { ...container({ Isolation: 'default' }), Runtime: 'container' } },
  ],
  [
    'the agent’s files',
    {
      TaskTemplate: container({
        Secrets: [{ File: { Name: 'f', UID: '1', GID: '2', Mode: 0o400 }, SecretID: 'sec1', SecretName: 'es' }],
        Configs: [{ File: { Name: 'g', UID: '1', GID: '2', Mode: 0o400 }, ConfigID: 'cfg1', ConfigName: 'ec' }],
      }),
    },
  ],
  [
    'the scheduler',
    {
      TaskTemplate: {
        Resources: {
          Reservations: {
            NanoCPUs: 1e9,
            GenericResources: [
              { DiscreteResourceSpec: { Kind: 'SSD', Value: 2 } },
              { NamedResourceSpec: { Kind: 'GPU', Value: 'a' } },
            ],
          },
        },
        Placement: {
          ...{
            Constraints: ['node.role==worker'],
            MaxReplicas: 2,
            Platforms: [{ Architecture: 'amd64', OS: 'linux' }],
          },
          Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }],
        },
      },
    },
  ],
  [
    'the supervisor and the updater',
    {
      TaskTemplate: {
        ...{ RestartPolicy: { Condition: 'on-failure', Delay: 1e9, MaxAttempts: 3, Window: 9e9 }, ForceUpdate: 3 },
      },
      UpdateConfig: {
        ...{ Parallelism: 2, Delay: 1e9, FailureAction: 'rollback', Monitor: 2e9, MaxFailureRatio: 0.5 },
        Order: 'start-first',
      },
      RollbackConfig: { Parallelism: 2, Delay: 1e9, FailureAction: 'continue', Monitor: 2e9, MaxFailureRatio: 0.5 },
    },
  ],
  ['the updater', { RollbackConfig: { Parallelism: 1, MaxFailureRatio: 0, Order: 'start-first' } }],
  ['the allocator', { TaskTemplate: { Networks: [{ Target: 'net1', Aliases: ['a'], DriverOpts: { a: 'b' } }] } }],
  ['the allocator', { Networks: [{ Target: 'net1', Aliases: ['a'] }] }],
  ['the orchestrators', { Name: 'made', Labels: { a: 'b' }, Mode: { Replicated: { Replicas: 3 } } }],
  ['the orchestrators', { Mode: { Global: {} } }],
  ['the orchestrators', { Mode: { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 4 } } }],
  ['the orchestrators', { Mode: { GlobalJob: {} } }],
  [
    'ingress',
    {
      EndpointSpec: {
        Mode: 'dnsrr',
        Ports: [{ Name: 'p', Protocol: 'udp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }],
      },
    },
  ],
];

const refused: readonly (readonly [said: string, spec: ServiceSpec])[] = [
  ['PluginSpec', { TaskTemplate: { PluginSpec: {}, Runtime: 'plugin' } }],
  // Docker's own words.
  ['mismatched Runtime and *Spec', { TaskTemplate: { NetworkAttachmentSpec: { ContainerID: 'c' } } }],
  ['mismatched Runtime and *Spec', { TaskTemplate: { Runtime: 'plugin' } }],
  ['CredentialSpec', { TaskTemplate: container({ Privileges: { CredentialSpec: { Config: 'c' } } }) }],
  ['CredentialSpec', { TaskTemplate: container({ Privileges: { CredentialSpec: { File: 'f' } } }) }],
  ['CredentialSpec', { TaskTemplate: container({ Privileges: { CredentialSpec: { Registry: 'r' } } }) }],
  ['Isolation', { TaskTemplate: container({ Isolation: 'hyperv' }) }],
  [
    'configs for the runtime',
    { TaskTemplate: container({ Configs: [{ ConfigID: 'cfg1', ConfigName: 'ec', Runtime: {} }] }) },
  ],
  [
    'cluster volumes',
    { TaskTemplate: container({ Mounts: [{ Type: 'cluster', Source: 'v', Target: '/t', ClusterOptions: {} }] }) },
  ],
  ['npipe', { TaskTemplate: container({ Mounts: [{ Type: 'npipe', Source: 'v', Target: '/t' }] }) }],
  ['Hosts', { TaskTemplate: container({ Hosts: ['name:1.2.3.4'] }) }],
  ['Ulimits', { TaskTemplate: container({ Ulimits: [{ Hard: 1 }] }) }],
  ['SwapBytes', { TaskTemplate: { Resources: { SwapBytes: 1 } } }],
  ['MemorySwappiness', { TaskTemplate: { Resources: { MemorySwappiness: 101 } } }],
  [
    'resource GPU',
    {
      TaskTemplate: {
        Resources: { Reservations: { GenericResources: [{ NamedResourceSpec: { Kind: 'GPU', Value: '' } }] } },
      },
    },
  ],
];

async function made(spec: ServiceSpec) {
  const store = aStore({
    cluster: aCluster(),
    nodes: [aNode({ id: 'n1' })],
    networks: [aNetwork({ id: 'net1', name: 'front' })],
    secrets: [aPayload({ id: 'sec1', name: 'es' })],
    configs: [aPayload({ id: 'cfg1', name: 'ec' })],
  });
  const api: TestApi = await testApi({ store });
  const { ContainerSpec, ...rest } = spec.TaskTemplate ?? {};
  const template = { ...rest, ContainerSpec: { Image: 'web:1', ...ContainerSpec } };
  const isOther = spec.TaskTemplate?.PluginSpec || spec.TaskTemplate?.NetworkAttachmentSpec;
  const body = { Name: 'made', ...spec, TaskTemplate: isOther ? rest : template };
  const answer = await api.call('POST', '/v1.50/services/create', body);
  const shown = async () => (await api.call('GET', '/v1.50/services/made')).json.Spec;
  const task = () => aTask({ id: 't1', service: store.view().serviceByName('made')!, node: 'n1' });
  return { answer, shown, task };
}

describe('a field of a service’s spec', () => {
  test.each(honoured.map(([template, sent]) => [JSON.stringify(template).slice(0, 90), template, sent] as const))(
    '%s is given back, and sent to the engine',
    async (_, template, sent) => {
      const { answer, shown, task } = await made({ TaskTemplate: template });
      expect(answer).toMatchObject({ status: 201 });
      expect((await shown()).TaskTemplate).toMatchObject(template);
      expect(containerConfig(task(), node)).toMatchObject(sent);
    },
  );

  test.each(kept)('is given back, and %s’s: %j', async (_, spec) => {
    const { answer, shown } = await made(spec);
    expect(answer).toMatchObject({ status: 201 });
    expect(await shown()).toMatchObject(spec);
  });

  test.each(refused)('is refused, as %s: %j', async (said, spec) => {
    const { answer } = await made(spec);
    expect(answer).toMatchObject({ json: { message: expect.stringContaining(said) } });
    expect([400, 501]).toContain(answer.status);
  });

  test('what a task got of its node’s generic resources is shown with it', async () => {
    const GenericResources = [{ NamedResourceSpec: { Kind: 'GPU', Value: 'a' } }];
    const set = { AssignedGenericResources: GenericResources };
    const store = aStore({
      cluster: aCluster(),
      nodes: [aNode({ id: 'n1', generic: GenericResources })],
      tasks: [aTask({ id: 't1', node: 'n1', set })],
    });
    const api = await testApi({ store });
    expect((await api.call('GET', '/tasks/t1')).json).toMatchObject({ GenericResources });
    expect((await api.call('GET', '/nodes/n1')).json.Description.Resources).toMatchObject({ GenericResources });
  });

  test('is in one of these tables', () => {
    const told = new Set([
      ...honoured.flatMap(([TaskTemplate]) => pathsOf({ TaskTemplate })),
      ...[...kept, ...refused].flatMap(([, spec]) => pathsOf(spec)),
    ]);
    // The place of clients before 1.25, which is the template's since.
    const old = /^Networks\./;
    expect(leavesOf(Schema).filter((path) => !old.test(path) && !told.has(path))).toEqual([]);
  });
});
