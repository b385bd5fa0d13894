import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { completeServiceSpec } from '@swarmctl/shared/model';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { run } from '../main.ts';

// What the commands ask for and print; the end-to-end suite tries them on a cluster.

let server: Server;
let folder: string;
let requests: { method: string; url: string; body: unknown; auth: unknown }[] = [];
/** By method and path. */
let answers: Record<string, [number, unknown]>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'swarmctl-'));
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { method = '', url = '' } = request;
      const header = request.headers['x-registry-auth'];
      const auth = header && JSON.parse(Buffer.from(String(header), 'base64url').toString());
      requests.push({
        method,
        url: url.slice('/v1.50'.length),
        body: body === '' ? undefined : JSON.parse(body),
        auth,
      });
      const [status, answer] =
        answers[`${method} ${url.slice('/v1.50'.length).split('?')[0]}`] ??
        (url.includes('/distribution/') ? [404, { message: 'manifest unknown' }] : [200, []]);
      response.writeHead(status).end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(join(folder, 'api.sock'), resolve));
});
beforeEach(() => {
  requests = [];
  answers = {};
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function swarmctl(...argv: string[]) {
  let out = '';
  let err = '';
  const env = { DOCKER_CONFIG: folder, SWARMCTL_CONFIG: folder, SWARMD_HOST: `unix://${folder}/api.sock` };
  const status = await run(
    argv,
    env,
    new AbortController().signal,
    (text) => (out += text),
    (text) => (err += text),
  );
  return { status, out, err: err.trim() };
}

function fileOf(text: string): string {
  const path = join(folder, 'compose.yaml');
  writeFileSync(path, text);
  return path;
}
const labels = { 'com.docker.stack.namespace': 's' };
const writes = () => requests.filter(({ method }) => method !== 'GET').map(({ method, url }) => `${method} ${url}`);
const small = 'services: {web: {image: "web:1", secrets: [p]}}\nsecrets: {p: {content: x}}\n';

test('deploy makes networks, then secrets, then services that name them by id', async () => {
  answers = {
    'POST /networks/create': [201, { Id: 'n1', Warning: 'mind the gap' }],
    'POST /secrets/create': [201, { ID: 'p1' }],
    'POST /services/create': [201, { ID: 'w1', Warnings: ['careful'] }],
  };
  expect(await swarmctl('stack', 'deploy', '--resolve-image', 'never', '-c', fileOf(small), 's')).toEqual({
    status: 0,
    out: 'Creating network s_default\nCreating secret s_p\nCreating service s_web\n',
    err: 'warning: network s_default: mind the gap\nwarning: service s_web: careful',
  });
  expect(requests.at(-1)?.body).toMatchObject({
    Name: 's_web',
    TaskTemplate: { ContainerSpec: { Secrets: [{ SecretID: 'p1', SecretName: 's_p' }] } },
  });
});

test('tried dry, it writes nothing; other content is found out without a write', async () => {
  answers = {
    'GET /secrets': [200, [{ ID: 'p1', Version: { Index: 1 }, Spec: { Name: 's_p', Labels: labels } }]],
    'POST /secrets/s_p/rotate': [200, { ID: 'p2', Name: 's_p.v2', Created: true }],
  };
  expect((await swarmctl('stack', 'deploy', '--dry-run', '-c', fileOf(small), 's')).out).toBe(
    'Would create network s_default\nWould rotate secret s_p to s_p.v2\nWould create service s_web\n',
  );
  expect(writes()).toEqual(['POST /secrets/s_p/rotate?roll=false&dryRun=true']);
  const data = Buffer.from('x').toString('base64');
  expect(requests.find(({ method }) => method === 'POST')?.body).toEqual({
    ...{ Data: data, Labels: labels, Templating: { Name: '' } },
  });
});

test('a spec that only the cluster touched meanwhile is written all the same, one that somebody changed is not', async () => {
  const stored = (Index: number, Image: string) => ({
    ...{ ID: 'w1', Version: { Index }, Endpoint: {} },
    Spec: {
      Name: 's_web',
      Labels: labels,
      TaskTemplate: { ContainerSpec: { Image } },
      Mode: { Replicated: { Replicas: 1 } },
    },
  });
  answers = {
    'GET /services': [200, [stored(5, 'web:0')]],
    'GET /services/w1': [200, stored(7, 'web:0')],
    'POST /services/w1/update': [200, { Warnings: null }],
  };
  const file = fileOf('services: {web: {image: "web:1", network_mode: none}}');
  expect((await swarmctl('stack', 'deploy', '-c', file, 's')).status).toBe(0);
  expect(writes()).toEqual(['POST /services/w1/update?version=7']);
  answers['GET /services/w1'] = [200, stored(8, 'web:9')];
  expect(await swarmctl('stack', 'deploy', '--resolve-image', 'never', '-c', file, 's')).toMatchObject({
    ...{ status: 1, err: 'service s_web was changed by somebody else meanwhile; deploy again' },
  });
});

test('images are pinned as their registries have them: always, when they are others in the file, or never', async () => {
  const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
  const file = fileOf('services: {web: {image: "web:1", network_mode: none, platform: linux/arm64}}');
  const wished = (wish: string) => swarmctl('stack', 'deploy', '--resolve-image', wish, '-c', file, 's');
  const sent = () => requests.findLast(({ method }) => method === 'POST')?.body as never;
  const asked = () => requests.some(({ url }) => url.startsWith('/distribution/'));
  const registry = (letter: string) => {
    const Platforms = [{ architecture: 'amd64', os: 'linux' }];
    answers['GET /distribution/web:1/json'] = [200, { Descriptor: { digest: digest(letter) }, Platforms }];
    requests = [];
  };
  const image = (name: string) => ({ TaskTemplate: { ContainerSpec: { Image: name } } });
  answers = { 'POST /services/create': [201, { ID: 'w1' }], 'POST /services/w1/update': [200, { Warnings: null }] };

  registry('a');
  await wished('never');
  expect([asked(), sent()]).toMatchObject([false, image('web:1')]);
  registry('a');
  await wished('changed');
  expect(sent()).toMatchObject({
    TaskTemplate: {
      ContainerSpec: { Image: `web:1@${digest('a')}` },
      Placement: { Platforms: [{ Architecture: 'arm64', OS: 'linux' }] },
    },
  });
  const stored = { ID: 'w1', Version: { Index: 5 }, Endpoint: {}, Spec: completeServiceSpec(sent()) };
  answers['GET /services'] = [200, [stored]];
  answers['GET /services/w1'] = [200, stored];

  registry('b');
  expect([(await wished('changed')).out, asked()]).toEqual(['Service s_web stays as it is\n', false]);
  expect((await wished('always')).out).toContain('Updating service s_web');
  expect(sent()).toMatchObject(image(`web:1@${digest('b')}`));

  delete answers['GET /distribution/web:1/json'];
  expect(await wished('always')).toMatchObject({
    out: 'Service s_web stays as it is\n',
    err: expect.stringContaining('image web:1 could not be accessed on a registry to record its digest'),
  });
});

test('with --with-registry-auth each service that is written comes with the credentials of its registry', async () => {
  const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({ auths: { 'a.lan': auth('ann:1'), 'b.lan:5000': auth('bob:2') } }),
  );
  const Spec = {
    ...{ Name: 's_b', Labels: labels, TaskTemplate: { ContainerSpec: { Image: 'b.lan:5000/b:0' } } },
    Mode: { Replicated: { Replicas: 1 } },
  };
  const stored = { ID: 'b1', Version: { Index: 5 }, Endpoint: {}, Spec };
  answers = {
    'GET /services': [200, [stored]],
    'GET /services/b1': [200, stored],
    'POST /services/create': [201, { ID: 'a1' }],
    'POST /services/b1/update': [200, { Warnings: null }],
  };
  const file = fileOf(
    'services:\n  a: {image: a.lan/a, network_mode: none}\n  b: {image: "b.lan:5000/b:1", network_mode: none}\n',
  );
  const sent = () => requests.filter(({ method }) => method === 'POST').map(({ url, auth }) => [url, auth]);
  expect((await swarmctl('stack', 'deploy', '--with-registry-auth', '-c', file, 's')).status).toBe(0);
  expect(sent()).toEqual([
    ['/services/create', { username: 'ann', password: '1', serveraddress: 'a.lan' }],
    ['/services/b1/update?version=5', { username: 'bob', password: '2', serveraddress: 'b.lan:5000' }],
  ]);
  requests = [];
  await swarmctl('stack', 'deploy', '-c', file, 's');
  expect(sent()).toEqual([
    ['/services/create', undefined],
    ['/services/b1/update?version=5', undefined],
  ]);
});

test('rm removes all that has the name, and goes on when one cannot be', async () => {
  const spec = (Name: string) => ({ ID: Name, Spec: { Name, Labels: labels } });
  answers = {
    'GET /services': [200, [spec('s_web')]],
    'GET /secrets': [200, [spec('s_p'), spec('s_p.v2')]],
    'GET /networks': [200, [{ Id: 'n1', Name: 's_default', Labels: labels }]],
    'DELETE /secrets/s_p': [400, { message: 'in use' }],
    'DELETE /services/s_web': [404, { message: 'service s_web not found' }],
  };
  expect(await swarmctl('stack', 'rm', 's')).toEqual({
    status: 1,
    out: 'Removing service s_web\nRemoving secret s_p\nRemoving secret s_p.v2\nRemoving network s_default\n',
    err: 'secret s_p: Error response from daemon: in use',
  });
  expect(writes()).toHaveLength(4);
});

test('ls counts the services of each', async () => {
  const service = (stack: string) => ({ Spec: { Labels: { 'com.docker.stack.namespace': stack } } });
  answers = { 'GET /services': [200, [service('b'), service('a'), service('b')]] };
  expect((await swarmctl('stack', 'ls')).out).toBe('NAME   SERVICES\na      1\nb      2\n');
  expect((await swarmctl('stack', 'ls', '--format', '{{.Name}}')).out).toBe('a\nb\n');
});

test.each([
  [['stack', 'rm', 'x'], 0, 'Nothing found in stack: x'],
  [['stack', 'services', 'x'], 0, 'Nothing found in stack: x'],
  [['stack', 'ps', 'x'], 1, 'nothing found in stack: x'],
  [['stack', 'deploy', 'x'], 125, 'a compose file is needed: --compose-file FILE'],
  [['stack', 'deploy', '-c', 'nosuch.yaml', 'x'], 125, 'cannot read nosuch.yaml: there is no such file'],
  [['stack', 'deploy', '-c', 'x', '--wait', '--detach', 'x'], 125, '--wait and --detach: leave one of them out'],
  [['stack', 'deploy', '-c', 'x', 'a/b'], 125, "invalid stack name 'a/b'"],
  [
    ['stack', 'deploy', '-c', '/dev/null', '--resolve-image', 'often', 'x'],
    125,
    "--resolve-image: expected one of always, changed, never, not 'often'",
  ],
  [['stack', 'deploy', '--prun', '-c', 'x', 'y'], 125, 'unknown flag: --prun; did you mean --prune?'],
  [['stack', 'depoly'], 125, "unknown command 'depoly'; did you mean 'deploy'?"],
])('%j', async (argv, status, message) => {
  const ran = await swarmctl(...argv);
  expect([ran.status, ran.err]).toEqual([status, expect.stringContaining(message)]);
  expect(writes()).toEqual([]);
});

test('conditions are met by waiting alone', async () => {
  const file = fileOf('services:\n  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: x}\n');
  expect(await swarmctl('stack', 'deploy', '-c', file, 's')).toMatchObject({
    status: 125,
    err: expect.stringContaining(
      'compose.yaml:2:30: services.a.depends_on.b: service_healthy needs a deployment that waits: add --wait',
    ),
  });
  expect(requests).toEqual([]);
  expect((await swarmctl('stack', 'deploy', '--dry-run', '-c', file, 's')).out).toBe(
    'Would create network s_default\nWould create service s_b\nWould create service s_a\n',
  );
});

test('config prints what files come to', async () => {
  const { status, out, err } = await swarmctl('stack', 'config', '-c', fileOf(small));
  expect([status, err, out]).toEqual([0, '', expect.stringContaining('secrets:\n      - source: p\n')]);
});

test('config keeps what a deployment makes labels of, and can be read again', async () => {
  const file = fileOf(
    'services:\n  a:\n    image: x\n    privileged: true\n    devices: ["/dev/a:rw"]\n    gpus: [{count: 2}]\n    ipc: host\n',
  );
  const { out } = await swarmctl('stack', 'config', '-c', file);
  expect(out).toContain('privileged: true\n');
  expect(out).toContain('devices:\n      - source: /dev/a\n        permissions: rw\n');
  expect(out).toContain('gpus:\n      - count: 2\n');
  expect(out).toContain('ipc: host\n');
  expect((await swarmctl('stack', 'config', '-c', fileOf(out))).out).toBe(out);
});

test("a stack without a name has its file's", async () => {
  const named = (name: string) => fileOf(`name: ${name}\nservices: {web: {image: "\${COMPOSE_PROJECT_NAME}"}}\n`);
  const deploy = async (file: string, ...more: string[]) => {
    requests = [];
    const { err } = await swarmctl('stack', 'deploy', '--resolve-image', 'never', '-c', file, ...more);
    const made = requests.find(({ url }) => url === '/services/create')?.body as { Name?: string } | undefined;
    return [err, made?.Name, (JSON.stringify(made) ?? '').match(/"Image":"(\w*)"/)?.[1]];
  };
  answers = { 'POST /networks/create': [201, { Id: 'n1' }], 'POST /services/create': [201, { ID: 'w1' }] };
  expect(await deploy(named('shop'))).toEqual(['', 'shop_web', 'shop']);
  expect(await deploy(named(`\${NONE:-shop}`))).toEqual(['', 'shop_web', 'shop']);
  expect(await deploy(named('shop'), 'other')).toEqual(['', 'other_web', 'other']);
  const [missing] = await deploy(fileOf('services: {web: {image: a}}'));
  expect(missing).toContain('the stack needs a name: say it behind the files, or in a file as name: NAME');
  const [wrong] = await deploy(named('"a b"'));
  expect(wrong).toContain("invalid stack name 'a b'");
});
