import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab, noLab } from './lab.ts';
import type { Machine } from './machine.ts';
import { isAlive } from './processes.ts';
import { containerProcesses, noTraces, tracesOf } from './traces.ts';

// Three hosts, from up to down. The tests share one lab and run in order; each leaves it whole.

const missing = noLab();
const name = `t${process.pid}`;
const main = fileURLToPath(new URL('main.ts', import.meta.url));

describe.skipIf(missing)(`a lab of three hosts${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;
  const before = missing ? undefined : tracesOf(name);

  beforeAll(async () => {
    lab = await Lab.up({ name, nodes: 3, managers: 1 });
  }, 120_000);
  afterAll(async () => {
    await Lab.remove(name);
  }, 60_000);

  /** As `npm run lab`, with the lab's name. */
  const cli = (verb: string, ...args: string[]) =>
    spawnSync(process.execPath, ['--conditions=source', '--import', 'tsx', main, '--name', name, verb, ...args], {
      encoding: 'utf8',
    });
  const get = (from: Machine, addr: string) =>
    from.exec('timeout', '3', 'busybox', 'wget', '-q', '-O', '-', `http://${addr}:8080/cgi-bin/id`);
  const reaches = async (from: Machine, addr: string) =>
    (await from.exec('busybox', 'ping', '-c', '1', '-W', '1', addr)).code === 0;
  const stateOf = async (number: number) => (await lab.nodeOf(number))?.Status.State;
  const running = () => lab.tasksOf('web');

  test('each host has its name, addresses, processes and engine', async () => {
    for (const host of lab.hosts) {
      const { out } = await host.exec('sh', '-c', 'hostname; ps -e -o comm=');
      expect(out.split('\n')[0]).toBe(host.name);
      // A program that is about to be another has its parent's name for a moment.
      expect(new Set(out.match(/^(dockerd|swarmd)$/gm))).toEqual(new Set(['dockerd', 'swarmd']));
      const info = await host.engine.docker.info();
      expect(info.Name).toBe(host.name);
      expect(await reaches(lab.client, host.addr)).toBe(true);
      expect(await reaches(lab.client, host.addr6)).toBe(true);
    }
    const ids = await Promise.all(lab.hosts.map(async ({ engine }) => (await engine.docker.info()).ID));
    expect(new Set(ids).size).toBe(3);
  });

  test('a published service answers the client on every host', async () => {
    const flags = ['--publish', '8080:8080', '--env', 'TASK_ID={{.Task.ID}}', '--update-monitor', '300ms'];
    await lab.ctl('service', 'create', '--name', 'web', '--replicas', '3', ...flags, 'web:1');
    const tasks = await running();
    expect(new Set(tasks.map((task) => task.NodeID)).size).toBe(3);
    for (const host of lab.hosts) {
      const answers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => get(lab.client, host.addr)));
      const seen = new Set(answers.map(({ out }) => /^task=(.*)$/m.exec(out)?.[1]));
      expect(seen, `${host.name}: ${answers.map(({ err }) => err).join()}`).toEqual(
        new Set(tasks.map((task) => task.ID)),
      );
    }
  });

  test('the command line runs programs on a host and passes on how they end', () => {
    const { status, stdout } = cli(
      'exec',
      '2',
      'sh',
      '-c',
      'echo "$1 on $(hostname)"; docker ps -q | wc -l; exit 7',
      '-',
      '--name',
    );
    expect(stdout).toBe('--name on node2\n1\n');
    expect(status).toBe(7);
    expect(cli('exec', '1', 'swarmctl', 'node', 'ls').stdout).toMatch(/node1 +Ready[\s\S]*node3 +Ready/);
    expect(cli('exec', 'client', 'busybox', 'wget', '-q', '-O', '-', `http://${lab.host(3).addr}:8080/`).stdout).toBe(
      'version 1\n',
    );
    expect(cli('exec', '4', 'true')).toMatchObject({ status: 1, stderr: 'lab: there is no host 4: they are 1 to 3\n' });
  });

  test('a host that is cut off is down until it is healed', async () => {
    await lab.partition(3);
    await lab.eventually('node3 is down', async () => (await stateOf(3)) === 'down');
    expect(await reaches(lab.host(3), lab.host(2).addr)).toBe(false);
    expect(await reaches(lab.host(1), lab.host(3).addr6)).toBe(false);
    expect(await reaches(lab.client, lab.host(3).addr)).toBe(true);
    expect(cli('status').stdout).toMatch(/^node3 .* on .* down +node1 node2$/m);
    await lab.heal(3);
    await lab.eventually('node3 is ready', async () => (await stateOf(3)) === 'ready');
    expect(await reaches(lab.host(3), lab.host(2).addr)).toBe(true);
  });

  test('two machines can be cut from each other alone', async () => {
    await lab.partition(2, [3]);
    await lab.partition(1, ['client']);
    expect(await reaches(lab.host(3), lab.host(2).addr)).toBe(false);
    expect(await reaches(lab.host(2), lab.host(1).addr)).toBe(true);
    expect(await reaches(lab.client, lab.host(1).addr)).toBe(false);
    await lab.heal(2);
    expect(await reaches(lab.host(3), lab.host(2).addr)).toBe(true);
    expect(await reaches(lab.client, lab.host(1).addr)).toBe(false);
    await lab.heal();
    expect(await reaches(lab.client, lab.host(1).addr)).toBe(true);
  });

  test('a killed host ends with all that ran on it, and comes back with its disk', async () => {
    const id = (await lab.nodeOf(2))?.ID;
    const containers = containerProcesses(name, 'node2');
    expect(containers.length).toBeGreaterThan(0);
    const first = lab.host(2).first;
    await lab.kill(2);
    expect([...containers, ...(first ? [first] : [])].filter(isAlive)).toEqual([]);
    expect(lab.host(2).engine.pid).toBeUndefined();
    expect(await reaches(lab.client, lab.host(2).addr)).toBe(false);
    await expect(async () => lab.host(2).exec('true')).rejects.toThrow('node2 is off');
    await lab.eventually('node2 is down', async () => (await stateOf(2)) === 'down');
    await lab.eventually('three run elsewhere', async () => {
      const tasks = await running();
      return tasks.length === 3 && tasks.every((task) => task.NodeID !== id);
    });
    await lab.start(2);
    await lab.eventually('node2 is ready', async () => (await stateOf(2)) === 'ready');
    expect((await lab.nodeOf(2))?.ID).toBe(id);
    expect(containerProcesses(name, 'node2')).toEqual([]);
    await lab.eventually('node2 answers', async () => (await get(lab.client, lab.host(2).addr)).out.includes('task='));
  });

  test('one program of a host can be killed and started', async () => {
    const { engine, daemon } = lab.host(3);
    const old = [engine.pid, daemon.pid];
    expect(cli('kill', '3', 'swarmd').status).toBe(0);
    expect(daemon.pid).toBeUndefined();
    expect(engine.pid).toBe(old[0]);
    await engine.kill();
    expect(engine.pid).toBeUndefined();
    expect(cli('start', '3').status).toBe(0);
    expect(engine.pid).not.toBe(old[0]);
    expect(daemon.pid).not.toBe(old[1]);
  });

  test('another lab has the same addresses and goes without touching this one', async () => {
    const other = await Lab.up({ name: `${name}-2`, nodes: 1 });
    try {
      expect(other.host(1).addr).toBe(lab.host(1).addr);
      expect(await other.nodes()).toHaveLength(1);
      await expect(Lab.up({ name, nodes: 1 })).rejects.toThrow(`there is a lab '${name}' already`);
    } finally {
      await other.down();
    }
    expect(tracesOf(`${name}-2`)).toMatchObject(noTraces);
    expect(await lab.nodes()).toHaveLength(3);
    expect(lab.hosts.every(({ isUp, engine, daemon }) => isUp && engine.pid && daemon.pid)).toBe(true);
  });

  test('down leaves nothing', async () => {
    const here = tracesOf(name);
    expect(here.namespaces).toHaveLength(5);
    for (const kind of ['processes', 'mounts', 'cgroups', 'folders'] as const) expect(here[kind]).not.toEqual([]);
    const containers = lab.hosts.flatMap((host) => containerProcesses(name, host.name));
    expect(containers.length).toBeGreaterThan(0);
    await lab.down();
    expect(tracesOf(name)).toEqual(before);
    expect(before).toMatchObject(noTraces);
    expect(containers.filter(isAlive)).toEqual([]);
    expect(await Lab.remove(name)).toBe(false);
  });
});
