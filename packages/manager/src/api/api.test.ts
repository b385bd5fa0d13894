import { once } from 'node:events';
import { ClusterError, createRootCa, ManualClock } from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import type { LogLine, LogOptions, LogSubject } from '@swarmctl/shared/wire';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { Store } from '../store/store.ts';
import type { LocalState } from './ports.ts';

const root = await createRootCa(1_700_000_000_000);
const worker = `SWMTKN-1-${'a'.repeat(50)}-${'b'.repeat(25)}`;

let store: Store;
let api: TestApi;
let state: LocalState;
let readIndex: () => Promise<void>;
let withManager: boolean;
const clock = new ManualClock();

const propose = async (changes: readonly StoreChange[]) => api.apply(changes);

let logLines: readonly LogLine[];
let logsHeld: Promise<void> | undefined;
let logOptions: LogOptions | undefined;
let logSubject: LogSubject | undefined;
beforeEach(async () => {
  logsHeld = undefined;
  logLines = [{ taskId: 't1', stream: 'stdout', time: '2026-01-01T00:00:00.000000000Z', line: Buffer.from('hello') }];
  store = new Store();
  state = 'active';
  withManager = true;
  readIndex = async () => undefined;
  api = await testApi({
    store,
    clock,
    hasManager: () => withManager,
    local: { state: () => state },
    manager: {
      readIndex: () => readIndex(),
      logs: async function* ({ subject, options }) {
        logSubject = subject;
        logOptions = options;
        yield* logLines;
        await logsHeld;
        yield { notice: 'node n2 is away', taskId: 't1' };
      },
    },
  });
  await propose([
    {
      op: 'create',
      table: 'cluster',
      object: {
        ID: 'c1',
        Spec: { Name: 'default', Labels: {} },
        DefaultAddrPool: [],
        SubnetSize: 24,
        DataPathPort: 4789,
        RootCA: {
          Certificate: root.certificate,
          Key: root.key,
          Digest: 'a'.repeat(50),
          JoinTokens: { Worker: worker, Manager: worker.replace(/b/g, 'c') },
        },
        RemovedRaftIDs: [],
      },
    },
    {
      op: 'create',
      table: 'nodes',
      object: {
        ID: 'n1',
        Spec: { Role: 'manager', Availability: 'active', Labels: {} },
        Status: { State: 'ready', Addr: '127.0.0.1' },
        ManagerStatus: { RaftID: 1, Addr: '127.0.0.1:2377' },
      },
    },
    {
      op: 'create',
      table: 'nodes',
      object: {
        ID: 'n2',
        Spec: { Role: 'worker', Availability: 'active', Labels: {} },
        Status: { State: 'ready', Addr: '127.0.0.2' },
      },
    },
  ]);
});

const call = (method: Method, url: string, body?: unknown) => api.call(method, url, body);

const web = (more: object = {}) => ({ Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'web:1' } }, ...more });
const create = async (spec: object = web()) => (await call('POST', '/v1.41/services/create', spec)).json.ID as string;

describe('the envelope', () => {
  test('ping says version and role', async () => {
    const { status, json, headers } = await call('GET', '/_ping');
    expect({ status, json }).toEqual({ status: 200, json: 'OK' });
    expect(headers).toMatchObject({
      'api-version': '1.50',
      ostype: 'linux',
      swarm: 'active/manager',
      'docker-experimental': 'false',
      'builder-version': '2',
    });
  });

  test.each([
    ['/v9.99/services', 400, 'client version 9.99 is too new. Maximum supported API version is 1.50'],
    ['/v1.41/nonsense', 404, 'page not found'],
    ['/secrets/x', 404, 'secret x not found'],
    ['/v1.41/networks/x', 404, 'network x not found'],
    ['/containers/x/json', 404, 'No such container: x'],
    ['/images/x/json', 404, 'No such image: x'],
    ['/volumes/x', 404, 'get x: no such volume'],
    ['/plugins/x/json', 404, 'plugin "x" not found'],
    ['/exec/x/json', 404, 'No such exec instance: x'],
    ['/session', 404, 'page not found'],
    [`/services/${'x'.repeat(5_000)}`, 404, `service ${'x'.repeat(5_000)} not found`],
  ])('%s', async (url, status, message) => {
    expect(await call('GET', url)).toMatchObject({ status, json: { message } });
  });

  test('there are no plugins, and how they would be asked for is checked', async () => {
    expect((await call('GET', '/plugins?filters={"capability":["volumedriver"]}')).json).toEqual([]);
    expect((await call('GET', '/plugins?filters={"bogus":["x"]}')).status).toBe(400);
    expect((await call('POST', '/plugins/pull?remote=x')).status).toBe(501);
  });

  test.each(['/services', '/services/nope', '/nonsense', '/tasks', '/swarm', '/info'])(
    '%s is of the type that clients compare with',
    async (url) => {
      expect((await call('GET', url)).headers['content-type']).toBe('application/json');
    },
  );

  test('a path that cannot be decoded', async () => {
    const { status, json } = await call('GET', '/services/%ff');
    expect({ status, json }).toEqual({ status: 400, json: { message: expect.stringContaining('%ff') } });
  });

  test('a node without a swarm, and a worker, say why they cannot', async () => {
    withManager = false;
    state = 'inactive';
    expect(await call('GET', '/services')).toMatchObject({
      status: 503,
      json: { message: expect.stringContaining('Use "docker swarm init"') },
    });
    state = 'active';
    expect(await call('GET', '/nodes')).toMatchObject({
      status: 503,
      json: { message: expect.stringContaining("Worker nodes can't be used") },
    });
    expect(await call('GET', '/info')).toMatchObject({
      status: 200,
      json: { Swarm: { LocalNodeState: 'active', ControlAvailable: false } },
    });
  });

  test('without a quorum reads are refused and info stays', async () => {
    readIndex = async () => {
      throw new ClusterError('no-leader', 'rpc error: code = Unknown desc = The swarm does not have a leader.');
    };
    expect(await call('GET', '/services')).toMatchObject({
      status: 500,
      json: { message: expect.stringContaining('does not have a leader') },
    });
    expect(await call('GET', '/info')).toMatchObject({
      status: 200,
      json: { Swarm: { ControlAvailable: true, Error: expect.stringContaining('leader') } },
    });
  });
});

describe('services', () => {
  test('create stores what Swarm stores', async () => {
    const id = await create();
    expect(id).toMatch(/^[0-9a-z]{25}$/);
    expect((await call('GET', `/services/${id}`)).json).toMatchObject({
      ID: id,
      Version: { Index: 2 },
      Spec: {
        Name: 'web',
        Labels: {},
        Mode: { Replicated: { Replicas: 1 } },
        TaskTemplate: { ContainerSpec: { Image: 'web:1', Isolation: 'default' }, Runtime: 'container', ForceUpdate: 0 },
      },
      Endpoint: { Spec: {} },
    });
  });

  test('is found by id, name and prefix', async () => {
    const id = await create();
    for (const reference of [id, 'web', id.slice(0, 8)])
      expect((await call('GET', `/services/${reference}`)).json.ID).toBe(id);
    expect(await call('GET', '/services/nosuch')).toMatchObject({
      status: 404,
      json: { message: 'service nosuch not found' },
    });
  });

  test('a second one of the same name is a conflict', async () => {
    await create();
    expect(await call('POST', '/services/create', web())).toMatchObject({
      status: 409,
      json: { message: expect.stringContaining('name conflicts with an existing object: service web already exists') },
    });
  });

  test('a taken port names who has it', async () => {
    const ports = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] } };
    const id = await create(web(ports));
    expect((await call('POST', '/services/create', { ...web(ports), Name: 'other' })).json.message).toContain(
      `port '8080' is already in use by service 'web' (${id}) as an ingress port`,
    );
    expect(store.view().list('services')).toHaveLength(1);
  });

  test('of many that publish one port at once, one gets it', async () => {
    const ports = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] } };
    const answers = await Promise.all(
      [1, 2, 3, 4].map((n) => call('POST', '/services/create', { ...web(ports), Name: `web${n}` })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 400, 400, 400]);
  });

  test('keys of encrypted networks are rotated when asked for, and never shown', async () => {
    const update = () =>
      call('POST', `/swarm/update?version=${store.view().cluster()?.Version.Index}&rotateNetworkKeys=1`, {});
    expect(await update()).toMatchObject({
      status: 400,
      json: { message: expect.stringContaining('no network is encrypted') },
    });
    const TunnelKeys = { InUse: { Generation: 4, Key: 'secret-in-use', MadeAt: 1 } };
    await propose([{ op: 'update', table: 'cluster', id: store.view().cluster()?.ID ?? '', set: { TunnelKeys } }]);
    expect((await update()).status).toBe(200);
    const keys = store.view().cluster()?.TunnelKeys;
    expect(keys).toMatchObject({ ...TunnelKeys, Next: { Generation: 5, MadeAt: clock.now() } });
    expect(Buffer.from(keys?.Next?.Key ?? '', 'base64')).toHaveLength(32);
    for (const url of ['/swarm', '/info']) {
      const shown = JSON.stringify((await call('GET', url)).json);
      for (const key of ['secret-in-use', keys?.Next?.Key ?? 'none']) expect(shown).not.toContain(key);
    }
  });

  test.each([
    [0, 200],
    [1_023, 400],
    [1_024, 200],
    [49_151, 200],
    [49_152, 400],
  ])('a cluster with the data path port %i: %i', async (DataPathPort, status) => {
    const answer = await call('POST', '/swarm/init', { DataPathPort });
    expect(answer.status).toBe(status);
    if (status === 400) expect(answer.json.message).toContain(`not in valid range (1024-49151): ${DataPathPort}`);
  });

  test('update needs the version that was read', async () => {
    const id = await create();
    const spec = web({ TaskTemplate: { ContainerSpec: { Image: 'web:2' } } });
    expect(await call('POST', `/services/${id}/update`, spec)).toMatchObject({
      status: 400,
      json: { message: `invalid service version '': strconv.ParseUint: parsing "": invalid syntax` },
    });
    expect(await call('POST', `/services/${id}/update?version=1`, spec)).toMatchObject({
      status: 500,
      json: { message: expect.stringContaining('update out of sequence') },
    });
    expect((await call('GET', '/services/web')).json.Spec.TaskTemplate.ContainerSpec.Image).toBe('web:1');
    expect(await call('POST', `/services/${id}/update?version=2`, spec)).toMatchObject({
      status: 200,
      json: { Warnings: null },
    });
    expect((await call('GET', '/services/web')).json).toMatchObject({
      PreviousSpec: { TaskTemplate: { ContainerSpec: { Image: 'web:1' } } },
      Spec: { TaskTemplate: { ContainerSpec: { Image: 'web:2' } } },
    });
  });

  test('rollback swaps the specs', async () => {
    const id = await create();
    expect(await call('POST', `/services/${id}/update?version=2&rollback=previous`, web())).toMatchObject({
      status: 400,
      json: { message: expect.stringContaining('does not have a previous spec') },
    });
    await call(
      'POST',
      `/services/${id}/update?version=2`,
      web({ TaskTemplate: { ContainerSpec: { Image: 'web:2' } } }),
    );
    await call('POST', `/services/${id}/update?version=${store.index}&rollback=previous`, web());
    expect((await call('GET', '/services/web')).json).toMatchObject({
      Spec: { TaskTemplate: { ContainerSpec: { Image: 'web:1' } } },
      UpdateStatus: { State: 'rollback_started', Message: 'manually requested rollback' },
    });
  });

  test.each([
    ['renaming', web({ Name: 'other' }), 501, 'renaming services is not supported'],
    ['another mode', web({ Mode: { Global: {} } }), 501, 'service mode change is not allowed'],
  ])('%s is refused', async (_, spec, status, message) => {
    const id = await create();
    expect(await call('POST', `/services/${id}/update?version=2`, spec)).toMatchObject({
      status,
      json: { message: expect.stringContaining(message) },
    });
  });

  test.each<[string, number, string]>([
    ['not json', 400, 'invalid JSON'],
    ['', 400, 'invalid JSON: the body must be an object, not nothing'],
    [
      '{"Name":"x y","TaskTemplate":{"ContainerSpec":{"Image":"a"}}}',
      400,
      'name must be valid as a DNS name component',
    ],
    [
      '{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Networks":[{"Target":"n"}]}}',
      500,
      'network n not found',
    ],
  ])('body %j', async (body, status, message) => {
    expect(await call('POST', '/services/create', body)).toMatchObject({
      status,
      json: { message: expect.stringContaining(message) },
    });
    expect(store.view().list('services')).toHaveLength(0);
  });

  test('filters come as maps and as arrays; unknown ones are refused', async () => {
    await create();
    const list = (filters: unknown) => call('GET', `/services?filters=${encodeURIComponent(JSON.stringify(filters))}`);
    expect((await list({ name: { we: true } })).json).toHaveLength(1);
    expect((await list({ name: ['nope'] })).json).toHaveLength(0);
    expect((await list({ mode: ['replicated'], label: ['a=b'] })).json).toHaveLength(0);
    expect(await list({ bogus: ['x'] })).toMatchObject({ status: 400, json: { message: "invalid filter 'bogus'" } });
    expect(await call('GET', '/services?filters=notjson')).toMatchObject({
      status: 400,
      json: { message: 'invalid filter' },
    });
  });

  test('insertDefaults fills in what is absent, on request', async () => {
    await create();
    expect((await call('GET', '/services/web?insertDefaults=true')).json.Spec).toMatchObject({
      UpdateConfig: { Parallelism: 1, Order: 'stop-first' },
      TaskTemplate: { RestartPolicy: { Condition: 'any' } },
    });
    expect((await call('GET', '/services/web')).json.Spec.UpdateConfig).toBeUndefined();
  });

  test('remove', async () => {
    await create();
    expect(await call('DELETE', '/services/web')).toMatchObject({ status: 200, json: undefined });
    expect((await call('GET', '/services')).json).toEqual([]);
  });
});

describe('tasks and logs', () => {
  beforeEach(async () => {
    await create();
    const service = store.view().serviceByName('web')!;
    const task = {
      Labels: {},
      Spec: service.Spec.TaskTemplate,
      ServiceID: service.ID,
      Slot: 1,
      NodeID: 'n1',
      DesiredState: 'running' as const,
      ServiceAnnotations: { Name: 'web', Labels: {} },
    };
    await propose([
      {
        op: 'create',
        table: 'tasks',
        object: {
          ...task,
          ID: 't1',
          SpecVersion: service.SpecVersion,
          Status: { State: 'running', Timestamp: '2026-01-01T00:00:00Z', Endpoints: [] },
        },
      },
      {
        op: 'create',
        table: 'tasks',
        object: {
          ...task,
          ID: 't2',
          SpecVersion: 'old',
          Spec: { ContainerSpec: { Image: 'old' } },
          DesiredState: 'shutdown',
          Status: { State: 'failed', Timestamp: '2026-01-01T00:00:00Z' },
        },
      },
    ]);
  });
  const ids = async (filters: object) =>
    (await call('GET', `/tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json.map(
      (task: { ID: string }) => task.ID,
    );

  test('a task that new constraints leave where it is counts as up to date', async () => {
    const service = store.view().serviceByName('web')!;
    const constrain = async (constraint: string) => {
      const TaskTemplate = { ...service.Spec.TaskTemplate, Placement: { Constraints: [constraint] } };
      const set = { Spec: { ...service.Spec, TaskTemplate }, SpecVersion: constraint };
      await propose([{ op: 'update', table: 'services', id: service.ID, set }]);
      return ids({ '_up-to-date': ['true'], 'desired-state': ['running'] });
    };
    expect(await constrain('node.id==n1')).toEqual(['t1']);
    expect(await constrain('node.id!=n1')).toEqual([]);
  });

  test('filters', async () => {
    expect(await ids({ service: ['web'] })).toEqual(['t1', 't2']);
    expect(await ids({ '_up-to-date': { true: true }, service: ['web'] })).toEqual(['t1']);
    expect(await ids({ 'desired-state': ['running'] })).toEqual(['t1']);
    expect(await ids({ node: ['n2'] })).toEqual([]);
    expect(await call('GET', '/tasks?filters={"service":["nosuch"]}')).toMatchObject({
      status: 404,
      json: { message: 'service nosuch not found' },
    });
    expect(await call('GET', '/tasks?filters={"desired-state":["bogus"]}')).toMatchObject({
      status: 500,
      json: { message: "Invalid desired-state filter: 'bogus'" },
    });
  });

  test('our own fields stay inside', async () => {
    const { json } = await call('GET', '/tasks/t1');
    expect(json).toMatchObject({ Labels: {}, Volumes: null, Status: { PortStatus: {} } });
    expect(Object.keys(json)).not.toContain('SpecVersion');
    expect(Object.keys(json.Status)).not.toContain('Endpoints');
  });

  test('status counts what runs', async () => {
    expect((await call('GET', '/services?status=true')).json[0].ServiceStatus).toEqual({
      RunningTasks: 1,
      DesiredTasks: 1,
      CompletedTasks: 0,
    });
  });

  test('logs are framed, with details on request', async () => {
    const response = await api.app.inject({ method: 'GET', url: '/services/web/logs?stdout=1&stderr=1&details=1' });
    const bytes = response.rawPayload;
    expect(response.headers['content-type']).toBe('application/vnd.docker.multiplexed-stream');
    const first = bytes.subarray(8, 8 + bytes.readUInt32BE(4)).toString();
    expect(bytes[0]).toBe(1);
    expect(first).toMatch(
      /^com\.docker\.swarm\.node\.id=n1,com\.docker\.swarm\.service\.id=\w+,com\.docker\.swarm\.task\.id=t1 hello\n$/,
    );
    const second = bytes.subarray(8 + bytes.readUInt32BE(4));
    expect(second[0]).toBe(2);
    expect(second.subarray(8).toString()).toMatch(/^com\.docker\.swarm\.node\.id=n1,\S+ node n2 is away\n$/);
    const timed = await api.app.inject({ method: 'GET', url: '/services/web/logs?stderr=1&timestamps=1' });
    expect(timed.rawPayload.toString()).toMatch(/\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z node n2 is away\n$/);
    expect(await call('GET', '/services/web/logs')).toMatchObject({
      status: 500,
      json: { message: 'Bad parameters: you must choose at least one stream' },
    });
  });

  test('logs: the log driver’s notes stand among the ids, which they do not change', async () => {
    const attrs = 'a=b,com.docker.swarm.node.id=other,tag=x%20y';
    logLines = [
      { taskId: 't1', stream: 'stdout', time: '2026-01-01T00:00:00.000000000Z', attrs, line: Buffer.from('hello') },
    ];
    const { rawPayload } = await api.app.inject({ method: 'GET', url: '/tasks/t1/logs?stdout=1&details=1' });
    expect(rawPayload.subarray(8, 8 + rawPayload.readUInt32BE(4)).toString()).toMatch(
      /^a=b,com\.docker\.swarm\.node\.id=n1,com\.docker\.swarm\.service\.id=\w+,com\.docker\.swarm\.task\.id=t1,tag=x%20y hello\n$/,
    );
  });

  test.each([
    ['/v1.41', 'raw'],
    ['/v1.42', 'multiplexed'],
    ['', 'multiplexed'],
  ])('logs by %s are called a %s stream', async (version, kind) => {
    const { headers } = await api.app.inject({ method: 'GET', url: `${version}/tasks/t1/logs?stdout=1` });
    expect(headers['content-type']).toBe(`application/vnd.docker.${kind}-stream`);
  });

  test.each([
    ['since=1700000000.000000001', { since: '1700000000.000000001' }],
    ['since=2023-11-14T22:13:20.5Z&until=1800000000', { since: '1700000000.500000000', until: '1800000000.000000000' }],
    ['since=0&tail=all', {}],
    ['since=10m', { since: expect.stringMatching(/^\d+\.\d{9}$/) }],
    ['details=1&follow=1&tail=7', { details: true, follow: true, tail: 7 }],
  ])('logs with %s', async (query, options) => {
    await api.app.inject({ method: 'GET', url: `/tasks/t1/logs?stdout=1&${query}` });
    expect(logOptions).toEqual({ stdout: true, stderr: false, follow: false, ...options });
  });

  test('of a task that is forgotten, what its node has kept; if none has, it is not found', async () => {
    const id = 'x'.repeat(25);
    const { rawPayload } = await api.app.inject({ method: 'GET', url: `/tasks/${id}/logs?stdout=1` });
    expect(rawPayload.subarray(8, 8 + rawPayload.readUInt32BE(4)).toString()).toBe('hello\n');
    expect(logSubject).toEqual({ forgottenTaskId: id });
    logLines = [];
    expect(await call('GET', `/tasks/${id}/logs?stdout=1`)).toMatchObject({
      status: 404,
      json: { message: `task ${id} not found` },
    });
  });

  test('what a node has kept is passed on as it comes', async () => {
    let release = () => {};
    logsHeld = new Promise<void>((resolve) => (release = resolve));
    const url = `/tasks/${'x'.repeat(25)}/logs?stdout=1`;
    const answer = (await api.app.inject({ method: 'GET', url, payloadAsStream: true })).stream();
    const [first] = (await once(answer, 'data')) as [Buffer];
    expect(first.subarray(8).toString()).toBe('hello\n');
    release();
    await once(answer, 'end');
  });

  test('logs since what is no time are refused', async () => {
    expect(await call('GET', '/tasks/t1/logs?stdout=1&since=yesterday')).toMatchObject({
      status: 500,
      json: {
        message:
          "could not parse since timestamp: since must be a Unix time, RFC 3339 or a duration before now such as 10m, not 'yesterday'",
      },
    });
  });
});

describe('nodes and the swarm', () => {
  test.each([
    ['n2', { Role: 'bogus', Availability: 'active' }, 400, 'invalid Role: "bogus"'],
    ['n2', { Role: 'worker', Availability: 'off' }, 400, 'invalid Availability: "off"'],
    ['n1', { Role: 'worker', Availability: 'active' }, 400, 'attempting to demote the last manager of the swarm'],
    ['n9', { Role: 'worker', Availability: 'active' }, 404, 'node n9 not found'],
    ['n2', { Role: 'worker', Availability: 'drain' }, 200, undefined],
  ])('update %s %j', async (id, spec, status, message) => {
    const answer = await call('POST', `/nodes/${id}/update?version=1`, spec);
    expect(answer.status).toBe(status);
    if (message) expect(answer.json.message).toContain(message);
  });

  test.each([
    ['n1', '', 'is a cluster manager and is a member of the raft cluster'],
    ['n1', '?force=1', 'is a cluster manager and is a member of the raft cluster'],
    ['n2', '', "is not down and can't be removed"],
  ])('remove %s%s is refused', async (id, query, message) => {
    expect(await call('DELETE', `/nodes/${id}${query}`)).toMatchObject({
      status: 400,
      json: { message: expect.stringContaining(message) },
    });
  });

  test('the CA key shows nowhere', async () => {
    for (const url of ['/swarm', '/info', '/nodes', '/version'])
      expect(JSON.stringify((await call('GET', url)).json)).not.toContain('PRIVATE KEY');
  });

  test('tokens rotate one by one, with the version that was read', async () => {
    const before = (await call('GET', '/swarm')).json;
    expect(await call('POST', '/swarm/update?version=9&rotateWorkerToken=true', before.Spec)).toMatchObject({
      status: 500,
    });
    expect(
      await call(
        'POST',
        `/swarm/update?version=${before.Version.Index}&rotateWorkerToken=true&rotateManagerToken=false`,
        before.Spec,
      ),
    ).toMatchObject({ status: 200 });
    const after = (await call('GET', '/swarm')).json;
    expect(after.JoinTokens.Worker).not.toBe(before.JoinTokens.Worker);
    expect(after.JoinTokens.Manager).toBe(before.JoinTokens.Manager);
    expect(after.TLSInfo.TrustRoot).toBe(root.certificate);
  });

  test('the root is rotated when asked: clients see the old one and who signs next, and no key', async () => {
    const before = (await call('GET', '/swarm')).json;
    const update = (CAConfig: object, version = before.Version.Index) =>
      call('POST', `/swarm/update?version=${version}`, { ...before.Spec, CAConfig });
    for (const [CAConfig, status, message] of [
      [{ SigningCAKey: root.key }, 400, 'the signing CA cert must also be provided'],
      [{ SigningCACert: root.certificate, SigningCAKey: 'x' }, 400, 'malformed private key'],
      [{ ExternalCAs: [{}] }, 501, 'external CAs are not supported yet'],
    ] as const) {
      const answer = await update(CAConfig);
      expect(answer.status).toBe(status);
      expect(answer.json.message).toMatch(new RegExp(message));
    }
    expect(await update({ ...before.Spec.CAConfig, ForceRotate: 1 })).toMatchObject({ status: 200 });
    const during = (await call('GET', '/swarm')).json;
    expect(during).toMatchObject({ RootRotationInProgress: true, JoinTokens: before.JoinTokens });
    expect(during.TLSInfo.TrustRoot).toBe(root.certificate);
    expect(during.TLSInfo.CertIssuerPublicKey).not.toBe(before.TLSInfo.CertIssuerPublicKey);
    expect((await call('GET', '/info')).json.Swarm.Cluster).toMatchObject({ RootRotationInProgress: true });
    // The same spec again asks for nothing.
    expect(await update(during.Spec.CAConfig, during.Version.Index)).toMatchObject({ status: 200 });
    expect((await call('GET', '/swarm')).json.TLSInfo).toEqual(during.TLSInfo);

    const own = await createRootCa(clock.now());
    const again = (await call('GET', '/swarm')).json.Version.Index;
    const brought = { SigningCACert: own.certificate, SigningCAKey: own.key };
    expect(await update({ ...during.Spec.CAConfig, ...brought }, again)).toMatchObject({ status: 200 });
    const after = (await call('GET', '/swarm')).json;
    expect(after.TLSInfo.CertIssuerPublicKey).not.toBe(during.TLSInfo.CertIssuerPublicKey);
    expect(after.Spec.CAConfig).toEqual(during.Spec.CAConfig);
    expect(JSON.stringify(store.view().cluster()?.Spec)).not.toContain('PRIVATE KEY');
    const init = await call('POST', '/swarm/init', { Spec: { CAConfig: brought } });
    expect(init).toMatchObject({ status: 501, json: { message: expect.stringContaining('rotate to it afterwards') } });
  });

  test.each([
    [{ Raft: { ElectionTick: 20 } }, 400, 'Raft.ElectionTick is 8 and cannot be changed'],
    [{ Raft: { HeartbeatTick: 1 } }, 400, 'Raft.HeartbeatTick is 2 and cannot be changed'],
    [{ Raft: { KeepOldSnapshots: 3 } }, 501, 'Raft.KeepOldSnapshots above 0 is not supported yet'],
    [{ Dispatcher: { HeartbeatPeriod: 1e6 } }, 400, 'HeartbeatPeriod must be between 200ms and 1h'],
  ])('a setting that would do nothing is refused: %j', async (spec, status, message) => {
    const before = (await call('GET', '/swarm')).json;
    expect(await call('POST', `/swarm/update?version=${before.Version.Index}`, spec)).toMatchObject({
      status,
      json: { message: expect.stringContaining(message) },
    });
    expect((await call('GET', '/swarm')).json).toEqual(before);
    expect(await call('POST', `/swarm/update?version=${before.Version.Index}`, before.Spec)).toMatchObject({
      status: 200,
    });
  });

  test('a zero keeps what is, but for the history limit', async () => {
    const update = async (spec: object) =>
      call('POST', `/swarm/update?version=${(await call('GET', '/swarm')).json.Version.Index}`, spec);
    await update({ Orchestration: { TaskHistoryRetentionLimit: 3 }, CAConfig: { NodeCertExpiry: 7_200e9 } });
    const zeros = { Orchestration: { TaskHistoryRetentionLimit: 0 }, CAConfig: { NodeCertExpiry: 0 } };
    expect(await update(zeros)).toMatchObject({ status: 200 });
    expect((await call('GET', '/swarm')).json.Spec).toMatchObject({
      Orchestration: { TaskHistoryRetentionLimit: 0 },
      CAConfig: { NodeCertExpiry: 7_200e9 },
    });
  });
});
