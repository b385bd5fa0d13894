import { readlinkSync } from 'node:fs';
import { ClusterError, realClock, silentLogger } from '@swarmctl/shared/kit';
import { macOf, type Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Netns, type NetnsLab, noNetns, openNetnsLab } from '../../../../../test/kit/netns.ts';
import { type RunCommand, runCommand } from '../command.ts';
import { guardTable } from './guard.ts';
import { NodeOverlay } from './overlay.ts';
import type { EngineNetwork, OverlayEngine } from './types.ts';

// Overlay networks in the kernel: nodes and their containers in network namespaces, the engine a fake one.

const why = noNetns('bridge', 'busybox', 'nft');
const id = 'net1aaaaaaaaaaaaa';
const [bridge, port] = ['swbnet1aaaaaaaa', 'swxnet1aaaaaaaa'];

class FakeEngine implements OverlayEngine {
  readonly networks = new Map<string, EngineNetwork>();
  readonly busy = new Set<string>();
  error: Error | undefined;
  async ensure(network: EngineNetwork) {
    if (this.error) throw this.error;
    const mtu = this.networks.get(network.name)?.mtu ?? network.mtu;
    this.networks.set(network.name, { ...network, mtu });
    return { name: network.knownAs ?? network.name, mtu };
  }
  async remove(bridge: string) {
    if (this.busy.has(bridge)) return false;
    for (const one of this.networks.values()) if (one.bridge === bridge) this.networks.delete(one.name);
    return true;
  }
  async list() {
    return [...this.networks.values()];
  }
}

interface Node {
  readonly space: Netns;
  readonly engine: FakeEngine;
  readonly overlay: NodeOverlay;
  readonly commands: string[];
  readonly names: string[];
}

describe.skipIf(why)(`overlay networks${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let nodes: [Node, Node];
  let containers: [Netns, Netns];

  beforeEach(() => {
    lab = openNetnsLab(4);
    const [a, b, c, d] = lab.spaces as [Netns, Netns, Netns, Netns];
    nodes = [open(a), open(b)];
    containers = [c, d];
  });
  afterEach(async () => {
    for (const { overlay } of nodes) await overlay.close();
    await lab.close();
  });

  function open(space: Netns, engine = new FakeEngine(), nodeId = space.name): Node {
    const commands: string[] = [];
    const names: string[] = [];
    const run: RunCommand = (program, args) => {
      commands.push(`${program} ${args.join(' ')}`);
      return runCommand('nsenter', [`--net=/run/netns/${space.name}`, program, ...args]);
    };
    const overlay = new NodeOverlay(
      { nodeId, dataPathAddr: space.addr },
      {
        ...{ log: silentLogger, clock: realClock, engine, run },
        resolver: {
          listen: async (network, addr) => void names.push(`${network} ${addr}`),
          attached: (task, { addrs }) => void names.push(`${task} ${addrs.map(({ addr }) => addr).join()}`),
          detached: () => {},
          machines: async () => ['192.0.2.53'],
        },
      },
    );
    return { space, engine, overlay, commands, names };
  }

  /** Addresses end with the node's number, those of its container with ten times that. */
  const view = (node: number, far: readonly string[], more: Partial<NetworkView> = {}): NetworkView => ({
    ...{ id, name: 'net', vni: 4097, port: 4789, encrypted: false, internal: false, names: [] },
    subnets: [
      { subnet: '10.0.1.0/24', gateway: `10.0.1.${node}` },
      { subnet: 'fd00:1::/64', gateway: `fd00:1::${node}` },
    ],
    far: far.map((addr) => ({
      addr,
      mac: macOf(`10.0.1.${addr.split(/[.:]/).at(-1)}`),
      nodeAddr: `10.77.0.${3 - node}`,
    })),
    ...more,
  });
  const viewsOf = (...views: NetworkView[]) => new Map(views.map((one) => [one.id, one]));
  const both = (number: number) => [`10.0.1.${number}`, `fd00:1::${number}`];
  const full = (node: number) => view(node, [...both(3 - node), ...both((3 - node) * 10)]);

  /** As the engine does it when a container starts. */
  function plug(node: 1 | 2): void {
    const { space } = nodes[node - 1] as Node;
    const container = containers[node - 1] as Netns;
    space.run('ip', 'link', 'add', 'veth1', 'type', 'veth', 'peer', 'name', 'ov0', 'netns', container.name);
    space.run('ip', 'link', 'set', 'veth1', 'master', bridge, 'up');
    container.run('ip', 'link', 'set', 'ov0', 'address', macOf(`10.0.1.${node * 10}`), 'mtu', '1450', 'up');
    container.run('ip', 'addr', 'add', `10.0.1.${node * 10}/24`, 'dev', 'ov0');
    container.run('ip', 'addr', 'add', `fd00:1::${node * 10}/64`, 'dev', 'ov0', 'nodad');
  }

  function reaches(from: Netns, addr: string, ...flags: string[]): boolean {
    try {
      from.run('busybox', 'ping', '-c', '1', '-W', '1', ...flags, addr);
      return true;
    } catch {
      return false;
    }
  }

  async function join(): Promise<void> {
    await nodes[0].overlay.apply(viewsOf(full(1)));
    await nodes[1].overlay.apply(viewsOf(full(2)));
    plug(1);
    plug(2);
  }

  const vxlan = (name: string, vni: string, local: string, remote: string) =>
    [
      'ip',
      'link',
      'add',
      name,
      'type',
      'vxlan',
      'id',
      vni,
      'dstport',
      '4789',
      'local',
      local,
      'remote',
      remote,
    ] as const;
  const devices = (space: Netns) =>
    [...space.run('ip', '-o', 'link').matchAll(/^\d+: (sw[bx]\w+)/gm)].map(([, name]) => name);
  const addressed = (networkId: string, ...Addresses: string[]) => ({ Network: { ID: networkId }, Addresses });
  const task = (ID: string, ...NetworksAttachments: unknown[]) =>
    ({ ID, Spec: {}, NetworksAttachments }) as unknown as Task;

  it('carry packets between containers and gateways of two nodes, whole ones, both families', async () => {
    await join();
    for (const addr of [...both(20), ...both(2), ...both(1)])
      expect([addr, reaches(containers[0], addr)]).toEqual([addr, true]);
    expect(reaches(nodes[0].space, '10.0.1.20')).toBe(true);
    // 1 450 bytes with their heads.
    expect(reaches(containers[0], '10.0.1.20', '-s', '1422')).toBe(true);
  });

  it('forget an address at once, and take it back', async () => {
    await join();
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
    await nodes[0].overlay.apply(viewsOf(view(1, both(2))));
    expect(reaches(containers[0], '10.0.1.20')).toBe(false);
    await nodes[0].overlay.apply(viewsOf(full(1)));
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
  });

  it('change by what has changed', async () => {
    await join();
    const { commands, overlay } = nodes[0];
    commands.length = 0;
    await overlay.apply(viewsOf(full(1)));
    expect(commands).toEqual([]);
    await overlay.apply(viewsOf(view(1, [...both(2), ...both(20), '10.0.1.30'])));
    expect(commands.map((line) => line.split(' ')[0])).toEqual(['ip', 'bridge']);
  });

  it('are told to the engine and the resolver', async () => {
    const [{ overlay, engine, names }] = nodes;
    await overlay.apply(viewsOf(full(1)));
    const endpoints = await overlay.attach(
      task('t1', addressed(id, '10.0.1.10/24', 'fd00:1::10/64'), addressed('host')),
    );
    expect(endpoints).toEqual({
      networks: {
        [`swarmd_${id}`]: {
          IPAMConfig: { IPv4Address: '10.0.1.10', IPv6Address: 'fd00:1::10' },
          MacAddress: '02:42:0a:00:01:0a',
        },
      },
      dns: ['10.0.1.1'],
    });
    expect([...engine.networks.values()]).toEqual([
      { name: `swarmd_${id}`, bridge, subnets: full(1).subnets, internal: false, mtu: 1450 },
    ]);
    expect(names).toEqual([`${id} 10.0.1.1`, `${id} fd00:1::1`, 't1 10.0.1.10,fd00:1::10']);
  });

  it('may come after their tasks', async () => {
    const [{ overlay }] = nodes;
    const endpoints = overlay.attach(task('t1', addressed(id, '10.0.1.10')));
    await overlay.apply(viewsOf(full(1)));
    expect(Object.keys((await endpoints).networks)).toEqual([`swarmd_${id}`]);
  });

  it('leave nothing behind', async () => {
    await join();
    const { overlay, engine, space } = nodes[0];
    await overlay.attach(task('t1', addressed(id, '10.0.1.10')));
    await overlay.apply(new Map());
    // A container has it still.
    expect(devices(space)).toEqual([bridge, port]);
    engine.busy.add(bridge);
    overlay.detached('t1');
    await overlay.sweep();
    expect(engine.networks.size).toBe(1);
    engine.busy.clear();
    await expect.poll(() => devices(space), { timeout: 5_000 }).toEqual([]);
    expect(engine.networks.size).toBe(0);
  });

  it('lead what containers made by hand ask to the node, as long as it answers', async () => {
    const { overlay, engine, space } = nodes[0];
    const table = () => space.run('nft', 'list', 'table', 'inet', guardTable(space.name));
    const subnets = [{ subnet: '10.0.1.0/24', gateway: '10.0.1.128', block: '10.0.1.128/28' }];
    await overlay.apply(viewsOf(view(1, [], { attachable: true, subnets })));
    await expect.poll(() => engine.networks.get(`swarmd_${id}`)).toMatchObject({ knownAs: 'net', subnets });
    expect(table()).toContain('ip daddr 192.0.2.53');
    engine.busy.add(bridge);
    await overlay.apply(viewsOf());
    expect(table()).not.toContain('c_names');
  });

  it('come back after they went', async () => {
    await join();
    const { overlay, space } = nodes[0];
    await overlay.apply(new Map());
    await expect.poll(() => devices(space)).toEqual([]);
    await overlay.apply(viewsOf(full(1)));
    await overlay.attach(task('t1', addressed(id, '10.0.1.10')));
    expect(reaches(space, '10.0.1.20')).toBe(true);
  });

  it('that come back while a container has them are answered for again', async () => {
    const [{ overlay, names }] = nodes;
    await overlay.apply(viewsOf(full(1)));
    await overlay.attach(task('t1', addressed(id, '10.0.1.10')));
    await overlay.apply(new Map());
    names.length = 0;
    await overlay.apply(viewsOf(full(1)));
    await overlay.attach(task('t2', addressed(id, '10.0.1.11')));
    expect(names).toContain(`${id} 10.0.1.1`);
  });

  it('of two clusters are apart on one machine, by their ports', async () => {
    await join();
    const others = [0, 1].map((at) => open((nodes[at] as Node).space, new FakeEngine(), `other${at}`));
    const subnets = (node: number) => [{ subnet: '10.0.9.0/24', gateway: `10.0.9.${node}` }];
    for (const [at, { overlay }] of others.entries()) {
      const node = at + 1;
      const far = { addr: `10.0.9.${3 - node}`, mac: macOf(`10.0.9.${3 - node}`), nodeAddr: `10.77.0.${3 - node}` };
      const more = { id: 'net9aaaaaaaaaaaaa', name: 'theirs', port: 4790, subnets: subnets(node), far: [far] };
      await overlay.apply(viewsOf(view(node, [], more)));
      expect(overlay.problems()).toEqual([]);
    }
    expect(reaches(nodes[0].space, '10.0.9.2')).toBe(true);
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
    for (const { overlay } of others) await overlay.close();
  });

  it('are repaired', async () => {
    await join();
    const { overlay, space } = nodes[0];
    space.run('ip', 'neigh', 'del', '10.0.1.20', 'dev', port);
    space.run('bridge', 'fdb', 'del', macOf('10.0.1.20'), 'dev', port, 'self');
    space.run('bridge', 'fdb', 'append', '02:00:00:00:00:01', 'dev', port, 'dst', '10.77.0.9', 'self', 'permanent');
    expect(reaches(containers[0], '10.0.1.20')).toBe(false);
    await overlay.sweep();
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
    expect(space.run('bridge', 'fdb', 'show', 'dev', port)).not.toContain('02:00:00:00:00:01');
    space.run('ip', 'link', 'del', port);
    await overlay.sweep();
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
  });

  it('are taken over from an earlier daemon without a gap, but for those that nobody wants', async () => {
    await join();
    const { overlay, engine, space } = nodes[0];
    const other = view(1, [], { id: 'net2bbbbbbbbbbbbb', name: 'other', vni: 4098 });
    const subnets = [{ subnet: '10.0.2.0/24', gateway: '10.0.2.1' }];
    await overlay.apply(viewsOf(full(1), { ...other, subnets }));
    await overlay.attach(task('t1', addressed(other.id, '10.0.2.10')));
    await overlay.close();
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
    const kernel = () => [bridge, port].map((device) => space.run('ip', '-o', 'link', 'show', device));
    const before = kernel();
    const next = open(space, engine);
    nodes[0] = next;
    await next.overlay.apply(viewsOf(full(1)));
    expect(kernel()).toEqual(before);
    expect(next.commands.filter((line) => line.startsWith('bridge -force'))).toEqual([]);
    await expect.poll(() => devices(space)).toEqual([bridge, port]);
    expect([...engine.networks.keys()]).toEqual([`swarmd_${id}`]);
  });

  it('have the MTU that the way has', async () => {
    const { overlay, engine, space } = nodes[0];
    space.run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
    await overlay.apply(viewsOf(full(1)));
    await overlay.attach(task('t1', addressed(id, '10.0.1.10')));
    expect(engine.networks.get(`swarmd_${id}`)?.mtu).toBe(1350);
    expect(space.run('ip', 'link', 'show', bridge)).toContain('mtu 1350');
  });

  it('have no larger MTU than they are to have', async () => {
    const { overlay, engine, space } = nodes[0];
    await overlay.apply(viewsOf({ ...full(1), mtu: 1300 }));
    await overlay.attach(task('t1', addressed(id, '10.0.1.10')));
    expect(engine.networks.get(`swarmd_${id}`)?.mtu).toBe(1300);
    expect(space.run('ip', 'link', 'show', bridge)).toContain('mtu 1300');
  });

  it('follow the ways to other nodes, and so do the containers on them', async () => {
    await join();
    const [{ overlay, space, engine }] = nodes;
    const container = containers[0];
    const sleeper = container.spawn('sleep', ['1000']);
    await expect.poll(() => readlinkSync(`/proc/${sleeper.pid}/ns/net`)).not.toBe(readlinkSync('/proc/self/ns/net'));
    const t1 = task('t1', addressed(id, '10.0.1.10/24', 'fd00:1::10/64'));
    await overlay.attach(t1);
    await overlay.joined(t1, sleeper.pid ?? 0);
    const mtus = () =>
      [space.run('ip', '-o', 'link', 'show', port), space.run('ip', '-o', 'link', 'show', bridge)]
        .concat(container.run('ip', '-o', 'link', 'show', 'ov0'))
        .map((text) => Number(/mtu (\d+)/.exec(text)?.[1]));
    expect(mtus()).toEqual([1450, 1450, 1450]);
    space.run('ip', 'route', 'add', '10.77.0.2/32', 'dev', 'eth0', 'mtu', '1400');
    await expect.poll(() => overlay.sweep().then(mtus), { timeout: 10_000 }).toEqual([1350, 1350, 1350]);
    expect(reaches(container, '10.0.1.20', '-s', '1322')).toBe(true);
    // The engine gives what it gave: whoever comes later is seen to.
    container.run('ip', 'link', 'set', 'ov0', 'mtu', '1450');
    await overlay.joined(t1, sleeper.pid ?? 0);
    expect(mtus()).toEqual([1350, 1350, 1350]);
    expect(engine.networks.get(`swarmd_${id}`)?.mtu).toBe(1450);
    space.run('ip', 'link', 'set', 'veth1', 'mtu', '1350');
    space.run('ip', 'route', 'del', '10.77.0.2/32');
    await expect.poll(() => overlay.sweep().then(mtus), { timeout: 10_000 }).toEqual([1450, 1450, 1450]);
    await expect.poll(() => space.run('ip', '-o', 'link', 'show', 'veth1')).toContain('mtu 1450');
    expect(reaches(container, '10.0.1.20', '-s', '1422')).toBe(true);
  });

  it('take nothing from a stranger who knows their number, and leave other numbers alone', async () => {
    const [{ overlay, space }] = nodes;
    const stranger = containers[1];
    await overlay.apply(viewsOf(full(1)));
    plug(1);
    for (const [name, vni] of [
      ['spoof', '4097'],
      ['other', '4999'],
    ] as const) {
      stranger.run(...vxlan(name, vni, '10.77.0.4', '10.77.0.1'));
      stranger.run('ip', 'link', 'set', name, 'up');
    }
    space.run(...vxlan('other', '4999', '10.77.0.1', '10.77.0.4'));
    space.run('ip', 'link', 'set', 'other', 'up');
    space.run('ip', 'addr', 'add', '10.9.9.1/24', 'dev', 'other');
    stranger.run('ip', 'addr', 'add', '10.9.9.2/24', 'dev', 'other');
    stranger.run('ip', 'addr', 'add', '10.0.1.66/24', 'dev', 'spoof');
    stranger.run('ip', 'neigh', 'add', '10.0.1.10', 'lladdr', macOf('10.0.1.10'), 'dev', 'spoof');
    /** Questions that came to the container. */
    const received = () => {
      const [names = '', counts = ''] = containers[0].run('cat', '/proc/net/snmp').match(/^Icmp: .*$/gm) ?? [];
      return Number(counts.split(' ')[names.split(' ').indexOf('InEchos')]);
    };
    const spoof = () => {
      const before = received();
      reaches(stranger, '10.0.1.10');
      return received() > before;
    };
    expect(spoof()).toBe(false);
    expect(reaches(stranger, '10.9.9.1')).toBe(true);
    // It is the guard that keeps them out, and it comes back.
    space.run('nft', 'delete', 'table', 'inet', guardTable(space.name));
    expect(spoof()).toBe(true);
    await overlay.sweep();
    expect(spoof()).toBe(false);
    // And goes with the last network, or with the daemon that left none.
    await overlay.apply(new Map());
    await expect.poll(() => space.run('nft', 'list', 'tables')).not.toContain('swarmnet');
    await overlay.apply(viewsOf(full(1)));
    expect(space.run('nft', 'list', 'tables')).toContain('swarmnet');
    await overlay.apply(new Map());
    await overlay.close();
    expect(space.run('nft', 'list', 'tables')).not.toContain('swarmnet');
  });

  it('cannot be had without the tools, and whoever wants none is not held up by that', async () => {
    const { space } = nodes[0];
    const run: RunCommand = () => Promise.reject(new ClusterError('unavailable', 'ip is not installed'));
    const overlay = new NodeOverlay(
      { nodeId: 'x', dataPathAddr: space.addr },
      {
        ...{ log: silentLogger, clock: realClock, engine: new FakeEngine(), run },
        resolver: { listen: async () => {}, attached: () => {}, detached: () => {}, machines: async () => [] },
      },
    );
    await overlay.apply(new Map());
    expect(overlay.problems()).toEqual([]);
    await overlay.apply(viewsOf(full(1)));
    await expect(overlay.attach(task('t1', addressed(id, '10.0.1.10')))).rejects.toThrow('ip is not installed');
    await overlay.close();
  });

  it('that cannot be had fail their tasks, and no others', async () => {
    const { overlay, space, engine } = nodes[0];
    const second = open(space, new FakeEngine(), 'another');
    await second.overlay.apply(viewsOf(full(1)));
    const secret = view(1, [], { id: 'net3ccccccccccccc', name: 'secret', encrypted: true });
    const subnets = [{ subnet: '10.0.4.0/24', gateway: '10.0.4.1' }];
    const good = { ...view(1, [], { id: 'net4ddddddddddddd', name: 'good', vni: 4100 }), subnets };
    const told: (readonly string[])[] = [];
    overlay.onTrouble(() => told.push(overlay.problems()));
    await overlay.apply(viewsOf(full(1), secret, good));
    await expect(overlay.attach(task('t1', addressed(id, '10.0.1.10')))).rejects.toThrow('belongs to swarmd:another');
    await expect(overlay.attach(task('t2', addressed(secret.id, '10.0.1.10')))).rejects.toThrow('cannot encrypt');
    await overlay.attach(task('t3', addressed(good.id, '10.0.4.10')));
    expect(overlay.problems()).toHaveLength(2);
    expect(told.at(-1)).toEqual(overlay.problems());
    engine.error = new Error('the engine is away');
    await overlay.apply(viewsOf({ ...good, internal: true }));
    await expect(overlay.attach(task('t4', addressed(good.id, '10.0.4.11')))).rejects.toThrow('the engine is away');
    engine.error = undefined;
    await expect.poll(() => overlay.problems(), { timeout: 5_000 }).toEqual([]);
    expect(told.at(-1)).toEqual([]);
    await second.overlay.close();
  });
});
