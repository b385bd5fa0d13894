import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@swarmctl/shared/kit';
import type { ContainerSpec, Task } from '@swarmctl/shared/model';
import type { PayloadPart } from '@swarmctl/shared/wire';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildImages, type Engine, noEngine, startEngine } from '../../../../../test/kit/engine.ts';
import { makeTask } from '../../../../../test/kit/runtime-contract.ts';
import { PayloadStore } from '../../secrets/payload-store.ts';
import { createTaskMounts, type TaskMounts } from '../../secrets/task-mounts.ts';
import type { Runtime } from '../types.ts';
import { createDockerRuntime } from './runtime.ts';

// Secrets and configs as a container of a real engine finds them.

const missing = noEngine() ?? (process.getuid?.() === 0 ? undefined : 'root');
const node = { nodeId: 'node1', clusterId: 'cluster1', hostname: 'here', addr: '127.0.0.1' };
const never = new AbortController().signal;

const payload = (kind: PayloadPart['kind'], id: string, text: string, templated = false): PayloadPart => ({
  kind,
  id,
  name: id,
  version: { base: id, number: 1 },
  data: Buffer.from(text),
  templated,
  at: 0,
  size: text.length,
});
const container: ContainerSpec = {
  Image: 'bb:1',
  Env: ['A=from the environment'],
  Secrets: [
    { SecretID: 'pass', SecretName: 'pass', File: { Name: 'p', UID: '1000', GID: '50', Mode: 0o400 } },
    { SecretID: 'pass', SecretName: 'pass', File: { Name: '/etc/deep/p', UID: '0', GID: '0', Mode: 0o444 } },
  ],
  Configs: [{ ConfigID: 'conf', ConfigName: 'conf', File: { Name: 'conf.txt', UID: '0', GID: '0', Mode: 0o444 } }],
};

describe.skipIf(missing)(`secrets and configs${missing ? ` (${missing} is missing)` : ''}`, () => {
  let engine: Engine;
  let folder: string;
  let payloads: PayloadStore;
  let mounts: TaskMounts;
  let runtime: Runtime;
  const tasks: Task[] = [];

  beforeAll(async () => {
    engine = await startEngine({ name: 'secrets', dataRoot: mkdtempSync(join(tmpdir(), 'swarm-engine-')) });
    await buildImages(engine.socket);
  });
  afterAll(() => engine?.stop());

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'swarm-secrets-'));
    payloads = new PayloadStore();
    payloads.put([
      payload('secret', 'pass', 'hidden'),
      payload('config', 'conf', '{{.Service.Name}}.{{.Task.Slot}} {{env "A"}}, {{secret "p"}}', true),
    ]);
    open();
  });
  afterEach(async () => {
    for (const task of tasks.splice(0)) await runtime.remove(task.ID);
    await runtime.close();
    await mounts.keepOnly(() => false);
    rmSync(folder, { recursive: true });
  });

  /** As a daemon that was just started. */
  function open(): void {
    mounts = createTaskMounts(node, { payloads, log: silentLogger }, { folder });
    runtime = createDockerRuntime({ dockerHost: engine.dockerHost, mounts }, node);
  }
  function taskOf(script: string, more: ContainerSpec = {}): Task {
    const task = makeTask({ node, container }, script, { container: more });
    tasks.push(task);
    return task;
  }
  async function output(task: Task): Promise<string[]> {
    const lines: string[] = [];
    const options = { follow: true, stdout: true, stderr: true };
    for await (const { line } of runtime.logs(task.ID, options, never)) lines.push(Buffer.from(line).toString());
    return lines;
  }
  const places = () =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(folder));

  test('are there with their content, owner and mode, and cannot be written', async () => {
    const task = taskOf(
      `stat -c '%u:%g %a %n' /run/secrets/p /etc/deep/p /conf.txt
       cat /run/secrets/p /etc/deep/p; echo; cat /conf.txt; echo
       (echo x >/conf.txt) 2>&1 || echo refused
       grep -E ' (/run/secrets/p|/conf.txt) ' /proc/mounts`,
    );
    await runtime.describe();
    await runtime.prepare(task, never);
    await runtime.start(task);
    const lines = await output(task);
    expect(lines.slice(0, 5)).toEqual([
      '1000:50 400 /run/secrets/p',
      '0:0 444 /etc/deep/p',
      '0:0 444 /conf.txt',
      'hiddenhidden',
      'web.1 from the environment, hidden',
    ]);
    expect(lines.slice(5, 7).join(' ')).toMatch(/Read-only file system.*refused/);
    expect(lines.slice(7)).toHaveLength(2);
    for (const mount of lines.slice(7)) expect(mount).toMatch(/^\S+ \S+ tmpfs ro,/);
    const info = await engine.docker.getContainer((await runtime.inspect(task.ID))?.containerId ?? '').inspect();
    expect(JSON.stringify(info)).not.toContain('hidden');
  });

  test('are in memory, for root alone, until they are dropped', async () => {
    const task = taskOf('trap "exit 0" TERM; sleep 60 & wait');
    await runtime.prepare(task, never);
    await runtime.start(task);
    const own = join(folder, node.nodeId, task.ID);
    expect(places()).toEqual([expect.stringMatching(/ rw,nosuid,nodev,noexec.* - tmpfs tmpfs /)]);
    expect([folder, join(folder, node.nodeId), own].map((path) => statSync(path).mode & 0o777)).toEqual([
      0o700, 0o700, 0o700,
    ]);
    expect(readdirSync(own)).toHaveLength(3);
    await runtime.stop(task, 1_000);
    await mounts.drop(task.ID);
    expect([places(), existsSync(own)]).toEqual([[], false]);
    await mounts.drop(task.ID);
  });

  test('go with a task that is gone, although something still looks at them', async () => {
    const task = taskOf('sleep 60');
    await runtime.prepare(task, never);
    await runtime.start(task);
    open();
    await mounts.keepOnly((taskId) => taskId === task.ID);
    expect(places()).toHaveLength(1);
    await mounts.keepOnly(() => false);
    expect([places(), existsSync(join(folder, node.nodeId))]).toEqual([[], false]);
  });

  test('are there again for a container that was made before the machine was restarted', async () => {
    const task = taskOf('cat /conf.txt');
    await runtime.prepare(task, never);
    await mounts.drop(task.ID);
    await runtime.close();
    open();
    await runtime.start(task);
    expect(await output(task)).toEqual(['web.1 from the environment, hidden']);
  });

  test.each([
    [
      'that is not there any more',
      () => payloads.keepOnly(['conf']),
      "the secret 'pass' is not in the cluster any more",
    ],
    [
      'whose template is wrong',
      () => payloads.put([payload('config', 'conf', '{{.Nonsense}}', true)]),
      'conf: template: expansion:1:2: executing "expansion" at <.Nonsense>: can\'t evaluate field Nonsense',
    ],
  ])('a task with one %s is refused, and leaves nothing', async (_, spoil, message) => {
    spoil();
    await expect(runtime.prepare(taskOf('true'), never)).rejects.toMatchObject({
      permanent: true,
      message: expect.stringContaining(message),
    });
    expect([places(), await runtime.list()]).toEqual([[], []]);
  });

  test('a node that cannot give them says so', async () => {
    const bare = createDockerRuntime({ dockerHost: engine.dockerHost }, node);
    await expect(bare.prepare(taskOf('true'), never)).rejects.toMatchObject({
      permanent: true,
      message:
        'this node gives no secrets and configs to containers: swarmd must be root, with an engine on this machine',
    });
    await bare.close();
  });
});
