import type { Task } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from './host.ts';
import { Lab, noLab } from './lab.ts';
import type { Machine } from './machine.ts';

// What people do with a cluster on an ordinary day, on five hosts, side by side: each case has services and ports of its own.

const missing = noLab();
const name = `v${process.pid}`;

describe.skipIf(missing)(`everyday cases${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.up({ name, nodes: 5, managers: 1 });
  }, 180_000);
  afterAll(async () => {
    await Lab.remove(name);
  }, 60_000);

  const ctl = (...args: string[]) => lab.ctl(...args);
  const tasksOf = (service: string) => lab.tasksOf(service);
  /** What is made is not watched for as long as usual. */
  const create = (service: string, flags: string, image = 'web:1') =>
    ctl('service', 'create', '--name', service, '--update-monitor', '1s', ...flags.split(' '), image);
  const stop = (service: string) => ctl('service', 'rm', service);

  async function allTasks(service: string): Promise<Task[]> {
    return lab.host(1).api.get<Task[]>('/tasks', { filters: JSON.stringify({ service: [service] }) });
  }
  const addressesOf = (tasks: readonly Task[]) =>
    tasks.map((task) => task.NetworksAttachments?.[0]?.Addresses[0]?.split('/')[0] ?? '');

  async function docker(machine: Host, ...args: string[]): Promise<string> {
    const { code, out, err } = await machine.exec('docker', ...args);
    if (code !== 0) throw new Error(`docker ${args.join(' ')} on ${machine.name}: ${err}${out}`);
    return out.trim();
  }
  const containerOf = (task: Task) => task.Status.ContainerStatus?.ContainerID ?? '';
  /** Runs in a task's container; what it says. */
  async function inside(task: Task, ...command: string[]): Promise<string> {
    const { code, out } = await lab.inside(task, ...command);
    if (code !== 0) throw new Error(`${command.join(' ')} in task ${task.ID}: exit ${code}: ${out}`);
    return out.trim();
  }

  /** What answers at `http://…`; empty when nobody does. */
  async function get(from: Machine, where: string): Promise<string> {
    return (await from.exec('timeout', '5', 'busybox', 'wget', '-q', '-O', '-', `http://${where}`)).out.trim();
  }
  const field = (answer: string, key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(answer)?.[1];

  test.concurrent('two copies with a published port answer on all five hosts', async () => {
    await create('nginx', '--replicas 2 -p 80:8080 --env TASK_ID={{.Task.ID}}');
    const tasks = (await tasksOf('nginx')).map(({ ID }) => ID).sort();
    expect(tasks).toHaveLength(2);
    for (const host of lab.hosts) {
      // A task runs from its start on; its program takes a moment to open its port.
      await lab.eventually(`both answer on ${host.name}`, async () => {
        const answers: string[] = [];
        for (let i = 0; i < 4; i++) answers.push(field(await get(lab.client, `${host.addr}/cgi-bin/id`), 'task') ?? '');
        return [...new Set(answers)].sort().join() === tasks.join();
      });
    }
    await stop('nginx');
  });

  test.concurrent('a site and its database, which it knows by name, over an overlay network', async () => {
    await ctl('network', 'create', '-d', 'overlay', 'site');
    const [, , third, fourth] = lab.hosts;
    await Promise.all([
      create(
        'db',
        `--network site --mount type=volume,source=notes,target=/data --constraint node.hostname==${third?.name}`,
      ),
      create(
        'blog',
        `--network site --replicas 3 -p 8081:8080 --env UPSTREAM=http://db:8080/cgi-bin/notes --constraint node.hostname!=${third?.name}`,
      ),
    ]);
    expect(await get(lab.client, `${fourth?.addr}:8081/cgi-bin/ask?hello`)).toBe('hello');
    for (const host of lab.hosts) expect(await get(lab.client, `${host.addr}:8081/cgi-bin/ask`)).toBe('hello');
    // The database comes back with what it had, and is found again.
    await ctl('service', 'update', '--force', 'db');
    await lab.eventually('the site finds its database', async () =>
      (await get(lab.client, `${fourth?.addr}:8081/cgi-bin/ask`)).startsWith('hello'),
    );
    await stop('blog');
    await stop('db');
  });

  test.concurrent('an exporter on each host sees that host through its mounts', async () => {
    const mounts = ['/proc', '/sys'].map((path) => `--mount type=bind,source=${path},target=/host${path},readonly`);
    await create('exporter', `--mode global ${mounts.join(' ')} --publish mode=host,target=8080,published=8082`);
    expect(await tasksOf('exporter')).toHaveLength(5);
    for (const host of lab.hosts) {
      const seen = await get(lab.client, `${host.addr}:8082/cgi-bin/host`);
      expect(seen.split('\n'), host.name).toContain(host.name);
    }
    const [task] = await tasksOf('exporter');
    expect(await inside(task!, 'ls', '/host/sys/class')).toMatch(/^net$/m);
    expect(await inside(task!, 'grep', ' /host/', '/proc/mounts')).toMatch(/^\S+ \/host\/sys sysfs ro,/m);
    await stop('exporter');
  });

  test.concurrent('on the network host, a container has the addresses and the name of its host', async () => {
    await create(
      'node-web',
      '--mode global --network host --env PORT=8083 --publish mode=host,target=8083,published=8083',
    );
    for (const host of lab.hosts) {
      await lab.eventually(
        `${host.name} answers with its name`,
        async () => field(await get(lab.client, `${host.addr}:8083/cgi-bin/id`), 'hostname') === host.name,
      );
    }
    await expect(create('never', '--network host -p 8083:8083')).rejects.toThrow(/cannot be published in ingress mode/);
    await stop('node-web');
  });

  test.concurrent('on the network none, a container reaches nobody', async () => {
    await create('alone', '--network none', 'web:1');
    const [task] = await tasksOf('alone');
    expect(await inside(task!, 'ls', '/sys/class/net')).toBe('lo');
    expect(task?.NetworksAttachments).toMatchObject([{ Network: { Spec: { Name: 'none' } } }]);
    await stop('alone');
  });

  test.concurrent('on the network bridge, a published port answers as without a network', async () => {
    await create('plain', '--network bridge -p 8084:8080 --env TASK_ID={{.Task.ID}}');
    const [task] = await tasksOf('plain');
    for (const host of lab.hosts) {
      expect(field(await get(lab.client, `${host.addr}:8084/cgi-bin/id`), 'task')).toBe(task?.ID);
    }
    await stop('plain');
  });

  test.concurrent('DNS round-robin: a name leads to all tasks, in turns', async () => {
    await ctl('network', 'create', '-d', 'overlay', 'turns');
    await create('rr', '--network turns --endpoint-mode dnsrr --replicas 3 --env TASK_ID={{.Task.ID}}');
    await create('asker', '--network turns');
    const [asker] = await tasksOf('asker');
    const tasks = await tasksOf('rr');
    const out = await inside(asker!, 'busybox', 'nslookup', 'rr');
    const answers = [...out.slice(out.indexOf('Name:')).matchAll(/Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)/g)];
    expect(answers.map(([, addr]) => addr).sort()).toEqual(addressesOf(tasks).sort());
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 12; i++) {
      seen.add(field(await inside(asker!, 'busybox', 'wget', '-q', '-O', '-', 'http://rr:8080/cgi-bin/id'), 'task'));
    }
    expect([...seen].sort()).toEqual(tasks.map(({ ID }) => ID).sort());
    await stop('asker');
    await stop('rr');
  });

  test.concurrent('macvlan by config-only networks: addresses of the wire, from the range of each host', async () => {
    const configOn = (host: Host) =>
      docker(
        host,
        ...['network', 'create', '--config-only', '-o', 'parent=eth0', '--subnet', '192.168.50.0/24'],
        ...['--ip-range', `192.168.50.${host.number * 16}/28`, 'lan-here'],
      );
    const last = lab.host(5);
    await Promise.all(lab.hosts.filter((host) => host !== last).map(configOn));
    const api = ['-H', lab.host(1).daemon.swarmdHost];
    await docker(
      lab.host(1),
      ...api,
      ...'network create -d macvlan --scope swarm --config-from lan-here lan'.split(' '),
    );
    await create('wired', '--mode global --network lan --restart-delay 200ms --detach');
    const refusal = async () => (await allTasks('wired')).find(({ Status }) => Status.State === 'rejected')?.Status.Err;
    await lab.eventually('the host without it says so', async () => (await refusal()) !== undefined);
    expect(await refusal()).toMatch(/^network lan: this node's engine has no config-only network 'lan-here'/);
    await configOn(last);
    await lab.eventually('it runs on all hosts', async () => (await tasksOf('wired')).length === 5);

    await lab.client.exec('ip', 'addr', 'add', '192.168.50.254/24', 'dev', 'eth0');
    const tasks = await tasksOf('wired');
    const hosts = await Promise.all(tasks.map((task) => lab.hostOf(task)));
    const own = (task: Task, host: Host) =>
      docker(host, 'inspect', '-f', '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', containerOf(task));
    const addresses = await Promise.all(tasks.map((task, i) => own(task, hosts[i]!)));
    for (const [i, addr] of addresses.entries()) {
      expect(Math.floor(Number(addr.split('.')[3]) / 16)).toBe(hosts[i]?.number);
      expect(await get(lab.client, `${addr}:8080/cgi-bin/id`)).toMatch(/^version=1$/m);
      expect(await inside(tasks[0]!, 'busybox', 'wget', '-q', '-O', '-', `http://${addr}:8080`)).toBe('version 1');
    }
    await stop('wired');
    await lab.eventually('its engines have forgotten it', async () => {
      const left = await Promise.all(lab.hosts.map((host) => docker(host, 'network', 'ls', '--format', '{{.Name}}')));
      return !left.join('\n').includes('swarmd-');
    });
    await Promise.all(lab.hosts.map((host) => docker(host, 'network', 'rm', 'lan-here')));
    await ctl('network', 'rm', 'lan');
  });

  test.concurrent('a stable address stays with its slot over updates and moves; start-first takes turns', async () => {
    await ctl('network', 'create', '-d', 'overlay', 'fixed');
    await create('steady', '--network fixed --replicas 2 --label swarmctl.stable-address=true --update-parallelism 0');
    const before = addressesOf(await tasksOf('steady'));
    expect(new Set(before).size).toBe(2);
    await ctl('service', 'update', '--image', 'web:2', 'steady');
    expect(addressesOf(await tasksOf('steady'))).toEqual(before);
    const [first] = await tasksOf('steady');
    const host = await lab.hostOf(first!);
    await ctl('service', 'update', '--detach', '--constraint-add', `node.hostname!=${host.name}`, 'steady');
    await lab.eventually('it has left the host', async () => {
      const nodes = (await tasksOf('steady')).map(({ NodeID }) => NodeID);
      return nodes.length === 2 && !nodes.includes(first?.NodeID);
    });
    const moved = await tasksOf('steady');
    expect(addressesOf(moved)).toEqual(before);
    expect(await inside(moved[1]!, 'busybox', 'wget', '-q', '-O', '-', `http://${before[0]}:8080`)).toBe('version 2');
    await ctl('service', 'update', '--update-order', 'start-first', '--force', 'steady');
    const both = addressesOf(await tasksOf('steady'));
    expect(both.filter((addr) => before.includes(addr))).toEqual([]);
    await ctl('service', 'update', '--update-order', 'stop-first', '--force', 'steady');
    expect(addressesOf(await tasksOf('steady'))).toEqual(both);
    await stop('steady');
  });

  test.concurrent('the unchanged docker command lists, inspects and uses the networks of every engine', async () => {
    const host = lab.host(1);
    const api = ['-H', host.daemon.swarmdHost];
    const listed = await docker(host, ...api, 'network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}');
    expect(listed.split('\n')).toEqual(
      expect.arrayContaining(['bridge bridge local', 'host host local', 'none null local']),
    );
    const inspected = await docker(host, ...api, 'network', 'inspect', 'host', '--format', '{{.Name}} {{.Driver}}');
    expect(inspected).toBe('host host');
    const flags = '--name by-docker --network host --env PORT=8085 --constraint node.hostname==node2';
    await docker(host, ...api, 'service', 'create', ...flags.split(' '), 'web:1');
    expect(await get(lab.client, `${lab.host(2).addr}:8085/`)).toBe('version 1');
    await stop('by-docker');
  });
});
