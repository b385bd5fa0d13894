import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seededRandom } from '@swarmctl/shared/kit';
import type { Task } from '@swarmctl/shared/model';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { contract, makeTask } from '../../../../../test/kit/runtime-contract.ts';
import type { Runtime } from '../types.ts';
import { type ProcessIdentity, statOf } from './proc.ts';
import { createProcessRuntime, type ProcessRuntimeOptions } from './runtime.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'swarm-process-'));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

const node = { nodeId: 'node1', clusterId: 'cluster1', hostname: 'here', addr: '127.0.0.1' };
const subject = { node, container: { Image: 'process' } };
const isRoot = process.getuid?.() === 0;

contract('process', () => ({
  ...subject,
  open: (other = node) => createProcessRuntime({ dataDir, allowRoot: true }, other),
}));

describe('a process', () => {
  const never = new AbortController().signal;
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  function open(options: Partial<ProcessRuntimeOptions> = {}): Runtime {
    const runtime = createProcessRuntime({ dataDir, allowRoot: true, ...options }, node);
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
  const folderOf = (given: Task, root = dataDir) => join(root, 'process', given.ID);
  const read = <T>(given: Task, name: string, root = dataDir): T =>
    JSON.parse(readFileSync(join(folderOf(given, root), name), 'utf8')) as T;
  const isGone = (pid: number) => ['Z', undefined].includes(statOf(pid)?.state);

  it('leads a session of its own and sees nothing of the daemon’s environment', async () => {
    const runtime = open();
    process.env['SECRET_OF_THE_DAEMON'] = 'x';
    cleanups.push(() => delete process.env['SECRET_OF_THE_DAEMON']);
    const given = task(runtime, 'env; pwd', { container: { Dir: '/usr', Env: ['A=b=c', 'BARE'] } });
    await runtime.prepare(given, never);
    await runtime.start(given);
    const lines = await output(runtime, given);
    expect(lines).toEqual(expect.arrayContaining(['A=b=c', 'HOSTNAME=here', '/usr']));
    expect(lines.filter((line) => /SECRET|BARE/.test(line))).toEqual([]);
    expect(read<ProcessIdentity>(given, 'run.json').pid).not.toBe(read<ProcessIdentity>(given, 'claim.json').pid);
  });

  it('is told its ports', async () => {
    const runtime = open({ random: seededRandom(process.pid) });
    const given = task(runtime, 'echo $PORT $PORT_80 $PORT_81 $PORT_53', {
      ports: [
        { TargetPort: 80, PublishedPort: 1, PublishMode: 'ingress' },
        { TargetPort: 80, PublishedPort: 2, PublishMode: 'ingress' },
        { TargetPort: 81, PublishedPort: 3, PublishMode: 'ingress' },
        { TargetPort: 53, PublishedPort: 5353, PublishMode: 'host', Protocol: 'udp' },
      ],
    });
    const state = await run(runtime, given);
    const lines = await output(runtime, given);
    const [port, port80, port81, port53] = (lines[0] ?? '').split(' ');
    expect([port, port53]).toEqual([port80, '5353']);
    for (const one of [port80, port81]) expect(Number(one)).toBeGreaterThanOrEqual(20_000);
    expect(port81).not.toBe(port80);
    if (state.phase === 'running')
      expect(state.endpoints.map(({ localPort }) => String(localPort))).toEqual([port80, port81]);
  });

  it('is started once by starts at the same time, in one daemon and in two', async () => {
    const [one, two] = [open(), open()];
    const given = task(one, 'echo started; sleep 60');
    await one.prepare(given, never);
    const states = await Promise.allSettled([one.start(given), one.start(given), two.start(given)]);
    expect(states.map(({ status }) => status).filter((status) => status === 'fulfilled').length).toBeGreaterThan(0);
    await expect.poll(async () => (await two.inspect(given.ID))?.phase).toBe('running');
    await one.stop(given, 0);
    expect(await output(two, given)).toEqual(['started']);
  });

  it('ends as killed when its shim is killed, and does not run on unseen', async () => {
    const runtime = open();
    const seen: string[] = [];
    runtime.watch(({ taskId }) => seen.push(taskId), never);
    const given = task(runtime, 'sleep 60 & sleep 61');
    const { pid } = await run(runtime, given);
    seen.length = 0;
    process.kill(read<ProcessIdentity>(given, 'claim.json').pid, 'SIGKILL');
    await expect.poll(() => seen).toContain(given.ID);
    expect(await runtime.inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 137 });
    await expect.poll(() => isGone(pid)).toBe(true);
    expect(await open().inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 137 });
  });

  it('has ended when the machine was restarted, whoever has its number now', async () => {
    const runtime = open();
    const given = task(runtime, 'sleep 60');
    await runtime.prepare(given, never);
    const bystander: ChildProcess = spawn('sleep', ['60'], { detached: true });
    cleanups.push(() => bystander.kill('SIGKILL'));
    const other = { bootId: 'another boot', pid: bystander.pid ?? 0, start: statOf(bystander.pid ?? 0)?.start };
    for (const name of ['claim.json', 'run.json']) writeFileSync(join(folderOf(given), name), JSON.stringify(other));
    expect(await runtime.inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 137 });
    expect(isGone(bystander.pid ?? 0)).toBe(false);
    const reused = task(runtime, 'sleep 60');
    await runtime.prepare(reused, never);
    const { bootId } = { bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() };
    const late = JSON.stringify({ bootId, pid: bystander.pid, start: '1' });
    for (const name of ['claim.json', 'run.json']) writeFileSync(join(folderOf(reused), name), late);
    expect(await runtime.inspect(reused.ID)).toMatchObject({ phase: 'exited', exitCode: 137 });
    expect(isGone(bystander.pid ?? 0)).toBe(false);
  });

  it('leaves no child behind when it ends', async () => {
    const runtime = open();
    const given = task(runtime, 'sleep 60 & echo $!; exit 0');
    await run(runtime, given);
    const [pid] = await output(runtime, given);
    expect(await runtime.inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 0 });
    await expect.poll(() => isGone(Number(pid))).toBe(true);
  });

  it('ends at once when its shim is told so by SIGUSR2', async () => {
    const runtime = open();
    const given = task(runtime, 'sleep 60 & sleep 61');
    const { pid } = await run(runtime, given);
    process.kill(read<ProcessIdentity>(given, 'claim.json').pid, 'SIGUSR2');
    await expect.poll(() => runtime.inspect(given.ID)).toMatchObject({ phase: 'exited', exitCode: 137 });
    expect(isGone(pid)).toBe(true);
  });

  it('ends when its folder is taken away', async () => {
    const runtime = open();
    const given = task(runtime, 'sleep 60');
    const { pid } = await run(runtime, given);
    const shim = read<ProcessIdentity>(given, 'claim.json').pid;
    rmSync(folderOf(given), { recursive: true });
    await expect.poll(() => isGone(pid) && isGone(shim), { timeout: 8_000 }).toBe(true);
  });

  it('works in a folder whose path is too long for a socket', async () => {
    const long = join(dataDir, 'x'.repeat(120));
    mkdirSync(long);
    const runtime = open({ dataDir: long });
    const given = task(runtime, "trap 'exit 4' TERM; echo up; while :; do sleep 0.1; done");
    await run(runtime, given);
    expect(existsSync(join(folderOf(given, long), 'ctl.sock'))).toBe(true);
    await expect.poll(() => readFileSync(join(folderOf(given, long), 'output.log'), 'utf8')).toContain('up');
    await runtime.stop(given, 5_000);
    expect(await runtime.inspect(given.ID)).toMatchObject({ exitCode: 4 });
  });

  it('keeps the last three files of its output, and a reader loses nothing while they turn', async () => {
    const runtime = open({ logFileBytes: 20_000 });
    const count = 'i=0; while [ $i -lt 500 ]; do echo line $i of many; i=$((i+1)); done';
    const given = task(runtime, `${count}; sleep 0.3; ${count}; sleep 0.3; ${count}`);
    await run(runtime, given);
    const lines = await output(runtime, given);
    expect(lines.length).toBeGreaterThan(1000);
    expect(lines.at(-1)).toBe('line 499 of many');
    const files = readdirSync(folderOf(given)).filter((name) => name.startsWith('output'));
    expect(files.sort()).toEqual(['output.log', 'output.log.1', 'output.log.2']);
    const kept = await output(runtime, given);
    expect(kept.length).toBeLessThan(1500);
    expect(lines.slice(-kept.length)).toEqual(kept);
  });

  it.each<[string, Parameters<typeof makeTask>[2], string]>([
    ['mounts', { container: { Mounts: [{ Target: '/x' }] } }, 'does not support ContainerSpec.Mounts'],
    ['no command', { container: { Command: [], Args: [] } }, 'needs a command'],
    ['no such folder', { container: { Dir: '/no/such' } }, "there is no folder '/no/such'"],
    ['no such user', { container: { User: 'nobody-at-all' } }, "no user 'nobody-at-all'"],
    ['no such signal', { container: { StopSignal: 'SIGNOTHING' } }, "'SIGNOTHING' is no signal"],
    ['no such check', { container: { Healthcheck: { Test: ['ODD'] } } }, 'must begin with NONE, CMD or CMD-SHELL'],
  ])('is refused for good: %s', async (_, more, problem) => {
    const runtime = open();
    const given = task(runtime, 'true', more);
    await expect(runtime.prepare(given, never)).rejects.toMatchObject({
      message: expect.stringContaining(problem),
      permanent: true,
    });
    expect(await runtime.inspect(given.ID)).toBeUndefined();
  });

  describe.skipIf(!isRoot)('under root', () => {
    it('is refused without a user, or as root, unless the node allows it', async () => {
      const runtime = open({ allowRoot: false });
      for (const User of ['', 'root', '0:0']) {
        const given = task(runtime, 'true', { container: { User } });
        await expect(runtime.prepare(given, never)).rejects.toMatchObject({
          message: expect.stringContaining('no processes as root'),
          permanent: true,
        });
      }
    });

    it('runs as its user, in that user’s groups alone', async () => {
      const runtime = open({ allowRoot: false });
      const given = task(runtime, 'id -u; id -g; id -G; echo $HOME $USER', { container: { User: 'nobody' } });
      await run(runtime, given);
      const group = /^nobody:[^:]*:65534:(\d+):.*?:([^:]*):/m.exec(readFileSync('/etc/passwd', 'utf8')) ?? [];
      expect(await output(runtime, given)).toEqual(['65534', group[1], group[1], `${group[2]} nobody`]);
    });

    it('is held to its limits, or the node says that it is not', async () => {
      const runtime = open();
      const limits = (await runtime.describe()).description.Engine.Labels?.['swarmctl.process.limits'] ?? '';
      if (limits.startsWith('none (')) return;
      const memory = task(runtime, 'exec tail /dev/zero', {
        spec: { Resources: { Limits: { MemoryBytes: 32 * 1024 * 1024 } } },
      });
      await run(runtime, memory);
      await expect
        .poll(() => runtime.inspect(memory.ID), { timeout: 15_000 })
        .toMatchObject({ phase: 'exited', exitCode: 137, oomKilled: true });
      const pids = task(runtime, 'sleep 0.3; for i in 1 2 3 4 5 6; do sleep 1 & done; wait', {
        spec: { Resources: { Limits: { Pids: 4, NanoCPUs: 5e8 } } },
      });
      await run(runtime, pids);
      expect((await output(runtime, pids)).join(' ')).toMatch(/fork/i);
      await runtime.remove(pids.ID);
      const left = ['pids', 'memory', 'cpu', 'unified', '.'].filter((controller) =>
        existsSync(`/sys/fs/cgroup/${controller}/swarmctl/${pids.ID}`),
      );
      expect(left).toEqual([]);
    });

    it('cannot escape by a session of its own', async () => {
      const runtime = open();
      const limits = (await runtime.describe()).description.Engine.Labels?.['swarmctl.process.limits'] ?? '';
      if (!limits.includes('pids')) return;
      const given = task(runtime, 'setsid sleep 60 & sleep 0.2; echo $!; exit 0');
      await run(runtime, given);
      const [pid] = await output(runtime, given);
      await expect.poll(() => isGone(Number(pid))).toBe(true);
    });
  });
});
