import { mkdtempSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { realClock, silentLogger } from '@swarmctl/shared/kit';
import { macOf, type PortConfig, type Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import type Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImages, type Engine, noEngine, startEngine } from '../../../../../test/kit/engine.ts';
import { type Netns, type NetnsLab, openNetnsLab } from '../../../../../test/kit/netns.ts';
import { makeTask } from '../../../../../test/kit/runtime-contract.ts';
import { createDockerGuests } from './guests.ts';
import { createDockerNetworks } from './networks.ts';

// Overlay networks with real engines: two nodes, each a namespace with its own engine; containers, names and virtual addresses across both. The
// tests share them and run in order.

const missing = noEngine();
const front = 'front1234567890';
const back = 'back1234567890';
const dual = 'dual1234567890';
const program = fileURLToPath(new URL('test-overlay-node.ts', import.meta.url));

interface Node {
  readonly id: string;
  readonly space: Netns;
  readonly engine: Engine;
  readonly ask: <T = void>(verb: string, argument?: unknown) => Promise<T>;
}

/** A task as the managers know it. */
interface Placed {
  readonly id: string;
  readonly service: string;
  readonly slot: number;
  readonly node: number;
  readonly addrs: Readonly<Record<string, string>>;
}

describe.skipIf(missing)(`overlay networks of an engine${missing ? ` (skipped: ${missing} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let nodes: Node[] = [];
  let placed: Placed[] = [];
  const gone = new Set<string>();
  const containers = new Map<string, Docker.Container>();

  beforeAll(async () => {
    lab = openNetnsLab(2);
    nodes = await Promise.all(lab.spaces.map((space, i) => openNode(space, `node${i + 1}`)));
  }, 60_000);
  afterAll(async () => {
    await Promise.all(nodes.map(({ engine }) => engine.stop()));
    await lab?.close();
  });

  async function openNode(space: Netns, id: string): Promise<Node> {
    const dataRoot = mkdtempSync(join(tmpdir(), 'swarm-overlay-'));
    const engine = await startEngine({ name: id, netns: space.name, dataRoot });
    await buildImages(engine.socket);
    const node = { nodeId: id, clusterId: 'c1', hostname: id, addr: space.addr };
    const args = ['--conditions=source', '--import', 'tsx', program, JSON.stringify({ node, socket: engine.socket })];
    const child = space.spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const calls = new Map<number, (answer: { value?: unknown; error?: string }) => void>();
    let last = 0;
    child.on('message', (message: { id: number; value?: unknown; error?: string }) => calls.get(message.id)?.(message));
    child.once('exit', () => {
      for (const call of calls.values()) call({ error: 'it has ended' });
    });
    const answer = <T>(call: number) =>
      new Promise<T>((resolve, reject) => {
        calls.set(call, ({ value, error }) => (error === undefined ? resolve(value as T) : reject(new Error(error))));
      });
    await answer(0);
    const ask = <T>(verb: string, argument?: unknown) => {
      const reply = answer<T>(++last);
      child.send({ id: last, verb, argument });
      return reply;
    };
    return { id, space, engine, ask };
  }

  const addrOf = (task: Placed, network: string, family: number) => task.addrs[network]?.split(',')[family] as string;

  /** A network of two families. */
  function dualView(node: number): NetworkView {
    const here = placed.filter(({ addrs }) => addrs[dual] !== undefined);
    const prefixes = ['10.50.3.', 'fd50:3::'];
    const far = prefixes.flatMap((prefix, family) =>
      [
        `${prefix}${4 - node}`,
        ...here.filter((task) => task.node !== node).map((task) => addrOf(task, dual, family)),
      ].map((addr) => ({ addr, mac: macOf(`10.50.3.${addr.split(/[.:]/).at(-1)}`), nodeAddr: `10.77.0.${3 - node}` })),
    );
    return {
      ...{ id: dual, name: 'dual', vni: 4099, port: 4789, encrypted: false, internal: false, far },
      subnets: [
        { subnet: '10.50.3.0/24', gateway: `10.50.3.${1 + node}` },
        { subnet: 'fd50:3::/64', gateway: `fd50:3::${1 + node}` },
      ],
      names: ['10.50.3.200', 'fd50:3::200'].map((vip, family) => ({
        ...{ name: 'six', vip },
        tasks: here.map((task) => ({ taskId: task.id, slot: task.slot, addr: addrOf(task, dual, family) })),
      })),
    };
  }

  /** As the managers make it; the last number of each service's virtual address is 100 and up. */
  function view(network: string, node: number, internal = false): NetworkView {
    const third = network === front ? 1 : 2;
    const here = placed.filter(({ addrs }) => addrs[network] !== undefined);
    const services = [...new Set(here.map(({ service }) => service))];
    const others = here.filter((task) => task.node !== node);
    const far = [
      [`10.50.${third}.${4 - node}`, 3 - node] as const,
      ...others.map(({ addrs, node: on }) => [addrs[network] as string, on] as const),
    ];
    return {
      ...{ id: network, name: network.replace(/\d+/, ''), vni: 4096 + third, port: 4789, encrypted: false, internal },
      subnets: [{ subnet: `10.50.${third}.0/24`, gateway: `10.50.${third}.${1 + node}` }],
      far: far.map(([addr, on]) => ({ addr, mac: macOf(addr), nodeAddr: `10.77.0.${on}` })),
      names: services.map((name, i) => ({
        ...{ name, vip: `10.50.${third}.${100 + i}` },
        tasks: here
          .filter(({ id, service }) => service === name && !gone.has(id))
          .map(({ id, slot, addrs }) => ({ taskId: id, slot, addr: addrs[network] as string })),
      })),
    };
  }

  const apply = () =>
    Promise.all(
      nodes.map(({ ask }, i) => ask<number>('apply', [view(front, i + 1), view(back, i + 1, true), dualView(i + 1)])),
    );

  async function start(task: Placed, image = 'web:1', ports: PortConfig[] = []): Promise<void> {
    placed = [...placed, task];
    await apply();
    const { ask, engine, id } = nodes[task.node - 1] as Node;
    const node = { nodeId: id, clusterId: 'c1', hostname: id, addr: `10.77.0.${task.node}` };
    const made = makeTask({ node, container: { Image: image } }, '', { ports, slot: task.slot });
    const ContainerSpec = {
      Image: image,
      Env: [`TASK_ID=${task.id}`],
      ...(image === 'bb:1' && { Command: ['sleep', '999'] }),
    };
    const whole: Task = {
      ...made,
      ...{ ID: task.id, Spec: { ContainerSpec }, ServiceAnnotations: { Name: task.service, Labels: {} } },
      NetworksAttachments: Object.entries(task.addrs).map(([network, addr]) => ({
        Network: { ID: network },
        Addresses: addr.split(',').map((one) => `${one}/${one.includes(':') ? 64 : 24}`),
      })),
    };
    const info = await ask<Docker.ContainerInspectInfo>('start', whole);
    containers.set(task.id, engine.docker.getContainer(info.Id));
  }

  async function exec(task: string, ...Cmd: string[]): Promise<{ code: number; out: string }> {
    const container = containers.get(task) as Docker.Container;
    const run = await container.exec({ Cmd, AttachStdout: true, AttachStderr: true, Tty: true });
    const stream = await run.start({ Tty: true });
    let out = '';
    for await (const chunk of stream) out += chunk;
    return { code: (await run.inspect()).ExitCode ?? -1, out: out.replaceAll('\r', '') };
  }
  /** Which task answers; the shell's own look-up of names does not work in an image without a C library. */
  async function get(from: string, host: string): Promise<string> {
    const addr = isIPv4(host) ? host : (await addresses(from, host))[0];
    const { out } = await exec(
      from,
      'sh',
      '-c',
      `printf 'GET /cgi-bin/id HTTP/1.0\\r\\n\\r\\n' | nc -w 3 ${addr} 8080`,
    );
    return /^task=(.*)$/m.exec(out)?.[1] ?? out.trim();
  }
  const shares = async (from: string, host: string, times: number) => {
    const counts: Record<string, number> = {};
    for (let i = 0; i < times; i++) {
      const answer = await get(from, host);
      counts[answer] = (counts[answer] ?? 0) + 1;
    }
    return counts;
  };
  /** Without the resolver's own address. */
  const addresses = async (from: string, name: string) =>
    [...(await exec(from, 'nslookup', name)).out.matchAll(/^Address(?: \d+)?: +(\d[\d.]+)(?=\s|$)/gm)]
      .map(([, addr]) => String(addr))
      .filter((addr) => addr !== '127.0.0.11')
      .sort();

  it('carry a container to one on another node, by address', async () => {
    await start({ id: 'w1', service: 'web', slot: 1, node: 1, addrs: { [front]: '10.50.1.11' } });
    await start({ id: 'w2', service: 'web', slot: 2, node: 2, addrs: { [front]: '10.50.1.12' } });
    await start({ id: 'c1', service: 'client', slot: 1, node: 1, addrs: { [front]: '10.50.1.21' } }, 'bb:1');
    expect(await get('c1', '10.50.1.12')).toBe('w2');
    expect(await get('c1', '10.50.1.11')).toBe('w1');
    // The managers have it written down everywhere else.
    expect((await exec('c1', 'ip', 'link')).out).toContain(macOf('10.50.1.21'));
    expect((await exec('c1', 'ip', 'link')).out).toContain('mtu 1450');
  });

  it('and by name', async () => {
    expect(await addresses('c1', 'web')).toEqual(['10.50.1.100']);
    expect(await addresses('c1', 'tasks.web')).toEqual(['10.50.1.11', '10.50.1.12']);
    expect(await addresses('c1', '2.web')).toEqual(['10.50.1.12']);
    expect(await addresses('c1', 'web.front')).toEqual(['10.50.1.100']);
    expect(await get('c1', '2.web')).toBe('w2');
    expect((await exec('c1', 'nslookup', 'nobody')).code).not.toBe(0);
  });

  it('share a service’s connections among its tasks on both nodes', async () => {
    expect(await shares('c1', 'web', 10)).toEqual({ w1: 5, w2: 5 });
    // A task is its own service’s client as any other.
    expect(await shares('w2', 'web', 4)).toEqual({ w1: 2, w2: 2 });
    expect((await exec('c1', 'ping', '-c', '1', '-W', '1', '10.50.1.100')).code).toBe(0);
  });

  it('follow at once when a task goes, and when one comes', async () => {
    gone.add('w2');
    const took = await apply();
    expect(await shares('c1', 'web', 4)).toEqual({ w1: 4 });
    expect(await addresses('c1', 'tasks.web')).toEqual(['10.50.1.11']);
    expect(Math.max(...took)).toBeLessThan(1_000);
    gone.add('w1');
    await apply();
    expect(await get('c1', 'web')).toContain('refused');
    gone.clear();
    await apply();
    expect(await shares('c1', 'web', 4)).toEqual({ w1: 2, w2: 2 });
  });

  it('of which a container has two: it sees the names of both, others those of their own', async () => {
    await start({ id: 'd1', service: 'db', slot: 1, node: 2, addrs: { [back]: '10.50.2.11' } });
    const both = { [front]: '10.50.1.31', [back]: '10.50.2.31' };
    await start({ id: 'm1', service: 'middle', slot: 1, node: 1, addrs: both }, 'bb:1');
    expect(await get('m1', 'db')).toBe('d1');
    expect(Object.keys(await shares('m1', 'web', 4)).sort()).toEqual(['w1', 'w2']);
    expect(await addresses('c1', 'db')).toEqual([]);
    expect(await addresses('d1', 'web')).toEqual([]);
    expect(await addresses('d1', 'middle')).toHaveLength(1);
  });

  it('that are internal have no way out', async () => {
    await start({ id: 'i1', service: 'inner', slot: 1, node: 1, addrs: { [back]: '10.50.2.41' } }, 'bb:1');
    expect(await get('i1', 'db')).toBe('d1');
    const ping = (from: string, addr: string) => exec(from, 'ping', '-c', '1', '-W', '1', addr);
    expect((await ping('i1', '10.77.0.2')).code).not.toBe(0);
    expect((await ping('i1', '10.50.1.21')).code).not.toBe(0);
    expect((await ping('c1', '10.77.0.2')).code).toBe(0);
    expect((await ping('m1', '10.77.0.2')).code).toBe(0);
  });

  it('refuse containers that were not put there by the managers', async () => {
    const engine = nodes[0]?.engine.docker;
    const HostConfig = { NetworkMode: `swarmd_${front}` };
    const stranger = await engine?.createContainer({ Image: 'bb:1', HostConfig });
    await expect(stranger?.start()).rejects.toThrow(/no available (IPv4 )?address/i);
    await stranger?.remove({ force: true });
  });

  it('publish ports as others do', async () => {
    const ports: PortConfig[] = [{ Protocol: 'tcp', TargetPort: 8080, PublishedPort: 80, PublishMode: 'ingress' }];
    await start({ id: 'p1', service: 'public', slot: 1, node: 2, addrs: { [front]: '10.50.1.51' } }, 'web:1', ports);
    const info = await containers.get('p1')?.inspect();
    const port = info?.NetworkSettings.Ports['8080/tcp']?.[0]?.HostPort;
    expect(nodes[0]?.space.run('busybox', 'wget', '-q', '-O', '-', `http://10.77.0.2:${port}/cgi-bin/id`)).toContain(
      'task=p1',
    );
  });

  it('of the engine come back when others removed them', async () => {
    const { engine, ask } = nodes[1] as Node;
    await ask('remove', 'p1');
    await ask('remove', 'd1');
    await ask('remove', 'w2');
    const networks = await engine.docker.listNetworks();
    for (const { Id, Name } of networks.filter((one) => one.Name.startsWith('swarmd_')))
      await engine.docker
        .getNetwork(Id)
        .remove()
        .catch((error) => Promise.reject(new Error(`${Name}: ${error.message}`)));
    await ask('sweep');
    placed = placed.filter(({ id }) => !['p1', 'd1', 'w2'].includes(id));
    await start({ id: 'w3', service: 'web', slot: 2, node: 2, addrs: { [front]: '10.50.1.13' } });
    expect(await shares('c1', 'web', 4)).toEqual({ w1: 2, w3: 2 });
  });

  it('outlive the engine', async () => {
    const { engine } = nodes[1] as Node;
    await engine.down();
    await engine.up();
    await start({ id: 'w4', service: 'web', slot: 2, node: 2, addrs: { [front]: '10.50.1.14' } });
    gone.add('w3');
    await apply();
    expect(await shares('c1', 'web', 4)).toEqual({ w1: 2, w4: 2 });
    expect(await get('w4', '1.web')).toBe('w1');
  });

  it('have IPv6 where they are given it', async () => {
    for (const node of [1, 2]) {
      const addrs = { [dual]: `10.50.3.1${node},fd50:3::1${node}` };
      await start({ id: `v${node}`, service: 'six', slot: node, node, addrs }, 'bb:1');
    }
    for (const addr of ['10.50.3.12', 'fd50:3::12', 'fd50:3::3', 'fd50:3::200'])
      expect([addr, (await exec('v1', 'ping', '-c', '1', '-W', '2', addr)).code]).toEqual([addr, 0]);
    expect((await exec('v1', 'nslookup', 'six')).out).toContain('fd50:3::200');
  });

  it('that the engine refuses say why', async () => {
    const { engine } = nodes[0] as Node;
    const node = { nodeId: 'node1', clusterId: 'c1', hostname: 'node1', addr: '10.77.0.1' };
    const networks = createDockerNetworks({ dockerHost: engine.dockerHost }, node);
    const subnets = [{ subnet: '10.50.1.0/24', gateway: '10.50.1.9' }];
    const network = { name: 'swarmd_other', bridge: 'swbother', subnets, internal: false, mtu: 1450 };
    await expect(networks.ensure(network)).rejects.toThrow('overlap');
    const used = { ...network, name: `swarmd_${front}`, bridge: `swb${front.slice(0, 12)}`, internal: true };
    await expect(networks.ensure(used)).rejects.toThrow('containers use');
    expect(await networks.remove(used.bridge)).toBe(false);
    expect(await networks.remove('swbnobody')).toBe(true);
    const neighbour = createDockerNetworks({ dockerHost: engine.dockerHost }, { ...node, nodeId: 'node9' });
    await expect(neighbour.ensure({ ...used, bridge: 'swbnine' })).rejects.toThrow('share an engine');
    const away = createDockerNetworks({ dockerHost: 'unix:///nowhere.sock' }, node);
    await expect(away.list()).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('that users may put containers on have their name, and a part of the addresses to give', async () => {
    const { engine } = nodes[0] as Node;
    const node = { nodeId: 'node1', clusterId: 'c1', hostname: 'node1', addr: '10.77.0.1' };
    const { docker } = engine;
    const networks = createDockerNetworks({ dockerHost: engine.dockerHost }, node);
    const guests = createDockerGuests({ dockerHost: engine.dockerHost }, node, { clock: realClock, log: silentLogger });
    const subnets = [{ subnet: '10.50.9.0/24', gateway: '10.50.9.128', block: '10.50.9.128/28' }];
    const wanted = { name: 'swarmd_open', knownAs: 'open', bridge: 'swbopen', subnets, internal: false, mtu: 1450 };
    const put = async (network: string, IPv4Address?: string) => {
      const EndpointsConfig = { [network]: { ...(IPv4Address && { IPAMConfig: { IPv4Address } }), Aliases: ['palm'] } };
      const made = await docker.createContainer({
        ...{ Image: 'bb:1', Cmd: ['sleep', '99'], HostConfig: { NetworkMode: network } },
        NetworkingConfig: { EndpointsConfig },
      });
      await made.start();
      return made;
    };
    // An engine's own of that name, and then of one that an earlier daemon made for tasks alone.
    const other = await docker.createNetwork({ Name: 'open' });
    const { block: _, ...plain } = subnets[0]!;
    expect(await networks.ensure({ ...wanted, subnets: [plain] })).toMatchObject({
      ...{ name: 'swarmd_open', mtu: 1450 },
      problem: expect.stringContaining('docker network rm open'),
    });
    const task = await put('swarmd_open', '10.50.9.7');
    await other.remove();
    expect(await networks.ensure(wanted)).toMatchObject({
      ...{ name: 'swarmd_open', problem: expect.stringContaining('until the others have been replaced') },
    });
    await task.remove({ force: true });
    expect(await networks.ensure(wanted)).toEqual({ name: 'open', mtu: 1450 });
    expect(await networks.ensure(wanted)).toEqual({ name: 'open', mtu: 1450 });
    const guest = await put('open');
    const [found, ...more] = await guests.list(new Set(['swbopen']));
    expect(more).toEqual([]);
    expect(found).toMatchObject({ containerId: guest.id, isElsewhere: false });
    expect(found?.networks[0]).toMatchObject({ bridge: 'swbopen', addresses: ['10.50.9.129'] });
    expect(found?.networks[0]?.names).toContain('palm');
    expect(await guests.list(new Set(['swbother']))).toEqual([]);
    expect(await networks.remove('swbopen')).toBe(false);
    // A network of the same name that came after it takes its place.
    await guest.remove({ force: true });
    expect(await networks.ensure({ ...wanted, name: 'swarmd_next', bridge: 'swbnext' })).toMatchObject({
      name: 'open',
    });
    expect((await networks.list()).filter(({ name }) => name === 'open')).toEqual([
      { name: 'open', bridge: 'swbnext' },
    ]);
    expect(await networks.remove('swbnext')).toBe(true);
  });

  it('leave no trace', async () => {
    const before = (node: Node) => node.space.run('ip', '-o', 'link');
    expect(nodes.map(before).join()).toContain('swbfront');
    for (const { id, node } of placed) await nodes[node - 1]?.ask('remove', id);
    placed = [];
    await Promise.all(nodes.map(({ ask }) => ask('apply', [])));
    for (const node of nodes) {
      await expect.poll(() => before(node), { timeout: 5_000 }).not.toMatch(/sw[bx](front|back|dual)/);
      const networks = await node.engine.docker.listNetworks();
      expect(networks.map(({ Name }) => Name).sort()).toEqual(['bridge', 'host', 'none']);
      expect(await node.ask('problems')).toEqual([]);
      expect(node.space.run('ip', 'neigh', 'show', 'nud', 'permanent')).toBe('');
    }
  });
});
