import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newSharedKey, realClock, silentLogger } from '@swarmctl/shared/kit';
import { macOf, type Task } from '@swarmctl/shared/model';
import type { NetworkView, TunnelView } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Netns, type NetnsLab, noNetns, openNetnsLab } from '../../../../../test/kit/netns.ts';
import { type RunCommand, runCommand } from '../command.ts';
import { NodeOverlay } from '../overlay/overlay.ts';
import { PathMtus } from '../path-mtu.ts';
import { guardTable } from './names.ts';
import { NodeTunnel } from './tunnel.ts';

// Encrypted networks in the kernel: two nodes, their containers, a stranger on the wire, and whatever WireGuard this machine has.

const why = noNetns('bridge', 'busybox', 'nft', 'wireguard-go');
const id = 'net1aaaaaaaaaaaaa';
const [bridge, port] = ['swbnet1aaaaaaaa', 'swxnet1aaaaaaaa'];
const vni = 4097;
let nodesMade = 0;

interface Node {
  readonly number: number;
  readonly nodeId: string;
  readonly space: Netns;
  tunnel: NodeTunnel;
  overlay: NodeOverlay;
}

describe.skipIf(why)(`encrypted networks${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let folder: string;
  let nodes: [Node, Node];
  let containers: [Netns, Netns];
  let stranger: Netns;
  let psk: string;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    lab = openNetnsLab(5);
    const [a, b, c, d, e] = lab.spaces as [Netns, Netns, Netns, Netns, Netns];
    psk = newSharedKey();
    nodes = [await open(1, a), await open(2, b)];
    containers = [c, d];
    stranger = e;
  });
  afterEach(async () => {
    for (const { overlay, tunnel } of nodes) {
      await overlay.close();
      await tunnel.close();
    }
    await lab.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function open(
    number: number,
    space: Netns,
    nodeId = `${process.pid.toString(36)}n${++nodesMade}`,
  ): Promise<Node> {
    const run = runIn(space);
    const modules = { log: silentLogger, clock: realClock, run };
    const paths = new PathMtus(space.addr, modules);
    const tunnel = await NodeTunnel.open(
      { nodeId, dataPathAddr: space.addr, logPath: join(folder, `${nodeId}.log`) },
      { ...modules, paths, command: ['nsenter', `--net=/run/netns/${space.name}`, 'wireguard-go'] },
    );
    const overlay = new NodeOverlay(
      { nodeId, dataPathAddr: space.addr },
      {
        ...modules,
        ...{ paths, tunnel },
        engine: { ensure: async ({ name, mtu }) => ({ name, mtu }), remove: async () => true, list: async () => [] },
        resolver: { listen: async () => {}, attached: () => {}, detached: () => {}, machines: async () => [] },
      },
    );
    return { number, nodeId, space, tunnel, overlay };
  }

  const runIn =
    (space: Netns): RunCommand =>
    (program, args) =>
      runCommand('nsenter', [`--net=/run/netns/${space.name}`, program, ...args]);

  const inside = (number: number) => `198.19.0.${number}`;
  const networkView = ({ number }: Node): NetworkView => {
    const other = 3 - number;
    const far = [`10.0.1.${other}`, `10.0.1.${other}0`];
    return {
      ...{ id, name: 'secret', vni, port: 4789, encrypted: true, internal: false, names: [] },
      subnets: [{ subnet: '10.0.1.0/24', gateway: `10.0.1.${number}` }],
      far: far.map((addr) => ({ addr, mac: macOf(addr), nodeAddr: inside(other) })),
    };
  };
  const tunnelView = ({ number }: Node, peers: readonly Node[]): TunnelView => ({
    ...{ addr: inside(number), pool: '198.19.0.0/16', port: 5789, psk, generation: 1 },
    peers: peers
      .filter((peer) => peer.number !== number)
      .map((peer) => ({
        nodeId: peer.nodeId,
        addr: inside(peer.number),
        nodeAddr: peer.space.addr,
        key: peer.tunnel.describe()?.key ?? '',
      })),
  });

  /** As the managers do. */
  function tell(peers: readonly Node[] = nodes): void {
    for (const node of nodes) node.tunnel.apply(tunnelView(node, peers));
  }
  const hold = (node: Node) => node.overlay.apply(new Map([[id, networkView(node)]]));

  async function join2(): Promise<void> {
    tell();
    await Promise.all(nodes.map(hold));
    for (const node of nodes) {
      expect(node.overlay.problems()).toEqual([]);
      const container = containers[node.number - 1] as Netns;
      node.space.run('ip', 'link', 'add', 'veth1', 'type', 'veth', 'peer', 'name', 'ov0', 'netns', container.name);
      node.space.run('ip', 'link', 'set', 'veth1', 'master', bridge, 'up');
      container.run('ip', 'link', 'set', 'ov0', 'address', macOf(`10.0.1.${node.number}0`), 'mtu', '1390', 'up');
      container.run('ip', 'addr', 'add', `10.0.1.${node.number}0/24`, 'dev', 'ov0');
      node.space.run('nft', 'add table inet wire');
      node.space.run('nft', 'add chain inet wire out { type filter hook postrouting priority 400; }');
      node.space.run('nft', 'add rule inet wire out oifname eth0 udp dport 4789 counter comment "plain"');
      node.space.run('nft', 'add rule inet wire out oifname eth0 udp dport 5789 counter comment "encrypted"');
    }
    await expect.poll(() => reaches(containers[0], '10.0.1.20'), { timeout: 8_000 }).toBe(true);
  }

  const counted = ({ space }: Node, what: 'plain' | 'encrypted'): number =>
    Number(
      new RegExp(`packets (\\d+) bytes \\d+ comment "${what}"`).exec(space.run('nft', 'list table inet wire'))?.[1],
    );

  function reaches(from: Netns, addr: string, ...flags: string[]): boolean {
    try {
      from.run('busybox', 'ping', '-c', '1', '-W', '1', ...flags, addr);
      return true;
    } catch {
      return false;
    }
  }

  /** The processes of a node's wireguard-go. */
  async function programs({ tunnel }: Node): Promise<number[]> {
    const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const lines = await Promise.all(all.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
    return all.filter((_, i) => lines[i]?.split('\0').includes(tunnel.device)).map(Number);
  }
  const task = (ID: string) =>
    ({ ID, Spec: {}, NetworksAttachments: [{ Network: { ID: id }, Addresses: ['10.0.1.10/24'] }] }) as unknown as Task;

  it('carry whole packets between containers, and none of them in clear', async () => {
    await join2();
    // 1 500 less 60 of WireGuard less 50 of VXLAN.
    expect(nodes[0].space.run('ip', 'link', 'show', port)).toContain('mtu 1390');
    expect(reaches(containers[0], '10.0.1.20', '-s', '1362')).toBe(true);
    expect(reaches(containers[1], '10.0.1.10')).toBe(true);
    expect(counted(nodes[0], 'encrypted')).toBeGreaterThan(0);
    for (const node of nodes) expect(counted(node, 'plain')).toBe(0);
    // Nothing else goes through.
    expect(reaches(nodes[0].space, inside(2))).toBe(false);
  });

  it('are silent rather than clear when a peer, the way inside or the device is missing', async () => {
    await join2();
    const { space, nodeId, tunnel } = nodes[0];
    const back = () => expect.poll(() => reaches(containers[0], '10.0.1.20'), { timeout: 15_000 }).toBe(true);
    space.run('ip', 'route', 'add', 'default', 'via', nodes[1].space.addr);
    tell([]);
    await expect.poll(() => reaches(containers[0], '10.0.1.20'), { timeout: 8_000 }).toBe(false);
    expect(counted(nodes[0], 'plain')).toBe(0);
    tell();
    await back();
    // Now the guard is not what keeps them in.
    space.run('nft', `delete table inet ${guardTable(nodeId)}`);
    space.run('ip', 'addr', 'add', `${inside(1)}/32`, 'dev', 'lo');
    space.run('ip', 'route', 'flush', 'dev', tunnel.device);
    reaches(containers[0], '10.0.1.20');
    expect(counted(nodes[0], 'plain')).toBe(0);
    space.run('ip', 'link', 'del', tunnel.device);
    await back();
    expect(counted(nodes[0], 'plain')).toBe(0);
  });

  it('hear nothing that was sent in clear', async () => {
    await join2();
    const [{ space, nodeId }] = nodes;
    const heard = () => Number(/packets (\d+)/.exec(containers[0].run('nft', 'list table inet ear'))?.[1]);
    containers[0].run('nft', 'add table inet ear');
    containers[0].run('nft', 'add chain inet ear in { type filter hook prerouting priority -300; }');
    containers[0].run('nft', 'add rule inet ear in ip saddr 10.0.1.99 counter');
    stranger.run('ip', 'link', 'add', 'vx', 'type', 'vxlan', 'id', String(vni), 'dstport', '4789', 'dev', 'eth0');
    stranger.run('ip', 'addr', 'add', '10.0.1.99/24', 'dev', 'vx');
    stranger.run('ip', 'link', 'set', 'vx', 'up');
    stranger.run('ip', 'neigh', 'replace', '10.0.1.10', 'lladdr', macOf('10.0.1.10'), 'dev', 'vx');
    stranger.run('bridge', 'fdb', 'replace', macOf('10.0.1.10'), 'dev', 'vx', 'dst', space.addr);
    reaches(stranger, '10.0.1.10');
    expect(heard()).toBe(0);
    // So it is the guards that keep it out.
    space.run('nft', `delete table inet ${guardTable(nodeId)}`);
    space.run('nft', `delete table inet ${guardTable(nodeId).replace('swarmwg', 'swarmnet')}`);
    reaches(stranger, '10.0.1.10');
    expect(heard()).toBe(1);
  });

  it('lose nothing when the shared key changes, and go on with the new one', async () => {
    await join2();
    const pinging = containers[0].spawn('busybox', ['ping', '-i', '0.02', '-c', '150', '-W', '1', '10.0.1.20']);
    let said = '';
    pinging.stdout?.on('data', (chunk) => {
      said += String(chunk);
      // In the midst of it.
      if (/seq=(30|60|90) /.test(String(chunk))) {
        psk = newSharedKey();
        tell();
      }
    });
    await new Promise((resolve) => pinging.once('close', resolve));
    expect(said).toContain('150 packets transmitted, 150 packets received');
    // A session that is made anew is made by it, and by no other.
    for (const pid of await programs(nodes[0])) process.kill(pid, 'SIGKILL');
    await expect.poll(() => reaches(containers[0], '10.0.1.20'), { timeout: 8_000 }).toBe(true);
    psk = newSharedKey();
    nodes[0].tunnel.apply(tunnelView(nodes[0], nodes));
    await hold(nodes[0]);
    for (const pid of await programs(nodes[0])) process.kill(pid, 'SIGKILL');
    await expect.poll(async () => (await programs(nodes[0])).length, { timeout: 8_000 }).toBe(1);
    expect(reaches(containers[0], '10.0.1.20')).toBe(false);
    tell();
    await expect.poll(() => reaches(containers[0], '10.0.1.20'), { timeout: 12_000 }).toBe(true);
  });

  it('may be asked for before the managers have said who the peers are', async () => {
    const [{ overlay }] = nodes;
    await hold(nodes[0]);
    expect(overlay.problems()).toEqual([]);
    const endpoints = overlay.attach(task('t1'));
    tell();
    expect(Object.keys((await endpoints).networks)).toEqual([`swarmd_${id}`]);
  });

  it('come back when wireguard-go ends, without a change above it', async () => {
    await join2();
    const [before] = await programs(nodes[0]);
    process.kill(before ?? 0, 'SIGKILL');
    await expect.poll(() => reaches(containers[1], '10.0.1.10'), { timeout: 8_000 }).toBe(true);
    expect(await programs(nodes[0])).not.toContain(before);
    // The program begins with its own.
    const { space, tunnel } = nodes[0];
    await expect.poll(() => space.run('ip', 'link', 'show', tunnel.device), { timeout: 5_000 }).toContain('mtu 1440');
  });

  it('go on when the daemon is started again, with the same key', async () => {
    await join2();
    const old = nodes[0];
    const key = old.tunnel.describe()?.key;
    await old.overlay.close();
    await old.tunnel.close({ keep: true });
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
    const running = await programs(old);
    nodes[0] = await open(1, old.space, old.nodeId);
    expect(nodes[0].tunnel.describe()?.key).toBe(key);
    // From the journal, before a manager said anything.
    await hold(nodes[0]);
    expect(nodes[0].overlay.problems()).toEqual([]);
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
    tell();
    await hold(nodes[0]);
    expect(reaches(containers[0], '10.0.1.20')).toBe(true);
    expect(await programs(nodes[0])).toEqual(running);
  });

  it('are repaired when their device was removed', async () => {
    await join2();
    const { space, tunnel } = nodes[0];
    space.run('ip', 'link', 'del', tunnel.device);
    await expect.poll(() => reaches(containers[0], '10.0.1.20'), { timeout: 12_000 }).toBe(true);
  });

  it('leave no trace', async () => {
    await join2();
    const { space, overlay, tunnel } = nodes[0];
    await overlay.apply(new Map());
    const left = async () => [
      ...[...space.run('ip', '-o', 'link').matchAll(/^\d+: (sw[bxg]\w+)/gm)].map(([, name]) => name),
      ...[...space.run('nft', 'list tables').matchAll(/swarmwg\w*/g)].map(([name]) => name),
      ...(await programs(nodes[0])),
    ];
    await expect.poll(left, { timeout: 8_000 }).toEqual([]);
    expect(existsSync(`/var/run/wireguard/${tunnel.device}.sock`)).toBe(false);
    await hold(nodes[0]);
    await expect.poll(() => reaches(containers[1], '10.0.1.1'), { timeout: 8_000 }).toBe(true);
    await tunnel.close();
    expect((await left()).filter((name) => !/^sw[bx]/.test(String(name)))).toEqual([]);
  });

  it('fail their tasks with the reason where there is no WireGuard, and no others', async () => {
    const [{ space }] = nodes;
    const run: RunCommand = (program, args) =>
      program === 'wireguard-go' || args.includes('wireguard')
        ? Promise.resolve({ code: 1, stdout: '', stderr: '' })
        : runIn(space)(program, args);
    const modules = { log: silentLogger, clock: realClock, run };
    const paths = new PathMtus(space.addr, modules);
    const options = { nodeId: 'without', dataPathAddr: space.addr, logPath: join(folder, 'none') };
    const tunnel = await NodeTunnel.open(options, { ...modules, paths });
    expect(tunnel.describe()).toBeUndefined();
    await nodes[0].overlay.close();
    const overlay = new NodeOverlay(options, {
      ...modules,
      ...{ paths, tunnel },
      engine: { ensure: async ({ name, mtu }) => ({ name, mtu }), remove: async () => true, list: async () => [] },
      resolver: { listen: async () => {}, attached: () => {}, detached: () => {}, machines: async () => [] },
    });
    const plain = { ...networkView(nodes[0]), id: 'net2bbbbbbbbbbbbb', name: 'plain', vni: 4098, encrypted: false };
    const views = [
      networkView(nodes[0]),
      { ...plain, subnets: [{ subnet: '10.0.2.0/24', gateway: '10.0.2.1' }], far: [] },
    ];
    await overlay.apply(new Map(views.map((view) => [view.id, view])));
    await expect(overlay.attach(task('t1'))).rejects.toThrow(
      "network secret: encrypted networks need WireGuard: neither the kernel's nor wireguard-go is here",
    );
    expect(overlay.problems()).toHaveLength(1);
    await overlay.close();
    await tunnel.close();
  });
});
