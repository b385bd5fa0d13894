import type { Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from './host.ts';
import { Lab, noLab } from './lab.ts';

// Attachable networks over two hosts: containers that users make with the hosts' own engines reach the services, and each other, and leave no trace.
// The tests share one lab and run in order.

const missing = noLab();
const name = `a${process.pid}`;

describe.skipIf(missing)(`attachable networks${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;
  let a: Host;
  let b: Host;

  beforeAll(async () => {
    lab = await Lab.up({ name, nodes: 2, managers: 1 });
    [a, b] = [lab.host(1), lab.host(2)];
  }, 120_000);
  afterAll(async () => {
    await Lab.remove(name);
  }, 60_000);

  const ctl = (...args: string[]) => lab.host(1).ctl(...args);
  /** With the host's own engine; what it prints, and what it complains of. */
  const docker = async (host: Host, ...args: string[]) => {
    const { out, err } = await host.exec('docker', '-H', host.engine.dockerHost, ...args);
    return `${out}${err}`.trim();
  };
  const run = (host: Host, container: string, network: string, ...flags: string[]) =>
    docker(host, 'run', '--detach', '--name', container, '--network', network, ...flags, 'web:1');
  /** Which task, or which container, answers there; undefined: nobody. */
  const get = async (host: Host, container: string, where: string) => {
    const url = `http://${where}:8080/cgi-bin/id`;
    const out = await docker(host, 'exec', container, 'timeout', '3', 'busybox', 'wget', '-q', '-O', '-', url);
    return (/^task=(\S+)$/m.exec(out) ?? /^hostname=(\S+)$/m.exec(out))?.[1];
  };
  const addressOf = (host: Host, container: string, family = 'IPAddress') =>
    docker(host, 'inspect', '--format', `{{range .NetworkSettings.Networks}}{{.${family}}}{{end}}`, container);
  const idOf = async (host: Host, container: string) =>
    (await docker(host, 'inspect', '--format', '{{.Id}}', container)).slice(0, 12);
  /** Until all its tasks run. */
  const serve = async (...args: string[]) => {
    const id = (await ctl('service', 'create', '--detach', ...args)).trim();
    const count = args.includes('global') ? 2 : 1;
    await lab.eventually('its tasks run', async () => (await tasks(id)).length === count);
  };
  const tasks = async (service: string): Promise<Task[]> => {
    const found = await lab.host(1).api.get<Task[]>('/tasks', { filters: JSON.stringify({ service: [service] }) });
    return found.filter(({ Status, DesiredState }) => Status.State === 'running' && DesiredState === 'running');
  };

  test('a container made by hand reaches a service on all hosts at once, by name and by address', async () => {
    expect(await ctl('network', 'create', '--driver', 'overlay', '--attachable', '--ipv6', 'back')).not.toContain(
      'not',
    );
    const flags = ['--network', 'back', '--env', 'TASK_ID={{.Task.ID}}'];
    await serve('--name', 'web', '--mode', 'global', ...flags, 'web:1');
    const ids = (await tasks('web')).map(({ ID }) => ID).sort();
    expect(ids).toHaveLength(2);
    // Its first words: nobody waits for what is still to be made around it.
    const ask = 'timeout 8 busybox wget -q -O - http://web:8080/cgi-bin/id';
    const first = await docker(b, 'run', '--rm', '--network', 'back', 'web:1', 'sh', '-c', ask);
    expect(ids).toContain(/^task=(\S+)$/m.exec(first)?.[1]);
    // Nobody is on it, so whoever tidies up takes it away.
    await ctl('network', 'create', '--driver', 'overlay', '--attachable', 'bare');
    const hasBare = async () => (await docker(b, 'network', 'ls')).includes(' bare ');
    await lab.eventually('the engine has it', hasBare);
    expect(await docker(b, 'network', 'prune', '--force')).toContain('bare');
    await lab.eventually('it is there again', hasBare, 10_000);
    await ctl('network', 'rm', 'bare');
    await run(a, 'one', 'back');
    await run(b, 'two', 'back', '--network-alias', 'palm');
    for (const [host, container] of [
      [a, 'one'],
      [b, 'two'],
    ] as const) {
      await lab.eventually('it reaches both tasks by the name', async () => {
        const answers = [await get(host, container, 'web'), await get(host, container, 'web')];
        return String(answers.sort()) === String(ids);
      });
      for (const task of await tasks('web')) {
        const [v4 = '', v6 = ''] = task.NetworksAttachments?.[0]?.Addresses ?? [];
        await lab.eventually(
          'it reaches each task',
          async () => (await get(host, container, v4.split('/')[0] ?? '')) === task.ID,
        );
        expect(await get(host, container, `[${v6.split('/')[0]}]`)).toBe(task.ID);
      }
    }
  });

  test('it is reached from other hosts, by address, name and alias, by its like and by tasks', async () => {
    const two = await idOf(b, 'two');
    for (const where of [
      await addressOf(b, 'two'),
      `[${await addressOf(b, 'two', 'GlobalIPv6Address')}]`,
      'two',
      'palm',
    ])
      expect([where, await get(a, 'one', where)]).toEqual([where, two]);
    const here = (await tasks('web')).find((task) => task.NodeID !== undefined && task.Status.ContainerStatus);
    const host = (await lab.nodeOf(1))?.ID === here?.NodeID ? a : b;
    const [other, name] = host === a ? [b, 'two'] : [a, 'one'];
    expect(await get(host, here?.Status.ContainerStatus?.ContainerID ?? '', name)).toBe(await idOf(other, name));
    const shown = await a.api.get<{ Containers: Record<string, { Name: string }> }>('/networks/back');
    expect(
      Object.values(shown.Containers)
        .map(({ Name }) => Name)
        .sort(),
    ).toEqual(['one', 'two', expect.stringMatching(/^web\./), expect.stringMatching(/^web\./)]);
  });

  test('one that is on a network of its engine’s own as well has the names of both', async () => {
    await docker(a, 'network', 'create', 'mine');
    await run(a, 'local', 'mine');
    await run(a, 'both', 'mine');
    await docker(a, 'network', 'connect', 'back', 'both');
    await lab.eventually('it has the cluster’s', async () => (await get(a, 'both', 'palm')) !== undefined);
    expect(await get(a, 'both', 'local')).toBe(await idOf(a, 'local'));
    await docker(a, 'network', 'disconnect', 'back', 'both');
    const pid = await docker(a, 'inspect', '--format', '{{.State.Pid}}', 'both');
    await lab.eventually('nothing is left of it', async () => {
      const { out } = await a.exec('nsenter', '--target', pid, '--net', 'nft', 'list', 'tables');
      return !out.includes('swarmd');
    });
    await docker(a, 'rm', '--force', 'both', 'local');
    await docker(a, 'network', 'rm', 'mine');
  });

  test('it outlives a restarted daemon, and is known again', async () => {
    await b.daemon.kill();
    expect(await get(a, 'one', await addressOf(b, 'two'))).toBe(await idOf(b, 'two'));
    await docker(b, 'restart', '--time', '0', 'two');
    await b.daemon.start();
    const two = await idOf(b, 'two');
    await lab.eventually('it is reached', async () => (await get(a, 'one', 'palm')) === two);
    const web = (await tasks('web')).map(({ ID }) => ID);
    await lab.eventually('it reaches', async () => web.includes((await get(b, 'two', 'web')) ?? ''));
  });

  test('an internal network has names, and no way out', async () => {
    await ctl('network', 'create', '--driver', 'overlay', '--attachable', '--internal', 'inner');
    const flags = ['--network', 'inner', '--env', 'TASK_ID={{.Task.ID}}'];
    await serve('--name', 'db', ...flags, 'web:1');
    const [db] = await tasks('db');
    await lab.eventually('the engine has it', async () => (await docker(b, 'network', 'ls')).includes('inner'));
    await run(b, 'in', 'inner');
    await lab.eventually('it reaches the service', async () => (await get(b, 'in', 'db')) === db?.ID);
    expect(await docker(b, 'exec', 'in', 'busybox', 'ping', '-c', '1', '-W', '1', a.addr)).toMatch(
      /unreachable|100% packet loss/,
    );
    await docker(b, 'rm', '--force', 'in');
    await ctl('service', 'rm', 'db');
  });

  test('networks that are not attachable, and names that the engine has for others, are told of', async () => {
    await ctl('network', 'create', '--driver', 'overlay', 'closed');
    expect(await docker(b, 'run', '--network', 'closed', 'web:1')).toContain('network closed not found');
    await docker(b, 'network', 'create', 'mixed');
    await ctl('network', 'create', '--driver', 'overlay', '--attachable', 'mixed');
    await serve('--name', 'calm', '--mode', 'global', '--network', 'mixed', 'web:1');
    expect(await tasks('calm')).toHaveLength(2);
    await lab.eventually('the node says so', async () =>
      JSON.stringify((await lab.nodeOf(2))?.Description).includes('the engine has another network of that name'),
    );
    await ctl('service', 'rm', 'calm');
    await docker(b, 'network', 'rm', 'mixed');
    for (const network of ['closed', 'mixed', 'inner']) await ctl('network', 'rm', network);
  });

  test('a network with such containers stays; without, it goes from every host', async () => {
    await ctl('service', 'rm', 'web');
    await expect(ctl('network', 'rm', 'back')).rejects.toThrow(
      /in use by container (one on node node1|two on node node2)/,
    );
    await docker(a, 'rm', '--force', 'one');
    await docker(b, 'rm', '--force', 'two');
    await lab.eventually('the network is removed', () =>
      ctl('network', 'rm', 'back').then(
        () => true,
        () => false,
      ),
    );
    await lab.eventually('no host has a trace of it', async () => {
      const left = await Promise.all(
        lab.hosts.map(
          async (host) =>
            (await host.exec('sh', '-c', 'ip -o link; nft list tables')).out + (await docker(host, 'network', 'ls')),
        ),
      );
      return !left.some((out) => /sw[bx][0-9a-z]{6}|swarmnet|\sback\s/.test(out));
    });
  });
});
