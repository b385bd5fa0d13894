import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type TestApi, testApi } from '../../../../../test/kit/api.ts';
import { aCluster, aNode, aStore } from '../../../../../test/kit/index.ts';
import { challengeOf } from './challenge.ts';
import { isInsecure } from './client.ts';

// Against a registry of the test's own, whose answers each test sets.

const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const config = JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: {} });
const mediaType = 'application/vnd.oci.image.manifest.v1+json';
const manifest = JSON.stringify({ mediaType, config: { digest: digestOf(config) } });
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
const header = (value: unknown) => ({ 'x-registry-auth': Buffer.from(JSON.stringify(value)).toString('base64url') });
const ann = { username: 'ann', password: 'hidden-7' };

let server: Server;
let host: string;
let api: TestApi;
let store: ReturnType<typeof aStore>;
let wanted: string | undefined;
let challenge: () => string;
let content: Record<string, string>;
let asked: string[];

beforeEach(async () => {
  [wanted, challenge, asked] = [undefined, () => 'Basic realm="r"', []];
  content = { '/v2/': '{}', '/v2/a/b/manifests/1': manifest, [`/v2/a/b/blobs/${digestOf(config)}`]: config };
  server = createServer((request, response) => {
    asked.push(request.url ?? '');
    const [status, body] = answer(request);
    response.writeHead(status, status === 401 ? { 'www-authenticate': challenge() } : {}).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  store = aStore({ cluster: aCluster(), nodes: [aNode({ id: 'n1', role: 'manager', raftId: 1 })] });
  api = await testApi({ store });
});
afterEach(async () => {
  await api.app.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function answer({ method, url = '', headers }: IncomingMessage): [number, string] {
  if (method === 'POST') return [200, '{"access_token":"t1"}'];
  if (url.includes('offline_token=true') && headers.authorization === basic('ann:hidden-7'))
    return [200, '{"token":"t1","refresh_token":"r1"}'];
  if (url.startsWith('/token'))
    return headers.authorization === basic('ann:hidden-7') ? [200, '{"token":"t1"}'] : [401, ''];
  if (wanted !== undefined && headers.authorization !== wanted)
    return [401, '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'];
  const body = content[url];
  return body === undefined
    ? [404, '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}']
    : [200, body];
}

describe('distribution', () => {
  const get = (path: string, headers = {}) => api.call('GET', `/distribution/${path}/json`, undefined, headers);
  const found = {
    Descriptor: { mediaType, digest: digestOf(manifest), size: manifest.length },
    Platforms: [{ architecture: 'amd64', os: 'linux' }],
  };

  test('says what an image is', async () =>
    expect(await get(`${host}/a/b:1`)).toMatchObject({ status: 200, json: found }));

  test('of several platforms, all', async () => {
    const platforms = [
      { architecture: 'arm64', os: 'linux', variant: 'v8' },
      { architecture: 'amd64', os: 'linux' },
    ];
    const type = 'application/vnd.oci.image.index.v1+json';
    content['/v2/a/b/manifests/1'] = JSON.stringify({
      mediaType: type,
      manifests: platforms.map((platform) => ({ platform })),
    });
    expect((await get(`${host}/a/b:1`)).json).toMatchObject({ Descriptor: { mediaType: type }, Platforms: platforms });
  });

  test.each([
    ['a/b:2', 404, 'manifest unknown: manifest unknown'],
    [`a/b@sha256:${'0'.repeat(64)}`, 404, 'manifest unknown'],
    ['A::b', 400, 'invalid reference format'],
  ])('%s', async (name, status, message) =>
    expect(await get(`${host}/${name}`)).toMatchObject({ status, json: { message: expect.stringContaining(message) } }),
  );

  test('refuses content that is not what its digest says', async () => {
    content[`/v2/a/b/manifests/${digestOf('x')}`] = manifest;
    expect(await get(`${host}/a/b@${digestOf('x')}`)).toMatchObject({
      status: 500,
      json: { message: expect.stringContaining('other content than its digest') },
    });
  });

  test('with Basic credentials', async () => {
    wanted = basic('ann:hidden-7');
    expect(await get(`${host}/a/b:1`)).toMatchObject({
      status: 401,
      json: { message: 'unauthorized: authentication required' },
    });
    expect(await get(`${host}/a/b:1`, header(ann))).toMatchObject({ status: 200, json: found });
  });

  test('with a token of the token service', async () => {
    wanted = 'Bearer t1';
    challenge = () => `Bearer realm="http://${host}/token",service="s"`;
    expect(await get(`${host}/a/b:1`, header(ann))).toMatchObject({ status: 200 });
    expect(asked).toContain('/token?service=s&scope=repository%3Aa%2Fb%3Apull&account=ann');
    expect((await get(`${host}/a/b:1`, header({ ...ann, password: 'x' }))).status).toBe(401);
  });

  test.each(['%%%', 'bm90IGpzb24', Buffer.from('[]').toString('base64')])('a header %s is refused', async (value) =>
    expect(await get(`${host}/a/b:1`, { 'x-registry-auth': value })).toMatchObject({
      status: 400,
      json: { message: expect.stringContaining('invalid X-Registry-Auth header') },
    }),
  );
});

test('logging in', async () => {
  wanted = basic('ann:hidden-7');
  const login = (more = {}) => api.call('POST', '/auth', { ...ann, serveraddress: `http://${host}/v2/`, ...more });
  expect(await login()).toMatchObject({ status: 200, json: { Status: 'Login Succeeded', IdentityToken: '' } });
  expect((await login({ password: 'x' })).status).toBe(401);
  expect((await login({ serveraddress: 'a b' })).status).toBe(400);
});

test('logging in where the password is given back for an identity token', async () => {
  wanted = 'Bearer t1';
  challenge = () => `Bearer realm="http://${host}/token",service="s"`;
  const login = (auth: object) => api.call('POST', '/auth', { ...auth, serveraddress: host });
  expect((await login(ann)).json).toEqual({ Status: 'Login Succeeded', IdentityToken: 'r1' });
  expect(asked).toContain('/token?service=s&account=ann&client_id=swarmd&offline_token=true');
  expect((await login({ ...ann, password: 'x' })).status).toBe(401);
  expect(await login({ username: 'ann', identitytoken: 'r1' })).toMatchObject({ status: 200 });
});

describe('services', () => {
  const spec = (Labels = {}) => ({ Name: 'web', Labels, TaskTemplate: { ContainerSpec: { Image: `${host}/a/b:1` } } });
  const stored = () => store.view().serviceByName('web');
  const update = (query = '', headers = {}) =>
    api.call('POST', `/services/web/update?version=${stored()?.Version.Index}${query}`, spec(), headers);

  test('keep their credentials until others come, and show them to nobody', async () => {
    await api.call('POST', '/services/create', spec(), header(ann));
    const first = stored()?.PullAuth?.Spec;
    expect(JSON.parse(first?.Data ?? '')).toEqual(ann);
    await update();
    expect(stored()?.PullAuth?.Spec).toEqual(first);
    await update('', header({ ...ann, password: 'next' }));
    expect(stored()?.PullAuth).toMatchObject({ Spec: { Data: expect.stringContaining('next') }, PreviousSpec: first });
    await update('&registryAuthFrom=previous-spec');
    expect(stored()?.PullAuth?.Spec).toEqual(first);
    for (const path of ['/services', '/services/web', '/tasks'])
      expect((await api.call('GET', path)).text).not.toMatch(/hidden-7|next/);
    await update('', header({}));
    expect(stored()?.PullAuth?.Spec).toBeUndefined();
    await update('&rollback=previous');
    expect(stored()?.PullAuth?.Spec).toEqual(first);
    expect((await update('&registryAuthFrom=odd')).json.message).toBe('unsupported registryAuthFrom value');
  });

  test.each([
    ['/services/create', {}, false],
    ['/v1.29/services/create', {}, true],
    ['/services/create', { 'swarmctl.pin': 'try' }, true],
    ['/services/create', { 'swarmctl.pin': 'strict' }, true],
  ])('%s with %j: pinned %s', async (path, labels, isPinned) => {
    expect(await api.call('POST', path, spec(labels))).toMatchObject({ status: 201, json: { Warnings: null } });
    // No header: no credentials.
    expect(stored()?.PullAuth).toBeUndefined();
    const { ContainerSpec, Placement } = stored()?.Spec.TaskTemplate ?? {};
    expect(ContainerSpec?.Image).toBe(`${host}/a/b:1${isPinned ? `@${digestOf(manifest)}` : ''}`);
    expect(Placement?.Platforms).toEqual(isPinned ? [{ Architecture: 'amd64', OS: 'linux' }] : undefined);
  });

  test('that cannot be pinned: a warning, or a refusal', async () => {
    content = {};
    expect(await api.call('POST', '/services/create', spec({ 'swarmctl.pin': 'strict' }))).toMatchObject({
      status: 400,
      json: { message: expect.stringContaining('cannot be pinned to a digest: manifest unknown') },
    });
    const { json } = await api.call('POST', '/services/create', spec({ 'swarmctl.pin': 'try' }));
    expect(json.Warnings).toEqual([
      expect.stringContaining('could not be accessed on a registry to record its digest'),
    ]);
  });

  test('reach beyond their containers where the cluster lets them', async () => {
    const privileged = spec({ 'swarmctl.container.privileged': 'true' });
    expect(await api.call('POST', '/services/create', privileged)).toMatchObject({
      status: 403,
      json: { message: expect.stringContaining("'swarmctl swarm update --allow privileged'") },
    });
    const { Version, Spec } = store.view().cluster() ?? aCluster();
    await api.call('POST', `/swarm/update?version=${Version.Index}`, {
      ...Spec,
      Labels: { 'swarmctl.allow': 'privileged' },
    });
    expect((await api.call('POST', '/services/create', privileged)).status).toBe(201);
  });
});

test.each([
  ['Basic realm="a, b"', { scheme: 'basic', parameters: { realm: 'a, b' } }],
  [
    'Basic realm="x", Bearer realm="https://t",service="s"',
    { scheme: 'bearer', parameters: { realm: 'https://t', service: 's' } },
  ],
  ['Negotiate', undefined],
])('the challenge %s', (text, challenge) => expect(challengeOf(text)).toEqual(challenge));

test.each([
  ['127.8.0.1:5000', [], true],
  ['localhost', [], true],
  ['127.example.com', [], false],
  ['10.1.2.3:5000', ['10.0.0.0/8'], true],
  ['reg.lan:5000', ['reg.lan:5000'], true],
  ['reg.lan:5001', ['reg.lan:5000'], false],
])('%s may be insecure with %j: %s', (name, listed, is) => expect(isInsecure(name, listed)).toBe(is));
