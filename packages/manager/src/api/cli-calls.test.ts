import { createRootCa } from '@swarmctl/shared/kit';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNetwork, aNode, aPayload, aService, aStore, aTask } from '../../../../test/kit/index.ts';

// What the command line docker 28.2.2 was seen to ask for, command by command, with its headers, queries and bodies, and what it does with the answers.
// Stacks: stack-calls.test.ts; odd requests: edge-cases.test.ts; headers and versions: envelope.test.ts.

const { certificate: Certificate } = await createRootCa(1_700_000_000_000);
const agent = { 'user-agent': 'Docker-Client/28.2.2 (linux)', 'accept-encoding': 'gzip' };
const filters = (of: object) => `filters=${encodeURIComponent(JSON.stringify(of))}`;
const set = (...names: string[]) => Object.fromEntries(names.map((name) => [name, true]));

/** As `docker swarm init` sends it. */
const initRequest = {
  ...{ ListenAddr: '0.0.0.0:2377', AdvertiseAddr: '10.0.0.1', DataPathAddr: '', DataPathPort: 0 },
  ForceNewCluster: false,
  Spec: {
    ...{ Labels: null, Orchestration: {}, Raft: { ElectionTick: 0, HeartbeatTick: 0 }, Dispatcher: {}, CAConfig: {} },
    ...{ TaskDefaults: {}, EncryptionConfig: { AutoLockManagers: false } },
  },
  ...{ AutoLockManagers: false, Availability: '', DefaultAddrPool: [], SubnetSize: 24 },
};
const joinRequest = {
  ...{ ListenAddr: '0.0.0.0:2377', AdvertiseAddr: '', DataPathAddr: '', RemoteAddrs: ['10.0.0.1:2377'] },
  ...{ JoinToken: 'SWMTKN-1-x', Availability: '' },
};
const secretReference = {
  ...{ File: { Name: 'es', UID: '0', GID: '0', Mode: 292 }, SecretID: 'sec1', SecretName: 'es' },
};
/** As `docker service create --name made --network front --secret es -p 8080:80 web:1` sends it, its image resolved. */
const createRequest = {
  Name: 'made',
  Labels: {},
  TaskTemplate: {
    ContainerSpec: {
      ...{ Image: `web:1@sha256:${'a'.repeat(64)}`, Init: false, DNSConfig: {}, Secrets: [secretReference] },
    },
    Resources: { Limits: {}, Reservations: {} },
    Placement: { Platforms: [{ Architecture: 'amd64', OS: 'linux' }] },
    Networks: [{ Target: 'net1' }],
    ForceUpdate: 0,
  },
  Mode: { Replicated: {} },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
  },
};

let api: TestApi;
let asked: unknown[];

beforeEach(async () => {
  const web = aService({ id: 'svc1', name: 'web', replicas: 2, labels: { tier: 'a' } });
  const job = aService({ id: 'svc2', name: 'job', job: { completions: 1, concurrent: 1 } });
  const store = aStore({
    cluster: { ...aCluster(), RootCA: { ...aCluster().RootCA, Certificate } },
    nodes: [
      aNode({ id: 'n1', hostname: 'm1', role: 'manager', raftId: 1, addr: '10.0.0.1' }),
      aNode({ id: 'n2', hostname: 'w1' }),
    ],
    networks: [aNetwork({ id: 'net1', name: 'front' })],
    secrets: [aPayload({ id: 'sec1', name: 'es' })],
    configs: [aPayload({ id: 'cfg1', name: 'ec' })],
    services: [web, job],
    tasks: [
      aTask({ id: 't1', service: web, node: 'n1' }),
      aTask({ id: 't0', service: web, node: 'n2', desired: 'shutdown', set: { SpecVersion: 'old', Spec: {} } }),
      aTask({ id: 't2', service: job, slot: 0, node: 'n2' }),
    ],
  });
  asked = [];
  const local = {
    init: async (request: unknown) => {
      asked.push(request);
      return 'n1';
    },
    join: async (request: unknown) => void asked.push(request),
    leave: async (force: boolean) => void asked.push(force),
  };
  api = await testApi({ store, local });
});

const call = (request: string, body?: unknown, headers: Readonly<Record<string, string>> = {}) => {
  const [method, url] = request.split(' ') as [Method, string];
  return api.call(method, `/v1.50${url}`, body, { ...agent, ...headers });
};
const nodeSpec = { Labels: {}, Role: 'worker', Availability: 'drain' };
const rotation = 'rotateManagerToken=false&rotateManagerUnlockKey=false&rotateWorkerToken=true&version=1';

type Row = readonly [command: string, request: string, body: unknown, status: number, answer: unknown];
const rows: readonly Row[] = [
  [
    'version',
    'GET /version',
    undefined,
    200,
    { ApiVersion: '1.50', MinAPIVersion: '1.24', Os: 'linux', Components: [{ Name: expect.any(String), Details: {} }] },
  ],
  [
    'info',
    'GET /info',
    undefined,
    200,
    { Swarm: { NodeID: 'n1', LocalNodeState: 'active', ControlAvailable: true, Nodes: 2, Managers: 1, Cluster: {} } },
  ],
  ['node ls', 'GET /nodes', undefined, 200, [{ ID: 'n1', ManagerStatus: { Leader: true } }, { ID: 'n2' }]],
  ['node inspect w1', 'GET /nodes/w1', undefined, 200, { ID: 'n2', Description: { Hostname: 'w1' } }],
  ['node update --availability drain w1', 'POST /nodes/n2/update?version=1', nodeSpec, 200, undefined],
  [
    'node promote w1',
    'POST /nodes/n2/update?version=1',
    { Labels: {}, Role: 'manager', Availability: 'active' },
    200,
    undefined,
  ],
  ['node ps w1', `GET /tasks?${filters({ node: set('n2') })}`, undefined, 200, [{ ID: 't0' }, { ID: 't2' }]],
  ['node rm -f w1', 'DELETE /nodes/w1?force=1', undefined, 200, undefined],

  ['swarm init', 'POST /swarm/init', initRequest, 200, 'n1'],
  ['swarm join', 'POST /swarm/join', joinRequest, 200, undefined],
  ['swarm leave -f', 'POST /swarm/leave?force=1', undefined, 200, undefined],
  [
    'swarm join-token worker',
    'GET /swarm',
    undefined,
    200,
    { JoinTokens: { Worker: expect.stringMatching(/^SWMTKN-1-/), Manager: expect.stringMatching(/^SWMTKN-1-/) } },
  ],
  ['swarm join-token --rotate worker', `POST /swarm/update?${rotation}`, initRequest.Spec, 200, undefined],
  ['swarm ca', 'GET /swarm', undefined, 200, { TLSInfo: { TrustRoot: Certificate } }],
  ['swarm unlock-key', 'GET /swarm/unlockkey', undefined, 200, { UnlockKey: '' }],

  ['service create', 'POST /services/create', createRequest, 201, { ID: expect.any(String), Warnings: null }],
  [
    '--network front',
    'GET /networks/front?scope=swarm',
    undefined,
    200,
    { Id: 'net1', Scope: 'swarm', Driver: 'overlay' },
  ],
  [
    '--secret es',
    `GET /secrets?${filters({ name: set('es') })}`,
    undefined,
    200,
    [{ ID: 'sec1', Spec: { Name: 'es' } }],
  ],
  [
    '--config ec',
    `GET /configs?${filters({ name: set('ec') })}`,
    undefined,
    200,
    [{ ID: 'cfg1', Spec: { Name: 'ec' } }],
  ],
  [
    'its progress',
    `GET /tasks?${filters({ '_up-to-date': set('true'), service: set('svc1') })}`,
    undefined,
    200,
    [{ ID: 't1', Slot: 1, DesiredState: 'running' }],
  ],
  [
    'the progress of a job',
    `GET /tasks?${filters({ '_up-to-date': set('true'), service: set('svc2') })}`,
    undefined,
    200,
    [{ ID: 't2', JobIteration: {} }],
  ],
  [
    'service ls',
    'GET /services?status=true',
    undefined,
    200,
    [
      { Spec: { Name: 'web' }, ServiceStatus: { RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 0 } },
      { Spec: { Name: 'job' }, JobStatus: { JobIteration: {} }, ServiceStatus: { DesiredTasks: 1 } },
    ],
  ],
  ['service ps web, by id', `GET /services?${filters({ id: set('web') })}`, undefined, 200, []],
  ['service ps web, by name', `GET /services?${filters({ name: set('web') })}`, undefined, 200, [{ ID: 'svc1' }]],
  [
    'service ps web: tasks',
    `GET /tasks?${filters({ service: set('svc1') })}`,
    undefined,
    200,
    [{ ID: 't0', DesiredState: 'shutdown' }, { ID: 't1' }],
  ],
  [
    'service ps -f desired-state=running web',
    `GET /tasks?${filters({ 'desired-state': set('running'), service: set('svc1') })}`,
    undefined,
    200,
    [{ ID: 't1' }],
  ],
  [
    'service inspect --pretty web',
    'GET /services/web?insertDefaults=true',
    undefined,
    200,
    {
      Spec: {
        TaskTemplate: {
          ContainerSpec: { StopGracePeriod: 10e9 },
          RestartPolicy: { Condition: 'any', Delay: 5e9, MaxAttempts: 0 },
        },
        UpdateConfig: { Parallelism: 1, FailureAction: 'pause', Monitor: 5e9, MaxFailureRatio: 0, Order: 'stop-first' },
      },
    },
  ],
  [
    'stack services',
    `GET /services?${filters({ label: set('tier=a') })}&status=true`,
    undefined,
    200,
    [{ ID: 'svc1', ServiceStatus: { RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 0 } }],
  ],
  ['service rm web', 'DELETE /services/web', undefined, 200, undefined],
  ['service logs web', 'GET /services/web/logs?details=1&stderr=1&stdout=1&tail=all', undefined, 200, undefined],

  ['secret create', 'POST /secrets/create', { Name: 'new', Labels: {}, Data: 'YQ==' }, 201, { ID: expect.any(String) }],
  ['secret ls', 'GET /secrets', undefined, 200, [{ ID: 'sec1', Spec: { Name: 'es' } }]],
  ['secret inspect es', 'GET /secrets/es', undefined, 200, { Spec: { Name: 'es', Labels: {} } }],
  ['secret rm es', 'DELETE /secrets/es', undefined, 204, undefined],
  ['config create', 'POST /configs/create', { Name: 'new', Labels: {}, Data: 'YQ==' }, 201, { ID: expect.any(String) }],
  ['config ls', 'GET /configs', undefined, 200, [{ ID: 'cfg1', Spec: { Name: 'ec' } }]],
  ['config inspect ec', 'GET /configs/ec', undefined, 200, { Spec: { Data: expect.any(String) } }],
  ['config rm ec', 'DELETE /configs/ec', undefined, 204, undefined],
  [
    'network create -d overlay',
    'POST /networks/create',
    {
      ...{ Name: 'back', Driver: 'overlay', Scope: '', Internal: false, Attachable: false, Ingress: false },
      ...{ ConfigOnly: false, ConfigFrom: null, IPAM: { Driver: 'default', Options: {}, Config: [] }, Options: {} },
      Labels: {},
    },
    201,
    { Id: expect.any(String), Warning: '' },
  ],
  [
    'network ls',
    `GET /networks?${filters({ scope: set('swarm') })}`,
    undefined,
    200,
    [
      { Id: 'net1', Name: 'front', Driver: 'overlay', Containers: null },
      { Name: 'ingress', Ingress: true },
    ],
  ],
  [
    'network inspect --verbose front',
    'GET /networks/front?verbose=true',
    undefined,
    200,
    { Id: 'net1', Scope: 'swarm', Containers: null, Services: {} },
  ],
  ['network rm front', 'DELETE /networks/front', undefined, 204, undefined],
  ['network prune', 'POST /networks/prune', undefined, 200, { NetworksDeleted: ['front'] }],
];

describe('a call of the command line', () => {
  test.each(rows)('%s: %s', async (_, request, body, status, answer) => {
    const { json, ...rest } = await call(request, body);
    expect([rest.status, rest.text]).toEqual([status, answer === undefined ? '' : expect.any(String)]);
    if (Array.isArray(answer)) {
      const byId = (all: object[]) => [...all].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
      expect(json).toHaveLength(answer.length);
      for (const one of byId(answer)) expect(json).toContainEqual(expect.objectContaining(deep(one)));
    } else if (typeof answer === 'object') expect(json).toMatchObject(answer as object);
    else expect(json).toEqual(answer);
    if (answer !== undefined) expect(rest.text.endsWith('\n')).toBe(true);
  });
});

/** Objects within may have more as well. */
const deep = (value: object): object =>
  Object.fromEntries(
    Object.entries(value).map(([key, one]) => [
      key,
      typeof one === 'object' && one !== null && !('asymmetricMatch' in one) && !Array.isArray(one)
        ? expect.objectContaining(deep(one))
        : one,
    ]),
  );

test('swarm init, join and leave reach the node as they were asked for', async () => {
  await call('POST /swarm/init', initRequest);
  await call('POST /swarm/join', joinRequest);
  await call('POST /swarm/leave?force=1');
  await call('POST /swarm/leave');
  expect(asked).toMatchObject([{ AdvertiseAddr: '10.0.0.1', SubnetSize: 24 }, joinRequest, true, false]);
});

test('service update, --rollback and scale send the whole spec as it was read, with a change', async () => {
  const read = async () => (await call('GET /services/web?insertDefaults=false')).json;
  const update = async (query: string, spec: unknown, headers = {}) => {
    const { Version, ID } = await read();
    return call(`POST /services/${ID}/update?${query}version=${Version.Index}`, spec, headers);
  };
  const { Spec: first } = await read();
  const second = { ...first, TaskTemplate: { ...first.TaskTemplate, ForceUpdate: 1 } };
  expect(await update('registryAuthFrom=spec&', second)).toMatchObject({ status: 200, json: { Warnings: null } });
  expect(await read()).toMatchObject({ Spec: second, PreviousSpec: first });
  expect((await update('registryAuthFrom=spec&rollback=previous&', second)).status).toBe(200);
  const rolledBack = await read();
  expect(rolledBack).toMatchObject({
    Spec: first,
    UpdateStatus: { State: 'rollback_started', Message: 'manually requested rollback' },
  });
  expect((await update('', { ...first, Mode: { Replicated: { Replicas: 5 } } })).status).toBe(200);
  expect((await read()).Spec.Mode).toEqual({ Replicated: { Replicas: 5 } });
  // With --with-registry-auth, of who has not logged in.
  expect((await update('', first, { 'x-registry-auth': 'e30=' })).status).toBe(200);
});

test('service rollback asks like an update, without a word on credentials', async () => {
  const read = async () => (await call('GET /services/web?insertDefaults=false')).json;
  const { Spec: first, Version } = await read();
  await call(`POST /services/svc1/update?version=${Version.Index}`, { ...first, Labels: { tier: 'b' } });
  const { Spec, Version: next } = await read();
  expect((await call(`POST /services/svc1/update?rollback=previous&version=${next.Index}`, Spec)).status).toBe(200);
  expect((await read()).Spec.Labels).toEqual({ tier: 'a' });
});

test('swarm update --autolock, unlock-key, and unlock-key --rotate', async () => {
  const key = async () => (await call('GET /swarm/unlockkey')).json.UnlockKey;
  const update = async (rotate: boolean, locks: boolean) => {
    const { Spec, Version } = (await call('GET /swarm')).json;
    const flags = `rotateManagerToken=false&rotateManagerUnlockKey=${rotate}&rotateWorkerToken=false`;
    const spec = { ...Spec, EncryptionConfig: { AutoLockManagers: locks } };
    return (await call(`POST /swarm/update?${flags}&version=${Version.Index}`, spec)).status;
  };
  expect([await key(), await update(false, true)]).toEqual(['', 200]);
  const first = await key();
  expect(first).toMatch(/^SWMKEY-1-/);
  expect(await update(true, true)).toBe(200);
  expect(await key()).toMatch(/^SWMKEY-1-/);
  expect(await key()).not.toBe(first);
  expect(await update(false, false)).toBe(200);
  expect(await key()).toBe('');
});

test('join-token --rotate changes the one token alone', async () => {
  const before = (await call('GET /swarm')).json;
  await call(`POST /swarm/update?${rotation}`, before.Spec);
  const { Worker, Manager } = (await call('GET /swarm')).json.JoinTokens;
  expect(Manager).toBe(before.JoinTokens.Manager);
  expect(Worker).not.toBe(before.JoinTokens.Worker);
});

test('inspect of a name that is nothing’s is told so by each kind, as JSON', async () => {
  for (const kind of ['networks', 'services', 'tasks', 'nodes', 'secrets', 'configs']) {
    const { status, json } = await call(`GET /${kind}/nosuch`);
    expect([status, json]).toEqual([404, { message: `${kind.slice(0, -1)} nosuch not found` }]);
  }
});
