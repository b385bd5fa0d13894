import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FakeDaemon, fakeDaemon } from '../../../test/kit/swarmctl.ts';

let daemon: FakeDaemon;

beforeAll(async () => {
  daemon = await fakeDaemon(({ url }, response) => {
    if (url === '/v1.50/services/create') return response.writeHead(201).end('{"ID":"abc","Warnings":null}');
    if (url.startsWith('/v1.50/services?')) return response.end('[]');
    return response.writeHead(404).end('{"message":"service nope not found"}');
  });
});
afterAll(() => daemon.close());

const swarmctl = (...argv: string[]) => daemon.swarmctl(...argv);

describe('swarmctl', () => {
  test('what follows the image is the command, flags included', async () => {
    const { status, out } = await swarmctl(
      'service',
      'create',
      '-d',
      '--name',
      'web',
      '-p',
      '80:80',
      'img',
      'sh',
      '-c',
      'x',
      '--name',
      'y',
    );
    expect({ status, out }).toEqual({ status: 0, out: 'abc\n' });
    const spec = daemon.sent();
    expect(spec).toMatchObject({
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'img', Args: ['sh', '-c', 'x', '--name', 'y'] } },
    });
  });

  test('a list that is empty has a head', async () => {
    expect((await swarmctl('service', 'ls')).out).toBe('ID   NAME   MODE   REPLICAS   IMAGE   PORTS\n');
  });

  test('filters go as the API wants them', async () => {
    await swarmctl('service', 'ls', '-f', 'name=web', '--filter', 'label=a=b');
    const url = new URL(daemon.requests.at(-1)?.url ?? '', 'http://x');
    expect(JSON.parse(url.searchParams.get('filters') ?? '')).toEqual({ name: { web: true }, label: { 'a=b': true } });
  });

  test('the data path port is chosen at init', async () => {
    await swarmctl('swarm', 'init', '--data-path-port', '5000');
    expect(daemon.sent()).toMatchObject({ DataPathPort: 5000 });
    await swarmctl('swarm', 'init');
    expect(daemon.sent()).not.toHaveProperty('DataPathPort');
    expect((await swarmctl('swarm', 'init', '--data-path-port', 'many')).err).toContain('data-path-port');
  });

  test('a client is taken back by its name', async () => {
    const { err } = await swarmctl('context', 'revoke', 'ada smith');
    expect(err).toContain('not found');
    expect(daemon.requests.at(-1)).toMatchObject({ method: 'DELETE', url: '/v1.50/swarm/clients/ada%20smith' });
  });

  test('a new cluster is forced when asked for', async () => {
    await swarmctl('swarm', 'init');
    expect(daemon.sent()).toMatchObject({ ForceNewCluster: false });
    await swarmctl('swarm', 'init', '--force-new-cluster');
    expect(daemon.sent()).toMatchObject({ ForceNewCluster: true });
  });

  test("the daemon's refusal is printed and fails", async () => {
    expect(await swarmctl('service', 'rm', 'nope')).toEqual({
      status: 1,
      out: '',
      err: 'Error response from daemon: service nope not found\n',
    });
  });

  test.each([
    [['service', 'creat'], "unknown command 'creat'; did you mean 'create'?", 125],
    [['service', 'create', '--replicsa', '3', 'x'], 'unknown flag: --replicsa; did you mean --replicas?', 125],
    [['network', 'create', '--atachable', 'x'], 'unknown flag: --atachable; did you mean --attachable?', 125],
    [['service', 'update', 'x', '--imag', 'y'], 'unknown flag: --imag; did you mean --image?', 125],
    [
      ['service', 'create', '--credential-spec', 'a', 'b'],
      '--credential-spec: credential specs are for Windows containers',
      1,
    ],
    [['service', 'ls', '-f', 'nonsense'], "invalid filter 'nonsense': expected KEY=VALUE", 125],
    [['--context', 'nowhere', 'info'], "context 'nowhere' not found", 1],
    [
      ['node', 'update', '--availability', 'drained', 'n1'],
      'invalid argument "drained" for "--availability": expected one of active, pause, drain',
      125,
    ],
    [
      ['node', 'update', '--role', 'boss', 'n1'],
      'invalid argument "boss" for "--role": expected one of worker, manager',
      125,
    ],
    [['node', 'update', '--label-add', '=x', 'n1'], expect.stringContaining('=x'), 125],
    [['swarm', 'join-token', 'boss'], 'unknown role boss: expected worker or manager', 125],
    [
      ['service', 'create', '--update-order', 'first', 'img'],
      'invalid argument "first" for "--update-order": expected one of stop-first, start-first',
      125,
    ],
    [
      ['service', 'create', '--restart-condition', 'never', 'img'],
      'invalid argument "never" for "--restart-condition": expected one of none, on-failure, any',
      125,
    ],
    [
      ['network', 'create', '--scope', 'world', 'net'],
      'invalid argument "world" for "--scope": expected one of swarm, local',
      125,
    ],
    [['service', 'logs', '--tail', 'few', 'web'], 'invalid argument "few" for "--tail": expected a whole number', 125],
    [['service', 'update', 'x', '--image'], 'flag needs an argument: --image', 125],
    [['service', 'scale', 'x=many'], "invalid replicas in 'x=many': expected a whole number", 125],
    [
      ['context', 'create', 'c', '--endpoint', 'foo://x'],
      "'foo://x' (from the option --endpoint): the protocol foo:// is not supported; use unix:// or tcp://",
      125,
    ],
    [
      ['-H', 'http://x', 'info'],
      "'http://x' (from the option --host): the protocol http:// is not supported; use unix:// or tcp://",
      125,
    ],
  ])('%j', async (argv, message, status) => {
    const ran = await swarmctl(...argv);
    expect(ran.err.trim()).toEqual(message);
    expect(ran.status).toBe(status);
  });

  test('no daemon: says where it looked and why', async () => {
    const { err, status } = await swarmctl('-H', `unix://${daemon.folder}/none.sock`, 'node', 'ls');
    expect(err).toMatch(
      /^Cannot connect to swarmd at unix:.*none\.sock: there is no such socket\. Is swarmd running\?/,
    );
    expect(status).toBe(1);
  });

  test('contexts are recorded, used and forgotten', async () => {
    await swarmctl('context', 'create', 'c1', '--endpoint', 'unix:///x');
    await swarmctl('context', 'use', 'c1');
    expect((await swarmctl('context', 'ls', '--format', '{{.Name}} {{.Current}} {{.Host}}')).out).toBe(
      'c1 true unix:///x\n',
    );
    expect(await swarmctl('context', 'rm', 'c1')).toMatchObject({ status: 1, err: expect.stringContaining('in use') });
    await swarmctl('context', 'rm', '--force', 'c1');
    expect((await swarmctl('context', 'ls', '-q')).out).toBe('');
  });
});
