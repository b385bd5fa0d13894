import type { Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab, noLab } from './lab.ts';
import { run } from './run.ts';
import { bridgeNamespace, markOf } from './state.ts';

// An encrypted network over three hosts: what goes between them is seen on the wire, keys change under traffic, hosts come back. The tests share
// one lab and run in order.

const missing = noLab('wireguard-go');
const name = `e${process.pid}`;

/** Prints what the node's WireGuard shares with its peers, by its control socket, and nothing else of it. */
const pskOf = `
const { createHash } = require('node:crypto');
const folder = '/var/run/wireguard/';
const socket = require('node:net').connect(folder + require('node:fs').readdirSync(folder)[0]);
let text = '';
socket.on('data', (chunk) => {
  text += chunk;
  if (!text.endsWith('\\n\\n')) return;
  const keys = [...text.matchAll(/preshared_key=(.*)/g)].map(([, key]) => createHash('sha256').update(key).digest('hex'));
  console.log([...new Set(keys)].join());
  socket.end();
});
socket.write('get=1\\n\\n');
`;

describe.skipIf(missing)(`encrypted networks${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;
  let vni: string;

  beforeAll(async () => {
    lab = await Lab.up({ name, nodes: 3, managers: 1 });
  }, 120_000);
  afterAll(async () => {
    await Lab.remove(name);
  }, 60_000);

  const ctl = (...args: string[]) => lab.ctl(...args);
  const tasksOf = (service: string) => lab.tasksOf(service);
  const addressOf = (task: Task) => task.NetworksAttachments?.[0]?.Addresses[0]?.split('/')[0] ?? '';

  const inside = async (task: Task, ...command: string[]) => (await lab.inside(task, ...command)).out;

  /** The task that answers there; undefined when nobody does. */
  const get = async (task: Task, where: string) => {
    const url = `http://${where}:8080/cgi-bin/id`;
    return /^task=(\S+)$/m.exec(await inside(task, 'timeout', '3', 'busybox', 'wget', '-q', '-O', '-', url))?.[1];
  };

  const onWire = (command: string) =>
    run('nsenter', [`--net=/run/netns/${bridgeNamespace(name)}`, 'nft', command], markOf(name));
  /** Packets of the network between the hosts so far. */
  async function seen(): Promise<{ plain: number; encrypted: number }> {
    const text = await onWire('list table bridge seen');
    const of = (comment: string) =>
      Number(new RegExp(`packets (\\d+) bytes \\d+ comment "${comment}"`).exec(text)?.[1]);
    return { plain: of('plain'), encrypted: of('encrypted') };
  }

  test('tasks on all hosts reach each other, by name and by address', async () => {
    await ctl('network', 'create', '--driver', 'overlay', '--opt', 'encrypted', 'secret');
    await lab.eventually('the network is allocated', async () => {
      const shown = await lab.host(1).api.get<{ Options: Record<string, string> }>('/networks/secret');
      vni = shown.Options['com.docker.network.driver.overlay.vxlanid_list'] ?? '';
      return vni !== '';
    });
    await onWire('add table bridge seen');
    await onWire('add chain bridge seen c_all { type filter hook prerouting priority 0; }');
    await onWire(`add rule bridge seen c_all udp dport 4789 @th,96,24 ${vni} counter comment "plain"`);
    await onWire('add rule bridge seen c_all udp dport 5789 counter comment "encrypted"');
    const flags = ['--network', 'secret', '--env', 'TASK_ID={{.Task.ID}}'];
    await ctl('service', 'create', '--name', 'web', '--mode', 'global', ...flags, 'web:1');
    const tasks = await tasksOf('web');
    expect(tasks).toHaveLength(3);
    for (const from of tasks) {
      for (const to of tasks) {
        await lab.eventually('each reaches each', async () => (await get(from, addressOf(to))) === to.ID);
      }
    }
    const answers = new Set<string | undefined>();
    for (let i = 0; i < 3; i++) answers.add(await get(tasks[0] as Task, 'web'));
    expect([...answers].sort()).toEqual(tasks.map(({ ID }) => ID).sort());
  });

  test('and nothing of it is to be seen on the wire', async () => {
    const { plain, encrypted } = await seen();
    expect(plain).toBe(0);
    expect(encrypted).toBeGreaterThan(50);
  });

  test('no packet is lost while the keys change, and the hosts go on with the new ones', async () => {
    const [a, b] = (await tasksOf('web')) as [Task, Task];
    const keys = async () =>
      Promise.all(lab.hosts.map(async (host) => (await host.exec(process.execPath, '-e', pskOf)).out.trim()));
    const [before] = await keys();
    expect(new Set(await keys()).size).toBe(1);
    const pinging = inside(a, 'busybox', 'ping', '-i', '0.02', '-c', '250', '-W', '1', addressOf(b));
    await ctl('swarm', 'update', '--rotate-network-keys');
    await lab.eventually('all have the next', async () => {
      const after = new Set(await keys());
      return after.size === 1 && !after.has(before ?? '');
    });
    expect(await pinging).toContain('250 packets transmitted, 250 packets received');
    // A session that is made anew is made with it.
    const host = await lab.hostOf(b);
    await host.exec('sh', '-c', 'kill -9 $(pidof wireguard-go)');
    await lab.eventually('they reach each other again', async () => (await get(a, addressOf(b))) === b.ID);
    expect((await seen()).plain).toBe(0);
  });

  test('a restarted daemon leaves it as it is, and a host that was off comes back', async () => {
    const [a, b] = (await tasksOf('web')) as [Task, Task];
    const host = await lab.hostOf(a);
    const pid = async () => (await host.exec('pidof', 'wireguard-go')).out;
    const before = await pid();
    await host.daemon.kill();
    expect(await get(a, addressOf(b))).toBe(b.ID);
    await host.daemon.start();
    expect(await get(a, addressOf(b))).toBe(b.ID);
    expect(await pid()).toBe(before);
    await lab.kill(3);
    await lab.start(3);
    const nodeId = (await lab.nodeOf(3))?.ID;
    await lab.eventually('the host has a task that is reached, and reaches', async () => {
      const tasks = await tasksOf('web');
      const back = tasks.find((task) => task.NodeID === nodeId);
      const other = tasks.find((task) => task.NodeID !== nodeId);
      if (!back || !other) return false;
      return (await get(other, addressOf(back))) === back.ID && (await get(back, addressOf(other))) === other.ID;
    });
    expect((await seen()).plain).toBe(0);
  });

  test('with the network, all that served it goes', async () => {
    await ctl('service', 'rm', 'web');
    await lab.eventually('the network is removed', () =>
      ctl('network', 'rm', 'secret').then(
        () => true,
        () => false,
      ),
    );
    await lab.eventually('no host has a trace of it', async () => {
      const left = await Promise.all(
        lab.hosts.map(async (host) => {
          const { out } = await host.exec(
            'sh',
            '-c',
            'ip -o link; nft list tables; pidof wireguard-go; ls /run/wireguard',
          );
          return /sw[bxg][0-9a-z]{6}|swarmwg|^\d+$|\.sock/m.test(out);
        }),
      );
      return !left.includes(true);
    });
  });
});
