import type { Table } from '@swarmctl/shared/model';
import { beforeEach, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNode, aService, aStore, aTask } from '../../../../test/kit/index.ts';
import type { Store } from '../store/store.ts';
import type { View } from '../store/types.ts';

// What `docker stack` asks for, call by call, as the command line 28.2.2 was seen to.

let store: Store;
let api: TestApi;

beforeEach(async () => {
  store = aStore({ cluster: aCluster(), nodes: [aNode({ id: 'n1' })] });
  api = await testApi({ store });
});

const ns = { 'com.docker.stack.namespace': 'st' };
const filters = (of: object) => `filters=${encodeURIComponent(JSON.stringify(of))}`;
const ofStack = filters({ label: { 'com.docker.stack.namespace=st': true } });
const get = (url: string) => api.call('GET', `/v1.50${url}`);
const post = (url: string, body: object) => api.call('POST', `/v1.50${url}`, body);

const network = {
  ...{ Name: 'st_front', Driver: 'overlay', Scope: '', Internal: false, Attachable: false, Ingress: false },
  ...{ ConfigOnly: false, ConfigFrom: null, IPAM: null, Options: null, Labels: ns },
};
const payload = (Name: string, text: string) => ({ Name, Labels: ns, Data: Buffer.from(text).toString('base64') });
const service = (secretId: string, more: object = {}) => ({
  Name: 'st_web',
  Labels: { ...ns, 'com.docker.stack.image': 'web:1' },
  TaskTemplate: {
    ContainerSpec: {
      ...{ Image: 'web:1', Labels: ns, Env: ['A=1'] },
      Privileges: { CredentialSpec: null, SELinuxContext: null, NoNewPrivileges: false },
      Mounts: [{ Type: 'volume', Source: 'st_data', Target: '/data', VolumeOptions: { Labels: ns } }],
      Secrets: [{ File: { Name: 's1', UID: '0', GID: '0', Mode: 292 }, SecretID: secretId, SecretName: 'st_s1' }],
    },
    Resources: {},
    Placement: {},
    Networks: [{ Target: 'st_front', Aliases: ['web'] }],
    ForceUpdate: 0,
  },
  Mode: { Replicated: { Replicas: 2 } },
  UpdateConfig: { Parallelism: 1, Monitor: 300_000_000, MaxFailureRatio: 0, Order: 'start-first' },
  RollbackConfig: { Parallelism: 1, MaxFailureRatio: 0, Order: '' },
  EndpointSpec: {},
  ...more,
});

test('deploy, deploy again, ps and rm', async () => {
  expect((await get(`/networks?${ofStack}`)).json).toEqual([]);
  const { json: made } = await post('/networks/create', network);
  expect((await get('/secrets/st_s1')).status).toBe(404);
  const { json: secret } = await post('/secrets/create', payload('st_s1', 'one'));
  const named = filters({ name: { st_s1: true } });
  expect((await get(`/secrets?${named}`)).json).toMatchObject([{ ID: secret.ID, Spec: { Name: 'st_s1' } }]);
  // Nobody asks a registry yet: the image stays as it is named, with a warning of the client's.
  expect((await get('/distribution/web:1/json')).status).toBeGreaterThanOrEqual(400);
  const created = await post('/services/create', service(secret.ID));
  expect([created.status, created.json.ID]).toEqual([201, expect.any(String)]);

  const [stored] = (await get(`/services?${ofStack}`)).json;
  expect(stored.Spec.TaskTemplate.Networks).toEqual([{ Target: made.Id, Aliases: ['web'] }]);
  const { Version } = (await get('/secrets/st_s1')).json;
  const again = payload('st_s1', 'one');
  expect((await post(`/secrets/${secret.ID}/update?version=${Version.Index}`, again)).status).toBe(200);
  const { json: shown } = await get('/secrets/st_s1');
  const other = await post(`/secrets/${secret.ID}/update?version=${shown.Version.Index}`, payload('st_s1', 'two'));
  expect([other.status, other.json.message]).toEqual([
    400,
    expect.stringContaining('only updates to Labels are allowed'),
  ]);
  const url = `/services/${created.json.ID}/update?version=${stored.Version.Index}`;
  expect(await post(url, service(secret.ID))).toMatchObject({ status: 200, json: { Warnings: null } });

  const task = aTask({ id: 't1', service: store.view().get('services', created.json.ID)!, state: 'running' });
  api.apply([{ op: 'create', table: 'tasks', object: task }]);
  // The label is the service's; the task itself has none.
  expect((await get(`/tasks?${ofStack}`)).json).toMatchObject([{ ID: 't1', Labels: {} }]);
  const byKey = filters({ label: { 'com.docker.stack.namespace': true } });
  expect((await get(`/services?${byKey}`)).json).toHaveLength(1);

  for (const [url, status] of [
    [`/services/${created.json.ID}`, 200],
    [`/secrets/${secret.ID}`, 204],
    [`/networks/${made.Id}`, 204],
  ] as const) {
    expect((await api.call('DELETE', `/v1.50${url}`)).status, url).toBe(status);
  }
  // Polled until all have ended; a service that is gone is asked for by its tasks still.
  expect((await get(`/tasks?${ofStack}`)).json).toMatchObject([{ ID: 't1' }]);
});

test('rm asks for the tasks without a pause: each service is looked at once, other tasks not at all', async () => {
  const labels = { 'com.docker.stack.namespace': 'st' };
  const services = [aService({ id: 's1', name: 'st_web', labels }), aService({ id: 's2', name: 'other' })];
  const tasks = services.flatMap((service) =>
    Array.from({ length: 500 }, (_, i) => aTask({ id: `${service.ID}${i}`, service, slot: i + 1, node: 'n1' })),
  );
  const many = aStore({ cluster: aCluster(), nodes: [aNode({ id: 'n1' })], services, tasks });
  const asked: string[] = [];
  const view = () => {
    const real = many.view();
    return Object.assign(Object.create(real) as View, {
      get: (table: Table, id: string) => {
        asked.push(`${table} ${id}`);
        return real.get(table, id);
      },
      list: (table: Table) => real.list(table),
    });
  };
  const { call } = await testApi({ store: many, manager: { view } });
  const none = filters({ label: { 'com.docker.stack.namespace=nosuch': true } });
  expect((await call('GET', `/v1.50/tasks?${none}`)).json).toEqual([]);
  expect(asked).toEqual(['services s1', 'services s2']);
  expect((await call('GET', `/v1.50/tasks?${ofStack}`)).json).toHaveLength(500);
});
