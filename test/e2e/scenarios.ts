import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Node, Service, Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ApiError } from '../../packages/cli/src/client.ts';
import { type Cluster, type NodeHandle, runProgram } from '../kit/cluster.ts';
import { sh, World } from './world.ts';

// What a cluster must do for those who run their company on it, once for each runtime. The tests of a suite share one cluster and run in order;
// each leaves it whole.

const swarmctlBin = fileURLToPath(new URL('../../packages/cli/bin/swarmctl.js', import.meta.url));

export function scenarios(runtime: 'docker' | 'process'): void {
  let world: World;
  let cluster: Cluster;

  beforeAll(async () => {
    world = await World.make(runtime);
    cluster = world.cluster;
  }, 120_000);
  afterAll(async () => {
    await world?.stop();
  }, 60_000);

  const manager = () => cluster.anyManager();
  const create = async (...args: string[]) => cluster.ctl(await manager(), ...args);
  const remove = async (...names: string[]) => {
    await cluster.ctl(await manager(), 'service', 'rm', ...names);
    for (const name of names) {
      await cluster.eventually(`the tasks of ${name} are gone`, async () => {
        const tasks = await (await manager()).api.get<Task[]>('/tasks');
        return !tasks.some((task) => task.Spec && nameOf(task) === name);
      });
    }
  };
  const names = new Map<string, string>();
  const nameOf = (task: Task) => names.get(task.ServiceID);
  const idOf = async (name: string) => {
    const { ID } = await cluster.service(name);
    names.set(ID, name);
    return ID;
  };
  const nodeId = async (node: NodeHandle) => {
    const nodes = await (await manager()).api.get<Node[]>('/nodes');
    return nodes.find((one) => one.Description?.Hostname === node.name)?.ID ?? '';
  };
  const containers = (tasks: readonly Task[]) =>
    tasks.map((task) => `${task.ID} ${task.Status.ContainerStatus?.ContainerID}`).sort();
  /** Two running containers in one slot, as the runtime itself sees it (docker), else as the state does. */
  const doubles = async (service: string): Promise<string[]> => {
    const running = new Map<string, string[]>();
    if (runtime === 'docker') {
      const list = await world.engine.docker.listContainers({
        filters: { label: [`com.docker.swarm.service.name=${service}`] },
      });
      for (const one of list) {
        const slot = (one.Labels['com.docker.swarm.task.name'] ?? '').split('.').slice(0, 2).join('.');
        running.set(slot, [...(running.get(slot) ?? []), one.Id]);
      }
    } else {
      for (const task of await cluster.running(service))
        running.set(String(task.Slot), [...(running.get(String(task.Slot)) ?? []), task.ID]);
    }
    return [...running].filter(([, ids]) => ids.length > 1).map(([slot]) => slot);
  };

  describe('a formed cluster', () => {
    test('has three managers, one of which leads, and two workers', async () => {
      const nodes = await (await manager()).api.get<
        (Node & { ManagerStatus?: { Leader?: boolean; Reachability: string } })[]
      >('/nodes');
      expect(nodes.map((node) => node.Spec.Role).sort()).toEqual(['manager', 'manager', 'manager', 'worker', 'worker']);
      expect(nodes.filter((node) => node.ManagerStatus?.Leader)).toHaveLength(1);
      await cluster.eventually(
        'three voters',
        async () =>
          (await (await manager()).api.get<typeof nodes>('/nodes')).filter(
            (node) => node.ManagerStatus?.Reachability === 'reachable',
          ).length === 3,
      );
    });

    test('runs a service whose port answers on every node, round-robin over its replicas', async () => {
      await create(...world.web({ name: 'web', replicas: 3, port: 8080 }));
      const id = await idOf('web');
      const tasks = await cluster.running('web');
      expect(tasks).toHaveLength(3);
      expect(new Set(tasks.map((task) => task.Slot))).toEqual(new Set([1, 2, 3]));
      for (const node of cluster.nodes) {
        const answers = await world.answering(node.addr, 8080, 30);
        expect(new Set(answers.keys())).toEqual(new Set(tasks.map((task) => task.ID)));
        for (const count of answers.values()) expect(count).toBeGreaterThanOrEqual(8);
      }
      expect(id).toMatch(/^[0-9a-z]{25}$/);
    });

    test('shows logs of every task', async () => {
      const out = await cluster.ctl(await manager(), 'service', 'logs', 'web');
      for (const slot of [1, 2, 3])
        expect(out).toMatch(new RegExp(`^web\\.${slot}\\.\\w+@\\w+ +\\| version 1 serves on`, 'm'));
    });

    test('scales up and down', async () => {
      await create('service', 'scale', '-d', 'web=5');
      await cluster.eventually('five run', async () => (await cluster.running('web')).length === 5);
      await create('service', 'scale', '-d', 'web=2');
      await cluster.eventually('two are left', async () => {
        const tasks = await cluster.tasks('web');
        return (
          tasks.filter((task) => task.Status.State === 'running').length === 2 &&
          (await cluster.running('web'))
            .map((task) => task.Slot)
            .sort()
            .join() === '1,2'
        );
      });
      await remove('web');
      await expect(world.get(cluster.nodes[0]?.addr ?? '', 8080)).rejects.toThrow(/ECONNREFUSED|ECONNRESET/);
    });

    test('runs a global service once on each node, with a host-mode port', async () => {
      const flags = ['--mode', 'global', '--publish', 'mode=host,target=8080,published=8090'];
      // Five nodes share this machine: a host port bound on every address would meet itself, so one node is asked only.
      await create(
        ...world
          .web({ name: 'each', flags: ['--constraint', 'node.hostname==w1', ...flags] })
          .filter((word, i, all) => word !== '--replicas' && all[i - 1] !== '--replicas'),
      );
      await idOf('each');
      const tasks = await cluster.running('each');
      expect(tasks.map((task) => task.NodeID)).toEqual([await nodeId(cluster.workers[0] as NodeHandle)]);
      expect(tasks[0]?.Status.PortStatus?.Ports).toMatchObject([{ PublishedPort: 8090, TargetPort: 8080 }]);
      if (runtime === 'docker') expect(await world.get(cluster.workers[0]?.addr ?? '', 8090)).toBe('version 1\n');
      await remove('each');
    });

    test('runs a job to its completions, and again when it is told to', async () => {
      const work = runtime === 'docker' ? ['bb:1', 'true'] : ['--runtime', 'process', 'process', '/bin/true'];
      await create('service', 'create', '--name', 'job', '--mode', 'replicated-job', '--replicas', '3', ...work);
      const row = async () =>
        (await create('service', 'ls', '--filter', 'name=job', '--format', '{{.Mode}} {{.Replicas}}')).trim();
      expect(await row()).toBe('replicated job 0/3 (3/3 completed)');
      const first = await cluster.tasks('job');
      await create('service', 'update', '--force', 'job');
      expect(await row()).toBe('replicated job 0/3 (3/3 completed)');
      const again = await cluster.tasks('job');
      expect(again.map((task) => task.JobIteration)).toContainEqual({ Index: 1 });
      expect(first.some((task) => again.some(({ ID, Status }) => ID === task.ID && Status.State === 'running'))).toBe(
        false,
      );
      await remove('job');
    });
  });

  const onDocker = runtime === 'docker' ? describe : () => undefined;
  onDocker('clients over TLS', () => {
    const over = async (program: string, args: readonly string[], env: Record<string, string> = {}) => {
      const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      return runProgram(...cluster.command('env', [...words, program, ...args]));
    };

    test('a folder that a manager certified opens every manager to docker and swarmctl, and nothing else does', async () => {
      const [first, second] = cluster.managers as [NodeHandle, NodeHandle];
      const folder = join(cluster.folder, 'ada');
      expect(await cluster.ctl(first, 'context', 'export', 'ada', folder)).toContain(`host=tcp://${first.addr}:2376`);
      const sourced = await over('sh', ['-c', `. ${folder}/env.sh && docker node ls --format '{{.Hostname}}'`]);
      expect(sourced.out.trim().split('\n').sort()).toEqual(['m1', 'm2', 'm3', 'w1', 'w2']);
      const tls = { DOCKER_HOST: `tcp://${second.addr}:2376`, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: folder };
      const swarmctl = [swarmctlBin, 'node', 'ls', '--format', '{{.Hostname}}'];
      expect((await over(process.execPath, swarmctl, tls)).out.trim().split('\n')).toHaveLength(5);
      // The node's own certificate, and none.
      const node = { ...tls, DOCKER_CERT_PATH: join(first.folder, 'identity') };
      for (const env of [{ DOCKER_HOST: tls.DOCKER_HOST }, node]) {
        const { code } = await over('docker', ['node', 'ls'], env);
        expect(code).not.toBe(0);
      }
      expect(await cluster.ctl(first, 'context', 'clients', '--format', '{{.Name}} {{.State}}')).toBe('ada valid\n');
      await cluster.ctl(first, 'context', 'revoke', 'ada');
      await cluster.eventually(
        'every manager knows it',
        async () => (await over('docker', ['node', 'ls'], tls)).code !== 0,
      );
    });
  });

  onDocker("Docker's own command line", () => {
    const docker = async (...args: string[]) => {
      const [program, words] = ['/usr/bin/docker', ['-H', `unix://${(await manager()).socket}`, ...args]] as const;
      const { code, out, err } = await runProgram(program, words);
      if (code !== 0) throw new Error(`docker ${args.join(' ')}: exit ${code}: ${err}${out}`);
      return out;
    };

    test('lists the nodes', async () => {
      const out = await docker('node', 'ls', '--format', '{{.Hostname}} {{.Status}} {{.ManagerStatus}}');
      expect(
        out
          .trim()
          .split('\n')
          .sort()
          .map((line) => line.replace(/Leader|Reachable/, 'M').trim()),
      ).toEqual(['m1 Ready M', 'm2 Ready M', 'm3 Ready M', 'w1 Ready', 'w2 Ready']);
    });

    test('creates, lists, scales, inspects and removes a service', async () => {
      // Not detached: Docker's progress loop must see the service converge.
      await docker(
        'service',
        'create',
        '--quiet',
        '--name',
        'dock',
        '--replicas',
        '2',
        '-p',
        '8085:8080',
        '--update-monitor',
        '500ms',
        'web:1',
      );
      await idOf('dock');
      expect(
        await docker(
          'service',
          'ls',
          '--filter',
          'name=dock',
          '--format',
          '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}} {{.Ports}}',
        ),
      ).toBe('dock replicated 2/2 web:1 *:8085->8080/tcp\n');
      const ps = await docker('service', 'ps', 'dock', '--format', '{{.Name}} {{.DesiredState}} {{.CurrentState}}');
      expect(ps.trim().split('\n').sort()).toEqual([
        expect.stringMatching(/^dock\.1 Running Running/),
        expect.stringMatching(/^dock\.2 Running Running/),
      ]);
      await docker('service', 'scale', '--detach', 'dock=3');
      await cluster.eventually('three run', async () => (await cluster.running('dock')).length === 3);
      expect(JSON.parse(await docker('service', 'inspect', 'dock'))[0].Spec.Mode).toEqual({
        Replicated: { Replicas: 3 },
      });
      expect(await docker('service', 'inspect', '--pretty', 'dock')).toMatch(/Replicas:\s+3/);
      await docker(
        'service',
        'update',
        '--quiet',
        '--image',
        'web:2',
        '--update-parallelism',
        '0',
        '--update-monitor',
        '500ms',
        'dock',
      );
      await cluster.eventually(
        'the new version answers',
        async () => (await world.get(cluster.nodes[0]?.addr ?? '', 8085)) === 'version 2\n',
      );
      await docker('service', 'rm', 'dock');
      await cluster.eventually('its tasks are gone', async () =>
        (await (await manager()).api.get<Task[]>('/tasks')).every((task) => nameOf(task) !== 'dock'),
      );
    }, 60_000);

    test('says what is not there yet', async () => {
      await expect(docker('plugin', 'disable', 'x')).rejects.toThrow(/plugins are not supported yet/);
    });

    test('makes, shows and removes a network', async () => {
      const id = (await docker('network', 'create', '-d', 'overlay', '--attachable', 'dock')).trim();
      expect(await docker('network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}')).toMatch(
        /^dock overlay swarm$/m,
      );
      expect(await docker('network', 'inspect', '-f', '{{.Id}} {{.Attachable}}', 'dock')).toBe(`${id} true\n`);
      expect(await docker('network', 'rm', 'dock')).toBe('dock\n');
      await expect(docker('network', 'inspect', 'dock')).rejects.toThrow(
        // The client says it in its own words where it also looks for other kinds.
        /network dock not found|no such network: dock/i,
      );
    });
  });

  describe('bad input', () => {
    const services = async () => (await (await manager()).api.get<Service[]>('/services')).length;

    test.each<[string, string[], RegExp]>([
      [
        'an unknown flag',
        ['service', 'create', '--replicaz', '3', 'web:1'],
        /unknown flag: --replicaz; did you mean --replicas\?/,
      ],
      ['a bad image name', ['service', 'create', 'BAD::x'], /"BAD::x" is not a valid repository\/tag/],
      [
        'a bad constraint',
        ['service', 'create', '--constraint', 'garbage', 'web:1'],
        /constraint expected one operator from ==, !=/,
      ],
      ['a bad name', ['service', 'create', '--name', 'x y', 'web:1'], /name must be valid as a DNS name component/],
      ['an unknown secret', ['service', 'create', '--secret', 'a', 'web:1'], /secret a not found/],
      ['an unknown service', ['service', 'update', '--image', 'a', 'nosuch'], /service nosuch not found/],
      ['a node that is up', ['node', 'rm', 'w1'], /is not down and can't be removed/],
      ['a manager', ['node', 'rm', '--force', 'm1'], /must be demoted to worker before removal/],
      ['joining twice', ['swarm', 'join', '--token', 'SWMTKN-1-x', '127.0.0.1:2377'], /already part of a swarm/],
    ])('%s is refused and changes nothing', async (_, args, message) => {
      const before = await services();
      const { code, err } = await cluster.tryCtl(await manager(), ...args);
      expect(err).toMatch(message);
      expect(code).not.toBe(0);
      expect(await services()).toBe(before);
    });

    test('an unknown field of a body is dropped; a stale version is refused', async () => {
      const api = (await manager()).api;
      const { ID: id } = await api.post<{ ID: string }>('/services/create', {
        Name: 'stale',
        Nonsense: 1,
        Mode: { Replicated: { Replicas: 0 } },
        TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
      });
      const service = await api.get<Service>(`/services/${id}`);
      await api.post(`/services/${id}/update`, service.Spec, { version: service.Version.Index });
      await expect(
        api.post(`/services/${id}/update`, service.Spec, { version: service.Version.Index }),
      ).rejects.toThrow(/update out of sequence/);
      await api.delete(`/services/${id}`);
    });

    test('a port that is taken is refused with who has it', async () => {
      await create(...world.web({ name: 'first', replicas: 1, port: 8081, flags: ['-d'] }));
      const { err } = await cluster.tryCtl(
        await manager(),
        ...world.web({ name: 'second', port: 8081, flags: ['-d'] }),
      );
      expect(err).toMatch(/port '8081' is already in use by service 'first'/);
      await idOf('first');
      await remove('first');
    });

    test('an impossible constraint ends with its reason, and the service waits', async () => {
      await create(...world.web({ name: 'moon', flags: ['-d', '--constraint', 'node.labels.zone==moon'] }));
      await cluster.eventually(
        'the reason shows',
        async () =>
          (await cluster.tasks('moon'))[0]?.Status.Err ===
          'no suitable node (scheduling constraints not satisfied on 5 nodes): node.labels.zone==moon on 5 nodes',
      );
      await cluster.ctl(await manager(), 'node', 'update', '--label-add', 'zone=moon', 'w2');
      await cluster.eventually('it runs where the label is', async () => (await cluster.running('moon')).length === 1);
      await cluster.ctl(await manager(), 'node', 'update', '--label-rm', 'zone', 'w2');
      await idOf('moon');
      await remove('moon');
    });

    test('garbage on port 2377 harms nothing', async () => {
      const [program, args] = cluster.command(process.execPath, [
        '-e',
        `const n=require('net');let left=20;for(let i=0;i<20;i++){const s=n.connect(2377,'${cluster.nodes[0]?.addr}',()=>s.write(require('crypto').randomBytes(4000)));s.resume();s.on('error',()=>{});s.on('close',()=>--left||process.exit(0))}setTimeout(()=>process.exit(left?1:0),9000)`,
      ]);
      sh(program, ...args);
      expect(await cluster.ctl(await manager(), 'node', 'ls', '-q')).toMatch(/\w/);
    });
  });

  describe('updates', () => {
    test.each(['stop-first', 'start-first'])(
      'a %s update of six replicas under load, through a node without one, drops no request',
      async (order) => {
        const edge = cluster.workers[1] as NodeHandle;
        await create(
          ...world.web({
            name: 'roll',
            replicas: 6,
            port: 8082,
            flags: [
              '--constraint',
              `node.hostname!=${edge.name}`,
              '--update-order',
              order,
              '--update-parallelism',
              '2',
              '--update-monitor',
              '1s',
            ],
          }),
        );
        await idOf('roll');
        const load = world.load(edge.addr, 8082, { rate: 50 });
        await new Promise((resolve) => setTimeout(resolve, 500));
        await create('service', 'update', '--quiet', ...world.toVersion('2'), 'roll');
        await new Promise((resolve) => setTimeout(resolve, 500));
        const result = await load.stop();
        expect(result.failures).toEqual([]);
        expect(result.answers).toMatchObject({ 'version 1': expect.any(Number), 'version 2': expect.any(Number) });
        expect((await cluster.service('roll')).UpdateStatus?.State).toBe('completed');
        await remove('roll');
      },
      120_000,
    );

    /** Long enough for the first failure to come before the second task's turn. */
    const slowly = ['--update-monitor', '3s', '--update-delay', '2s'];

    test('an update to what does not start pauses', async () => {
      await create(
        ...world.web({
          name: 'pauses',
          replicas: 2,
          flags: ['--rollback-monitor', '500ms', '--restart-delay', '200ms'],
        }),
      );
      await idOf('pauses');
      const { code, err } = await cluster.tryCtl(
        await manager(),
        'service',
        'update',
        '--quiet',
        ...slowly,
        ...world.toCrash(),
        'pauses',
      );
      expect(err).toMatch(/update paused due to failure or early termination of task/);
      expect(code).toBe(1);
      const left = (await cluster.tasks('pauses')).map(
        (task) => `${task.Slot} ${task.DesiredState} ${task.Status.State} ${task.Status.Err ?? ''}`,
      );
      expect(left.sort()).toContainEqual(expect.stringMatching(/^\d running running/));
      // Going back is one command.
      await create('service', 'rollback', '--quiet', 'pauses');
      await cluster.eventually('both run again', async () => (await cluster.running('pauses')).length === 2);
      await remove('pauses');
    }, 60_000);

    test('an update to what does not start rolls back where it was told to', async () => {
      await create(
        ...world.web({
          name: 'rolls',
          replicas: 2,
          flags: ['--update-failure-action', 'rollback', '--rollback-monitor', '1s', '--restart-delay', '200ms'],
        }),
      );
      await idOf('rolls');
      const before = (await cluster.service('rolls')).Spec.TaskTemplate;
      const { code, err } = await cluster.tryCtl(
        await manager(),
        'service',
        'update',
        '--quiet',
        ...slowly,
        ...world.toCrash(),
        'rolls',
      );
      expect(err).toMatch(/rolled back|rollback/);
      expect(code).toBe(1);
      await cluster.eventually('the rollback is complete', async () => {
        const service = await cluster.service('rolls');
        return service.UpdateStatus?.State === 'rollback_completed' && (await cluster.running('rolls')).length === 2;
      });
      expect((await cluster.service('rolls')).Spec.TaskTemplate).toEqual(before);
      await remove('rolls');
    }, 60_000);
  });

  describe('failures', () => {
    beforeAll(async () => {
      await create(...world.web({ name: 'keep', replicas: 5, port: 8083 }));
      await idOf('keep');
    }, 60_000);

    const serves = async (except: readonly NodeHandle[] = []) => {
      for (const node of cluster.nodes.filter((one) => !except.includes(one)))
        expect(await world.get(node.addr, 8083)).toBe('version 1\n');
    };

    test('kill -9 of the leader: no acknowledged write is lost, the next succeeds by itself, tasks are undisturbed', async () => {
      const leader = await cluster.leader();
      const follower = cluster.managers.find((node) => node !== leader) as NodeHandle;
      const before = containers((await cluster.running('keep')).filter((task) => task.NodeID));
      const acknowledged: string[] = [];
      let writing = true;
      const writer = (async () => {
        for (let i = 0; writing; i++) {
          const Name = `write-${i}`;
          await follower.api
            .post('/services/create', {
              Name,
              Mode: { Replicated: { Replicas: 0 } },
              TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
            })
            .then(() => acknowledged.push(Name))
            .catch(() => new Promise((resolve) => setTimeout(resolve, 20)));
        }
      })();
      await cluster.eventually('some writes', () => acknowledged.length >= 10);
      await cluster.kill(leader);
      const until = acknowledged.length;
      await cluster.eventually('writes go on', () => acknowledged.length >= until + 10);
      writing = false;
      await writer;
      const there = new Set((await follower.api.get<Service[]>('/services')).map((service) => service.Spec.Name));
      expect(acknowledged.filter((name) => !there.has(name))).toEqual([]);
      await cluster.startNode(leader);
      await cluster.eventually('the old leader is ready again', async () =>
        (await follower.api.get<Node[]>('/nodes')).every((node) => node.Status.State === 'ready'),
      );
      await cluster.eventually('five run', async () => (await cluster.running('keep')).length === 5);
      // Those on the other nodes were not touched.
      const gone = await nodeId(leader);
      const after = new Set(containers(await cluster.running('keep')));
      const others = (await cluster.tasks('keep'))
        .filter((task) => task.NodeID !== gone)
        .map((task) => `${task.ID} ${task.Status.ContainerStatus?.ContainerID}`);
      for (const one of before.filter((line) => others.includes(line))) expect(after).toContain(one);
      expect(await doubles('keep')).toEqual([]);
      for (const name of acknowledged) await follower.api.delete(`/services/${name}`);
    }, 60_000);

    test('kill -9 of a majority: writes are refused with a clear error, tasks still served; back again, it goes on', async () => {
      const [first, second, third] = cluster.managers as [NodeHandle, NodeHandle, NodeHandle];
      await cluster.kill(first);
      await cluster.kill(second);
      const spec = { Name: 'refused', TaskTemplate: { ContainerSpec: { Image: 'web:1' } } };
      await cluster.eventually('the loss is noticed', async () => {
        const error = await third.api.post('/services/create', spec).catch((one) => one);
        return error instanceof ApiError && /does not have a leader/.test(error.message);
      });
      await serves([first, second]);
      await Promise.all([cluster.startNode(first), cluster.startNode(second)]);
      await cluster.leader();
      await cluster.eventually('writes go on', () =>
        third.api
          .post('/services/create', { ...spec, Name: 'goes-on', Mode: { Replicated: { Replicas: 0 } } })
          .then(() => true),
      );
      expect((await third.api.get<Service[]>('/services')).map((one) => one.Spec.Name)).not.toContain('refused');
      await third.api.delete('/services/goes-on');
      await cluster.eventually('five run', async () => (await cluster.running('keep')).length === 5);
      expect(await doubles('keep')).toEqual([]);
    }, 90_000);

    test('kill -9 of all: restarted, everything is there and no container was restarted', async () => {
      await cluster.eventually('five run', async () => (await cluster.running('keep')).length === 5);
      const before = containers(await cluster.running('keep'));
      await Promise.all(cluster.nodes.map((node) => cluster.kill(node)));
      await Promise.all(cluster.nodes.map((node) => cluster.startNode(node)));
      await cluster.leader();
      await cluster.eventually('all nodes ready', async () =>
        (await (await manager()).api.get<Node[]>('/nodes')).every((node) => node.Status.State === 'ready'),
      );
      await cluster.eventually('five run', async () => (await cluster.running('keep')).length === 5);
      expect(containers(await cluster.running('keep'))).toEqual(before);
      await serves();
    }, 90_000);

    test('kill -9 of a worker: its tasks run elsewhere; back again, nothing runs twice in a slot', async () => {
      const worker = cluster.workers[0] as NodeHandle;
      const id = await nodeId(worker);
      await create('service', 'scale', '-d', 'keep=8');
      await cluster.eventually('eight run, some there', async () => {
        const running = await cluster.running('keep');
        return running.length === 8 && running.some((task) => task.NodeID === id);
      });
      await cluster.kill(worker);
      await cluster.eventually('eight run elsewhere', async () => {
        const running = (await cluster.running('keep')).filter((task) => task.NodeID !== id);
        return running.length === 8;
      });
      await cluster.startNode(worker);
      await cluster.eventually('it is ready and its surplus gone', async () => {
        const node = (await (await manager()).api.get<Node[]>('/nodes')).find((one) => one.ID === id);
        return (
          node?.Status.State === 'ready' &&
          (await doubles('keep')).length === 0 &&
          (await cluster.running('keep')).length === 8
        );
      });
      await serves();
    }, 90_000);

    test('a clean restart of a daemon moves no task and restarts no container', async () => {
      const worker = cluster.workers[1] as NodeHandle;
      const before = containers(await cluster.running('keep'));
      await cluster.kill(worker, 'SIGTERM');
      await cluster.startNode(worker);
      await cluster.eventually('all nodes ready', async () =>
        (await (await manager()).api.get<Node[]>('/nodes')).every((node) => node.Status.State === 'ready'),
      );
      expect(containers(await cluster.running('keep'))).toEqual(before);
    }, 60_000);

    test('a locked manager waits for the key after a restart', async () => {
      const [first, second] = cluster.managers as [NodeHandle, NodeHandle];
      const key = /SWMKEY-1-\S+/.exec(await cluster.ctl(first, 'swarm', 'update', '--autolock'))?.[0] ?? '';
      await cluster.eventually('its keys are locked', async () => !existsSync(join(second.folder, 'identity/key.pem')));
      await cluster.kill(second);
      await cluster.startNode(second);
      const { code, err } = await cluster.tryCtl(second, 'node', 'ls');
      expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining('needs to be unlocked') });
      const unlock = (typed: string) =>
        runProgram('sh', [
          '-c',
          `echo ${typed} | ${process.execPath} ${swarmctlBin} --host unix://${second.socket} swarm unlock`,
        ]);
      expect(await unlock('SWMKEY-1-wrong')).toMatchObject({
        code: 1,
        err: expect.stringMatching(/an unlock key looks like/),
      });
      expect(await unlock(key)).toMatchObject({ code: 0 });
      await cluster.eventually('it manages again', async () => (await cluster.tryCtl(second, 'node', 'ls')).code === 0);
      await cluster.ctl(first, 'swarm', 'update', '--autolock=false');
      await cluster.eventually('its keys are its own again', async () =>
        existsSync(join(second.folder, 'identity/key.pem')),
      );
    }, 60_000);

    test('a drained node gives its tasks up, and takes new ones when it is active again', async () => {
      const worker = cluster.workers[0] as NodeHandle;
      const id = await nodeId(worker);
      await cluster.ctl(await manager(), 'node', 'update', '--availability', 'drain', worker.name);
      await cluster.eventually('nothing runs there', async () => {
        const tasks = await cluster.tasks('keep');
        return (
          !tasks.some((task) => task.NodeID === id && task.Status.State === 'running') &&
          (await cluster.running('keep')).length === 8
        );
      });
      await cluster.ctl(await manager(), 'node', 'update', '--availability', 'active', worker.name);
      await remove('keep');
    }, 90_000);
  });

  describe('membership', () => {
    test('a worker is promoted and demoted in place', async () => {
      const worker = cluster.workers[1] as NodeHandle;
      await cluster.ctl(await manager(), 'node', 'promote', worker.name);
      await cluster.eventually(
        'it serves as a manager',
        async () => (await worker.api.get<Node[]>('/nodes')).length === 5,
      );
      await cluster.ctl(await manager(), 'node', 'demote', worker.name);
      await cluster.eventually('it is a worker again', async () => {
        const error = await worker.api.get('/nodes').catch((one) => one);
        return error instanceof ApiError && error.status === 503;
      });
      await cluster.eventually('the cluster says so too', async () => {
        const node = (await (await manager()).api.get<Node[]>('/nodes')).find(
          (one) => one.Description?.Hostname === worker.name,
        );
        return node?.Spec.Role === 'worker' && !node.ManagerStatus && node.Status.State === 'ready';
      });
    }, 60_000);

    test('managers that are demoted and promoted again at once are managers in the end', async () => {
      const [first, ...others] = cluster.managers as [NodeHandle, ...NodeHandle[]];
      for (const node of [...others, ...others]) {
        await cluster.ctl(first, 'node', 'demote', node.name);
        await cluster.ctl(first, 'node', 'promote', node.name);
      }
      await cluster.eventually('each of the three says that all three are there', async () => {
        const seen = cluster.managers.map(({ api }) => api.get<{ ManagerStatus?: object }[]>('/nodes'));
        return (await Promise.all(seen)).every((nodes) => nodes.filter((node) => node.ManagerStatus).length === 3);
      });
    }, 60_000);

    test('a wrong or rotated token is refused; a node that left joins again', async () => {
      const worker = cluster.workers[1] as NodeHandle;
      const [first] = cluster.managers as [NodeHandle];
      const old = (await cluster.ctl(first, 'swarm', 'join-token', '-q', 'worker')).trim();
      await cluster.ctl(worker, 'swarm', 'leave');
      await cluster.eventually('it is down', async () =>
        (await first.api.get<Node[]>('/nodes')).some(
          (node) => node.Description?.Hostname === worker.name && node.Status.State === 'down',
        ),
      );
      await cluster.ctl(first, 'node', 'rm', worker.name);
      await cluster.ctl(first, 'swarm', 'join-token', '-q', '--rotate', 'worker');
      const attempt = (token: string) =>
        cluster.tryCtl(
          worker,
          'swarm',
          'join',
          '--token',
          token,
          '--advertise-addr',
          worker.addr,
          `${first.addr}:2377`,
        );
      expect((await attempt(old)).err).toMatch(/invalid join token/);
      const impostor = old.replace(/^(SWMTKN-1-)\w/, (_, head: string) => `${head}${old[9] === '0' ? '1' : '0'}`);
      expect((await attempt(impostor)).err).toMatch(/remote CA does not match fingerprint/);
      expect((await attempt('nonsense')).err).toMatch(/invalid join token/);
      const fresh = (await cluster.ctl(first, 'swarm', 'join-token', '-q', 'worker')).trim();
      expect(await attempt(fresh)).toMatchObject({
        code: 0,
        out: expect.stringContaining('joined a swarm as a worker'),
      });
      await cluster.eventually('it is ready', async () =>
        (await first.api.get<Node[]>('/nodes')).some(
          (node) => node.Description?.Hostname === worker.name && node.Status.State === 'ready',
        ),
      );
    }, 60_000);

    // Once is enough: the runtime has no part in it.
    if (runtime !== 'process') return;
    test('of managers whose majority is lost, one that is forced goes on alone', async () => {
      const [first, second, third] = cluster.managers as [NodeHandle, NodeHandle, NodeHandle];
      await create(
        ...world.web({ name: 'stays', replicas: 2, port: 8095, flags: ['--constraint', 'node.role==worker'] }),
      );
      await idOf('stays');
      const before = containers(await cluster.running('stays'));
      const nodesOf = async (node: NodeHandle) => {
        const nodes = await node.api.get<Node[]>('/nodes');
        return (name: string) => nodes.find((one) => one.Description?.Hostname === name);
      };
      for (const node of [first, second]) {
        await cluster.kill(node);
        renameSync(node.folder, `${node.folder}-lost`);
      }
      await cluster.ctl(third, 'swarm', 'init', '--force-new-cluster');
      expect(containers(await cluster.running('stays'))).toEqual(before);
      await cluster.startNode(first);
      const token = (await cluster.ctl(third, 'swarm', 'join-token', '-q', 'manager')).trim();
      await cluster.ctl(first, 'swarm', 'join', '--token', token, '--advertise-addr', first.addr, `${third.addr}:2377`);
      expect((await nodesOf(first))(first.name)).toBeDefined();
      // It was a member of what was lost.
      renameSync(`${second.folder}-lost`, second.folder);
      await cluster.startNode(second);
      await cluster.eventually('it is a worker', async () => {
        const error = await second.api.get('/nodes').catch((one) => one);
        const node = (await nodesOf(third))(second.name);
        return error instanceof ApiError && error.status === 503 && node?.Status.State === 'ready';
      });
      expect((await nodesOf(third))(second.name)).toMatchObject({ Spec: { Role: 'worker' } });
      const after = (await third.api.get<Task[]>('/tasks')).filter((task) =>
        before.some((one) => one.startsWith(task.ID)),
      );
      expect(containers(after)).toEqual(before);
      expect((await world.answering(third.addr, 8095, 10)).size).toBe(2);
      await cluster.ctl(third, 'service', 'rm', 'stays');
    }, 90_000);
  });
}
