import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForDocker, type NodeHandle, runProgram } from '../kit/cluster.ts';
import { World } from './world.ts';

// A registry that wants credentials, from `docker login` at a manager to the pull on a node.

const isThere = (program: string) => spawnSync('which', [program]).status === 0;
const missing =
  missingForDocker() ??
  (process.getuid?.() === 0 ? undefined : 'root') ??
  ['docker-registry', 'htpasswd'].find((program) => !isThere(program));
if (missing && process.env['REQUIRE_DOCKER']) throw new Error(`REQUIRE_DOCKER is set, but ${missing} is missing`);
const client = ['/usr/bin/docker', '/usr/local/bin/docker'].find((path) => existsSync(path)) ?? 'docker';
const addr = '127.0.0.1:5077';
const image = `${addr}/team/bb:1`;

describe.skipIf(missing)(`a registry${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let world: World;
  let manager: NodeHandle;
  let folder: string;
  let registry: ChildProcess;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'swarm-registry-'));
    world = await World.make('docker', { managers: 1, workers: 1 });
    manager = await world.cluster.anyManager();
    const users = join(folder, 'htpasswd');
    writeFileSync(users, spawnSync('htpasswd', ['-Bbn', 'ann', 'right-7261']).stdout);
    const settings = {
      version: '0.1',
      storage: { filesystem: { rootdirectory: join(folder, 'data') } },
      http: { addr },
      auth: { htpasswd: { realm: 'test', path: users } },
    };
    writeFileSync(join(folder, 'config.yml'), JSON.stringify(settings));
    const command = ['docker-registry', 'serve', join(folder, 'config.yml')];
    const [program = '', ...args] = manager.netns ? ['ip', 'netns', 'exec', manager.netns, ...command] : command;
    registry = spawn(program, args, { stdio: 'ignore' });
    await world.cluster.eventually(
      'the registry answers',
      async () => (await docker('login', '-u', 'ann', '-p', 'right-7261', addr)).code === 0,
    );
    const authconfig = { username: 'ann', password: 'right-7261', serveraddress: addr };
    const engine = world.engine.docker;
    await engine.getImage('bb:1').tag({ repo: `${addr}/team/bb`, tag: '1' });
    const pushed = await engine.getImage(image).push({ authconfig });
    for await (const line of pushed) expect(String(line)).not.toContain('error');
    await engine.getImage(image).remove();
  }, 120_000);
  afterAll(async () => {
    registry?.kill();
    await world?.stop();
    rmSync(folder, { recursive: true });
  }, 60_000);

  const docker = (...args: string[]) =>
    runProgram(client, ['--config', join(folder, 'docker'), '-H', `unix://${manager.socket}`, ...args]);
  const hasFailed = async (name: string, text: string) =>
    (await world.cluster.tasks(name)).some(({ Status }) => Status.State === 'rejected' && Status.Err?.includes(text));

  test('refuses who logs in with another password', async () => {
    expect((await docker('login', '-u', 'ann', '-p', 'wrong', addr)).err).toContain('unauthorized');
  });

  test('a service without credentials is rejected, with the reason', async () => {
    await docker('service', 'create', '-d', '--name', 'bare', '--restart-condition', 'none', image, 'sleep', '9999');
    await world.cluster.eventually('rejected', () =>
      hasFailed('bare', 'the registry wants credentials, and the service has none'),
    );
  });

  test('with credentials it is pinned, and its tasks run', async () => {
    const create = ['service', 'create', '-d', '--with-registry-auth', '--name', 'web', image, 'sleep', '9999'];
    expect(await docker(...create)).toMatchObject({ code: 0, err: '' });
    await world.cluster.eventually('it runs', async () => (await world.cluster.running('web')).length === 1);
    const shown = JSON.stringify(await manager.api.get('/services/web'));
    expect(shown).toMatch(/team\/bb:1@sha256:[a-f0-9]{64}/);
    expect(shown).not.toContain('right-7261');
  });
});
