import { mkdtempSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Task } from '@swarmctl/shared/model';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildImages, type Engine, noEngine, startEngine } from '../../../../../test/kit/engine.ts';
import { type Registry, startRegistry } from '../../../../../test/kit/images/registry.ts';
import { contract, makeTask } from '../../../../../test/kit/runtime-contract.ts';
import type { Runtime } from '../types.ts';
import { createDockerRuntime } from './runtime.ts';

const missing = noEngine();
const node = { nodeId: 'node1', clusterId: 'cluster1', hostname: 'here', addr: '127.0.0.1' };
const subject = { node, container: { Image: 'bb:1' } };

describe.skipIf(missing)(`with an engine${missing ? ` (${missing} is missing)` : ''}`, () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine({ name: 'runtime', dataRoot: mkdtempSync(join(tmpdir(), 'swarm-engine-')) });
    await buildImages(engine.socket);
  });
  afterAll(() => engine?.stop());

  const open = (other = node) => createDockerRuntime({ dockerHost: engine.dockerHost }, other);

  contract('docker', () => ({ ...subject, open }));

  describe('a container', () => {
    const never = new AbortController().signal;
    const cleanups: (() => unknown)[] = [];
    afterEach(async () => {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    });

    function opened(): Runtime {
      const runtime = open();
      cleanups.push(() => runtime.close());
      return runtime;
    }
    function task(runtime: Runtime, script: string, more?: Parameters<typeof makeTask>[2]): Task {
      const made = makeTask(subject, script, more);
      cleanups.push(() => runtime.remove(made.ID));
      return made;
    }
    async function run(runtime: Runtime, given: Task) {
      await runtime.prepare(given, never);
      return runtime.start(given);
    }
    async function output(runtime: Runtime, given: Task): Promise<string[]> {
      const lines: string[] = [];
      const options = { follow: true, stdout: true, stderr: true };
      for await (const { line } of runtime.logs(given.ID, options, never)) lines.push(Buffer.from(line).toString());
      return lines;
    }
    const inspect = async (runtime: Runtime, given: Task) =>
      engine.docker.getContainer((await runtime.inspect(given.ID))?.containerId ?? '').inspect();

    it('is not made where its engine would pass over what it asks for', async () => {
      const runtime = opened();
      const Healthcheck = { Test: ['CMD', 'true'], StartInterval: 1e9 };
      const { ApiVersion } = await engine.docker.version();
      const made = runtime.prepare(task(runtime, '', { container: { Healthcheck } }), never);
      if (Number(ApiVersion.split('.')[1]) >= 44) await made;
      else await expect(made).rejects.toThrow('does not know Healthcheck.StartInterval, which came with API 1.44');
    });

    it('is what its spec says, on a real engine', async () => {
      const runtime = opened();
      const given = task(runtime, 'id -u; pwd; hostname; grep -c "/scratch tmpfs" /proc/mounts', {
        slot: 4,
        container: {
          Dir: '/tmp',
          User: 'nobody',
          Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
          Labels: { mine: 'x' },
          Hosts: ['10.9.8.7 far'],
          Mounts: [
            { Type: 'volume', Target: '/data' },
            { Type: 'tmpfs', Target: '/scratch', TmpfsOptions: { SizeBytes: 1 << 20 } },
          ],
          Init: true,
          CapabilityDrop: ['ALL'],
          Privileges: { NoNewPrivileges: true, Seccomp: { Mode: 'unconfined' } },
          Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
        },
        spec: {
          Resources: {
            Limits: { NanoCPUs: 5e8, MemoryBytes: 64 << 20, Pids: 20 },
            Reservations: { MemoryBytes: 32 << 20 },
          },
        },
      });
      await run(runtime, given);
      expect(await output(runtime, given)).toEqual(['65534', '/tmp', 'web-4', '1']);
      const info = await inspect(runtime, given);
      expect(info.Name).toBe(`/web.4.${given.ID}`);
      expect(info.HostConfig).toMatchObject({
        NanoCpus: 5e8,
        Memory: 64 << 20,
        PidsLimit: 20,
        MemoryReservation: 32 << 20,
        ExtraHosts: ['far:10.9.8.7'],
        Init: true,
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges=true', 'seccomp=unconfined'],
        Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
      });
      expect(info.Config.Labels).toMatchObject({ mine: 'x', 'swarmctl.cluster.id': 'cluster1' });
      const volume = info.Mounts.find(({ Destination }) => Destination === '/data')?.Name ?? '';
      await runtime.remove(given.ID);
      // Its anonymous volume goes with it.
      await expect(engine.docker.getVolume(volume).inspect()).rejects.toMatchObject({ statusCode: 404 });
    });

    it('reaches beyond itself as its labels say', async () => {
      const runtime = opened();
      const plain = task(
        runtime,
        'df -k /dev/shm | tail -1; test -c /dev/mine && echo device; ls /proc | grep -c "^[0-9]"',
      );
      const given = {
        ...plain,
        ServiceAnnotations: {
          Name: 'web',
          Labels: {
            'swarmctl.container.devices': '/dev/null:/dev/mine:rw',
            'swarmctl.container.shm-size': '1m',
            'swarmctl.container.pid': 'host',
            'swarmctl.container.security-opt': 'seccomp=unconfined,systempaths=unconfined',
          },
        },
      };
      await run(runtime, given);
      const [shm = '', device, processes] = await output(runtime, given);
      expect(shm).toMatch(/\s1024\s/);
      expect(device).toBe('device');
      expect(Number(processes)).toBeGreaterThan(3);
      expect((await inspect(runtime, given)).HostConfig).toMatchObject({
        PidMode: 'host',
        SecurityOpt: expect.arrayContaining(['seccomp=unconfined']),
      });
      // Made only: where the tests run in a container themselves, it would not start.
      const privileged = { Name: 'web', Labels: { 'swarmctl.container.privileged': 'true' } };
      const other = { ...task(runtime, 'true'), ServiceAnnotations: privileged };
      await runtime.prepare(other, never);
      expect((await inspect(runtime, other)).HostConfig.Privileged).toBe(true);
    });

    it('logs through a terminal too', async () => {
      const runtime = opened();
      const given = task(runtime, 'echo one; sleep 0.1; echo two >&2', { container: { TTY: true } });
      await run(runtime, given);
      expect(await output(runtime, given)).toEqual(['one\r', 'two\r']);
    });

    it('says that memory ran out', async () => {
      const runtime = opened();
      const given = task(runtime, 'exec tail /dev/zero', {
        spec: { Resources: { Limits: { MemoryBytes: 16 << 20 }, SwapBytes: 0 } },
      });
      await run(runtime, given);
      await expect
        .poll(() => runtime.inspect(given.ID), { timeout: 15_000 })
        .toMatchObject({ phase: 'exited', exitCode: 137, oomKilled: true });
    });

    it.each<[string, Parameters<typeof makeTask>[2], string]>([
      ['a folder to bind', { container: { Mounts: [{ Type: 'bind', Source: '/no/such', Target: '/x' }] } }, '/no/such'],
      ['a log driver', { spec: { LogDriver: { Name: 'nothing-such' } } }, 'nothing-such'],
    ])('is refused for good without %s', async (_, more, word) => {
      const runtime = opened();
      const given = task(runtime, 'true', more);
      await expect(run(runtime, given)).rejects.toMatchObject({
        name: 'RuntimeError',
        message: expect.stringContaining(word),
        permanent: true,
      });
    });

    it('says when a host port is taken', async () => {
      const runtime = opened();
      const ports = [{ TargetPort: 80, PublishedPort: 34_000 + (process.pid % 1_000), PublishMode: 'host' as const }];
      await run(runtime, task(runtime, 'sleep 60', { ports }));
      const second = task(runtime, 'sleep 60', { ports, slot: 2 });
      await expect(run(runtime, second)).rejects.toMatchObject({
        message: expect.stringMatching(/already (allocated|in use)/),
        permanent: true,
      });
      expect(await runtime.inspect(second.ID)).toMatchObject({ phase: 'created' });
    });

    it('of others is not seen, even with a task’s label', async () => {
      const runtime = opened();
      const Labels = { 'com.docker.swarm.task.id': 'theirs', 'com.docker.swarm.node.id': 'node1' };
      const theirs = await engine.docker.createContainer({ Image: 'bb:1', Cmd: ['sleep', '60'], Labels });
      cleanups.push(() => theirs.remove({ force: true }));
      await theirs.start();
      expect(await runtime.list()).toEqual([]);
      await runtime.remove('theirs');
      expect((await theirs.inspect()).State.Running).toBe(true);
    });

    it('made by prepares at the same time is one', async () => {
      const [one, two] = [opened(), opened()];
      const given = task(one, 'sleep 60');
      const [a, b] = await Promise.all([one.prepare(given, never), two.prepare(given, never)]);
      expect(a.containerId).toBe(b.containerId);
    });

    it('that someone else removed is gone', async () => {
      const runtime = opened();
      const given = task(runtime, 'sleep 60');
      const { containerId } = await run(runtime, given);
      await engine.docker.getContainer(containerId).remove({ force: true });
      expect(await runtime.inspect(given.ID)).toBeUndefined();
      await runtime.stop(given, 1_000);
      await runtime.remove(given.ID);
      expect(await runtime.prepare(given, never)).toMatchObject({ phase: 'created' });
    });

    it('gives up pulling when told to', async () => {
      const runtime = opened();
      const abort = new AbortController();
      const silent = await startRegistry({ silent: true });
      cleanups.push(() => silent.close());
      const given = task(runtime, 'true', { container: { Image: `${silent.addr}/web:1` } });
      const preparing = runtime.prepare(given, abort.signal);
      await silent.asked;
      abort.abort();
      await expect(preparing).rejects.toMatchObject({ name: 'RuntimeError', permanent: false });
    });

    it('runs through a TCP address as well', async () => {
      const door = createServer((socket) => {
        const inner = connect(engine.socket);
        socket.pipe(inner).pipe(socket);
        for (const end of [socket, inner]) end.on('error', () => socket.destroy());
      });
      await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
      cleanups.push(() => door.close());
      const { port } = door.address() as AddressInfo;
      const runtime = createDockerRuntime({ dockerHost: `tcp://127.0.0.1:${port}` }, node);
      cleanups.push(() => runtime.close());
      expect((await runtime.describe()).ready).toBe(true);
      const given = task(runtime, 'echo far; exit 2');
      await run(runtime, given);
      expect(await output(runtime, given)).toEqual(['far']);
      expect(await runtime.inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 2 });
    });

    describe('and its image', () => {
      let registry: Registry;
      beforeAll(async () => {
        registry = await startRegistry();
      });
      afterAll(() => registry.close());

      it('is pulled when the engine does not have it', async () => {
        const runtime = opened();
        const Image = `${registry.addr}/tiny:1`;
        const given = task(runtime, 'true', { container: { Image, Command: ['/none'], Args: [] } });
        expect(await runtime.prepare(given, never)).toMatchObject({ phase: 'created' });
        expect((await engine.docker.getImage(Image).inspect()).RepoTags).toContain(Image);
      });

      it('is refused for good when nobody has it', async () => {
        const runtime = opened();
        for (const [image, message] of [
          [`${registry.addr}/unknown:7`, `No such image: ${registry.addr}/unknown:7`],
          ['127.0.0.1:9/nobody:1', 'No such image: 127.0.0.1:9/nobody:1 (pulling it failed: '],
        ] as const) {
          const given = task(runtime, 'true', { container: { Image: image } });
          await expect(runtime.prepare(given, never)).rejects.toMatchObject({
            name: 'RuntimeError',
            message: expect.stringContaining(message),
            permanent: true,
          });
          expect(await runtime.inspect(given.ID)).toBeUndefined();
        }
      });
    });
  });
});

describe.skipIf(missing)('an engine that goes and comes', () => {
  it('makes the node unready, fails what is asked of it for now, and is watched again', async () => {
    const dataRoot = mkdtempSync(join(tmpdir(), 'swarm-engine-'));
    const engine = await startEngine({ name: 'restart', dataRoot, liveRestore: true });
    const runtime = createDockerRuntime({ dockerHost: engine.dockerHost, reservedNanoCpus: 5e8 }, node);
    try {
      await buildImages(engine.socket);
      const seen: string[] = [];
      runtime.watch(({ taskId }) => seen.push(taskId), new AbortController().signal);
      const never = new AbortController().signal;
      const [living, ending] = [makeTask(subject, 'sleep 60'), makeTask(subject, 'sleep 1; exit 6')];
      for (const one of [living, ending]) {
        await runtime.prepare(one, never);
        await runtime.start(one);
      }
      const before = await runtime.describe();
      expect(before.ready).toBe(true);

      await engine.down();
      const away = await runtime.describe();
      expect(away).toMatchObject({ ready: false, description: before.description });
      expect(away.reason).toContain(`the Docker engine at ${engine.dockerHost} does not answer`);
      await expect(runtime.inspect(living.ID)).rejects.toMatchObject({ name: 'RuntimeError', permanent: false });
      seen.length = 0;

      await engine.up();
      await expect.poll(() => seen, { timeout: 10_000 }).toEqual(expect.arrayContaining([living.ID, ending.ID]));
      expect(await runtime.inspect(living.ID)).toMatchObject({ phase: 'running' });
      await expect.poll(() => runtime.inspect(ending.ID), { timeout: 10_000 }).toMatchObject({ phase: 'exited' });
      expect((await runtime.describe()).ready).toBe(true);
    } finally {
      await runtime.close();
      await engine.stop();
    }
  });
});
