import type { Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from './host.ts';
import { Lab, noLab } from './lab.ts';

// Overlay networks over three hosts: services reach each other by name and virtual address wherever they run, and what changes is followed at once.
// The tests share one lab and run in order.

const missing = noLab();
const name = `o${process.pid}`;

describe.skipIf(missing)(`overlay networks${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.up({ name, nodes: 3, managers: 1 });
  }, 120_000);
  afterAll(async () => {
    await Lab.remove(name);
  }, 60_000);

  const tasksOf = async (service: string): Promise<Task[]> => {
    const filters = JSON.stringify({ service: [service] });
    const tasks = await lab.host(1).api.get<Task[]>('/tasks', { filters });
    return tasks.filter((task) => task.Status.State === 'running' && task.DesiredState === 'running');
  };
  const ctl = (...args: string[]) => lab.host(1).ctl(...args);
  const addressOf = (task: Task) => task.NetworksAttachments?.[0]?.Addresses[0]?.split('/')[0] ?? '';

  /** Runs in a task's container, wherever that is. */
  async function inside(task: Task, ...command: string[]): Promise<{ code: number; out: string }> {
    const host = await hostOf(task);
    const id = task.Status.ContainerStatus?.ContainerID ?? '';
    const exec = await host.engine.docker
      .getContainer(id)
      .exec({ Cmd: command, AttachStdout: true, AttachStderr: true, Tty: true });
    const stream = await exec.start({ Tty: true });
    let out = '';
    for await (const chunk of stream) out += String(chunk);
    const { ExitCode } = await exec.inspect();
    return { code: ExitCode ?? -1, out: out.replaceAll('\r', '') };
  }

  async function hostOf(task: Task): Promise<Host> {
    for (const host of lab.hosts) if ((await lab.nodeOf(host.number))?.ID === task.NodeID) return host;
    throw new Error(`task ${task.ID} is on no host of the lab`);
  }

  /** The task that answers there; undefined when nobody does. */
  const get = async (task: Task, where: string) => {
    const url = `http://${where}:8080/cgi-bin/id`;
    const { out } = await inside(task, 'timeout', '3', 'busybox', 'wget', '-q', '-O', '-', url);
    return /^task=(\S+)$/m.exec(out)?.[1];
  };
  const lookUp = async (task: Task, asked: string) => {
    const { out } = await inside(task, 'busybox', 'nslookup', asked);
    const answers = out.slice(out.indexOf('Name:'));
    return [...answers.matchAll(/Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)/g)].map(([, addr]) => addr).sort();
  };

  test('tasks get addresses of their network, on every host', async () => {
    await ctl('network', 'create', '--driver', 'overlay', 'back');
    const flags = ['--network', 'back', '--env', 'TASK_ID={{.Task.ID}}'];
    await ctl('service', 'create', '--name', 'web', '--replicas', '3', ...flags, 'web:1');
    await ctl('service', 'create', '--name', 'client', '--mode', 'global', '--network', 'back', 'web:1');
    const tasks = [...(await tasksOf('web')), ...(await tasksOf('client'))];
    expect(tasks).toHaveLength(6);
    expect(new Set(tasks.map(addressOf)).size).toBe(6);
    expect(new Set(tasks.map(({ NodeID }) => NodeID)).size).toBe(3);
  });

  test('each reaches each by address, also on other hosts', async () => {
    const web = await tasksOf('web');
    for (const client of await tasksOf('client')) {
      for (const task of web) expect(await get(client, addressOf(task))).toBe(task.ID);
    }
  });

  test('a name leads to the virtual address, which spreads over all, and tasks.NAME to each', async () => {
    const web = await tasksOf('web');
    for (const client of await tasksOf('client')) {
      const answers: (string | undefined)[] = [];
      for (let i = 0; i < 6; i++) answers.push(await get(client, 'web'));
      expect([...new Set(answers)].sort()).toEqual(web.map(({ ID }) => ID).sort());
      expect(await lookUp(client, 'tasks.web')).toEqual(web.map(addressOf).sort());
      expect(await lookUp(client, 'web')).toHaveLength(1);
    }
  });

  test('who goes is named no more, and nobody is sent there', async () => {
    await ctl('service', 'scale', 'web=1');
    const [client] = await tasksOf('client');
    await lab.eventually('the name follows', async () => {
      const left = await tasksOf('web');
      return left.length === 1 && String(await lookUp(client!, 'tasks.web')) === addressOf(left[0]!);
    });
    const [left] = await tasksOf('web');
    for (let i = 0; i < 10; i++) expect(await get(client!, 'web')).toBe(left!.ID);
  });

  test('a restarted daemon leaves it all as it is', async () => {
    const [client] = await tasksOf('client');
    const host = await hostOf(client!);
    await host.daemon.kill();
    await host.daemon.start();
    const [left] = await tasksOf('web');
    await lab.eventually('the name leads there again', async () => (await get(client!, 'web')) === left!.ID);
    expect((await tasksOf('client')).map(({ ID }) => ID)).toContain(client!.ID);
  });

  test('a network that is in use stays; without services it goes from every host', async () => {
    await expect(ctl('network', 'rm', 'back')).rejects.toThrow(/in use/);
    await ctl('service', 'rm', 'web', 'client');
    await lab.eventually('the network is removed', () =>
      ctl('network', 'rm', 'back').then(
        () => true,
        () => false,
      ),
    );
    await lab.eventually('no host has a trace of it', async () => {
      const links = await Promise.all(lab.hosts.map(async (host) => (await host.exec('ip', '-o', 'link')).out));
      return !links.some((out) => /sw[bx][0-9a-z]/.test(out));
    });
  });
});
