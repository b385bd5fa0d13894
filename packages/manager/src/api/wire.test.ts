import { readFileSync } from 'node:fs';
import { createRootCa } from '@swarmctl/shared/kit';
import type { Service, Task } from '@swarmctl/shared/model';
import { describe, expect, test } from 'vitest';
import { testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNetwork, aNode, aPayload, aService, aStore, aTask } from '../../../../test/kit/index.ts';
import { asSent } from './wire.ts';

// Answers of a real swarm, and those of this API about the same state: the same fields under the same conditions, and where the state says
// it, the same values.

type Json = any;

const recorded: readonly { readonly kind: string; readonly answer: Json }[] = readFileSync(
  new URL('../../../../test/kit/answers/docker-1.50.jsonl', import.meta.url),
  'utf8',
)
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));
const all = (kind: string): Json[] => recorded.filter((one) => one.kind === kind).map(({ answer }) => answer);
const first = (kind: string): Json => all(kind)[0];
const service = (name: string): Json => all('service').find(({ Spec }) => Spec.Name === name);

const stamps = {
  Version: { Index: expect.any(Number) },
  CreatedAt: expect.stringMatching(/^\d{4}-.*Z$/),
  UpdatedAt: expect.stringMatching(/^\d{4}-.*Z$/),
};
const but = (value: Json, ...keys: string[]): Json =>
  Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));

const { certificate: Certificate } = await createRootCa(1_700_000_000_000);

/** The state as it was on that swarm: what it sent is what its clients had written. */
async function theSameState() {
  const services = all('service').map(({ ID, Spec, PreviousSpec, Endpoint, UpdateStatus, JobStatus }) =>
    aService({
      set: {
        ...{ ID, Spec, Endpoint },
        ...(PreviousSpec && { PreviousSpec }),
        ...(UpdateStatus && { UpdateStatus }),
        ...(JobStatus && { JobStatus: { ...JobStatus, JobIteration: { Index: 0 } } }),
      } as Partial<Service>,
    }),
  );
  const tasks = all('task').map((answer) => {
    const { JobIteration, NetworksAttachments, Volumes, ...task } = answer;
    const attachments = NetworksAttachments?.map(({ Network, Addresses }: Json) => ({
      Network: { ID: Network.ID },
      Addresses,
    }));
    const set = {
      ...{ ...task, Spec: { ...task.Spec, Runtime: 'container' } },
      Status: { ...task.Status, Endpoints: [] },
      ...(JobIteration && { JobIteration: { Index: 0 } }),
      ...(attachments && { NetworksAttachments: attachments }),
    } as Partial<Task>;
    const { Slot, NodeID, ...made } = aTask({ service: aService({ id: task.ServiceID }) });
    return { ...made, ...set } as Task;
  });
  const { Id, Name } = first('network');
  const swarm = first('swarm');
  return aStore({
    cluster: aCluster({
      ID: swarm.ID,
      Spec: swarm.Spec,
      DefaultAddrPool: [],
      RootCA: { ...aCluster().RootCA, Certificate },
    }),
    nodes: all('node').map(({ ID, Description, Status, Spec, ManagerStatus }) => ({
      ...aNode({ id: ID, raftId: ManagerStatus && 1 }),
      ...{ Spec, Status, Description: { ...Description, Runtimes: ['docker' as const], RuntimeReady: true } },
      ...(ManagerStatus && { ManagerStatus: { RaftID: 1, Addr: ManagerStatus.Addr } }),
    })),
    networks: [aNetwork({ id: Id, name: Name, subnets: ['10.0.1.0/24'], vni: 4097, spec: { Attachable: true } })],
    secrets: [aPayload({ id: first('secret').ID, name: 'sec', labels: { k: 'v' } })],
    configs: [aPayload({ id: first('config').ID, name: 'cfg' })],
    ...{ services, tasks },
  });
}

const anApi = async () => testApi({ store: await theSameState() });

describe('the answers of a real swarm', () => {
  test.each(['web', 'gjob', 'job', 'unsched'])('service %s', async (name) => {
    const { call } = await anApi();
    const sent = service(name);
    const expected = { ...but(sent, 'ServiceStatus'), ...stamps };
    expect((await call('GET', `/v1.50/services/${name}?insertDefaults=false`)).json).toEqual(expected);
    const listed = (await call('GET', `/v1.50/services?status=true&filters={"name":["${name}"]}`)).json;
    expect(listed[0]).toEqual({ ...expected, ServiceStatus: shapeOf(sent.ServiceStatus) });
  });

  test('a service with the defaults put in', async () => {
    const { call } = await anApi();
    expect((await call('GET', '/services/web?insertDefaults=true')).json).toEqual({
      ...first('webWithDefaults'),
      ...stamps,
    });
  });

  test.each(all('task').map((task) => [task.Status.State, task.ID, task]))(
    'a task that is %s (%s)',
    async (_, id, sent) => {
      const { call } = await anApi();
      const ingress = (one: Json) => one.Network.Spec.Ingress;
      const attachments = sent.NetworksAttachments?.filter((one: Json) => !ingress(one));
      // There is no network for published ports here; networks that are gone are their ids alone.
      const expected = { ...sent, ...stamps };
      if (attachments?.length) {
        expected.NetworksAttachments = attachments.map((one: Json) => ({
          ...one,
          Network: { ...one.Network, ...stamps },
        }));
      } else if (sent.NetworksAttachments) {
        const { Network, Addresses } = sent.NetworksAttachments[0];
        expected.NetworksAttachments = [{ Network: { ID: Network.ID }, Addresses }];
      }
      expect((await call('GET', `/tasks/${id}`)).json).toEqual(expected);
      const listed = (await call('GET', '/v1.50/tasks')).json;
      expect(listed.find(({ ID }: Json) => ID === id)).toEqual(expected);
      expect((await call('GET', `/v1.41/tasks/${id}`)).json).toEqual(but(expected, 'Volumes'));
    },
  );

  test('nodes: a manager that leads, and a worker', async () => {
    const store = await theSameState();
    const leader = all('node')[0].ID;
    const raftStatus = (id: string) => ({ leader: id === leader, reachable: true });
    const { call } = await testApi({ store, manager: { raftStatus } });
    expect((await call('GET', '/nodes')).json).toEqual(all('node').map((sent) => ({ ...sent, ...stamps })));
  });

  test('a secret and a config', async () => {
    const { call } = await anApi();
    for (const kind of ['secret', 'config']) {
      expect((await call('GET', `/${kind}s`)).json).toEqual([{ ...first(kind), ...stamps }]);
    }
  });

  test('a network', async () => {
    const { call } = await anApi();
    const sent = first('network');
    const changed = { Created: stamps.CreatedAt, EnableIPv4: true };
    const shown = (await call('GET', '/v1.50/networks/net1')).json;
    expect(but(shown, 'Status')).toEqual({ ...sent, ...changed });
    expect((await call('GET', '/v1.47/networks/net1')).json).not.toHaveProperty('EnableIPv4');
  });

  test('the swarm', async () => {
    const { call } = await anApi();
    const { json } = await call('GET', '/swarm');
    const tokens = { Worker: expect.stringMatching(/^SWMTKN-1-/), Manager: expect.stringMatching(/^SWMTKN-1-/) };
    expect(json).toEqual({
      ...first('swarm'),
      ...stamps,
      TLSInfo: shapeOf(first('swarm').TLSInfo),
      JoinTokens: tokens,
    });
  });

  test('version', async () => {
    const { call } = await anApi();
    const sent = first('version');
    expect((await call('GET', '/version')).json).toEqual({
      ...shapeOf(sent),
      Components: [shapeOf(sent.Components[0])],
    });
  });

  test('info', async () => {
    const { call } = await anApi();
    const { Swarm, ...engine } = (await call('GET', '/v1.50/info')).json;
    const { Swarm: sent, ...sentEngine } = first('info');
    // Whose containerd it is, is the engine's affair.
    const expected = but(sentEngine, 'Containerd', 'Warnings');
    expect(Object.keys(engine).sort()).toEqual([...Object.keys(expected), 'Warnings'].sort());
    for (const [key, value] of Object.entries(expected)) expect([key, typeof engine[key]]).toEqual([key, typeof value]);
    expect(Object.keys(Swarm).sort()).toEqual(Object.keys(but(sent, 'Warnings')).sort());
    expect(Object.keys(Swarm.Cluster).sort()).toEqual(Object.keys(sent.Cluster).sort());
    expect((await call('GET', '/v1.48/info')).json).not.toHaveProperty('FirewallBackend');
  });
});

/** The same fields, of the same types. */
function shapeOf(value: Json): Json {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (value === null || typeof value !== 'object')
    return expect.any({ string: String, number: Number, boolean: Boolean }[typeof value as 'string'] ?? Object);
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, shapeOf(member)]));
}

describe('a spec as it is sent', () => {
  test('without what is empty, but for what is always there', () => {
    const spec = {
      Name: '',
      Labels: {},
      TaskTemplate: {
        ContainerSpec: {
          ...{
            Image: 'a',
            Env: [],
            Labels: {},
            Sysctls: {},
            TTY: false,
            Init: false,
            StopGracePeriod: 0,
            DNSConfig: {},
          },
          ...{ Privileges: {}, Ulimits: [{ Name: 'nofile', Soft: 0 }], Hosts: ['a b'] },
          ...{ Secrets: [{ SecretID: 's', SecretName: 'n', File: { Name: 'f' } }], Configs: [{ ConfigID: 'c' }] },
          Mounts: [{ Type: 'tmpfs', Target: '/t', ReadOnly: false, TmpfsOptions: { SizeBytes: 0, Mode: 0 } }],
        },
        Resources: { Limits: { NanoCPUs: 0 }, Reservations: {}, MemorySwappiness: 0 },
        RestartPolicy: { Condition: '', Delay: 0, MaxAttempts: 0, Window: 0 },
        Placement: { Constraints: [], Preferences: [{ Spread: {} }] },
        LogDriver: { Name: 'json-file', Options: { tag: '' } },
      },
      Mode: { Replicated: { Replicas: 0 } },
      UpdateConfig: { Parallelism: 0, Delay: 0, Monitor: 0, Order: '' },
      EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 0 }] },
    };
    expect(asSent('ServiceSpec', spec)).toEqual({
      Labels: {},
      TaskTemplate: {
        ContainerSpec: {
          ...{ Image: 'a', Init: false, StopGracePeriod: 0, DNSConfig: {}, Hosts: ['a b'] },
          Privileges: { CredentialSpec: null, SELinuxContext: null, NoNewPrivileges: false },
          Ulimits: [{ Name: 'nofile', Hard: 0, Soft: 0 }],
          Secrets: [{ SecretID: 's', SecretName: 'n', File: { Name: 'f', UID: '', GID: '', Mode: 0o444 } }],
          Configs: [{ ConfigID: 'c', ConfigName: '' }],
          Mounts: [{ Type: 'tmpfs', Target: '/t', TmpfsOptions: { Mode: 0 } }],
        },
        Resources: { Limits: {}, Reservations: {}, MemorySwappiness: 0 },
        RestartPolicy: { Condition: 'any', Delay: 0, MaxAttempts: 0, Window: 0 },
        Placement: { Preferences: [{ Spread: { SpreadDescriptor: '' } }] },
        LogDriver: { Name: 'json-file', Options: { tag: '' } },
        ForceUpdate: 0,
      },
      Mode: { Replicated: { Replicas: 0 } },
      UpdateConfig: { Parallelism: 0, FailureAction: 'pause', Monitor: 0, MaxFailureRatio: 0, Order: 'stop-first' },
      EndpointSpec: { Ports: [{ TargetPort: 80 }] },
    });
  });

  test('a cluster has all its parts', () => {
    expect(asSent('ClusterSpec', { Orchestration: { TaskHistoryRetentionLimit: 0 } })).toEqual({
      ...{ Labels: {}, Dispatcher: {}, CAConfig: {}, TaskDefaults: {} },
      Orchestration: { TaskHistoryRetentionLimit: 0 },
      Raft: { ElectionTick: 0, HeartbeatTick: 0 },
      EncryptionConfig: { AutoLockManagers: false },
    });
  });
});
