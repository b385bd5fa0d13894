import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Node, Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Cluster, missingForDocker, type NodeHandle, runProgram } from '../kit/cluster.ts';
import { World } from './world.ts';

// Secrets and configs from Docker's own command line to the files in the containers, and their rotation. The tests share one cluster and run in
// order.

const missing = missingForDocker() ?? (process.getuid?.() === 0 ? undefined : 'root');
const clients = ['/usr/bin/docker', '/usr/local/bin/docker'].filter((path) => existsSync(path));
const swarmctlBin = fileURLToPath(new URL('../../packages/cli/bin/swarmctl.js', import.meta.url));
const hidden = 'a-value-that-nobody-may-find-7261';

describe.skipIf(missing)(`secrets and configs${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let world: World;
  let cluster: Cluster;
  let manager: NodeHandle;
  /** Where users have what they type. */
  let typed: string;
  const nodeIds = new Map<string, string>();

  beforeAll(async () => {
    typed = mkdtempSync(join(tmpdir(), 'swarm-typed-'));
    world = await World.make('docker', { managers: 1, workers: 2 });
    cluster = world.cluster;
    manager = await cluster.anyManager();
    for (const node of await manager.api.get<Node[]>('/nodes')) {
      nodeIds.set(node.Description?.Hostname ?? '', node.ID);
    }
  }, 120_000);
  afterAll(async () => {
    if (manager) await removeAll().catch(() => undefined);
    await world?.stop();
    rmSync(typed, { recursive: true });
  }, 60_000);

  const ctl = (...args: string[]) => cluster.ctl(manager, ...args);
  async function dockerBy(client: string, ...args: string[]): Promise<string> {
    const { code, out, err } = await runProgram(client, ['-H', `unix://${manager.socket}`, ...args]);
    if (code !== 0) throw new Error(`docker ${args.join(' ')}: exit ${code}: ${err}${out}`);
    return out;
  }
  const docker = (...args: string[]) => dockerBy(clients[0] ?? 'docker', ...args);
  function fileOf(content: string | Buffer): string {
    writeFileSync(join(typed, 'content'), content);
    return join(typed, 'content');
  }
  /** Runs a command in the container of each task that runs. */
  async function inside(service: string, ...Cmd: string[]): Promise<string[]> {
    const outputs: string[] = [];
    for (const task of await cluster.running(service)) {
      const container = world.engine.docker.getContainer(task.Status.ContainerStatus?.ContainerID ?? '');
      const exec = await container.exec({ Cmd, AttachStdout: true, AttachStderr: true, Tty: true });
      let out = '';
      for await (const chunk of await exec.start({ Tty: true })) out += String(chunk);
      outputs.push(out.replaceAll('\r', '').trimEnd());
    }
    return outputs;
  }
  const foldersOf = (name: string): string[] => {
    const folder = `/run/swarmd-tasks/${nodeIds.get(name)}`;
    return existsSync(folder) ? readdirSync(folder) : [];
  };
  async function removeAll(): Promise<void> {
    for (const { ID } of await manager.api.get<{ ID: string }[]>('/services'))
      await manager.api.delete(`/services/${ID}`);
    await cluster.eventually('no task has files', () =>
      ['m1', 'w1', 'w2'].every((name) => foldersOf(name).length === 0),
    );
  }
  const settings = [
    ...['--update-monitor', '500ms', '--rollback-monitor', '500ms', '--restart-delay', '0s'],
    ...['--stop-grace-period', '0s'],
  ];
  const sleep = ['bb:1', 'sleep', '1000'];

  test.each(clients)('%s makes, shows, lists and removes them', async (client) => {
    for (const kind of ['secret', 'config']) {
      const run = (...args: string[]) => dockerBy(client, kind, ...args);
      const id = (await run('create', '--label', 'a=b', 'one', fileOf('content'))).trim();
      expect(id).toMatch(/^[0-9a-z]{25}$/);
      expect(await run('ls', '--format', '{{.ID}} {{.Name}} {{.Labels}}', '--filter', 'name=on')).toBe(
        `${id} one a=b\n`,
      );
      const [shown] = JSON.parse(await run('inspect', 'one'));
      expect(shown.Spec).toEqual({
        Name: 'one',
        Labels: { a: 'b' },
        ...(kind === 'config' && { Data: Buffer.from('content').toString('base64') }),
      });
      await expect(run('create', 'one', fileOf('x'))).rejects.toThrow(`${kind} one already exists`);
      expect(await run('rm', 'one')).toBe('one\n');
      await expect(run('inspect', 'one')).rejects.toThrow(/not found|no such/i);
    }
  });

  test('a task finds them with content, owner and mode, on its node alone', async () => {
    await docker('secret', 'create', 'pass', fileOf(hidden));
    const template = '{{.Service.Name}} {{.Node.Hostname}} {{env "GREETING"}} {{secret "/etc/pass"}}';
    await docker('config', 'create', '--template-driver', 'golang', 'conf', fileOf(template));
    await docker(
      ...['service', 'create', '--quiet', '--name', 'web', '--constraint', 'node.hostname==w1', ...settings],
      ...['--env', 'GREETING=hello', '--secret', 'pass'],
      ...['--secret', 'source=pass,target=/etc/pass,uid=1000,gid=50,mode=0400'],
      ...['--config', 'source=conf,target=app/conf.txt,mode=0440', ...sleep],
    );
    expect(await inside('web', 'stat', '-c', '%u:%g %a %n', '/run/secrets/pass', '/etc/pass', '/app/conf.txt')).toEqual(
      ['0:0 444 /run/secrets/pass\n1000:50 400 /etc/pass\n0:0 440 /app/conf.txt'],
    );
    expect(await inside('web', 'cat', '/run/secrets/pass')).toEqual([hidden]);
    expect(await inside('web', 'cat', '/app/conf.txt')).toEqual([`web w1 hello ${hidden}`]);
    const [task] = await cluster.running('web');
    expect(['m1', 'w1', 'w2'].map(foldersOf)).toEqual([[], [task?.ID], []]);
  });

  test('what a secret holds is on no disk, in no log and in no answer', async () => {
    await cluster.kill(manager, 'SIGTERM');
    await cluster.startNode(manager);
    await cluster.eventually('the manager leads', async () => (await manager.api.get<Node[]>('/nodes')).length === 3);
    const forms = [hidden, Buffer.from(hidden).toString('base64')];
    const found: string[] = [];
    const look = (folder: string) => {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) look(path);
        else if (entry.isFile()) {
          const text = readFileSync(path, 'latin1');
          if (forms.some((form) => text.includes(form))) found.push(path);
        }
      }
    };
    look(cluster.folder);
    expect(found).toEqual([]);
    const [task] = await cluster.running('web');
    const container = world.engine.docker.getContainer(task?.Status.ContainerStatus?.ContainerID ?? '');
    const answers = [
      await container.inspect(),
      ...(await Promise.all(['/secrets', '/services', '/tasks', '/secrets/pass'].map((path) => manager.api.get(path)))),
    ];
    for (const answer of answers) for (const form of forms) expect(JSON.stringify(answer)).not.toContain(form);
    // The check itself can fail: a config's content is in the answers.
    expect(JSON.stringify(await manager.api.get('/configs/conf'))).toContain(
      Buffer.from('{{.Service').toString('base64').slice(0, 10),
    );
  });

  test('a daemon that comes back gives them to the next task', async () => {
    const [before] = await cluster.running('web');
    const w1 = cluster.workers[0] as NodeHandle;
    await cluster.kill(w1);
    await world.engine.docker.getContainer(before?.Status.ContainerStatus?.ContainerID ?? '').kill();
    await cluster.startNode(w1);
    await cluster.eventually('another task runs', async () => {
      const [after] = await cluster.running('web');
      return after !== undefined && after.ID !== before?.ID;
    });
    expect(await inside('web', 'cat', '/etc/pass')).toEqual([hidden]);
    const [after] = await cluster.running('web');
    await cluster.eventually('the files of the one before are gone', () => foldersOf('w1').join() === after?.ID);
  });

  test('those in use stay, and services take them on and off', async () => {
    await expect(docker('secret', 'rm', 'pass')).rejects.toThrow(
      "secret 'pass' is in use by the following service: web",
    );
    await docker('secret', 'create', 'extra', fileOf('more'));
    await docker(
      'service',
      'update',
      '--quiet',
      '--secret-rm',
      'pass',
      '--secret-add',
      'source=extra,target=e',
      '--config-rm',
      'conf',
      'web',
    );
    expect(await inside('web', 'cat', '/run/secrets/e')).toEqual(['more']);
    expect(await inside('web', 'ls', '/run/secrets')).toEqual(['e']);
    await expect(docker('service', 'update', '--secret-add', 'nosuch', 'web')).rejects.toThrow(
      'secret not found: nosuch',
    );
    await docker('service', 'rm', 'web');
    await cluster.eventually('no files are left', () => foldersOf('w1').length === 0);
    expect(await docker('secret', 'rm', 'pass', 'extra')).toBe('pass\nextra\n');
    expect(await docker('config', 'rm', 'conf')).toBe('conf\n');
  });

  test('rotation rolls what uses a secret, and a rollback goes back with it', async () => {
    await ctl('secret', 'create', 'key', fileOf('first'));
    const create = (name: string, ...flags: string[]) =>
      ctl('service', 'create', '-q', '--name', name, '--replicas', '2', ...settings, ...flags, ...sleep);
    await create('app', '--secret', 'source=key,target=k');
    await create('api', '--secret', 'key');
    await create('idle');
    const idle = (await cluster.running('idle')).map(({ ID }) => ID).sort();
    expect(await ctl('secret', 'update', '-q', 'key', fileOf('second'))).toMatch(
      /^key\.v2\n(rolling app\nrolling api|rolling api\nrolling app)\n$/,
    );
    expect(await inside('app', 'cat', '/run/secrets/k')).toEqual(['second', 'second']);
    expect(await inside('api', 'cat', '/run/secrets/key')).toEqual(['second', 'second']);
    expect((await cluster.running('idle')).map(({ ID }) => ID).sort()).toEqual(idle);
    await ctl('service', 'rollback', '-q', 'app');
    expect(await inside('app', 'cat', '/run/secrets/k')).toEqual(['first', 'first']);
    // What a service names, or could go back to, is kept.
    expect(await ctl('secret', 'prune')).toBe('');
    expect(await ctl('secret', 'update', '--no-roll', 'key', fileOf('third'))).toBe('key.v3\n');
    expect(await inside('app', 'cat', '/run/secrets/k')).toEqual(['first', 'first']);
    await ctl('secret', 'update', '-q', 'key', fileOf('third'));
    await ctl('secret', 'update', '-q', 'key', fileOf('fourth'));
    expect(await inside('app', 'cat', '/run/secrets/k')).toEqual(['fourth', 'fourth']);
    await cluster.eventually('old versions can be pruned', async () => {
      await ctl('secret', 'prune');
      return (await ctl('secret', 'ls', '--format', '{{.Name}}')) === 'key.v3\nkey.v4\n';
    });
  }, 120_000);

  test('an update that fails goes back by itself, secret and all', async () => {
    const check = 'grep -q fo /run/secrets/key || exit 1; sleep 1000';
    await ctl(
      ...['service', 'create', '-q', '--name', 'picky', ...settings, '--secret', 'key'],
      ...['--update-failure-action', 'rollback', '--restart-condition', 'none', 'bb:1', 'sh', '-c', check],
    );
    await expect(ctl('secret', 'update', '-q', 'key', fileOf('bad'))).rejects.toThrow(/key\.v5/);
    await cluster.eventually('it is back', async () => {
      const { UpdateStatus } = await cluster.service('picky');
      return UpdateStatus?.State === 'rollback_completed';
    });
    expect(await inside('picky', 'cat', '/run/secrets/key')).toEqual(['fourth']);
  });

  test('the content may come from the standard input', async () => {
    const command = `printf piped | "$@" config create piped -`;
    const swarmctl = [process.execPath, swarmctlBin, '--host', `unix://${manager.socket}`];
    expect(await runProgram('sh', ['-c', command, 'sh', ...swarmctl])).toMatchObject({ code: 0, err: '' });
    expect(await ctl('config', 'inspect', '--pretty', 'piped')).toMatch(/\nData:\npiped\n$/);
  });

  test('the largest that there may be arrive whole, and rotate', async () => {
    const [most, more] = [randomBytes(1_023_999), randomBytes(1_023_999)];
    const sum = (bytes: Buffer) => `${createHash('sha256').update(bytes).digest('hex')}  /large`;
    await ctl('config', 'create', 'large', fileOf(most));
    await ctl('service', 'create', '-q', '--name', 'large', ...settings, '--config', 'large', ...sleep);
    expect(await inside('large', 'sha256sum', '/large')).toEqual([sum(most)]);
    await ctl('config', 'update', '-q', 'large', fileOf(more));
    expect(await inside('large', 'sha256sum', '/large')).toEqual([sum(more)]);
  });

  test("a stack of Docker's brings its own, again and again", async () => {
    writeFileSync(join(typed, 'word.txt'), 'from the stack');
    writeFileSync(
      join(typed, 'stack.yaml'),
      `version: "3.8"
services:
  app:
    image: bb:1
    command: sleep 1000
    stop_grace_period: 0s
    secrets: [{source: word, target: w, mode: 0440}]
    configs: [{source: word, target: /etc/word}]
secrets: {word: {file: ./word.txt}}
configs: {word: {file: ./word.txt}}
`,
    );
    for (let i = 0; i < 2; i++) await docker('stack', 'deploy', '-c', join(typed, 'stack.yaml'), 'st');
    await cluster.eventually('its task runs', async () => (await cluster.running('st_app')).length === 1);
    expect(await inside('st_app', 'cat', '/run/secrets/w', '/etc/word')).toEqual(['from the stackfrom the stack']);
    expect(await ctl('secret', 'ls', '-f', 'label=com.docker.stack.namespace=st', '--format', '{{.Name}}')).toBe(
      'st_word\n',
    );
    // As in Docker, its network stays until its tasks have ended.
    await cluster.eventually('the stack is removed', () =>
      docker('stack', 'rm', 'st').then(
        () => true,
        () => false,
      ),
    );
    expect(await ctl('secret', 'ls', '-f', 'name=st_', '-q')).toBe('');
  });

  test('a task whose template is wrong says so', async () => {
    await ctl('config', 'create', '--template-driver', 'golang', 'wrong', fileOf('{{secret "none"}}'));
    await ctl('service', 'create', '-d', '--name', 'wrong', ...settings, '--config', 'wrong', ...sleep);
    await cluster.eventually('a task is rejected', async () =>
      (await cluster.tasks('wrong')).some(
        (task: Task) =>
          task.Status.State === 'rejected' &&
          task.Status.Err ===
            'failed to expand templated config wrong: template: expansion:1:2: executing "expansion" at <secret "none">: error calling secret: secret target none not found',
      ),
    );
  });
});
