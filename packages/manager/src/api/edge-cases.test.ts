import { createRootCa } from '@swarmctl/shared/kit';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { base, file, refused, template } from '../../../../test/kit/edge-cases.ts';
import { aCluster, aNetwork, aNode, aPayload, aService, aStore, aTask } from '../../../../test/kit/index.ts';
import type { LocalState } from './ports.ts';

// Bad and odd requests are answered as Docker's daemon does.

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

  test('values in any case, where Docker does not mind', async () => {
    const spec = {
      ...template({ ContainerSpec: { Image: 'web:1', Mounts: [{ Type: 'TMPFS', Target: '/t' }] } }),
      EndpointSpec: { Mode: 'VIP', Ports: [{ TargetPort: 80, Protocol: 'UDP', PublishMode: 'Host' }] },
    };
    await api.call('POST', '/services/create', spec);
    const { TaskTemplate, EndpointSpec } = (await stored('made')).Spec;
    expect(TaskTemplate.ContainerSpec.Mounts).toEqual([{ Type: 'tmpfs', Target: '/t' }]);
    expect(EndpointSpec).toEqual({ Mode: 'vip', Ports: [{ TargetPort: 80, Protocol: 'udp', PublishMode: 'host' }] });
  });

  test('no credentials, however that is said', async () => {
    for (const [i, header] of ['', 'e30=', 'e30', 'bnVsbA=='].entries()) {
      const spec = { ...base, Name: `made${i}` };
      expect((await api.call('POST', '/services/create', spec, { 'x-registry-auth': header })).status).toBe(201);
    }
  });

  test('what is JSON by no content type', async () => {
    const answer = await api.call('POST', '/services/create', base, { 'content-type': '' });
    expect([answer.status, (await stored('made')).ID]).toEqual([201, answer.json.ID]);
  });

  test('a port of the node that is not chosen yet is not shown', async () => {
    const ports = {
      Ports: [{ TargetPort: 80, PublishMode: 'host' as const, Protocol: 'tcp' as const, PublishedPort: 0 }],
    };
    await start({
      cluster,
      services: [aService({ id: 'svc', name: 'host', set: { Endpoint: { Spec: ports, ...ports } } })],
    });
    const shown = { TargetPort: 80, PublishMode: 'host', Protocol: 'tcp' };
    expect((await stored('host')).Endpoint).toEqual({ Spec: { Ports: [shown] }, Ports: [shown] });
  });

  test('what a policy of restarts leaves out is shown, and with defaults all parts of a template', async () => {
    await api.call('POST', '/services/create', template({ RestartPolicy: { Delay: 1 } }));
    expect((await stored('made')).Spec.TaskTemplate).toEqual({
      ...{ ContainerSpec: { Image: 'web:1', Isolation: 'default' }, ForceUpdate: 0, Runtime: 'container' },
      RestartPolicy: { Condition: 'any', Delay: 1, MaxAttempts: 0 },
    });
    expect((await stored('made?insertDefaults=true')).Spec.TaskTemplate).toMatchObject({
      Resources: {},
      Placement: {},
    });
  });

  test('a secret and a config as they are, and other labels', async () => {
    for (const [kind, id, name] of [
      ['secrets', 'sec1', 'es'],
      ['configs', 'cfg1', 'ec'],
    ]) {
      expect((await api.call('POST', `/${kind}/${id}/update?version=1`, { Name: name, Data: '' })).status).toBe(200);
      const again = { Name: name, Labels: {}, Data: Buffer.from('abc').toString('base64') };
      const answer = await api.call('POST', `/${kind}/${id}/update?version=${store.index}`, again);
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
    ['POST /nodes/n2/update?version=1', { Role: 'Worker', Availability: 'Drain' }, 200],
    ['OPTIONS /services', undefined, 200],
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
