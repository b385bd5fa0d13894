import type { Service, ServiceSpec, StoreChange, Task } from '@swarmctl/shared/model';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNode, aPayload, aStore, aTask } from '../../../../test/kit/index.ts';
import type { Store } from '../store/store.ts';

// Services that use secrets and configs, and what rotation does to them.

let store: Store;
let api: TestApi;
/** Called before each proposal. */
let meanwhile: () => void;

const apply = (changes: readonly StoreChange[]) => api.apply(changes);

beforeEach(async () => {
  store = aStore({
    cluster: aCluster(),
    nodes: [aNode({ id: 'n1' })],
    secrets: [
      aPayload({ id: 's1', name: 'pass', data: 'one', labels: { team: 'red' } }),
      aPayload({ id: 'o1', name: 'other' }),
    ],
    configs: [aPayload({ id: 'c1', name: 'conf', data: 'one', templated: true })],
  });
  meanwhile = () => undefined;
  api = await testApi({ store, meanwhile: () => meanwhile() });
});

async function call(method: Method, url: string, body?: unknown) {
  const { status, json } = await api.call(method, url, body);
  return { status, json };
}

const file = (Name: string) => ({ Name, UID: '0', GID: '0', Mode: 0o444 });
const secret = (SecretID: string, SecretName: string, target = SecretName) => ({
  SecretID,
  SecretName,
  File: file(target),
});
const config = (ConfigID: string, ConfigName: string) => ({ ConfigID, ConfigName, File: file(ConfigName) });
const specOf = (Name: string, Secrets: object[], Configs: object[] = []) => ({
  Name,
  TaskTemplate: { ContainerSpec: { Image: 'web:1', Secrets, Configs } },
});
const create = (Name: string, Secrets: object[], Configs: object[] = []) =>
  call('POST', '/services/create', specOf(Name, Secrets, Configs));
const service = (name: string) => store.view().serviceByName(name) as Service;
const secretsOf = (name: string, spec: ServiceSpec | undefined = service(name).Spec) =>
  spec?.TaskTemplate?.ContainerSpec?.Secrets?.map((one) => `${one.SecretID}=${one.SecretName}:${one.File?.Name}`);
const data = (text: string) => ({ Data: Buffer.from(text).toString('base64') });
const names = (table: 'secrets' | 'configs') =>
  store
    .view()
    .list(table)
    .map(({ Spec }) => Spec.Name)
    .sort();
const rotate = async (text: string, query = '', reference = 'pass') =>
  (await call('POST', `/secrets/${reference}/rotate${query}`, data(text))).json;

describe('services name secrets and configs', () => {
  test('that are there, by id and name', async () => {
    expect((await create('web', [secret('s1', 'pass')], [config('c1', 'conf')])).status).toBe(201);
    expect(service('web').Spec.TaskTemplate.ContainerSpec).toMatchObject({
      Secrets: [secret('s1', 'pass')],
      Configs: [config('c1', 'conf')],
    });
  });

  test.each([
    [[secret('nosuch', 'x')], [], 'secret not found: x'],
    [[secret('s1', 'other')], [], 'secret not found: other'],
    [[secret('c1', 'conf')], [], 'secret not found: conf'],
    [[secret('a', 'x'), secret('b', 'y')], [], 'secrets not found: x, y'],
    [[], [config('s1', 'pass')], 'config not found: pass'],
    [
      [secret('s1', 'pass', 'p'), secret('o1', 'other', 'p')],
      [],
      "secret references 'pass' and 'other' have a conflicting target: 'p'",
    ],
  ])('or are refused: %j %j', async (secrets, configs, message) => {
    const refused = { status: 400, json: { message: `rpc error: code = InvalidArgument desc = ${message}` } };
    expect(await create('web', secrets, configs)).toMatchObject(refused);
    await create('web', []);
    const { ID, Version } = service('web');
    const url = `/services/${ID}/update?version=${Version.Index}`;
    expect(await call('POST', url, specOf('web', secrets, configs))).toMatchObject(refused);
  });

  test('which stay as long as a spec names them', async () => {
    await create('web', [secret('s1', 'pass')], [config('c1', 'conf')]);
    const refusal = async (url: string) => (await call('DELETE', url)).json.message;
    expect(await refusal('/secrets/pass')).toBe(
      "rpc error: code = InvalidArgument desc = secret 'pass' is in use by the following service: web",
    );
    await create('api', [], [config('c1', 'conf')]);
    expect(await refusal('/configs/c1')).toMatch(
      /desc = config 'conf' is in use by the following services: (api, web|web, api)$/,
    );
    expect((await call('DELETE', '/secrets/other')).status).toBe(204);
    await call('DELETE', '/services/web');
    expect((await call('DELETE', '/secrets/pass')).status).toBe(204);
  });

  test('no rollback brings back one that is gone', async () => {
    await create('web', [secret('s1', 'pass')]);
    const { ID, Version } = service('web');
    await call('POST', `/services/${ID}/update?version=${Version.Index}`, specOf('web', []));
    expect((await call('DELETE', '/secrets/pass')).status).toBe(204);
    const url = `/services/${ID}/update?version=${service('web').Version.Index}&rollback=previous`;
    expect(await call('POST', url, specOf('web', []))).toMatchObject({
      status: 400,
      json: { message: 'rpc error: code = InvalidArgument desc = secret not found: pass' },
    });
  });

  test('processes cannot have them', async () => {
    const spec = { ...specOf('web', [secret('s1', 'pass')]), Labels: { 'swarmctl.runtime': 'process' } };
    expect((await call('POST', '/services/create', spec)).json.message).toMatch(
      /the process runtime does not support ContainerSpec.Secrets/,
    );
  });
});

describe('rotation', () => {
  beforeEach(async () => {
    await create('web', [secret('s1', 'pass', 'p'), secret('o1', 'other')]);
    await create('api', [secret('s1', 'pass', '/etc/pass')]);
    await create('idle', [secret('o1', 'other')]);
  });

  test('makes a version and moves every service that uses the secret, in one write', async () => {
    const before = service('web');
    const at = store.index;
    const rotated = await rotate('two');
    expect(rotated).toEqual({
      ID: expect.any(String),
      Name: 'pass.v2',
      Warnings: [],
      Created: true,
      Services: expect.arrayContaining([
        { ID: before.ID, Name: 'web' },
        { ID: service('api').ID, Name: 'api' },
      ]),
    });
    expect(store.index).toBe(at + 1);
    expect(secretsOf('web')).toEqual([`${rotated.ID}=pass.v2:p`, 'o1=other:other']);
    expect(secretsOf('api')).toEqual([`${rotated.ID}=pass.v2:/etc/pass`]);
    expect(secretsOf('idle')).toEqual(['o1=other:other']);
    expect(service('web')).toMatchObject({
      PreviousSpec: before.Spec,
      PreviousSpecVersion: before.SpecVersion,
    });
    expect(service('web').SpecVersion).not.toBe(before.SpecVersion);
    expect(store.view().payloadByName('secrets', 'pass.v2')?.Spec).toEqual({
      Name: 'pass.v2',
      Labels: { team: 'red', 'swarmctl.version.of': 'pass' },
      ...data('two'),
    });
  });

  test('tried dry says what would come of it', async () => {
    const at = store.index;
    expect(await rotate('two', '?dryRun=1')).toMatchObject({ Name: 'pass.v2', Created: true, Services: [{}, {}] });
    expect(await rotate('two', '?dryRun=1&roll=0')).toMatchObject({ Created: true, Services: [] });
    expect(store.index).toBe(at);
    const { Name } = await rotate('two');
    expect(await rotate('two', '?dryRun=1')).toMatchObject({ Name, Created: false });
  });

  test('goes on counting, from any version, and a rollback goes back by one', async () => {
    await rotate('two');
    expect((await rotate('three', '', 'pass.v2')).Name).toBe('pass.v3');
    const { ID, Version, Spec } = service('web');
    await call('POST', `/services/${ID}/update?version=${Version.Index}&rollback=previous`, Spec);
    expect(secretsOf('web')?.[0]).toMatch(/=pass\.v2:p$/);
    // Whatever version a service uses, it follows.
    expect((await rotate('four')).Services).toHaveLength(2);
    expect(secretsOf('web')?.[0]).toMatch(/=pass\.v4:p$/);
  });

  test('moves the newest version that a service uses, not an older one beside', async () => {
    const { ID } = await rotate('two', '?roll=false');
    await create('both', [secret('s1', 'pass', 'old'), secret(ID, 'pass.v2', 'new')]);
    await rotate('three');
    expect(secretsOf('both')?.map((one) => one.replace(/^[^=]*=/, ''))).toEqual(['pass:old', 'pass.v3:new']);
  });

  test('without rolling makes the version alone', async () => {
    const specs = service('web');
    expect(await rotate('two', '?roll=false')).toMatchObject({ Name: 'pass.v2', Created: true, Services: [] });
    expect(service('web')).toBe(specs);
    // What it holds already is no new version, but services are moved to it.
    expect(await rotate('two')).toMatchObject({ Name: 'pass.v2', Created: false, Services: [{}, {}] });
    expect(await rotate('two')).toMatchObject({ Name: 'pass.v2', Created: false, Services: [] });
    expect(names('secrets')).toEqual(['other', 'pass', 'pass.v2']);
  });

  test('keeps templating and adds labels; names that are taken are passed over', async () => {
    apply([{ op: 'create', table: 'configs', object: aPayload({ id: 'x', name: 'conf.v2' }) }]);
    const { json } = await call('POST', '/configs/conf/rotate', { ...data('two'), Labels: { a: 'b' } });
    expect(json.Name).toBe('conf.v3');
    expect(store.view().get('configs', json.ID)?.Spec).toEqual({
      Name: 'conf.v3',
      Labels: { a: 'b', 'swarmctl.version.of': 'conf' },
      ...data('two'),
      Templating: { Name: 'golang' },
    });
    await create('conf-user', [], [config('c1', 'conf')]);
    const again = await call('POST', '/configs/conf/rotate', data('three'));
    expect(service('conf-user').Spec.TaskTemplate.ContainerSpec?.Configs).toEqual([
      { ConfigID: again.json.ID, ConfigName: 'conf.v4', File: file('conf') },
    ]);
  });

  test.each([
    ['/secrets/nosuch/rotate', data('x'), 404, 'secret nosuch not found'],
    ['/secrets/pass/rotate', {}, 400, /secret data must be larger than 0/],
    ['/secrets/pass/rotate', { ...data('x'), Name: 'y' }, 400, /leave Name out/],
    ['/secrets/pass/rotate', { ...data('x'), Labels: { 'swarmctl.drain-timeout': '1s' } }, 400, /belongs on a service/],
  ])('%s %j is refused', async (url, body, status, message) => {
    const answer = await call('POST', url, body);
    expect([answer.status, answer.json.message]).toEqual([status, expect.stringMatching(message)]);
    expect(names('secrets')).toEqual(['other', 'pass']);
  });

  test('is decided anew when a service changed meanwhile, and given up when it always does', async () => {
    const touch = () =>
      apply([
        { op: 'update', table: 'services', id: service('web').ID, set: { UpdateStatus: { State: 'completed' } } },
      ]);
    let left = 2;
    meanwhile = () => {
      if (left-- > 0) touch();
    };
    expect((await rotate('two')).Services).toHaveLength(2);
    expect(service('web').UpdateStatus).toBeUndefined();
    meanwhile = touch;
    expect((await rotate('three')).message).toBe('rpc error: code = Unknown desc = update out of sequence');
    expect(names('secrets')).toEqual(['other', 'pass', 'pass.v2']);
  });

  test('what is old and needed by nobody is pruned', async () => {
    const prune = async () => (await call('POST', '/secrets/prune')).json.Deleted;
    await rotate('two');
    // A rollback would need it.
    expect(await prune()).toEqual([]);
    await rotate('three');
    const old: Task = aTask({ id: 't1', service: service('web'), node: 'n1' });
    const Secrets = [secret('s1', 'pass')];
    apply([{ op: 'create', table: 'tasks', object: { ...old, Spec: { ContainerSpec: { Image: 'web:1', Secrets } } } }]);
    expect(await prune()).toEqual([]);
    apply([{ op: 'update', table: 'tasks', id: 't1', set: { Status: { State: 'shutdown', Timestamp: '' } } }]);
    expect(await prune()).toEqual(['pass']);
    expect(names('secrets')).toEqual(['other', 'pass.v2', 'pass.v3']);
    // The name still leads to its versions.
    expect(await rotate('four')).toMatchObject({ Name: 'pass.v4', Services: [{}, {}] });
  });
});
