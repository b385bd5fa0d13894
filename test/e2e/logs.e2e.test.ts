import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Cluster, missingForDocker, type NodeHandle, runProgram } from '../kit/cluster.ts';
import { World } from './world.ts';

// Logs as Docker's own command line shows them, of tasks that run and of those that are gone. The nodes share one engine.

const missing = missingForDocker();

describe.skipIf(missing)(`logs${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let world: World;
  let cluster: Cluster;
  let manager: NodeHandle;
  let worker: NodeHandle;

  beforeAll(async () => {
    world = await World.make('docker', { managers: 1, workers: 1 });
    cluster = world.cluster;
    [manager, worker] = cluster.nodes as [NodeHandle, NodeHandle];
  }, 120_000);
  afterAll(async () => world?.stop(), 60_000);

  const command = (args: readonly string[]): string[] => {
    const config = join(cluster.folder, 'docker-config');
    mkdirSync(config, { recursive: true });
    return [`DOCKER_CONFIG=${config}`, 'docker', '-H', `unix://${manager.socket}`, ...args];
  };
  const logs = (...args: string[]) => runProgram('env', command(['service', 'logs', ...args]));
  /** What it prints, in the order of names. */
  const sorted = async (...args: string[]): Promise<string[]> => {
    const { code, out, err } = await logs(...args);
    expect([args, code, err]).toEqual([args, 0, '']);
    return out.split('\n').filter(Boolean).sort();
  };
  const create = async (name: string, ...args: string[]) => {
    const { code, err } = await runProgram(
      'env',
      command(['service', 'create', '-d', '-q', '--no-resolve-image', '--name', name, ...args]),
    );
    expect([code, err]).toEqual([0, '']);
  };
  const states = async (name: string) => (await cluster.tasks(name)).map(({ Status }) => Status.State);
  const eventually = (what: string, check: () => Promise<boolean> | boolean) => cluster.eventually(what, check);
  /** The lines so far of a command that goes on. */
  const follow = (...args: string[]) => {
    const child = spawn('env', command(['service', 'logs', '-f', ...args]), { stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { out: '', err: '' };
    child.stdout.on('data', (chunk) => {
      said.out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      said.err += chunk;
    });
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const end = () => {
      child.kill('SIGINT');
      return ended;
    };
    return { said, end };
  };

  test('the forms of lines, and which of them', async () => {
    await create('talk', '--replicas', '2', 'bb:1', 'sh', '-c', 'echo one; sleep 1; echo two; exec sleep 1000');
    await eventually('all have spoken', async () => (await logs('talk')).out.split('two').length === 3);
    const named = (width: number) =>
      expect.stringMatching(new RegExp(`^talk\\.[12]\\.\\w{${width}}@[mw]1 +\\| (one|two)$`));
    expect(await sorted('talk')).toEqual([named(12), named(12), named(12), named(12)]);
    expect(await sorted('--no-trunc', '--tail', '1', 'talk')).toEqual([named(25), named(25)]);
    expect(await sorted('--no-task-ids', '--tail', '1', 'talk')).toEqual([
      expect.stringMatching(/^talk\.1@[mw]1 +\| two$/),
      expect.stringMatching(/^talk\.2@[mw]1 +\| two$/),
    ]);
    expect(await sorted('--raw', 'talk')).toEqual(['one', 'one', 'two', 'two']);
    const stamped = await sorted('--timestamps', '--raw', 'talk');
    expect(stamped).toHaveLength(4);
    for (const line of stamped) expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z (one|two)$/);
    const [task] = (await cluster.tasks('talk')) as [Task];
    const ofTask = await sorted('--timestamps', '--raw', task.ID);
    expect(ofTask.map((line) => line.split(' ')[1])).toEqual(['one', 'two']);
    const since = ofTask[1]?.split(' ')[0] ?? '';
    expect(await sorted('--raw', '--since', since, task.ID)).toEqual(['two']);
    expect(await sorted('--raw', '--since', '10m', task.ID)).toEqual(['one', 'two']);
    expect(await sorted('--raw', '--since', '2100-01-01T00:00:00Z', 'talk')).toEqual([]);
    expect((await cluster.ctl(manager, 'service', 'logs', '--raw', '--until', since, task.ID)).split('\n')).toEqual([
      ...['one', 'two', ''],
    ]);
    expect(await cluster.ctl(manager, 'service', 'logs', '--tail', '1', '--no-task-ids', task.ID)).toMatch(
      /^talk\.[12]@[mw]1 +\| two\n$/,
    );
  });

  test('what the log driver notes with each line, and a driver that cannot be read', async () => {
    const noting = ['--log-driver', 'json-file', '--log-opt', 'labels=team', '--log-opt', 'env=COLOR'];
    await create(
      'noting',
      ...[...noting, '--container-label', 'team=a b', '--env', 'COLOR=blue'],
      ...['bb:1', 'sh', '-c', 'echo noted; exec sleep 1000'],
    );
    await create('terminal', '--tty', 'bb:1', 'sh', '-c', 'echo one; printf "two\\n"; exec sleep 1000');
    await create('mute', '--log-driver', 'none', 'bb:1', 'sh', '-c', 'echo lost; exec sleep 1000');
    await eventually('noted', async () => (await logs('noting')).out !== '');
    expect(await sorted('--details', 'noting')).toEqual([
      expect.stringMatching(/^noting\.1\.\w+@[mw]1 +\| COLOR=blue,team=a b noted$/),
    ]);
    expect(await cluster.ctl(manager, 'service', 'logs', '--details', 'noting')).toMatch(
      /\| COLOR=blue,team=a b noted\n$/,
    );
    expect(await sorted('noting')).toEqual([expect.stringMatching(/^noting\.1\.\w+@[mw]1 +\| noted$/)]);
    // As a terminal has them: raw, and only so.
    await eventually('both lines', async () => (await logs('--raw', 'terminal')).out === 'one\r\ntwo\r\n');
    expect((await logs('terminal')).err).toContain('--raw');
    expect(await cluster.ctl(manager, 'service', 'logs', '--raw', 'terminal')).toBe('one\r\ntwo\r\n');
    await eventually('mute runs', async () => (await states('mute')).includes('running'));
    expect(await logs('mute')).toMatchObject({
      code: 0,
      out: '',
      err: expect.stringContaining('configured logging driver does not support reading'),
    });
  });

  test('tasks whose containers were removed still have their logs, also after the daemon was killed', async () => {
    const loud = 'i=0; while [ $i -lt 3 ]; do echo line $i; i=$((i+1)); done; exit 3';
    const policy = ['--restart-delay', '100ms', '--restart-max-attempts', '2', '--constraint', 'node.hostname==w1'];
    await create('failing', ...policy, 'bb:1', 'sh', '-c', loud);
    const lines = (count: number) => ['line 0', 'line 1', 'line 2'].flatMap((line) => Array(count).fill(line));
    await eventually('three tasks have failed', async () => {
      const seen = await states('failing');
      return seen.length === 3 && seen.every((state) => state === 'failed');
    });
    const folder = join(worker.folder, 'agent', 'logs');
    await eventually(
      'their logs are kept',
      () => readdirSync(folder).filter((name) => name.endsWith('.log')).length >= 3,
    );
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
    const engine = ['docker', '-H', world.engine.dockerHost];
    await runProgram('env', [...engine, 'container', 'prune', '-f']);
    expect((await runProgram('env', [...engine, 'ps', '-aq', '--filter', 'status=exited'])).out).toBe('');
    expect(await sorted('--raw', 'failing')).toEqual(lines(3));
    expect(await sorted('--raw', '--tail', '1', 'failing')).toEqual(['line 2', 'line 2', 'line 2']);
    await cluster.kill(worker);
    await cluster.startNode(worker);
    await eventually('the node is back', async () => (await logs('--raw', 'failing')).err === '');
    expect(await sorted('--raw', 'failing')).toEqual(lines(3));
    const [task] = (await cluster.tasks('failing')) as [Task];
    await cluster.ctl(manager, 'service', 'rm', 'failing');
    await eventually(
      'it is forgotten',
      async () => (await cluster.tryCtl(manager, 'service', 'ps', 'failing')).code !== 0,
    );
    expect((await cluster.ctl(manager, 'service', 'logs', task.ID)).split('\n')).toEqual([
      ...['line 0', 'line 1', 'line 2', ''],
    ]);
    expect((await cluster.tryCtl(manager, 'service', 'logs', 'x'.repeat(25))).err).toContain('not found');
  });

  test('who follows is given new tasks, is warned of a node that is away, and misses nothing of it', async () => {
    const count = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done';
    await create(
      'counting',
      '--constraint',
      'node.hostname==w1',
      '--stop-grace-period',
      '0s',
      'bb:1',
      'sh',
      '-c',
      count,
    );
    const { said, end } = follow('counting');
    const bySource = () => {
      const sources = new Map<string, number[]>();
      for (const [, source = '', number] of said.out.matchAll(/^(counting\.1\.\w+)@w1 +\| (\d+)$/gm)) {
        sources.set(source, [...(sources.get(source) ?? []), Number(number)]);
      }
      return [...sources.values()];
    };
    await eventually('it counts', () => (bySource()[0]?.length ?? 0) > 3);
    await cluster.kill(worker);
    await eventually('a warning', () => said.err.includes('the connection to node'));
    expect(await logs('counting')).toMatchObject({ code: 0, err: expect.stringContaining('is not available') });
    const before = bySource()[0]?.length ?? 0;
    await cluster.startNode(worker);
    await eventually('it goes on', () => (bySource()[0]?.length ?? 0) > before + 10);
    await cluster.ctl(manager, 'service', 'update', '--force', '--detach', 'counting');
    // On a slow machine the node counts as down meanwhile, and one more task has come and gone.
    await eventually('the next task counts', () =>
      bySource()
        .slice(1)
        .some(({ length }) => length > 3),
    );
    await end();
    for (const numbers of bySource()) expect(numbers).toEqual(numbers.map((_, i) => i));
  });
});
