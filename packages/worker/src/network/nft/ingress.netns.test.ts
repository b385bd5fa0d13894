import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type Netns,
  type NetnsLab,
  type NetnsPeer,
  noNetns,
  openNetnsLab,
  startPeer,
} from '../../../../../test/kit/netns.ts';

// The kernel's ingress for real: three nodes and a client outside, each in a network namespace.

const why = noNetns('nft', 'iptables', 'conntrack');

interface Node {
  readonly space: Netns;
  readonly peer: NetnsPeer;
  readonly id: string;
}

interface Where {
  readonly node: Node;
  readonly name: string;
  readonly localAddr?: string;
  readonly localPort: number;
  readonly nodePort?: number;
  readonly nodeAddr?: string;
}

const backend = ({ node, name, localAddr = '127.0.0.1', localPort, nodePort, nodeAddr }: Where): IngressBackend => ({
  taskId: name,
  nodeId: node.id,
  protocol: 'tcp',
  targetPort: 80,
  localAddr,
  localPort,
  nodeAddr: nodeAddr ?? node.space.addr,
  nodePort: nodePort ?? localPort,
});

function entry(port: number, backends: readonly IngressBackend[], protocol: 'tcp' | 'udp' = 'tcp'): IngressEntry {
  const key = `${protocol}/${port}`;
  const service = { serviceId: `s${port}`, serviceName: `web${port}` };
  return { key, ...service, protocol, publishedPort: port, targetPort: 80, backends };
}

/** How often each backend answered. */
function shares(answers: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const answer of answers) {
    const name = answer.split(' ')[0] ?? '';
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

describe.skipIf(why)(`nftables ingress${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let nodes: [Node, Node, Node];
  let outside: Node;
  let [b1, b2, b3]: IngressBackend[] = [];

  const apply = (entries: readonly IngressEntry[], on: readonly Node[] = nodes) =>
    Promise.all(on.map(({ peer, id }) => peer.call<number>('apply', { nodeId: id, entries })));
  const ask = (from: NetnsPeer, host: string, port: number, times: number, parallel = 1) =>
    from.call<string[]>('ask', { host, port, times, parallel });
  const nft = (node: Node, ...args: string[]) => node.space.run('nft', ...args);
  const openIngress = ({ peer, space, id }: Node) =>
    peer.call('ingress', { options: { nodeId: id, ingressAddrs: [], advertiseAddr: space.addr } });

  beforeAll(async () => {
    lab = openNetnsLab(4);
    const start = async (i: number, ingress: boolean): Promise<Node> => {
      const space = lab.spaces[i] as Netns;
      return { space, peer: await startPeer(space, { ingress }), id: `node${i + 1}aaaaaaaaaaaaaaaaaaaa` };
    };
    nodes = [await start(0, true), await start(1, true), await start(2, true)];
    outside = await start(3, false);
    const [n1, n2] = nodes;
    await Promise.all(nodes.map(openIngress));
    // Two on the first node, one of them on loopback alone; one on the second; none on the third.
    await n1.peer.call('listen', { host: '127.0.0.1', port: 20001, name: 'one' });
    await n1.peer.call('listen', { host: n1.space.addr, port: 20001, name: 'one' });
    await n1.peer.call('listen', { host: '0.0.0.0', port: 20002, name: 'two' });
    await n2.peer.call('listen', { host: '0.0.0.0', port: 20003, name: 'three' });
    [b1, b2, b3] = [
      backend({ node: n1, name: 'one', localPort: 20001 }),
      backend({ node: n1, name: 'two', localAddr: n1.space.addr, localPort: 20002 }),
      backend({ node: n2, name: 'three', localPort: 20003 }),
    ];
  });
  afterEach(async () => {
    if (nodes) await apply([]);
  });
  afterAll(() => lab?.close());

  const all = () => [b1, b2, b3] as IngressBackend[];

  it('answers on every node, in exact shares, also where no replica is', async () => {
    await apply([entry(8080, all())]);
    for (const { space } of nodes) {
      expect(shares(await ask(outside.peer, space.addr, 8080, 30, 3))).toEqual({ one: 10, two: 10, three: 10 });
    }
  });

  it('answers the node itself, on 127.0.0.1 and on its address', async () => {
    await apply([entry(8080, all())]);
    for (const { space, peer } of nodes) {
      expect(shares(await ask(peer, '127.0.0.1', 8080, 30))).toEqual({ one: 10, two: 10, three: 10 });
      expect(shares(await ask(peer, space.addr, 8080, 30))).toEqual({ one: 10, two: 10, three: 10 });
    }
  });

  it('keeps the address of a client outside for a backend on the same node', async () => {
    const [n1] = nodes;
    await apply([entry(8080, [b1, b2] as IngressBackend[])]);
    const answers = await ask(outside.peer, n1.space.addr, 8080, 4);
    expect(new Set(answers)).toEqual(new Set([`one ${outside.space.addr}`, `two ${outside.space.addr}`]));
  });

  it('lets established connections go on when their backend leaves, and sends no new ones there', async () => {
    const [, , n3] = nodes;
    await apply([entry(8080, all())]);
    const held = new Map<string, string>();
    for (let i = 0; i < 3; i++) {
      const greeting = await outside.peer.call<string>('hold', { key: `h${i}`, host: n3.space.addr, port: 8080 });
      held.set(greeting.split(' ')[0] ?? '', `h${i}`);
    }
    expect([...held.keys()].sort()).toEqual(['one', 'three', 'two']);
    await apply([entry(8080, [b1, b2] as IngressBackend[])]);
    expect(shares(await ask(outside.peer, n3.space.addr, 8080, 20))).toEqual({ one: 10, two: 10 });
    expect(await outside.peer.call('say', { key: held.get('three'), text: 'still there' })).toBe('still there');
    await apply([]);
    expect(await outside.peer.call('say', { key: held.get('three'), text: 'and now' })).toBe('and now');
  });

  it('loses no connection to changes under load', async () => {
    const [, , n3] = nodes;
    const sets = [all(), [b1, b3], [b2, b3], [b3], [b2, b1, b3]] as IngressBackend[][];
    await apply([entry(8080, all())]);
    await outside.peer.call('load', { host: n3.space.addr, port: 8080, parallel: 8 });
    await n3.peer.call('load', { host: '127.0.0.1', port: 8080, parallel: 2 });
    for (let i = 0; i < 30; i++) await apply([entry(8080, sets[i % sets.length] ?? []), entry(8100 + i, all())], [n3]);
    // A new daemon writes the whole table anew.
    await n3.peer.call('shut', { nodeId: n3.id, keep: true });
    await openIngress(n3);
    await apply([entry(8080, all())], [n3]);
    const [from, self] = [await outside.peer.call('halt'), await n3.peer.call('halt')] as Record<string, number>[];
    for (const counts of [from, self]) expect(Object.keys(counts ?? {}).sort()).toEqual(['one', 'three', 'two']);
  });

  it('keeps shares equal over changes of another backend', async () => {
    const [, , n3] = nodes;
    const answers: string[] = [];
    for (let i = 0; i < 24; i++) {
      await apply([entry(8080, i % 2 === 0 ? all() : ([b1, b2] as IngressBackend[]))], [n3]);
      answers.push(...(await ask(outside.peer, n3.space.addr, 8080, 1)));
    }
    const { one = 0, two = 0, three = 0 } = shares(answers);
    expect(Math.max(one, two) - Math.min(one, two)).toBeLessThanOrEqual(4);
    expect(three).toBeGreaterThanOrEqual(2);
  });

  it('refuses at once where a service has no backend, and where it is gone', async () => {
    const [, , n3] = nodes;
    await apply([entry(8080, [])]);
    expect(await ask(outside.peer, n3.space.addr, 8080, 1)).toEqual(['ECONNREFUSED']);
    expect(await ask(n3.peer, '127.0.0.1', 8080, 1)).toEqual(['ECONNREFUSED']);
    await apply([entry(8080, all())]);
    expect(await ask(outside.peer, n3.space.addr, 8080, 1)).not.toEqual(['ECONNREFUSED']);
    await apply([]);
    expect(await ask(outside.peer, n3.space.addr, 8080, 1)).toEqual(['ECONNREFUSED']);
  });

  it('leaves outbound connections to the same port alone', async () => {
    const [n1] = nodes;
    await outside.peer.call('listen', { host: '0.0.0.0', port: 8080, name: 'foreign' });
    await apply([entry(8080, all())]);
    expect(shares(await ask(n1.peer, outside.space.addr, 8080, 6))).toEqual({ foreign: 6 });
    await outside.peer.call('unlisten', { host: '0.0.0.0', port: 8080 });
  });

  it('leaves a port to the program that listens on it, says so, and takes it when it is free', async () => {
    const [n1] = nodes;
    await n1.peer.call('listen', { host: '0.0.0.0', port: 8090, name: 'mine' });
    await apply([entry(8080, all()), entry(8090, all())]);
    expect((await n1.peer.call<Record<string, string>>('problems', { nodeId: n1.id }))['tcp/8090']).toBe(
      'another program listens on 0.0.0.0:8090/tcp; it keeps the port here',
    );
    expect(shares(await ask(outside.peer, n1.space.addr, 8090, 3))).toEqual({ mine: 3 });
    expect(shares(await ask(outside.peer, n1.space.addr, 8080, 3))).toEqual({ one: 1, two: 1, three: 1 });
    await n1.peer.call('unlisten', { host: '0.0.0.0', port: 8090 });
    await apply([entry(8080, all()), entry(8090, all())]);
    const masqueraded = `clients are masqueraded towards node ${nodes[1].id}: this node has no mesh`;
    expect(await n1.peer.call('problems', { nodeId: n1.id })).toEqual({
      'tcp/8080': masqueraded,
      'tcp/8090': masqueraded,
    });
    expect(shares(await ask(outside.peer, n1.space.addr, 8090, 3))).toEqual({ one: 1, two: 1, three: 1 });
  });

  it('removes in a sweep what changes left over, and goes on with the round', async () => {
    const [, , n3] = nodes;
    const rules = () => nft(n3, 'list', 'chain', 'inet', `swarmd_${n3.id.slice(0, 12)}`, 's_tcp_8080').match(/dnat/g);
    await apply([entry(8080, [b1] as IngressBackend[])], [n3]);
    await apply([entry(8080, [b1, b2] as IngressBackend[])], [n3]);
    await apply([entry(8080, all())], [n3]);
    expect(rules()).toHaveLength(3);
    const answers = await ask(outside.peer, n3.space.addr, 8080, 2);
    await n3.peer.call('sweep', { nodeId: n3.id });
    expect(rules()).toHaveLength(1);
    answers.push(...(await ask(outside.peer, n3.space.addr, 8080, 1)));
    expect(shares(answers)).toEqual({ one: 1, two: 1, three: 1 });
  });

  it('repairs what others changed in its table, and lives beside a foreign one', async () => {
    const [, , n3] = nodes;
    const table = `swarmd_${n3.id.slice(0, 12)}`;
    n3.space.run('nft', 'add table ip foreign; add chain ip foreign c { type nat hook prerouting priority -100; }');
    n3.space.run('nft', 'add rule ip foreign c tcp dport 8080 redirect to :1');
    await apply([entry(8080, all())]);
    const damage = [
      `delete element inet ${table} ports { tcp . 8080 }`,
      `flush chain inet ${table} s_tcp_8080`,
      `flush chain inet ${table} c_output`,
      `add rule inet ${table} c_postrouting counter`,
      `delete table inet ${table}`,
    ];
    for (const one of damage) {
      await n3.peer.call('sweep', { nodeId: n3.id });
      nft(n3, one);
      await n3.peer.call('sweep', { nodeId: n3.id });
      // The repair is under way; the next change comes after it.
      await apply([entry(8080, all())], [n3]);
      expect(shares(await ask(outside.peer, n3.space.addr, 8080, 6)), one).toEqual({ one: 2, two: 2, three: 2 });
      expect(shares(await ask(n3.peer, '127.0.0.1', 8080, 6)), one).toEqual({ one: 2, two: 2, three: 2 });
    }
    expect(nft(n3, 'list', 'tables')).toContain('table ip foreign');
    nft(n3, 'delete', 'table', 'ip', 'foreign');
  });

  it('goes through Docker’s firewall to containers, also from one beside the backend', async () => {
    const [n1] = nodes;
    n1.space.run('iptables', '-N', 'DOCKER-USER');
    n1.space.run('iptables', '-A', 'FORWARD', '-j', 'DOCKER-USER');
    n1.space.run('iptables', '-P', 'FORWARD', 'DROP');
    const [web, beside] = [lab.addContainer(n1.space), lab.addContainer(n1.space)];
    const [webPeer, besidePeer] = [await startPeer(web), await startPeer(beside)];
    await webPeer.call('listen', { host: '0.0.0.0', port: 80, name: 'web' });
    await n1.peer.call('sweep', { nodeId: n1.id });
    const near = backend({ node: n1, name: 'web', localAddr: web.addr, localPort: 80, nodePort: 40001 });
    await apply([entry(8080, [near]), entry(8081, [b3] as IngressBackend[])], [n1]);

    expect(await ask(outside.peer, n1.space.addr, 8080, 1)).toEqual([`web ${outside.space.addr}`]);
    expect(shares(await ask(n1.peer, '127.0.0.1', 8080, 3))).toEqual({ web: 3 });
    expect(shares(await ask(n1.peer, n1.space.addr, 8080, 3))).toEqual({ web: 3 });
    expect(shares(await ask(besidePeer, n1.space.addr, 8080, 3))).toEqual({ web: 3 });
    expect(shares(await ask(webPeer, n1.space.addr, 8080, 3))).toEqual({ web: 3 });
    expect(shares(await ask(outside.peer, n1.space.addr, 8081, 3))).toEqual({ three: 3 });
    expect(shares(await ask(besidePeer, n1.space.addr, 8081, 3))).toEqual({ three: 3 });

    // Docker makes its chain anew when it starts.
    n1.space.run('iptables', '-F', 'DOCKER-USER');
    expect(await ask(outside.peer, n1.space.addr, 8080, 1)).toEqual(['ETIMEDOUT']);
    await n1.peer.call('sweep', { nodeId: n1.id });
    expect(shares(await ask(outside.peer, n1.space.addr, 8080, 3))).toEqual({ web: 3 });
    expect(n1.space.run('iptables', '-S', 'DOCKER-USER').match(/swarmd_/g)).toHaveLength(1);
  });

  it('sends UDP clients on when their backend leaves', async () => {
    const [n1, n2, n3] = nodes;
    await n1.peer.call('listenUdp', { host: '0.0.0.0', port: 21001, name: 'u1' });
    await n2.peer.call('listenUdp', { host: '0.0.0.0', port: 21002, name: 'u2' });
    const udp = [
      { ...backend({ node: n1, name: 'u1', localPort: 21001 }), protocol: 'udp' as const },
      { ...backend({ node: n2, name: 'u2', localPort: 21002 }), protocol: 'udp' as const },
    ];
    // The client was there first, so that the kernel remembers a flow that nobody answers.
    expect(await outside.peer.call('udp', { key: 'u', host: n3.space.addr, port: 5353, times: 1 })).toEqual(['none']);
    await apply([entry(5353, udp.slice(0, 1), 'udp')]);
    await n3.peer.call('sweep', { nodeId: n3.id });
    const say = async () =>
      shares(await outside.peer.call('udp', { key: 'u', host: n3.space.addr, port: 5353, times: 3 }));
    expect(await say()).toEqual({ u1: 3 });
    await apply([entry(5353, udp.slice(1), 'udp')]);
    await n3.peer.call('sweep', { nodeId: n3.id });
    expect(await say()).toEqual({ u2: 3 });
    await apply([entry(5353, [], 'udp')]);
    await n3.peer.call('sweep', { nodeId: n3.id });
    expect(await say()).toEqual({ none: 3 });
  });

  it('lets no neighbour at what listens on 127.0.0.1', async () => {
    const [n1] = nodes;
    expect(n1.space.run('cat', '/proc/sys/net/ipv4/conf/all/route_localnet').trim()).toBe('1');
    outside.space.run('sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1');
    outside.space.run('ip', 'route', 'add', '127.0.0.77/32', 'via', n1.space.addr, 'src', outside.space.addr);
    outside.space.run('ip', 'rule', 'add', 'pref', '1', 'to', '127.0.0.77', 'lookup', 'main');
    outside.space.run('ip', 'rule', 'del', 'pref', '0');
    outside.space.run('ip', 'rule', 'add', 'pref', '2', 'lookup', 'local');
    await n1.peer.call('listen', { host: '127.0.0.77', port: 7000, name: 'private' });
    const sent = () => ask(outside.peer, '127.0.0.77', 7000, 1);
    expect(await sent()).toEqual(['ETIMEDOUT']);
    // Without the guard it would get through: the test can fail.
    nft(n1, 'flush', 'chain', 'inet', `swarmd_${n1.id.slice(0, 12)}`, 'c_guard');
    expect(await sent()).toEqual([`private ${outside.space.addr}`]);
    await n1.peer.call('sweep', { nodeId: n1.id });
  });

  it('hands over to the next daemon without a gap, and leaves nothing in the end', async () => {
    const [, , n3] = nodes;
    await apply([entry(8080, all())]);
    await n3.peer.call('shut', { nodeId: n3.id, keep: true });
    expect(shares(await ask(outside.peer, n3.space.addr, 8080, 3))).toEqual({ one: 1, two: 1, three: 1 });
    await openIngress(n3);
    expect(shares(await ask(outside.peer, n3.space.addr, 8080, 3))).toEqual({ one: 1, two: 1, three: 1 });
    await apply([entry(8080, all())], [n3]);
    for (const node of nodes) {
      await node.peer.call('shut', { nodeId: node.id });
      await node.peer.call('shut', { nodeId: node.id });
      expect(nft(node, 'list', 'tables')).not.toContain('swarmd');
      expect(node.space.run('iptables-save')).not.toContain('swarmd');
      expect(node.space.run('cat', '/proc/sys/net/ipv4/conf/all/route_localnet').trim()).toBe('0');
    }
    await Promise.all(nodes.map(openIngress));
  });

  it('serves three daemons in one namespace, each on its own loopback address', async () => {
    const space = nodes[2].space;
    const peer = nodes[2].peer;
    await peer.call('shut', { nodeId: nodes[2].id });
    const addrs = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];
    const daemons = addrs.map((addr, i) => ({ addr, node: { space, peer, id: `local${i + 1}bbbbbbbbbbbbbbbbbbb` } }));
    for (const { addr, node } of daemons) {
      await peer.call('ingress', { options: { nodeId: node.id, ingressAddrs: [], advertiseAddr: addr } });
      await peer.call('listen', { host: addr, port: 22000, name: `at-${addr}` });
    }
    const tasks = daemons.map(({ addr, node }) =>
      backend({ node, name: `at-${addr}`, localAddr: addr, localPort: 22000, nodeAddr: addr }),
    );
    const own = daemons.map(({ node }) => node);
    await apply([entry(8080, tasks)], own);
    for (const { addr } of daemons)
      expect(shares(await ask(peer, addr, 8080, 9))).toEqual({
        'at-127.0.0.1': 3,
        'at-127.0.0.2': 3,
        'at-127.0.0.3': 3,
      });
    // One that knows of nothing answers for nobody else.
    await apply([], [own[1] as Node]);
    expect(await ask(peer, '127.0.0.2', 8080, 1)).toEqual(['ECONNREFUSED']);
    expect(shares(await ask(peer, '127.0.0.3', 8080, 3))).toEqual({
      'at-127.0.0.1': 1,
      'at-127.0.0.2': 1,
      'at-127.0.0.3': 1,
    });
    expect(await ask(outside.peer, space.addr, 8080, 1)).toEqual(['ECONNREFUSED']);
    for (const { id } of own) await peer.call('shut', { nodeId: id });
    expect(space.run('nft', 'list', 'tables')).not.toContain('swarmd');
    expect(space.run('cat', '/proc/sys/net/ipv4/conf/all/route_localnet').trim()).toBe('0');
    await openIngress(nodes[2]);
  });
});
