import { beforeEach, describe, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNetwork, aNode, aPayload, aService, aStore, aTask } from '../../../../test/kit/index.ts';
import type { LocalState } from './ports.ts';
import { initAsOf, networkAsOf, serviceAsOf } from './version.ts';

// What goes with every call: headers, versions of the API, filters.

let api: TestApi;
let state: LocalState;
let hasManager: boolean;

beforeEach(async () => {
  state = 'active';
  hasManager = true;
  const front = aService({ id: 'svc-front', name: 'front', labels: { tier: 'a', team: 'x' } });
  const frontal = aService({ id: 'svc-frontal', name: 'frontal', labels: { tier: 'b' }, global: true });
  const batch = aService({ id: 'job-batch', name: 'batch', job: { completions: 1, concurrent: 1 } });
  const store = aStore({
    cluster: aCluster(),
    nodes: [
      aNode({
        id: 'node-a',
        hostname: 'alpha',
        role: 'manager',
        labels: { disk: 'ssd' },
        engineLabels: { gpu: 'yes' },
      }),
      aNode({ id: 'node-b', hostname: 'alphabet', labels: { disk: 'hdd' } }),
      aNode({ id: 'other', hostname: 'beta' }),
    ],
    services: [front, frontal, batch],
    tasks: [
      aTask({ id: 'task-1', service: front, node: 'node-a' }),
      aTask({
        id: 'task-2',
        service: front,
        slot: 2,
        node: 'node-b',
        desired: 'shutdown',
        set: { SpecVersion: 'old', Spec: {} },
      }),
      aTask({ id: 'glob-1', service: frontal, node: 'node-a' }),
      aTask({ id: 'first-1', service: batch, slot: 0, node: 'node-b' }),
    ],
    secrets: [aPayload({ id: 'sec-a', name: 'pass', labels: { a: '1' } }), aPayload({ id: 'sec-b', name: 'password' })],
    configs: [aPayload({ id: 'cfg-a', name: 'site', labels: { a: '1' } }), aPayload({ id: 'cfg-b', name: 'site2' })],
    networks: [
      aNetwork({ id: 'net-a', name: 'app_front', spec: { Labels: { a: '1' } } }),
      aNetwork({ id: 'net-b', name: 'front' }),
    ],
  });
  api = await testApi({ store, hasManager: () => hasManager, local: { state: () => state } });
});

describe('headers', () => {
  test.each(['/_ping', '/v1.24/services', '/version', '/services/nosuch', '/nonsense', '/v1.10/services'])(
    '%s carries who answers',
    async (url) => {
      expect((await api.call('GET', url)).headers).toMatchObject({
        ...{ 'api-version': '1.50', 'docker-experimental': 'false', ostype: 'linux', server: 'swarmd/0.1.0 (linux)' },
      });
    },
  );

  test.each<[string, LocalState, boolean, string | undefined]>([
    ['/_ping', 'active', true, 'active/manager'],
    ['/v1.42/_ping', 'active', false, 'active/worker'],
    ['/_ping', 'inactive', false, 'inactive'],
    ['/_ping', 'locked', false, 'locked'],
    ['/_ping', 'pending', false, 'pending'],
    ['/_ping', 'error', false, 'error'],
    ['/v1.41/_ping', 'active', true, undefined],
  ])('%s of a node that is %s (manager: %s)', async (url, local, manager, swarm) => {
    state = local;
    hasManager = manager;
    const { status, text, headers } = await api.call('GET', url);
    expect([status, text, headers['swarm']]).toEqual([200, 'OK', swarm]);
    const common = { 'cache-control': 'no-cache, no-store, must-revalidate', pragma: 'no-cache' };
    expect(headers).toMatchObject({ ...common, 'content-type': 'text/plain; charset=utf-8' });
    const head = await api.app.inject({ method: 'HEAD', url });
    expect([head.statusCode, head.body, head.headers['swarm']]).toEqual([200, '', swarm]);
  });
});

describe('versions', () => {
  test.each(['/services', '/v1.24/services', '/v1.50/services'])('%s is served', async (url) => {
    const { status, json } = await api.call('GET', url);
    expect([status, json.length]).toEqual([200, 3]);
  });

  test.each([
    ['/v9.99/services', '9.99'],
    ['/v1.51/services', '1.51'],
    ['/v2/services', '2'],
  ])('%s is too new', async (url, version) => {
    const { status, json } = await api.call('GET', url);
    const message = `client version ${version} is too new. Maximum supported API version is 1.50`;
    expect([status, json]).toEqual([400, { message }]);
  });

  test.each([
    ['/v1.10/services', '1.10'],
    ['/v1.23/_ping', '1.23'],
    ['/v0.9/services', '0.9'],
  ])('%s is too old, which is said in plain text', async (url, version) => {
    const { status, text, headers } = await api.call('GET', url);
    const message = `client version ${version} is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n`;
    expect([status, text, headers['content-type']]).toEqual([400, message, 'text/plain; charset=utf-8']);
  });

  test('how services stand is told since 1.41', async () => {
    expect((await api.call('GET', '/v1.40/services?status=1')).json[0]).not.toHaveProperty('ServiceStatus');
    expect((await api.call('GET', '/v1.41/services?status=1')).json[0]).toHaveProperty('ServiceStatus');
  });

  const container = (more: object) => ({ TaskTemplate: { ContainerSpec: { Image: 'a', ...more } } });
  test.each<[number, object, object]>([
    [40, container({ Sysctls: { a: '1' } }), container({})],
    [
      40,
      { TaskTemplate: { Placement: { MaxReplicas: 1, Constraints: ['a==b'] } } },
      { TaskTemplate: { Placement: { Constraints: ['a==b'] } } },
    ],
    [40, container({ Configs: [{ ConfigID: 'c', Runtime: {} }] }), container({ Configs: [{ ConfigID: 'c' }] })],
    [41, container({ CapabilityAdd: ['A'], CapabilityDrop: ['B'], Ulimits: [] }), container({})],
    [
      41,
      { TaskTemplate: { Resources: { Limits: { Pids: 1, NanoCPUs: 2 } } } },
      { TaskTemplate: { Resources: { Limits: { NanoCPUs: 2 } } } },
    ],
    [
      44,
      container({ Privileges: { NoNewPrivileges: true, Seccomp: {}, AppArmor: {} } }),
      container({ Privileges: {} }),
    ],
    [44, container({ Healthcheck: { StartInterval: 1, Retries: 1 } }), container({ Healthcheck: { Retries: 1 } })],
    [46, container({ OomScoreAdj: 1 }), container({})],
    [
      46,
      container({ Mounts: [{ Target: '/a', TmpfsOptions: { Options: [['x']], Mode: 1 } }] }),
      container({ Mounts: [{ Target: '/a', TmpfsOptions: { Mode: 1 } }] }),
    ],
  ])('before 1.%i a field is not known', (since, spec, older) => {
    expect(serviceAsOf(since, spec)).toEqual(spec);
    expect(serviceAsOf(since - 1, spec)).toEqual(older);
  });

  test('other requests have fields that came later as well', () => {
    const init = { DefaultAddrPool: ['10.0.0.0/8'], SubnetSize: 24, DataPathPort: 5000, ListenAddr: 'x' };
    expect(initAsOf(40, init)).toEqual(init);
    expect(initAsOf(39, init)).toEqual({ DefaultAddrPool: ['10.0.0.0/8'], SubnetSize: 24, ListenAddr: 'x' });
    expect(initAsOf(38, init)).toEqual({ ListenAddr: 'x' });
    expect(networkAsOf(47, { Name: 'a', EnableIPv4: false })).toEqual({ Name: 'a' });
  });

  test.each(['secret', 'config'])('a %s is a template since 1.37', async (kind) => {
    const spec = { Name: 'template', Data: 'YQ==', Templating: { Name: 'golang' } };
    const { status, json } = await api.call('POST', `/v1.36/${kind}s/create`, spec);
    const message = `${kind} templating is not supported on the specified API version: 1.36`;
    expect([status, json]).toEqual([400, { message }]);
    expect((await api.call('POST', `/v1.37/${kind}s/create`, spec)).status).toBe(201);
  });

  test('a field of a later version is passed over, a job is refused', async () => {
    const spec = { Name: 'old', TaskTemplate: { ContainerSpec: { Image: 'a', OomScoreAdj: 5 } } };
    expect((await api.call('POST', '/v1.45/services/create', spec)).status).toBe(201);
    expect((await api.call('GET', '/services/old')).json.Spec.TaskTemplate.ContainerSpec).not.toHaveProperty(
      'OomScoreAdj',
    );
    const job = { ...spec, Name: 'job', Mode: { ReplicatedJob: {} } };
    const { status, json } = await api.call('POST', '/v1.40/services/create', job);
    expect([status, json]).toEqual([400, { message: 'jobs need API version 1.41, and the client speaks 1.40' }]);
  });
});

describe('filters', () => {
  const nodes = { a: 'node-a', b: 'node-b', c: 'other' };
  test.each<[string, object, string[]]>([
    ['nodes', {}, Object.values(nodes)],
    ['nodes', { id: ['node'] }, [nodes.a, nodes.b]],
    ['nodes', { name: ['alpha'] }, [nodes.a, nodes.b]],
    ['nodes', { name: ['lpha'] }, []],
    ['nodes', { role: ['Manager'] }, [nodes.a]],
    ['nodes', { role: ['manager', 'worker'] }, Object.values(nodes)],
    ['nodes', { membership: ['accepted'] }, Object.values(nodes)],
    ['nodes', { membership: ['pending'] }, []],
    ['nodes', { label: ['gpu'] }, [nodes.a]],
    ['nodes', { 'node.label': ['disk'] }, [nodes.a, nodes.b]],
    ['nodes', { 'node.label': ['disk=hdd'] }, [nodes.b]],
    ['services', { id: ['svc'] }, ['svc-front', 'svc-frontal']],
    ['services', { name: ['front'] }, ['svc-front', 'svc-frontal']],
    ['services', { name: ['ront'] }, []],
    ['services', { name: ['frontal', 'batch'] }, ['job-batch', 'svc-frontal']],
    ['services', { mode: ['global'] }, ['svc-frontal']],
    ['services', { mode: ['replicated'] }, ['svc-front']],
    ['services', { mode: ['replicated-job'] }, ['job-batch']],
    ['services', { label: ['tier'] }, ['svc-front', 'svc-frontal']],
    ['services', { label: ['tier=a', 'team'] }, ['svc-front']],
    ['services', { label: ['tier=a'], name: ['frontal'] }, []],
    ['services', { runtime: ['container'] }, ['job-batch', 'svc-front', 'svc-frontal']],
    ['tasks', { service: ['front'] }, ['task-1', 'task-2']],
    ['tasks', { service: ['svc-frontal'] }, ['glob-1']],
    ['tasks', { node: ['alpha'] }, ['glob-1', 'task-1']],
    ['tasks', { node: ['node-b'], service: ['front'] }, ['task-2']],
    ['tasks', { id: ['task'] }, ['task-1', 'task-2']],
    ['tasks', { name: ['front.1'] }, ['task-1']],
    ['tasks', { name: ['front.2.task-2'] }, ['task-2']],
    ['tasks', { label: ['tier=b'] }, ['glob-1']],
    ['tasks', { 'desired-state': ['running'] }, ['glob-1', 'task-1']],
    ['tasks', { 'desired-state': ['Shutdown'] }, ['task-2']],
    ['tasks', { '_up-to-date': ['true'], service: ['front'] }, ['task-1']],
    ['tasks', { '_up-to-date': ['1'], service: ['front'] }, ['task-1']],
    ['secrets', { id: ['sec-a'] }, ['sec-a']],
    ['secrets', { name: ['pass'] }, ['sec-a', 'sec-b']],
    ['secrets', { names: ['pass'] }, ['sec-a']],
    ['secrets', { label: ['a=1'] }, ['sec-a']],
    ['configs', { name: ['site2'] }, ['cfg-b']],
    ['configs', { names: ['site'] }, ['cfg-a']],
    ['configs', { label: ['a'] }, ['cfg-a']],
    ['networks', { name: ['front'] }, ['net-a', 'net-b']],
    ['networks', { name: ['^front$'] }, ['net-b']],
    ['networks', { name: ['front$'], label: ['a=1'] }, ['net-a']],
    ['networks', { id: ['net-a'] }, ['net-a']],
    ['networks', { driver: ['overlay'] }, ['ingress', 'net-a', 'net-b']],
    ['networks', { scope: ['local'] }, ['bridge', 'host', 'none']],
    ['networks', { type: ['custom'] }, ['ingress', 'net-a', 'net-b']],
    ['networks', { dangling: ['true'], scope: ['swarm'] }, ['net-a', 'net-b']],
  ])('%s %j', async (kind, filters, expected) => {
    const asMaps = Object.fromEntries(
      Object.entries(filters).map(([key, values]) => [
        key,
        Object.fromEntries(values.map((value: string) => [value, true])),
      ]),
    );
    for (const form of [filters, asMaps]) {
      const { json } = await api.call('GET', `/${kind}?filters=${encodeURIComponent(JSON.stringify(form))}`);
      expect(json.map((one: { ID?: string; Id?: string }) => one.ID ?? one.Id).sort()).toEqual([...expected].sort());
    }
  });

  test('a name of a map counts whatever is said of it', async () => {
    for (const said of [true, false, null]) {
      const filters = encodeURIComponent(JSON.stringify({ name: { batch: said } }));
      expect((await api.call('GET', `/services?filters=${filters}`)).json).toHaveLength(1);
    }
  });

  test.each(['', 'null', '{}', '{"name":[]}', '{"name":null}'])('filters=%s is none', async (text) => {
    expect((await api.call('GET', `/services?filters=${encodeURIComponent(text)}`)).json).toHaveLength(3);
  });
});

describe('what names a task', () => {
  test('the node stands for the slot 0 of a job, as in the name of its container', async () => {
    expect((await api.call('GET', '/tasks/batch.node-b')).json.ID).toBe('first-1');
  });

  test.each(['task-1', 'front.1', 'front.1.task-1', 'task-1'.slice(0, 6)])('%s', async (reference) => {
    expect((await api.call('GET', `/tasks/${reference}`)).json.ID).toBe('task-1');
  });
});
