import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type Netns,
  type NetnsLab,
  type NetnsPeer,
  noNetns,
  openNetnsLab,
  startPeer,
} from '../../../../test/kit/netns.ts';

// A way between two nodes by a router with a narrow link behind it, of which nobody is told: the router's word is lost.

const why = noNetns('nft', 'bridge');
const mark = 0x5377_0000;

interface Told {
  readonly mtu: number;
}

describe.skipIf(why)(`a narrow link on the way${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let near: Netns;
  let router: Netns;
  let far: Netns;
  let peers: [NetnsPeer, NetnsPeer];

  beforeAll(async () => {
    lab = openNetnsLab(2);
    [near, router] = lab.spaces as [Netns, Netns];
    far = lab.addContainer(router);
    router.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    router.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv6/conf/all/forwarding');
    near.run('ip', 'route', 'add', '172.30.0.0/16', 'via', router.addr);
    near.run('ip', 'route', 'add', 'fd30::/64', 'via', router.addr6);
    peers = (await Promise.all([near, far].map((space) => startPeer(space, { mesh: true })))) as typeof peers;
  });
  afterEach(() => Promise.all(peers.map((peer) => peer.call('close', {}))));
  afterAll(() => lab?.close());

  const nodes = (family: 4 | 6 = 4) =>
    [near, far].map(
      ({ addr, addr6 }, i): MeshPeer => ({
        ...{ nodeId: `node${i}xxxx`, meshId: i + 1, up: true },
        addr: family === 4 ? addr : addr6,
      }),
    );
  const view = (i: number, family: 4 | 6 = 4): MeshView => ({
    ...{ self: i + 1, vni: 77, port: 4_789, pool4: '198.18.0.0/16', pool6: 'fd11::/64' },
    peers: nodes(family).filter((_, other) => other !== i),
  });
  /** Both ends; the near one's state. */
  async function start(family: 4 | 6 = 4): Promise<Told> {
    await Promise.all(
      nodes(family).map(({ nodeId, addr }, i) =>
        peers[i]?.call('open', { options: { nodeId, dataPathAddr: addr, mark } }),
      ),
    );
    const [state] = await Promise.all(peers.map((peer, i) => peer.call<Told>('apply', { view: view(i, family) })));
    return state as Told;
  }
  const narrow = (mtu: number) => router.run('ip', 'link', 'set', 'ctr0', 'mtu', String(mtu));
  const silence = () =>
    router.run(
      'nft',
      'table inet cut { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }',
    );

  it('is found, and what an earlier daemon found holds until it is tried again', async () => {
    narrow(1_400);
    silence();
    expect((await start()).mtu).toBe(1_450);
    await peers[0].call('untilMtu', { mtu: 1_350 });
    await peers[0].call('close', { keep: true });
    const [{ nodeId, addr }] = nodes() as [MeshPeer];
    await peers[0].call('open', { options: { nodeId, dataPathAddr: addr, mark } });
    expect((await peers[0].call<Told>('apply', { view: view(0) })).mtu).toBe(1_350);
    // Wider now: tried at the start, and so known.
    narrow(1_500);
    await peers[0].call('untilMtu', { mtu: 1_450 });
    router.run('nft', 'delete', 'table', 'inet', 'cut');
  });

  it('is found where packets go by IPv6, which nobody on the way may cut', async () => {
    narrow(1_400);
    silence();
    expect((await start(6)).mtu).toBe(1_430);
    await peers[0].call('untilMtu', { mtu: 1_330 });
    narrow(1_500);
    router.run('nft', 'delete', 'table', 'inet', 'cut');
  });

  it('is taken from the router where that is heard, and stays known', async () => {
    narrow(1_420);
    await start();
    await peers[0].call('untilMtu', { mtu: 1_370 });
    narrow(1_500);
  });
});
