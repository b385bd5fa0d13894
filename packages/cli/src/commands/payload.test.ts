import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FakeDaemon, fakeDaemon } from '../../../../test/kit/swarmctl.ts';

let daemon: FakeDaemon;

const at = '2024-01-01T00:00:00Z';
const payload = (ID: string, Name: string, Labels: object = {}, more: object = {}) => ({
  ID,
  CreatedAt: at,
  UpdatedAt: at,
  Spec: { Name, Labels, ...more },
});
const secrets = [
  payload('s10', 'pass.v10', { 'swarmctl.version.of': 'pass' }),
  payload('s1', 'pass'),
  payload('s2', 'pass.v2', { 'swarmctl.version.of': 'pass' }),
  payload('p1', 'passage', { team: 'red' }),
];
const configs = [payload('c1', 'conf', { a: 'b' }, { Data: Buffer.from('content').toString('base64') })];
const file = (Name: string) => ({ Name, UID: '0', GID: '0', Mode: 0o444 });
const stored = {
  ID: 'web1',
  Version: { Index: 7 },
  Endpoint: { Spec: {} },
  Spec: {
    Name: 'web',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: {
        Image: 'web:1',
        Secrets: [
          { SecretID: 's2', SecretName: 'pass.v2', File: file('pass') },
          { SecretID: 'g1', SecretName: 'gone', File: file('gone') },
        ],
        Configs: [{ ConfigID: 'c1', ConfigName: 'conf', File: file('/etc/conf') }],
      },
    },
  },
};

beforeAll(async () => {
  daemon = await fakeDaemon(({ method, url }, response) => {
    const path = new URL(url, 'http://x').pathname.replace('/v1.50', '');
    if (path === '/secrets/create') return response.writeHead(201).end('{"ID":"abc"}');
    if (path === '/secrets/pass/rotate') {
      return response.end('{"ID":"s11","Name":"pass.v11","Created":true,"Services":[{"ID":"web1","Name":"web"}]}');
    }
    if (path === '/configs/conf/rotate') {
      return response.end('{"ID":"c1","Name":"conf","Created":false,"Services":[]}');
    }
    if (path === '/secrets/prune') return response.end('{"Deleted":["pass","pass.v2"]}');
    if (path === '/services/create') return response.writeHead(201).end('{"ID":"web1","Warnings":null}');
    if (path === '/services/web1/update') return response.end('{"Warnings":null}');
    if (path.startsWith('/services/')) return response.end(JSON.stringify(stored));
    const [, table = '', reference] = path.split('/');
    const all = table === 'secrets' ? secrets : configs;
    if (reference === undefined) {
      const { name } = JSON.parse(new URL(url, 'http://x').searchParams.get('filters') ?? '{}');
      const [prefix = ''] = Object.keys(name ?? {});
      return response.end(JSON.stringify(all.filter(({ Spec }) => Spec.Name.startsWith(prefix))));
    }
    if (method === 'DELETE') return response.writeHead(204).end();
    const found = all.find(({ ID, Spec }) => ID === reference || Spec.Name === reference);
    if (found) return response.end(JSON.stringify(found));
    return response.writeHead(404).end(`{"message":"${table.slice(0, -1)} ${reference} not found"}`);
  });
  writeFileSync(content(), Buffer.from([0, 0xff, 10]));
});
afterAll(() => daemon.close());
beforeEach(() => {
  daemon.requests.length = 0;
});

async function swarmctl(...argv: string[]) {
  const { err, ...rest } = await daemon.swarmctl(...argv);
  return { ...rest, err: err.trim() };
}
const sent = () => daemon.sent();
const content = () => join(daemon.folder, 'content');

test('create sends the bytes of the file', async () => {
  const flags = ['--label', 'a=b', '--template-driver', 'golang'];
  expect(await swarmctl('secret', 'create', ...flags, 'pass', content())).toEqual({ status: 0, out: 'abc\n', err: '' });
  expect(sent()).toEqual({ Name: 'pass', Labels: { a: 'b' }, Data: 'AP8K', Templating: { Name: 'golang' } });
  const missing = await swarmctl('secret', 'create', 'pass', join(daemon.folder, 'nosuch'));
  expect([missing.status, missing.err]).toEqual([125, expect.stringMatching(/^cannot read .*nosuch: ENOENT/)]);
});

test('update makes a version and tells what rolls', async () => {
  expect(await swarmctl('secret', 'update', '-d', 'pass', content())).toEqual({
    status: 0,
    out: 'pass.v11\nrolling web\n',
    err: '',
  });
  expect([daemon.requests.at(-1)?.url, sent()]).toEqual([
    '/v1.50/secrets/pass/rotate?roll=true',
    { Labels: {}, Data: 'AP8K' },
  ]);
  expect((await swarmctl('config', 'update', '--no-roll', 'conf', content())).out).toBe('conf holds this already\n');
  expect(daemon.requests.at(-1)?.url).toBe('/v1.50/configs/conf/rotate?roll=false');
});

test('ls shows versions in their order, inspect what there is', async () => {
  expect((await swarmctl('secret', 'ls', '--format', '{{.Name}} {{.Version}} {{.Labels}}')).out).toBe(
    'pass 1 \npass.v2 2 swarmctl.version.of=pass\npass.v10 10 swarmctl.version.of=pass\npassage 1 team=red\n',
  );
  expect((await swarmctl('config', 'ls')).out).toMatch(
    /^ID +NAME +VERSION +CREATED +UPDATED\nc1 +conf +1 +\d+ \w+ ago +\d+ \w+ ago\n$/,
  );
  expect((await swarmctl('secret', 'inspect', '-f', '{{.Spec.Name}}', 'p1')).out).toBe('passage\n');
  expect((await swarmctl('config', 'inspect', '--pretty', 'conf')).out).toBe(
    `ID:\t\tc1\nName:\t\tconf\nLabels:\n - a=b\nCreated at:\t${at}\nUpdated at:\t${at}\nData:\ncontent\n`,
  );
  expect(await swarmctl('secret', 'inspect', 'x')).toMatchObject({
    status: 1,
    err: 'Error response from daemon: secret x not found',
  });
});

test('rm and prune', async () => {
  expect(await swarmctl('secret', 'rm', 'pass', 'p1')).toEqual({ status: 0, out: 'pass\np1\n', err: '' });
  for (const flags of [[], ['-f']]) expect((await swarmctl('secret', 'prune', ...flags)).out).toBe('pass\npass.v2\n');
});

describe('services', () => {
  const container = () => sent().TaskTemplate.ContainerSpec;

  test('name the newest version of a secret, with where it goes', async () => {
    const flags = [
      '--no-resolve-image',
      '--secret',
      'pass',
      '--secret',
      'source=s1,target=/etc/old,uid=10,gid=20,mode=0400',
    ];
    expect(await swarmctl('service', 'create', '-d', ...flags, '--config', 'src=conf', 'web:1')).toMatchObject({
      err: '',
    });
    expect(container()).toEqual({
      Image: 'web:1',
      Secrets: [
        { File: file('pass'), SecretID: 's10', SecretName: 'pass.v10' },
        { File: { Name: '/etc/old', UID: '10', GID: '20', Mode: 0o400 }, SecretID: 's1', SecretName: 'pass' },
      ],
      Configs: [{ File: file('conf'), ConfigID: 'c1', ConfigName: 'conf' }],
    });
    await swarmctl('service', 'create', '-d', '--secret', 'pass.v2', 'web:1');
    expect(container().Secrets).toEqual([{ File: file('pass.v2'), SecretID: 's2', SecretName: 'pass.v2' }]);
  });

  test('show them to people', async () => {
    expect((await swarmctl('service', 'inspect', '--pretty', 'web1')).out).toContain(
      'Configs:\n Target:\t/etc/conf\n  Source:\tconf\nSecrets:\n Target:\tpass\n  Source:\tpass.v2\n Target:\tgone\n',
    );
  });

  test('add, replace and remove them, also one that is gone', async () => {
    await swarmctl('service', 'update', '-d', '--secret-rm', 'pass', '--secret-rm', 'gone', 'web1');
    expect([container().Secrets, container().Configs]).toEqual([[], stored.Spec.TaskTemplate.ContainerSpec.Configs]);
    await swarmctl(
      'service',
      'update',
      '-d',
      '--secret-add',
      'source=passage,target=pass',
      '--config-rm',
      'c1',
      'web1',
    );
    expect(container().Secrets).toEqual([
      stored.Spec.TaskTemplate.ContainerSpec.Secrets[1],
      { File: file('pass'), SecretID: 'p1', SecretName: 'passage' },
    ]);
    expect(container().Configs).toEqual([]);
  });

  test.each([
    ['source=pass,colour=red', "unknown key 'colour'; known: source, src, target, uid, gid, mode", 125],
    ['target=pass', 'source=NAME is required', 125],
    ['source=pass,uid=root', "uid must be a number, not 'root'", 125],
    ['source=pass,mode=999', "mode must be octal, such as 0400, not '999'", 125],
    ['nosuch', 'Error response from daemon: secret nosuch not found', 1],
  ])('--secret %s is refused', async (value, message, status) => {
    const ran = await swarmctl('service', 'create', '-d', '--secret', value, 'web:1');
    expect([ran.status, ran.err]).toEqual([status, expect.stringContaining(message)]);
  });
});
