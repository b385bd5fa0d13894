import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Service, Task } from '@swarmctl/shared/model';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Cluster, missingForDocker, type NodeHandle, runProgram } from '../kit/cluster.ts';
import { dockerClis } from '../kit/docker-cli.ts';
import { commandRows, stackOf } from './docker-cli-commands.ts';
import { World } from './world.ts';

// Docker's own clients drive a manager as they come: its command line, docker-py and dockerode. The nodes share one engine, so overlay networks
// have a task on one node at most. Of several command lines on this machine the oldest runs all tests, which a distribution's is; the newest runs each command
// once.

const missing = missingForDocker();

describe.skipIf(missing)(`Docker's clients${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let world: World;
  let cluster: Cluster;
  let follower: NodeHandle;
  let worker: NodeHandle;

  beforeAll(async () => {
    world = await World.make('docker');
    cluster = world.cluster;
    const leader = await cluster.leader();
    // Followers serve everything.
    follower = cluster.managers.find((node) => node !== leader) as NodeHandle;
    worker = cluster.workers[0] as NodeHandle;
  }, 120_000);
  afterAll(async () => world?.stop(), 60_000);

  const clis = dockerClis();
  const oldest = clis[0]?.path ?? 'docker';
  const run = (node: NodeHandle, args: readonly string[], env: readonly string[] = [], cli = oldest) => {
    const config = join(cluster.folder, 'docker-config');
    mkdirSync(config, { recursive: true });
    return runProgram('env', [`DOCKER_CONFIG=${config}`, ...env, cli, '-H', `unix://${node.socket}`, ...args]);
  };
  /** Its output; rejects when it fails. */
  const docker = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await run(follower, args);
    if (code !== 0) throw new Error(`docker ${args.join(' ')}: exit ${code}: ${err}${out}`);
    return out.trim();
  };
  const refused = async (node: NodeHandle, ...args: string[]): Promise<string> => {
    const { code, err } = await run(node, args);
    expect(code).toBe(1);
    return err.trim();
  };
  const create = (name: string, ...args: string[]) =>
    docker('service', 'create', '-d', '-q', '--no-resolve-image', '--name', name, ...args);
  const states = async (name: string) =>
    (await docker('service', 'ps', '--no-trunc', '--format', '{{.CurrentState}}|{{.Error}}', name)).split('\n');
  const eventually = (what: string, check: () => Promise<boolean>) => cluster.eventually(what, check);

  describe('nodes and the swarm', () => {
    test('version and info', async () => {
      expect(await docker('version', '-f', '{{.Server.APIVersion}} {{.Server.Os}}/{{.Server.Version}}')).toBe(
        '1.50 linux/0.1.0',
      );
      const words =
        '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Managers}} {{.Swarm.Nodes}} {{.Name}}';
      expect(await docker('info', '-f', words)).toBe(`active true 3 5 ${follower.name}`);
    });

    test('an old version is spoken, one that is too old is not', async () => {
      expect(
        (await run(follower, ['node', 'ls', '-q'], ['DOCKER_API_VERSION=1.24'])).out.trim().split('\n'),
      ).toHaveLength(5);
      const { code, err } = await run(follower, ['node', 'ls'], ['DOCKER_API_VERSION=1.10']);
      expect([code, err]).toEqual([1, expect.stringMatching(/client version 1\.10 is too old|requires API version/)]);
    });

    test('node ls, inspect, update, ps', async () => {
      const format = '{{.Hostname}} {{.Self}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.TLSStatus}}';
      const listed = (await docker('node', 'ls', '--format', format)).split('\n');
      expect(listed).toContain(`${follower.name} true Ready Active Reachable Ready`);
      expect(listed.filter((line) => line.includes('Leader'))).toHaveLength(1);
      expect(listed).toContain('w1 false Ready Active  Ready');
      expect((await docker('node', 'ls', '-q', '-f', 'role=worker')).split('\n')).toHaveLength(2);
      expect(await docker('node', 'inspect', 'self', '--pretty')).toMatch(/Raft Status:\s+Reachable/);
      expect(await run(follower, ['node', 'inspect', 'nosuch'])).toMatchObject({ code: 1, out: '[]\n' });
      await docker('node', 'update', '--label-add', 'a=b', '--availability', 'drain', 'w1');
      expect(await docker('node', 'inspect', '-f', '{{.Spec.Labels.a}} {{.Spec.Availability}}', 'w1')).toBe('b drain');
      await docker('node', 'update', '--label-rm', 'a', '--availability', 'active', 'w1');
      expect(await docker('node', 'ps', '-q')).toBe('');
    });

    test('a node is promoted, and demoted again', async () => {
      const status = () => docker('node', 'inspect', '-f', '{{with .ManagerStatus}}{{.Reachability}}{{end}}', 'w2');
      await docker('node', 'promote', 'w2');
      await eventually('w2 is a manager', async () => (await status()) === 'reachable');
      await docker('node', 'demote', 'w2');
      await eventually('w2 is a worker', async () => (await status()) === '');
    });

    test('the swarm', async () => {
      const token = await docker('swarm', 'join-token', '-q', 'worker');
      expect(await docker('swarm', 'join-token', 'worker')).toContain(
        `docker swarm join --token ${token} ${follower.addr}:2377`,
      );
      expect(await docker('swarm', 'join-token', '-q', '--rotate', 'worker')).not.toBe(token);
      const root = await docker('swarm', 'ca');
      expect(root).toMatch(/^-----BEGIN CERTIFICATE-----/);
      const rotated = await docker('swarm', 'ca', '--rotate');
      expect(rotated).toContain('desired root digest: sha256:');
      const next = await docker('swarm', 'ca');
      expect(next).not.toBe(root);
      expect(rotated.endsWith(next)).toBe(true);
      expect(new Set((await docker('node', 'ls', '--format', '{{.TLSStatus}}')).split('\n'))).toEqual(
        new Set(['Ready']),
      );
      expect(await docker('swarm', 'update', '--task-history-limit', '4')).toBe('Swarm updated.');
      const limit = '{{.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit}}';
      expect(await docker('info', '-f', limit)).toBe('4');
    });

    test.each<[string[], string]>([
      [['node', 'rm', 'w1'], "is not down and can't be removed"],
      [['node', 'rm', '-f', 'm1'], 'It must be demoted to worker before removal'],
      [['node', 'inspect', 'nosuch'], 'nosuch'],
      [['swarm', 'init'], 'This node is already part of a swarm.'],
      [['swarm', 'join', '--token', 'x', '127.0.0.1:2377'], 'This node is already part of a swarm.'],
      [['swarm', 'leave'], 'You are attempting to leave the swarm on a node that is participating as a manager.'],
      [['swarm', 'unlock'], 'swarm is not locked'],
      [['service', 'rm', 'nosuch'], 'nosuch'],
      [['service', 'ps', 'nosuch'], 'no such service: nosuch'],
      [['secret', 'rm', 'nosuch'], 'nosuch'],
      [['network', 'rm', 'nosuch'], 'nosuch'],
    ])('%j fails, and says so', async (args, message) => {
      expect(await refused(follower, ...args)).toContain(message);
    });

    test('a worker says where to go', async () => {
      for (const kind of ['node', 'service', 'secret', 'config']) {
        expect(await refused(worker, kind, 'ls')).toContain(
          "Worker nodes can't be used to view or modify cluster state.",
        );
      }
      expect(await refused(worker, 'network', 'create', '-d', 'overlay', 'n')).toContain(
        'This node is not a swarm manager.',
      );
    });

    test('a node leaves, is a swarm of its own again and again, and joins', async () => {
      const [, node] = cluster.workers as [NodeHandle, NodeHandle];
      const on = async (...args: string[]) => {
        const { code, out, err } = await run(node, args);
        expect([args, code, err]).toEqual([args, 0, '']);
        return out.trim();
      };
      await on('swarm', 'leave');
      for (let i = 0; i < 3; i++) {
        await on('swarm', 'init', '--advertise-addr', node.addr);
        expect(await on('service', 'ls', '-q')).toBe('');
        await on('swarm', 'leave', '--force');
        expect(await on('info', '-f', '{{.Swarm.LocalNodeState}}')).toBe('inactive');
        expect(await refused(node, 'service', 'ls')).toContain('Use "docker swarm init" or "docker swarm join"');
        expect(await refused(node, 'swarm', 'leave')).toContain('This node is not part of a swarm');
      }
      const token = await docker('swarm', 'join-token', '-q', 'worker');
      await on('swarm', 'join', '--token', token, '--advertise-addr', node.addr, `${follower.addr}:2377`);
      const format = '{{.Hostname}} {{.Status}}';
      const nodes = async () => (await docker('node', 'ls', '--format', format)).split('\n');
      await eventually('w2 is back', async () => (await nodes()).includes('w2 Ready'));
      await eventually('it is gone as the node that it was', async () => (await nodes()).includes('w2 Down'));
      const old = await docker('node', 'ls', '--format', '{{if eq .Status "Down"}}{{.ID}}{{end}}');
      await docker('node', 'rm', old.trim());
    });
  });

  describe('services', () => {
    const file = (name: string, text: string) => {
      const path = join(cluster.folder, name);
      writeFileSync(path, text);
      return path;
    };

    test('create, with all that it may name, until it has converged', async () => {
      await docker('secret', 'create', '-l', 'k=v', 's1', file('s1', 'hidden'));
      await docker('config', 'create', 'c1', file('c1', 'shown'));
      await docker('network', 'create', '-d', 'overlay', '--label', 'x=y', 'onet');
      await docker(
        ...['service', 'create', '-q', '--name', 'web', '--replicas', '1', '--constraint', 'node.hostname==m1'],
        ...['--label', 'tier=a', '--env', 'A=1', '--publish', '18080:8080', '--network', 'onet', '--secret', 's1'],
        ...['--config', 'source=c1,target=/etc/c1', '--update-monitor', '200ms', '--update-parallelism', '0'],
        ...['--rollback-monitor', '200ms', 'web:1'],
      );
      const listed = await docker(
        'service',
        'ls',
        '--format',
        '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} {{.Ports}}',
      );
      expect(listed).toBe('web replicated 1/1 web:1 *:18080->8080/tcp');
      expect(await docker('service', 'ls', '-q', '-f', 'label=tier=a')).not.toBe('');
      const task = await docker(
        'service',
        'ps',
        '--format',
        '{{.Name}} {{.Image}} {{.Node}} {{.DesiredState}} {{.CurrentState}}',
        'web',
      );
      expect(task).toMatch(/^web\.1 web:1 m1 Running Running /);
      const pretty = await docker('service', 'inspect', '--pretty', 'web');
      for (const line of [
        /Service Mode:\s+Replicated/,
        /On failure:\s+pause/,
        /PublishedPort = 18080/,
        /Target:\s+s1/,
      ]) {
        expect(pretty).toMatch(line);
      }
      expect(await run(follower, ['service', 'inspect', 'nosuch'])).toMatchObject({ code: 1, out: '[]\n' });
    });

    test('what is in use stays', async () => {
      expect(await refused(follower, 'secret', 'rm', 's1')).toContain(
        "secret 's1' is in use by the following service: web",
      );
      expect(await refused(follower, 'config', 'rm', 'c1')).toContain(
        "config 'c1' is in use by the following service: web",
      );
      expect(await refused(follower, 'network', 'rm', 'onet')).toContain('is in use by service');
      expect(await refused(follower, 'secret', 'create', 's1', file('s1', 'x'))).toContain('secret s1 already exists');
      expect(await docker('secret', 'inspect', 's1')).not.toContain('Data');
      expect(await docker('config', 'inspect', '-f', '{{printf "%s" .Spec.Data}}', 'c1')).toContain('shown');
      expect(await docker('network', 'inspect', '--verbose', '-f', '{{.Scope}} {{.Driver}}', 'onet')).toBe(
        'swarm overlay',
      );
    });

    test('update, which old tasks do not count for, and roll back', async () => {
      await docker('service', 'update', '-q', '--env-add', 'B=2', 'web');
      const current = await docker('service', 'ps', '-q', '-f', 'desired-state=running', 'web');
      expect(current.split('\n')).toHaveLength(1);
      expect((await states('web')).length).toBe(2);
      expect(await docker('service', 'inspect', '-f', '{{.UpdateStatus.State}}', 'web')).toMatch(/updating|completed/);
      await docker('service', 'rollback', '-q', 'web');
      expect(
        await docker(
          'service',
          'inspect',
          '-f',
          '{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ContainerSpec.Env}}',
          'web',
        ),
      ).toMatch(/^rollback_(started|completed) \[A=1\]$/);
    });

    test('scale, logs by service and by task', async () => {
      await create('talk', '--replicas', '1', 'bb:1', 'sh', '-c', 'echo hello; sleep 1000');
      await docker('service', 'scale', '-d', 'talk=2');
      await eventually(
        'both have spoken',
        async () => (await docker('service', 'logs', 'talk')).split('\n').length === 2,
      );
      for (const line of (await docker('service', 'logs', 'talk')).split('\n')) {
        expect(line).toMatch(/^talk\.[12]\.\w+@[mw]\d\s+\| hello$/);
      }
      expect(await docker('service', 'logs', '--raw', '--tail', '1', 'talk')).toBe('hello\nhello');
      const [task = ''] = (await docker('service', 'ps', '-q', 'talk')).split('\n');
      expect(await docker('service', 'logs', '--raw', task)).toBe('hello');
      await docker('service', 'rm', 'talk', 'web');
      await docker('secret', 'rm', 's1');
      await docker('config', 'rm', 'c1');
      await eventually(
        'nobody is on the network',
        async () => (await run(follower, ['network', 'rm', 'onet'])).code === 0,
      );
    });

    test('why tasks do not run', async () => {
      await create('nowhere', '--constraint', 'node.bogus==1', 'web:1');
      await create('absent', '--restart-condition', 'none', 'nosuch:1');
      await create('broken', '--restart-condition', 'none', 'bb:1', 'sh', '-c', 'exit 3');
      await create('everywhere', '--mode', 'global', '--publish', 'mode=host,target=8080', 'web:1');
      const [pending] = await states('nowhere');
      expect(pending).toMatch(/^Pending .*no suitable node \(scheduling constraints not satisfied on 5 nodes\)/);
      await eventually('it is rejected', async () =>
        /^Rejected .*No such image: nosuch:1/.test((await states('absent'))[0] ?? ''),
      );
      await eventually('it failed', async () =>
        /^Failed .*task: non-zero exit \(3\)/.test((await states('broken'))[0] ?? ''),
      );
      await eventually(
        'it runs everywhere',
        async () => (await docker('service', 'ls', '-f', 'name=every', '--format', '{{.Replicas}}')) === '5/5',
      );
      const tasks = await follower.api.get<Task[]>('/tasks', { filters: '{"service":["everywhere"]}' });
      for (const { Slot, Status } of tasks) {
        expect([Slot, Status.PortStatus?.Ports?.[0]?.PublishedPort]).toEqual([undefined, expect.any(Number)]);
      }
      await docker('service', 'rm', 'nowhere', 'absent', 'broken', 'everywhere');
    });

    test('a port that nobody named is one from 30000, beside the spec', async () => {
      await create('auto', '--publish', '8080', 'web:1');
      const shown = () => follower.api.get<Service>('/services/auto');
      await eventually('it has a port', async () => (await shown()).Endpoint.Ports !== undefined);
      const { Endpoint, Spec } = await shown();
      expect(Endpoint.Ports?.[0]?.PublishedPort).toBeGreaterThanOrEqual(30_000);
      expect(Spec.EndpointSpec?.Ports?.[0]).not.toHaveProperty('PublishedPort');
      await docker('service', 'rm', 'auto');
    });
  });

  test.skipIf(clis.length < 2)('each command, by the newest command line', { timeout: 60_000 }, async () => {
    const file = (name: string, text: string) => {
      const path = join(cluster.folder, name);
      writeFileSync(path, text);
      return path;
    };
    const word = file('word', 'hidden');
    const stack = file('stack.yml', stackOf(word));
    for (const [command, says, more = []] of commandRows(word, stack)) {
      const { code, out, err } = await run(follower, [...command.split(' '), ...more], [], clis.at(-1)?.path);
      expect([command, code, err, out.trim()]).toEqual([command, 0, expect.any(String), expect.stringMatching(says)]);
    }
  });

  describe('requests as command line 28.2.2 sends them', () => {
    const send = (method: string, path: string, body?: unknown) =>
      new Promise<{ status: number; text: string }>((resolve, reject) => {
        const text = body === undefined ? '' : JSON.stringify(body);
        const headers = {
          ...{ 'user-agent': 'Docker-Client/28.2.2 (linux)', 'content-length': Buffer.byteLength(text) },
          ...(body !== undefined && { 'content-type': 'application/json' }),
        };
        const sent = request({ socketPath: follower.socket, method, path: `/v1.50${path}`, headers }, (response) => {
          let answer = '';
          response.on('data', (chunk) => {
            answer += chunk;
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text: answer }));
        });
        sent.on('error', reject);
        sent.end(text);
      });

    test('a service by digest, placed by its platform, comes up; no mode is one replica', async () => {
      const spec = {
        ...{ Name: 'plain', Labels: {}, Mode: { Replicated: {} }, EndpointSpec: {}, RollbackConfig: { Order: '' } },
        TaskTemplate: {
          ContainerSpec: { Image: 'web:1', Init: false, DNSConfig: {}, StopGracePeriod: 1e9 },
          Placement: { Platforms: [{ Architecture: 'amd64', OS: 'linux' }] },
          ...{ Resources: { Limits: {}, Reservations: {} }, ForceUpdate: 0 },
        },
      };
      expect((await send('POST', '/services/create', spec)).status).toBe(201);
      await eventually('it runs', async () => (await cluster.running('plain')).length === 1);
      const filters = encodeURIComponent('{"_up-to-date":{"true":true},"service":{"plain":true}}');
      expect(JSON.parse((await send('GET', `/tasks?filters=${filters}`)).text)).toHaveLength(1);
      expect(await send('DELETE', '/services/plain')).toEqual({ status: 200, text: '' });
    });

    test.each([
      [
        'POST',
        '/swarm/init',
        { ListenAddr: '0.0.0.0:2377' },
        503,
        /^This node is already part of a swarm\. Use "docker swarm leave" to leave this swarm and join another one\.$/,
      ],
      [
        'POST',
        '/swarm/join',
        { RemoteAddrs: ['127.0.0.1:1'] },
        503,
        /^This node is already part of a swarm\. Use "docker swarm leave" to leave this swarm and join another one\.$/,
      ],
      [
        'POST',
        '/swarm/leave',
        undefined,
        503,
        /^You are attempting to leave the swarm on a node that is participating as a manager\. .*Use `--force` to suppress this message\.$/,
      ],
    ] as const)('%s %s is refused by status and message', async (method, path, body, status, message) => {
      const answer = await send(method, path, body);
      expect([answer.status, JSON.parse(answer.text)]).toEqual([status, { message: expect.stringMatching(message) }]);
    });

    test('a swarm update carries all three flags, and a network no CheckDuplicate', async () => {
      const { Spec, Version } = JSON.parse((await send('GET', '/swarm')).text);
      const flags = 'rotateManagerToken=false&rotateManagerUnlockKey=false&rotateWorkerToken=true';
      expect(await send('POST', `/swarm/update?${flags}&version=${Version.Index}`, Spec)).toEqual({
        status: 200,
        text: '',
      });
      const network = { Name: 'bare', Driver: 'overlay', Scope: '', EnableIPv4: null, EnableIPv6: null, IPAM: null };
      const made = await send('POST', '/networks/create', { ...network, Options: {}, Labels: {} });
      expect([made.status, JSON.parse(made.text)]).toEqual([201, { Id: expect.any(String), Warning: '' }]);
      expect(JSON.parse((await send('GET', '/networks/bare?scope=swarm')).text).Scope).toBe('swarm');
      expect(await send('DELETE', '/networks/bare')).toEqual({ status: 204, text: '' });
    });
  });

  describe('libraries', () => {
    const python = spawnSync('python3', ['-c', 'import docker']).status === 0;
    if (!python && process.env['REQUIRE_DOCKER']) throw new Error('REQUIRE_DOCKER is set, but docker-py is missing');

    test.skipIf(!python)('docker-py', async () => {
      const script = fileURLToPath(new URL('docker-cli.py', import.meta.url));
      const { code, out, err } = await runProgram('python3', ['-W', 'ignore', script, `unix://${follower.socket}`]);
      expect([code, err]).toEqual([0, '']);
      expect(JSON.parse(out)).toMatchObject({
        ...{ version: expect.stringMatching(/^1\.\d\d$/), server: '1.50', ping: true, swarm: 'default' },
        ...{ workers: ['w1', 'w2'], nodeUpdate: true, nodeLabels: { py: '1' }, secrets: ['py-secret'] },
        ...{ configData: Buffer.from('shown').toString('base64'), networks: ['py-net'], listed: ['py'] },
        secretInUse: [400, expect.stringContaining("secret 'py-secret' is in use by the following service: py")],
        ...{ updated: { Warnings: null }, env: ['A=2'], replicas: 2 },
        stale: [500, expect.stringContaining('update out of sequence')],
        gone: [404, 'service py not found'],
      });
    });

    test('dockerode', async () => {
      const client = new Docker({ socketPath: follower.socket });
      const secret = await client.createSecret({ Name: 'js-secret', Labels: {}, Data: 'aGlkZGVu' });
      const config = await client.createConfig({ Name: 'js-config', Labels: {}, Data: 'c2hvd24=' });
      const network = await client.createNetwork({ Name: 'js-net', Driver: 'overlay' });
      const service = await client.createService({
        ...{ Name: 'js', Labels: { by: 'js' }, Mode: { Replicated: { Replicas: 1 } } },
        TaskTemplate: { ContainerSpec: { Image: 'bb:1', Args: ['sh', '-c', 'echo hello; sleep 1000'] } },
      });
      await eventually('it runs', async () => (await cluster.running('js')).length === 1);
      const listed = await client.listServices({ filters: { label: ['by=js'] } });
      expect(listed.map(({ ID }) => ID)).toEqual([service.id]);
      const { Version, Spec } = await service.inspect();
      await service.update({
        ...Spec,
        version: Number(Version.Index),
        Mode: { Replicated: { Replicas: 2 } },
      });
      await eventually('two run', async () => (await cluster.running('js')).length === 2);
      const said = async () => String(await service.logs({ stdout: true, stderr: true, tail: 1 } as never));
      await eventually('they have spoken', async () => (await said()).split('hello').length === 3);
      expect((await client.listNodes()).length).toBe(5);
      expect((await client.listTasks({ filters: { service: ['js'] } })).length).toBe(2);
      await service.remove();
      await secret.remove();
      await config.remove();
      await network.remove();
      await expect(service.inspect()).rejects.toMatchObject({ statusCode: 404 });
    });
  });

  test('without a quorum nothing is served but what the node knows of itself', async () => {
    const others = cluster.managers.filter((node) => node !== follower);
    await Promise.all(others.map((node) => cluster.kill(node)));
    await eventually('it is known', async () =>
      (await refused(follower, 'service', 'ls')).includes('The swarm does not have a leader.'),
    );
    const words = '{{.Swarm.ControlAvailable}} {{.Swarm.Error}}';
    expect(await docker('info', '-f', words)).toMatch(/^true rpc error: code = /);
  });
});
