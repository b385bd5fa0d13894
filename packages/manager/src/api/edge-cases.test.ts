import { createRootCa } from '@swarmctl/shared/kit';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNetwork, aNode, aPayload, aService, aStore, aTask } from '../../../../test/kit/index.ts';
import type { LocalState } from './ports.ts';

// What Docker's daemon answers to bad and odd requests, by status and exact message, as measured on real ones. Clients match on these texts.

let api: TestApi;
let state: LocalState;
let hasManager: boolean;
let store: ReturnType<typeof aStore>;

const start = async (words: Parameters<typeof aStore>[0]) => {
  state = 'active';
  hasManager = true;
  store = aStore(words);
  api = await testApi({ store, hasManager: () => hasManager, local: { state: () => state } });
};

const { certificate: Certificate } = await createRootCa(1_700_000_000_000);
const cluster = { ...aCluster(), RootCA: { ...aCluster().RootCA, Certificate } };

const base = { Name: 'made', TaskTemplate: { ContainerSpec: { Image: 'web:1' } } };
const container = (more: object) => ({ ...base, TaskTemplate: { ContainerSpec: { Image: 'web:1', ...more } } });
const template = (more: object) => ({ ...base, TaskTemplate: { ...base.TaskTemplate, ...more } });
const file = { Name: 'f', UID: '0', GID: '0', Mode: 0o444 };

beforeEach(async () => {
  await start({
    cluster,
    nodes: [
      aNode({ id: 'n1', hostname: 'm1', role: 'manager', raftId: 1 }),
      aNode({ id: 'n2', hostname: 'w1' }),
      aNode({ id: 'n3a', hostname: 'twin', state: 'down' }),
      aNode({ id: 'n3b', hostname: 'twin' }),
    ],
    networks: [aNetwork({ id: 'net1', name: 'front' }), aNetwork({ id: 'net2', name: 'idle' })],
    secrets: [aPayload({ id: 'sec1', name: 'es' }), aPayload({ id: 'sec2', name: 'free' })],
    configs: [aPayload({ id: 'cfg1', name: 'ec' }), aPayload({ id: 'cfg2', name: 'spare' })],
    services: [
      aService({
        ...{ id: 'svc1', name: 'us', networks: ['net1'] },
        container: {
          Secrets: [{ File: file, SecretID: 'sec1', SecretName: 'es' }],
          Configs: [{ File: file, ConfigID: 'cfg1', ConfigName: 'ec' }],
        },
      }),
      aService({
        ...{ id: 'svc2', name: 'p1' },
        ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 18080, PublishMode: 'ingress' }],
      }),
    ],
    tasks: [aTask({ id: 'task1', service: aService({ id: 'svc2', name: 'p1' }), node: 'n2' })],
  });
});

const rpc = (code: string, message: string) => `rpc error: code = ${code} desc = ${message}`;
const bad = (message: string) => rpc('InvalidArgument', message);
const range = (what: string) => `invalid ${what} version '': strconv.ParseUint: parsing "": invalid syntax`;

type Row = readonly [what: string, request: string, body: unknown, status: number, message: string];

const refused: readonly Row[] = [
  ['a service that is not there', 'GET /services/nosuch', undefined, 404, 'service nosuch not found'],
  ['a node that is not there', 'GET /nodes/nosuch', undefined, 404, 'node nosuch not found'],
  ['a task that is not there', 'GET /tasks/nosuch', undefined, 404, 'task nosuch not found'],
  ['a secret that is not there', 'GET /secrets/nosuch', undefined, 404, 'secret nosuch not found'],
  ['a config that is not there', 'GET /configs/nosuch', undefined, 404, 'config nosuch not found'],
  ['a network that is not there', 'GET /networks/nosuch', undefined, 404, 'network nosuch not found'],
  ['removal of what is not there', 'DELETE /services/nosuch', undefined, 404, 'service nosuch not found'],
  ['a name of two nodes', 'GET /nodes/twin', undefined, 400, 'node twin is ambiguous (2 matches found)'],
  ['a prefix of two services', 'GET /services/svc', undefined, 400, 'service svc is ambiguous (2 matches found)'],
  ['a prefix of two secrets', 'GET /secrets/sec', undefined, 400, 'secret sec is ambiguous (2 matches found)'],
  ['a prefix of two configs', 'GET /configs/cfg', undefined, 400, 'config cfg is ambiguous (2 matches found)'],
  ['a prefix of two networks', 'GET /networks/net', undefined, 400, 'network net is ambiguous (2 matches found)'],

  [
    'a name that is none',
    'POST /services/create',
    { ...base, Name: 'x y' },
    400,
    bad('name must be valid as a DNS name component'),
  ],
  [
    'no image',
    'POST /services/create',
    container({ Image: '' }),
    400,
    bad('ContainerSpec: image reference must be provided'),
  ],
  [
    'no reference',
    'POST /services/create',
    container({ Image: 'BAD::x' }),
    400,
    bad('ContainerSpec: "BAD::x" is not a valid repository/tag'),
  ],
  ['no template', 'POST /services/create', { Name: 'made' }, 400, bad('mismatched Runtime and *Spec fields')],
  [
    'little memory',
    'POST /services/create',
    template({ Resources: { Limits: { MemoryBytes: 1 } } }),
    400,
    bad('invalid memory value 1: Must be at least 4MiB'),
  ],
  [
    'two modes',
    'POST /services/create',
    { ...base, Mode: { Replicated: {}, Global: {} } },
    400,
    'must specify only one service mode',
  ],
  [
    'no constraint',
    'POST /services/create',
    template({ Placement: { Constraints: ['garbage'] } }),
    500,
    rpc('Unknown', 'constraint expected one operator from ==, !='),
  ],
  [
    'a network that is unknown',
    'POST /services/create',
    template({ Networks: [{ Target: 'nosuchnet' }] }),
    500,
    'network nosuchnet not found',
  ],
  [
    'a secret that is unknown',
    'POST /services/create',
    container({ Secrets: [{ File: file, SecretID: 'no', SecretName: 'x' }] }),
    400,
    bad('secret not found: x'),
  ],
  [
    'a port that is taken',
    'POST /services/create',
    { ...base, EndpointSpec: { Ports: [{ TargetPort: 1, PublishedPort: 18080 }] } },
    400,
    bad("port '18080' is already in use by service 'p1' (svc2) as an ingress port"),
  ],
  [
    'dnsrr with an ingress port',
    'POST /services/create',
    { ...base, EndpointSpec: { Mode: 'dnsrr', Ports: [{ TargetPort: 1 }] } },
    400,
    bad("EndpointSpec: port published with ingress mode can't be used with dnsrr mode"),
  ],
  [
    'a name that is taken',
    'POST /services/create',
    { ...base, Name: 'us' },
    409,
    rpc('AlreadyExists', 'name conflicts with an existing object: service us already exists'),
  ],
  [
    'no JSON',
    'POST /services/create',
    'notjson',
    400,
    "invalid JSON: invalid character 'o' in literal null (expecting 'u')",
  ],
  ['half of JSON', 'POST /secrets/create', '{"Name"', 400, 'invalid JSON: unexpected EOF'],

  ['an update without a version', 'POST /services/us/update', base, 400, range('service')],
  ['a node without a version', 'POST /nodes/n2/update', {}, 400, range('node')],
  ['a swarm without a version', 'POST /swarm/update', {}, 400, range('swarm')],
  ['a secret without a version', 'POST /secrets/es/update', {}, 400, 'invalid secret version'],
  ['a config without a version', 'POST /configs/ec/update', {}, 400, 'invalid config version'],
  [
    'a version that is stale',
    'POST /services/us/update?version=99',
    { ...base, Name: 'us' },
    500,
    rpc('Unknown', 'update out of sequence'),
  ],
  [
    'a stale version of a node',
    'POST /nodes/n2/update?version=99',
    { Role: 'worker', Availability: 'active' },
    500,
    rpc('Unknown', 'update out of sequence'),
  ],
  ['a stale version of the swarm', 'POST /swarm/update?version=99', {}, 500, rpc('Unknown', 'update out of sequence')],
  [
    'a stale version of a secret',
    'POST /secrets/es/update?version=99',
    { Name: 'es' },
    500,
    rpc('Unknown', 'update out of sequence'),
  ],
  [
    'renaming',
    'POST /services/us/update?version=1',
    { ...base, Name: 'them' },
    501,
    rpc('Unimplemented', 'renaming services is not supported'),
  ],
  [
    'another mode',
    'POST /services/us/update?version=1',
    { ...base, Name: 'us', Mode: { Global: {} } },
    501,
    rpc('Unimplemented', 'service mode change is not allowed'),
  ],
  [
    'a rollback of no kind',
    'POST /services/us/update?version=1&rollback=bogus',
    { ...base, Name: 'us' },
    500,
    'unrecognized rollback option bogus',
  ],
  [
    'a rollback to nothing',
    'POST /services/us/update?version=1&rollback=previous',
    { ...base, Name: 'us' },
    400,
    rpc('FailedPrecondition', 'service svc1 does not have a previous spec'),
  ],

  ...['services', 'nodes', 'tasks', 'secrets', 'configs', 'networks'].flatMap((kind): Row[] => [
    [`an unknown filter of ${kind}`, `GET /${kind}?filters={"bogus":["x"]}`, undefined, 400, "invalid filter 'bogus'"],
    [`no filter of ${kind}`, `GET /${kind}?filters=notjson`, undefined, 400, 'invalid filter'],
    [`a filter of ${kind} in no form`, `GET /${kind}?filters={"name":"x"}`, undefined, 400, 'invalid filter'],
  ]),
  [
    'no state',
    'GET /tasks?filters={"desired-state":["bogus"]}',
    undefined,
    500,
    "Invalid desired-state filter: 'bogus'",
  ],
  ['no role', 'GET /nodes?filters={"role":["bogus"]}', undefined, 500, "Invalid role filter: 'bogus'"],
  ['no membership', 'GET /nodes?filters={"membership":["x"]}', undefined, 500, "Invalid membership filter: 'x'"],
  ['tasks of no service', 'GET /tasks?filters={"service":["nosuch"]}', undefined, 404, 'service nosuch not found'],
  ['tasks of no node', 'GET /tasks?filters={"node":["nosuch"]}', undefined, 404, 'node nosuch not found'],

  ['a secret without a name', 'POST /secrets/create', { Name: '', Data: 'YQ==' }, 400, bad('name must be provided')],
  [
    'a secret without data',
    'POST /secrets/create',
    { Name: 'new' },
    400,
    bad('secret data must be larger than 0 and less than 512000 bytes'),
  ],
  [
    'data that is no base64',
    'POST /secrets/create',
    { Name: 'new', Data: '!' },
    400,
    'invalid JSON: illegal base64 data at input byte 0',
  ],
  [
    'a name of a secret that is taken',
    'POST /secrets/create',
    { Name: 'es', Data: 'YQ==' },
    409,
    rpc('AlreadyExists', 'secret es already exists'),
  ],
  [
    'other data of a secret',
    'POST /secrets/es/update?version=1',
    { Name: 'es', Data: 'YQ==' },
    400,
    bad('only updates to Labels are allowed'),
  ],
  [
    'another name of a config',
    'POST /configs/ec/update?version=1',
    { Name: 'other' },
    400,
    bad('only updates to Labels are allowed'),
  ],
  [
    'removal of a secret in use',
    'DELETE /secrets/es',
    undefined,
    400,
    bad("secret 'es' is in use by the following service: us"),
  ],
  [
    'removal of a config in use',
    'DELETE /configs/ec',
    undefined,
    400,
    bad("config 'ec' is in use by the following service: us"),
  ],
  [
    'removal of a network in use',
    'DELETE /networks/front',
    undefined,
    400,
    rpc('FailedPrecondition', 'network net1 is in use by service svc1 (network front, service us)'),
  ],
  [
    'a name of a network that is taken',
    'POST /networks/create',
    { Name: 'front', Driver: 'overlay' },
    409,
    'network with name front already exists',
  ],

  [
    'a role that is none',
    'POST /nodes/n2/update?version=1',
    { Role: 'bogus', Availability: 'active' },
    400,
    'invalid Role: "bogus"',
  ],
  [
    'an availability that is none',
    'POST /nodes/n2/update?version=1',
    { Role: 'worker', Availability: 'bogus' },
    400,
    'invalid Availability: "bogus"',
  ],
  [
    'demotion of the last manager',
    'POST /nodes/n1/update?version=1',
    { Role: 'worker', Availability: 'active' },
    400,
    rpc('FailedPrecondition', 'attempting to demote the last manager of the swarm'),
  ],
  ...['', '?force=1'].map(
    (force): Row => [
      `removal of a manager${force}`,
      `DELETE /nodes/n1${force}`,
      undefined,
      400,
      rpc(
        'FailedPrecondition',
        'node n1 is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal',
      ),
    ],
  ),
  [
    'removal of a node that is up',
    'DELETE /nodes/n2',
    undefined,
    400,
    rpc('FailedPrecondition', "node n2 is not down and can't be removed"),
  ],
  ['unlocking what is not locked', 'POST /swarm/unlock', { UnlockKey: 'x' }, 409, 'swarm is not locked'],
  ['logs of no stream', 'GET /services/us/logs', undefined, 500, 'Bad parameters: you must choose at least one stream'],
  ['a path that is none', 'GET /nonsense', undefined, 404, 'page not found'],
  ['a method that is none', 'POST /version', undefined, 404, 'page not found'],
];

describe('refused', () => {
  test.each(refused)('%s: %s', async (_, request, body, status, message) => {
    const [method, url] = request.split(' ') as [Method, string];
    const answer = await api.call(method, `/v1.50${encodeURI(url)}`, body);
    expect([answer.status, answer.json]).toEqual([status, { message }]);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.text.endsWith('}\n')).toBe(true);
  });
});

describe('taken', () => {
  const stored = async (name: string) => (await api.call('GET', `/services/${name}`)).json;

  test('the least of a service gains what Swarm stores', async () => {
    const answer = await api.call('POST', '/services/create', base);
    expect([answer.status, answer.json]).toEqual([
      201,
      { ID: expect.stringMatching(/^[0-9a-z]{25}$/), Warnings: null },
    ]);
    const { ID, Version, CreatedAt, UpdatedAt, ...rest } = await stored('made');
    expect(rest).toEqual({
      Spec: {
        Name: 'made',
        Labels: {},
        TaskTemplate: { ContainerSpec: { Image: 'web:1', Isolation: 'default' }, ForceUpdate: 0, Runtime: 'container' },
        Mode: { Replicated: { Replicas: 1 } },
      },
      Endpoint: { Spec: {} },
    });
  });

  test('a service without a name gets one', async () => {
    const { json } = await api.call('POST', '/services/create', { ...base, Name: undefined });
    expect((await stored(json.ID)).Spec.Name).toMatch(/^[a-z]+-[a-z]+-\d+$/);
  });

  test('a constraint of a key that nobody knows', async () => {
    const spec = template({ Placement: { Constraints: ['node.bogus==1'] } });
    expect((await api.call('POST', '/services/create', spec)).status).toBe(201);
  });

  test('a port gets its protocol and its mode, and so does the endpoint', async () => {
    await api.call('POST', '/services/create', { ...base, EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
    expect((await stored('made')).Spec.EndpointSpec).toEqual({
      Mode: 'vip',
      Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishMode: 'ingress' }],
    });
  });

  test('keys that nobody knows, in a body and beside it', async () => {
    const answer = await api.call('POST', '/services/create?fancy=1', { ...base, Fancy: { a: 1 }, Labels: null });
    expect(answer.status).toBe(201);
    expect((await stored('made')).Spec).not.toHaveProperty('Fancy');
  });

  test('a secret and a config as they are, and other labels', async () => {
    for (const [kind, id, name] of [
      ['secrets', 'sec1', 'es'],
      ['configs', 'cfg1', 'ec'],
    ]) {
      const again = { Name: name, Labels: {}, Data: Buffer.from('abc').toString('base64') };
      const answer = await api.call('POST', `/${kind}/${id}/update?version=1`, again);
      expect([answer.status, answer.text]).toEqual([200, '']);
      const labelled = await api.call('POST', `/${kind}/${id}/update?version=${store.index}`, {
        ...again,
        Labels: { a: 'b' },
      });
      expect(labelled.status).toBe(200);
      expect((await api.call('GET', `/${kind}/${id}`)).json.Spec.Labels).toEqual({ a: 'b' });
    }
  });

  test.each([
    ['POST /nodes/n2/update?version=1', { Role: 'worker', Availability: 'drain', Labels: null }, 200],
    ['POST /secrets/es/update?version=1', { Name: 'es' }, 200],
    ['POST /swarm/update?version=1', {}, 200],
    ['POST /swarm/update?version=1', undefined, 200],
    ['DELETE /services/p1', undefined, 200],
    ['DELETE /nodes/n3a', undefined, 200],
    ['DELETE /nodes/n2?force=True', undefined, 200],
    ['DELETE /secrets/free', undefined, 204],
    ['DELETE /configs/spare', undefined, 204],
    ['DELETE /networks/idle', undefined, 204],
  ])('%s is answered with no body', async (request, body, status) => {
    const [method, url] = request.split(' ') as [Method, string];
    const answer = await api.call(method, url, body);
    expect([answer.status, answer.text]).toEqual([status, '']);
    if (status === 200) expect(answer.headers['content-length']).toBe('0');
  });

  test('nothing said about the swarm keeps all', async () => {
    const before = (await api.call('GET', '/swarm')).json;
    await api.call('POST', '/swarm/update?version=1', {});
    const { Version, UpdatedAt, ...after } = (await api.call('GET', '/swarm')).json;
    expect(before).toMatchObject(after);
  });

  test('the key of a swarm without autolock is empty', async () => {
    expect((await api.call('GET', '/swarm/unlockkey')).json).toEqual({ UnlockKey: '' });
  });

  test.each([
    ['1', true],
    ['true', true],
    ['True', true],
    ['yes', true],
    ['0', false],
    ['false', false],
    ['False', false],
    ['no', false],
    ['none', false],
    ['', false],
  ])('status=%s means %s', async (text, expected) => {
    const { json } = await api.call('GET', `/services?status=${text}`);
    expect('ServiceStatus' in json[0]).toBe(expected);
  });
});

describe('a node that is no manager', () => {
  const calls = [
    ...['/services', '/nodes', '/tasks', '/secrets', '/configs', '/swarm', '/swarm/unlockkey', '/nodes/x'],
    ...['/services/x', '/tasks/x', '/secrets/x', '/configs/x', '/services/x/logs?stdout=1', '/tasks/x/logs?stdout=1'],
  ];
  const writes = ['/services/create', '/secrets/create', '/configs/create', '/swarm/unlock'];
  const bodies: Record<string, object> = {
    '/services/create': base,
    '/secrets/create': { Name: 'a', Data: 'YQ==' },
    '/configs/create': { Name: 'a', Data: 'YQ==' },
  };
  const hint = 'Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

  test.each([
    ['inactive', hint],
    [
      'active',
      "Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.",
    ],
  ] as const)('%s', async (local, text) => {
    hasManager = false;
    state = local;
    const all = [
      ...calls.map((url) => ['GET', url] as const),
      ...writes.map((url) => ['POST', url] as const),
      ...['/services/x', '/nodes/x', '/secrets/x', '/configs/x'].map((url) => ['DELETE', url] as const),
    ];
    for (const [method, url] of all) {
      const { status, json } = await api.call(method, url, bodies[url]);
      expect([url, status, json]).toEqual([url, 503, { message: `This node is not a swarm manager. ${text}` }]);
    }
    const network = await api.call('POST', '/networks/create', { Name: 'n', Driver: 'overlay' });
    expect([network.status, network.json]).toEqual([403, { message: `This node is not a swarm manager. ${hint}` }]);
    expect((await api.call('DELETE', '/networks/x')).status).toBe(404);
    expect((await api.call('GET', '/info')).json.Swarm).toMatchObject({
      LocalNodeState: local,
      ControlAvailable: false,
    });
  });
});

describe('the name of a service', () => {
  test('comes before the prefix of an id, and an id before both', async () => {
    await start({
      services: [
        aService({ id: 'abc1', name: 'x' }),
        aService({ id: 'abd1', name: 'abc' }),
        aService({ id: 'x', name: 'y' }),
      ],
      cluster,
    });
    const found = async (reference: string) => (await api.call('GET', `/services/${reference}`)).json.ID;
    expect([await found('abc'), await found('x'), await found('abc1'), await found('abd')]).toEqual([
      'abd1',
      'x',
      'abc1',
      'abd1',
    ]);
  });
});
