import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  linkLocal,
  type Netns,
  type NetnsLab,
  type NetnsPeer,
  noNetns,
  openNetnsLab,
  startPeer,
} from '../../../../../test/kit/netns.ts';
import type { Way } from '../types.ts';
import type { MeshDescription } from './mesh.ts';

// The mesh between three machines by the kernel's VXLAN: what there is, what a cut does, what a restart finds and repairs.

const why = noNetns('nft', 'bridge');
const mark = 0x5377_0000;
const idOf = (number: number) => `node${number}xxxx`;
const deviceOf = (number: number) => `swm${idOf(number).slice(0, 8)}`;

const peerOf = (number: number): MeshPeer => ({
  nodeId: idOf(number),
  meshId: 256 + number,
  addr: `10.77.0.${number}`,
  up: true,
});

function viewOf(number: number, of: readonly number[] = [1, 2, 3], more: Partial<MeshView> = {}): MeshView {
  return {
    self: 256 + number,
    vni: 77,
    port: 4_789,
    pool4: '198.18.0.0/16',
    pool6: 'fd11:22:33:44::/64',
    peers: of.filter((one) => one !== number).map(peerOf),
    ...more,
  };
}

interface Told {
  readonly device: string;
  readonly addresses: { readonly v4: string; readonly v6: string };
  readonly mtu: number;
  readonly gone: readonly string[];
  readonly marks: Readonly<Record<string, number>>;
}

describe.skipIf(why)(`the mesh in the kernel${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let peers: NetnsPeer[];
  const space = (number: number) => lab.spaces[number - 1] as Netns;
  const peer = (number: number) => peers[number - 1] as NetnsPeer;

  let untouched: string[];

  beforeAll(async () => {
    lab = openNetnsLab(3);
    // As Debian and Fedora have it.
    for (const { run } of lab.spaces) run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter');
    peers = await Promise.all(lab.spaces.map((one) => startPeer(one, { mesh: true })));
    await Promise.all(lab.spaces.map(linkLocal));
    untouched = [1, 2, 3].map(bare);
  });
  // Whatever was done, nothing stays: neither of the mesh, nor of the faults of a test that failed amid them.
  afterEach(async () => {
    for (const { run } of lab.spaces) run('nft', 'add table inet cut; delete table inet cut');
    space(1).run('ip', 'route', 'flush', 'exact', '10.77.0.3/32', 'table', 'main');
    await Promise.all(peers.map((one) => one.call('close', {})));
    expect([1, 2, 3].map(bare)).toEqual(untouched);
  });
  afterAll(() => lab?.close());

  const open = (number: number, on = peer(number)) =>
    on.call<MeshDescription>('open', {
      options: { nodeId: idOf(number), dataPathAddr: `10.77.0.${number}`, mark },
    });
  const apply = (number: number, view = viewOf(number)) => peer(number).call<Told>('apply', { view });
  const until = (number: number, other: number, kind: Way['kind'], gone = false) =>
    peer(number).call<number>('until', { nodeId: idOf(other), kind, gone });
  const all = async () => {
    await Promise.all([1, 2, 3].map((number) => open(number)));
    const states = await Promise.all([1, 2, 3].map((number) => apply(number)));
    await Promise.all([1, 2, 3].flatMap((a) => [1, 2, 3].filter((b) => b !== a).map((b) => until(a, b, 'mesh'))));
    return states;
  };
  /** All that is in the kernel, as text that can be compared. */
  const kernel = (number: number) => {
    const { run } = space(number);
    const device = deviceOf(number);
    return [
      run('ip', '-o', 'address', 'show', 'dev', device),
      run('ip', '-d', 'link', 'show', 'dev', device),
      run('ip', 'neigh', 'show', 'dev', device),
      run('ip', '-6', 'neigh', 'show', 'dev', device),
      run('bridge', 'fdb', 'show', 'dev', device),
      run('ip', 'rule'),
      run('ip', '-6', 'rule'),
      run('ip', 'route', 'show', 'table', 'all', 'dev', device),
      run('ip', '-6', 'route', 'show', 'table', 'all', 'dev', device),
    ]
      .map((text) =>
        text
          .replace(/^\d+: /gm, '')
          .split('\n')
          .sort()
          .join('\n'),
      )
      .join('\n');
  };
  const bare = (number: number) => {
    const { run } = space(number);
    return [
      run('ip', '-o', 'link'),
      run('ip', 'rule'),
      run('ip', '-6', 'rule'),
      run('ip', 'route', 'show', 'table', 'all'),
    ]
      .join('\n')
      .replace(/\bstate \w+|qdisc \w+/g, '');
  };

  it('reaches every peer in both families, and leads marked packets back to it', async () => {
    expect(await open(1)).toEqual({ up: false, dataPathAddr: '10.77.0.1', why: 'it is not set up yet' });
    const [state] = await all();
    expect(state).toMatchObject({
      device: deviceOf(1),
      addresses: { v4: '198.18.1.1', v6: 'fd11:22:33:44::101' },
      mtu: 1_450,
      gone: [],
      marks: { '02:73:77:6d:01:02': 0x5377_0102, '02:73:77:6d:01:03': 0x5377_0103 },
    });
    const { run } = space(1);
    expect(await peer(1).call('way', { nodeId: idOf(2) })).toEqual({
      kind: 'mesh',
      v4: '198.18.1.2',
      v6: 'fd11:22:33:44::102',
    });
    expect(await peer(1).call('describe')).toEqual({ up: true, dataPathAddr: '10.77.0.1' });
    for (const addr of ['198.18.1.2', '198.18.1.3', 'fd11:22:33:44::102', 'fd11:22:33:44::103'])
      expect(await peer(1).call('there', { addr }), addr).toBe(true);
    expect(run('ip', 'route', 'get', '8.8.8.8', 'mark', '0x53770103')).toContain(`via 198.18.1.3 dev ${deviceOf(1)}`);
    expect(run('ip', 'route', 'get', '2001:db8::1', 'mark', '0x53770102')).toContain('via fd11:22:33:44::102');
    expect(run('sysctl', '-n', `net.ipv4.conf.${deviceOf(1)}.rp_filter`).trim()).toBe('2');
    expect(run('sysctl', '-n', `net.ipv4.conf.${deviceOf(1)}.src_valid_mark`).trim()).toBe('1');
  });

  it('takes away a peer that left, and follows one whose address is another', async () => {
    await all();
    await apply(1, viewOf(1, [1, 3]));
    expect(kernel(1)).not.toMatch(/02:73:77:6d:01:02|0x53770102|198\.18\.1\.2\b/);
    expect(await peer(1).call('way', { nodeId: idOf(2) })).toMatchObject({ kind: 'masquerade' });
    space(3).run('ip', 'address', 'add', '10.77.0.33/24', 'dev', 'eth0');
    await apply(1, viewOf(1, [], { peers: [{ ...peerOf(3), addr: '10.77.0.33' }] }));
    expect(kernel(1)).toContain('02:73:77:6d:01:03 dst 10.77.0.33');
    expect(kernel(1)).not.toContain('dst 10.77.0.3 ');
    space(3).run('ip', 'address', 'del', '10.77.0.33/24', 'dev', 'eth0');
  });

  it('repairs what others changed, at a look and at a start, and nothing else', async () => {
    await all();
    const right = kernel(1);
    const { run } = space(1);
    const device = deviceOf(1);
    const harm = () => {
      run('ip', 'rule', 'del', 'priority', '9000', 'fwmark', '0x53770102');
      run('ip', 'rule', 'add', 'priority', '9000', 'fwmark', '0x53770999', 'lookup', '77');
      run('ip', '-6', 'rule', 'del', 'iif', device);
      run('ip', 'route', 'flush', 'table', String(0x5377_0103));
      run('ip', 'neigh', 'replace', '198.18.1.2', 'lladdr', '02:00:00:00:00:01', 'dev', device, 'nud', 'permanent');
      run('ip', 'neigh', 'add', '198.18.9.9', 'lladdr', '02:00:00:00:00:02', 'dev', device, 'nud', 'permanent');
      run('bridge', 'fdb', 'del', '02:73:77:6d:01:02', 'dev', device, 'dst', '10.77.0.2', 'self');
      run('bridge', 'fdb', 'append', '02:73:77:6d:01:03', 'dev', device, 'dst', '10.77.0.9', 'self', 'permanent');
      run('ip', 'address', 'del', 'fd11:22:33:44::101/64', 'dev', device);
      run('ip', 'link', 'set', device, 'mtu', '1300');
    };
    harm();
    expect(kernel(1)).not.toBe(right);
    await peer(1).call('sweep');
    expect(kernel(1)).toBe(right);

    run('ip', 'rule', 'add', 'priority', '500', 'fwmark', '0x53770102', 'lookup', 'main');
    await peer(1).end();
    harm();
    run('ip', 'link', 'del', device);
    peers[0] = await startPeer(space(1), { mesh: true });
    expect(await open(1)).toMatchObject({ up: false });
    await apply(1);
    // A rule of another priority is somebody else's.
    run('ip', 'rule', 'del', 'priority', '500');
    expect(kernel(1)).toBe(right);
  });

  it('goes on without its daemon, and is taken over without a change', async () => {
    await all();
    const right = kernel(1);
    await peer(1).call('close', { keep: true });
    await peer(1).end();
    expect(kernel(1)).toBe(right);
    // Nobody answers there, and the kernel says so: the mesh itself is up. Longer than silence would take to be noticed.
    await peer(2).call('sweep');
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    expect(await peer(2).call('way', { nodeId: idOf(1) })).toMatchObject({ kind: 'mesh' });
    expect((await peer(2).call<Told>('state')).mtu).toBe(1_450);
    peers[0] = await startPeer(space(1), { mesh: true });
    expect(await open(1)).toEqual({ up: true, dataPathAddr: '10.77.0.1' });
    const index = () => space(1).run('ip', '-o', 'link', 'show', 'dev', deviceOf(1)).split(':')[0];
    const before = index();
    const state = await apply(1);
    // Its first state knows the peers already.
    expect(state.gone).toEqual([]);
    expect(await peer(1).call('way', { nodeId: idOf(2) })).toMatchObject({ kind: 'mesh' });
    expect([index(), kernel(1)]).toEqual([before, right]);
  });

  it('takes a peer’s kernel at its word where its daemon is too busy to answer', async () => {
    await all();
    process.kill(peer(2).pid, 'SIGSTOP');
    // Longer than silence would take to be noticed.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    const [way, state] = [await peer(1).call('way', { nodeId: idOf(2) }), await peer(1).call<Told>('state')];
    process.kill(peer(2).pid, 'SIGCONT');
    expect([way, state.gone]).toMatchObject([{ kind: 'mesh' }, []]);
  });

  it('falls back where a firewall cuts the mesh, says so, and comes back', async () => {
    await all();
    const { run } = space(2);
    run('nft', 'add table inet cut; add chain inet cut in { type filter hook input priority 0; }');
    run('nft', 'add rule inet cut in udp dport 4789 drop');
    await Promise.all([until(1, 2, 'masquerade'), until(2, 1, 'masquerade'), until(2, 3, 'masquerade')]);
    expect(await peer(1).call('way', { nodeId: idOf(2) })).toEqual({ kind: 'masquerade', v4: '10.77.0.2' });
    expect(await peer(1).call('way', { nodeId: idOf(3) })).toMatchObject({ kind: 'mesh' });
    expect(await peer(1).call('problems')).toEqual([
      `the mesh to node ${idOf(2)} (10.77.0.2) is down, though it answers beside it: is swarmd away there, or does a firewall on either drop udp/4789, or what comes in by ${deviceOf(1)}? Its clients are masqueraded`,
    ]);
    run('nft', 'delete table inet cut');
    await Promise.all([until(1, 2, 'mesh'), until(2, 1, 'mesh'), until(2, 3, 'mesh')]);
    expect(await peer(1).call('problems')).toEqual([]);
  });

  // How soon is a matter of the tracker's, by its clock.
  it('knows that a machine is gone, and when it is back', async () => {
    await all();
    const { run } = space(3);
    run('nft', 'add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }');
    await Promise.all([until(1, 3, 'masquerade', true), until(2, 3, 'masquerade', true)]);
    expect(await peer(1).call('problems')).toEqual([`node ${idOf(3)} (10.77.0.3) does not answer`]);
    // That a node is gone is no fault of this one's mesh.
    expect(await peer(1).call('describe')).toEqual({ up: true, dataPathAddr: '10.77.0.1' });
    run('nft', 'delete table inet cut');
    await Promise.all([until(1, 3, 'mesh'), until(2, 3, 'mesh')]);
  });

  it('has the MTU of the narrowest way', async () => {
    space(1).run('ip', 'route', 'add', '10.77.0.3/32', 'dev', 'eth0', 'mtu', '1400');
    const [state] = await all();
    expect(state?.mtu).toBe(1_350);
    expect((await apply(1, viewOf(1, [1, 2]))).mtu).toBe(1_450);
    space(1).run('ip', 'route', 'del', '10.77.0.3/32');
  });

  it('finds by trying what no route tells: large packets that are lost', async () => {
    const { run } = space(2);
    run('nft', 'add table inet cut; add chain inet cut in { type filter hook input priority 0; }');
    run('nft', 'add rule inet cut in udp dport 4789 meta length gt 1490 drop');
    await all();
    // 50 bytes around each packet of the mesh. From 2 to 1 nothing is lost.
    await peer(1).call('untilMtu', { mtu: 1_440 });
    expect((await peer(2).call<Told>('state')).mtu).toBe(1_450);
    run('nft', 'delete table inet cut');
  });

  it('is the first daemon’s where there are several; the second says so and leaves it alone', async () => {
    await all();
    const right = kernel(1);
    space(1).run('ip', 'address', 'add', '10.77.0.4/24', 'dev', 'eth0');
    const second = await startPeer(space(1), { mesh: true });
    await second.call('open', { options: { nodeId: idOf(4), dataPathAddr: '10.77.0.4', mark } });
    const other = viewOf(4, [1, 2, 3]);
    const said = `another swarmd has the mesh of this network namespace, by the device ${deviceOf(1)}`;
    await expect(second.call('apply', { view: other })).rejects.toThrow(said);
    // Of another cluster, and with addresses of its own: the kernel refuses the same network only.
    const pools = { pool4: '198.19.0.0/16', pool6: 'fd99::/64' };
    await expect(second.call('apply', { view: { ...other, ...pools } })).rejects.toThrow(
      "another VXLAN device of this network namespace has the mesh's network 77 on port 4789",
    );
    expect(await second.call('describe')).toMatchObject({ up: false });
    await second.call('close', {});
    await second.end();
    expect(kernel(1)).toBe(right);
    space(1).run('ip', 'address', 'del', '10.77.0.4/24', 'dev', 'eth0');
  });

  it('says what is wrong with the machine', async () => {
    const view = viewOf(1);
    await peer(1).call('open', { options: { nodeId: idOf(1), dataPathAddr: '10.99.0.1', mark } });
    await expect(peer(1).call('apply', { view })).rejects.toThrow(
      '10.99.0.1 is no address of this machine; --data-path-addr names one that is',
    );
    await open(2);
    space(2).run('ip', 'address', 'add', '198.18.200.1/24', 'dev', 'eth0');
    await expect(apply(2)).rejects.toThrow('the device eth0 has an address in 198.18.0.0/16');
    space(2).run('ip', 'address', 'del', '198.18.200.1/24', 'dev', 'eth0');
    await apply(2);
  });
});
