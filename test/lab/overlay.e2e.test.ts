import { macOf, type Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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

  const ctl = (...args: string[]) => lab.ctl(...args);
  const tasksOf = (service: string) => lab.tasksOf(service);
  const addressOf = (task: Task) => task.NetworksAttachments?.[0]?.Addresses[0]?.split('/')[0] ?? '';

  /** For services that are only to be there. */
  const briefly = ['--update-monitor', '300ms'];
  const inside = (task: Task, ...command: string[]) => lab.inside(task, ...command);

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
    const flags = ['--network', 'back', '--env', 'TASK_ID={{.Task.ID}}', '--update-monitor', '1s'];
    await ctl('service', 'create', '--name', 'web', '--replicas', '3', ...flags, 'web:1');
    await ctl('service', 'create', '--name', 'client', '--mode', 'global', '--network', 'back', ...briefly, 'web:1');
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

  /** Asks the service by its name all the time until `stop`; the tasks that answered, `none` for a question without an answer. */
  async function asking(client: Task, name: string): Promise<{ stop(): Promise<(string | undefined)[]> }> {
    const url = `http://${name}:8080/cgi-bin/id`;
    const script = [
      'rm -f /tmp/stop /tmp/answers; touch /tmp/asking',
      `while [ ! -e /tmp/stop ]; do timeout 5 busybox wget -q -O - ${url} | grep ^task= || echo task=none; done >/tmp/answers`,
      'rm /tmp/asking',
    ].join('\n');
    const engine = (await lab.hostOf(client)).engine.docker;
    const container = engine.getContainer(client.Status.ContainerStatus?.ContainerID ?? '');
    await (await container.exec({ Cmd: ['sh', '-c', script] })).start({ Detach: true });
    return {
      async stop() {
        const end = 'touch /tmp/stop; while [ -e /tmp/asking ]; do sleep 0.1; done; cat /tmp/answers';
        const { out } = await inside(client, 'sh', '-c', end);
        return [...out.matchAll(/^task=(\S+)$/gm)].map(([, id]) => id);
      },
    };
  }

  test('containers have the MACs that follow from their addresses, and the MTU that the way leaves', async () => {
    for (const task of await tasksOf('client')) {
      const { out } = await inside(task, 'busybox', 'ip', 'link');
      expect(out).toContain(`link/ether ${macOf(addressOf(task))}`);
      expect(out).toContain('mtu 1450');
    }
  });

  test('who asks all the time misses nothing while tasks come and go', async () => {
    const [client] = await tasksOf('client');
    const load = await asking(client!, 'web');
    for (const count of [1, 4, 2, 3]) {
      await ctl('service', 'scale', `web=${count}`);
      await lab.eventually('the tasks follow', async () => (await tasksOf('web')).length === count);
    }
    const answers = await load.stop();
    expect(answers.length).toBeGreaterThan(20);
    expect(answers.filter((one) => one === 'none')).toEqual([]);
  });

  test('who falls ill is sent nobody any more, before it is stopped', async () => {
    await ctl(
      ...[
        'service',
        'create',
        '--name',
        'frail',
        '--replicas',
        '3',
        '--network',
        'back',
        '--env',
        'TASK_ID={{.Task.ID}}',
      ],
      ...['--health-cmd', 'test ! -e /tmp/ill', '--health-interval', '1s', '--health-retries', '1', 'web:1'],
    );
    const [client] = await tasksOf('client');
    const [ill, ...well] = await tasksOf('frail');
    const load = await asking(client!, 'frail');
    await inside(ill!, 'touch', '/tmp/ill');
    const seen = async () => (await lookUp(client!, 'tasks.frail')).includes(addressOf(ill!));
    await lab.eventually('no name leads there', async () => !(await seen()));
    // It serves still whoever has its address: none of its connections was cut.
    expect(await get(client!, addressOf(ill!))).toBe(ill!.ID);
    await lab.eventually('another takes its place', async () => (await tasksOf('frail')).length === 3);
    const answers = await load.stop();
    expect(answers.filter((one) => one === 'none')).toEqual([]);
    expect(answers).toEqual(expect.arrayContaining(well.map(({ ID }) => ID)));
    await ctl('service', 'rm', 'frail');
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
    const host = await lab.hostOf(client!);
    await host.daemon.kill();
    await host.daemon.start();
    await lab.eventually('it answers', () =>
      tasksOf('web').then(
        () => true,
        () => false,
      ),
    );
    const [left] = await tasksOf('web');
    await lab.eventually('the name leads there again', async () => (await get(client!, 'web')) === left!.ID);
    expect((await tasksOf('client')).map(({ ID }) => ID)).toContain(client!.ID);
  });

  test('of both families, services and tasks are reached by either', async () => {
    await ctl('network', 'create', '--driver', 'overlay', '--ipv6', '--subnet', 'fd00:77::/64', 'six');
    const flags = ['--network', 'six', '--env', 'TASK_ID={{.Task.ID}}', ...briefly];
    await ctl('service', 'create', '--name', 'web6', '--replicas', '3', ...flags, 'web:1');
    await ctl('service', 'create', '--name', 'client6', '--network', 'six', ...briefly, 'web:1');
    const web = await tasksOf('web6');
    const [client] = await tasksOf('client6');
    const lookUp6 = async (asked: string) => {
      const { out } = await inside(client!, 'busybox', 'nslookup', '-type=aaaa', asked);
      return [...out.slice(out.indexOf('Name:')).matchAll(/Address(?: \d+)?: (fd00:77:\S+)/g)].map(([, addr]) => addr);
    };
    const address6 = (task: Task) => task.NetworksAttachments?.[0]?.Addresses[1]?.split('/')[0] ?? '';
    expect((await lookUp6('tasks.web6')).sort()).toEqual(web.map(address6).sort());
    for (const task of web) expect(await get(client!, `[${address6(task)}]`)).toBe(task.ID);
    const vips = await lookUp6('web6');
    expect(vips).toHaveLength(1);
    for (const where of [`[${vips[0]}]`, 'web6']) {
      const answers: (string | undefined)[] = [];
      for (let i = 0; i < 6; i++) answers.push(await get(client!, where));
      expect([where, [...new Set(answers)].sort()]).toEqual([where, web.map(({ ID }) => ID).sort()]);
    }
    await ctl('service', 'rm', 'web6', 'client6');
    await lab.eventually('the network is removed', () =>
      ctl('network', 'rm', 'six').then(
        () => true,
        () => false,
      ),
    );
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
