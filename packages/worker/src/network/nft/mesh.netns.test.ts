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

// The kernel's ingress over a mesh that is made by hand: clients keep their address on every node, in both families and protocols. Three nodes,
// the third without a replica, whose firewalls drop what is forwarded; containers with the same address on all of them; a client outside.

const why = noNetns('nft', 'iptables', 'ip6tables', 'conntrack', 'bridge');

interface Place {
  readonly space: Netns;
  readonly peer: NetnsPeer;
}

interface Node extends Place {
  readonly number: number;
  readonly id: string;
}

type Protocol = 'tcp' | 'udp';
const families = [4, 6] as const;
const protocols = ['tcp', 'udp'] as const;

const mac = (number: number) => `02:73:77:6d:00:0${number}`;
const mesh4 = (number: number) => `198.18.0.${number}`;
const mesh6 = (number: number) => `fd73::${number}`;
const mark = 0x5377_0000;
const nodePort = 32_768;

const backend = (node: Node, protocol: Protocol, more: Partial<IngressBackend> = {}): IngressBackend => ({
  ...{ taskId: `t${node.number}`, nodeId: node.id, protocol, targetPort: 80 },
  ...{ localAddr: '172.30.0.2', localAddr6: 'fd30::2', localPort: 80, nodeAddr: node.space.addr, nodePort },
  ...more,
});

function entry(
  protocol: Protocol,
  port: number,
  backends: readonly IngressBackend[],
  more: Partial<IngressEntry> = {},
) {
  const key = `${protocol}/${port}${more.address === undefined ? '' : `@${more.address}`}`;
  const service = { serviceId: `s${port}`, serviceName: `web${port}`, targetPort: 80 };
  return { key, ...service, protocol, publishedPort: port, backends, ...more } satisfies IngressEntry;
}

describe.skipIf(why)(`nftables ingress over a mesh${why ? ` (skipped: ${why} is missing)` : ''}`, () => {
  let lab: NetnsLab;
  let nodes: [Node, Node, Node];
  let outside: Place;
  let inner: [Place, Place, Place];

  const meshOf = ({ number }: Node) => {
    const others = nodes.filter((other) => other.number !== number);
    return {
      ...{ device: 'swm', self: number, addresses: { v4: mesh4(number), v6: mesh6(number) }, mark, mtu: 1_450 },
      ...{ vxlan: { vni: 7, port: 4789 }, routedByMain: [4, 6] },
      marks: others.map((other) => [mac(other.number), mark + other.number]),
      senders: others.map(({ space }) => space.addr),
      own: nodes.flatMap((one) => [
        { node: one.space.addr, mesh: mesh4(one.number) },
        { node: one.space.addr6, mesh: mesh6(one.number) },
      ]),
      ways: Object.fromEntries(
        others.map((other) => [other.id, { kind: 'mesh', v4: mesh4(other.number), v6: mesh6(other.number) }]),
      ),
    };
  };
  const apply = (
    entries: readonly IngressEntry[],
    on: readonly Node[] = nodes,
    tasks: readonly IngressBackend[] = [],
  ) =>
    Promise.all(
      on.map((node) => {
        const own = tasks.filter(({ nodeId }) => nodeId === node.id);
        return node.peer.call('apply', { nodeId: node.id, entries, mesh: meshOf(node), own });
      }),
    );
  const nft = (node: Node, ...args: string[]) => node.space.run('nft', ...args);
  const tableOf = (node: Node) => `swarmd_${node.id.slice(0, 12)}`;
  const open = ({ peer, id, space }: Node) =>
    peer.call('ingress', { options: { nodeId: id, ingressAddrs: [], advertiseAddr: space.addr } });
  const addr = ({ space }: Place, family: 4 | 6) => (family === 4 ? space.addr : space.addr6);
  const both = (protocol: Protocol, names = nodes.slice(0, 2)) => names.map((node) => backend(node, protocol));

  let flows = 0;
  /** Each answer (`name client`) of a connection or flow of its own, sorted. */
  async function ask(from: Place, protocol: Protocol, host: string, port: number, times: number): Promise<string[]> {
    if (protocol === 'tcp') return (await from.peer.call<string[]>('ask', { host, port, times })).sort();
    const answers: string[] = [];
    for (let i = 0; i < times; i++)
      answers.push(...(await from.peer.call<string[]>('udp', { key: `f${++flows}`, host, port, waitMs: 1_000 })));
    return answers.sort();
  }

  beforeAll(async () => {
    lab = openNetnsLab(4);
    const start = async (space: Netns, ingress: boolean): Promise<Place> => ({
      space,
      peer: await startPeer(space, { ingress }),
    });
    const [s1, s2, s3, s4] = lab.spaces as [Netns, Netns, Netns, Netns];
    const node = async (space: Netns, number: number): Promise<Node> => ({
      ...(await start(space, true)),
      number,
      id: `mesh${number}aaaaaaaaaaaaaaaaaaaa`,
    });
    nodes = [await node(s1, 1), await node(s2, 2), await node(s3, 3)];
    outside = await start(s4, false);
    for (const each of nodes) makeMesh(each, nodes);
    inner = [
      await start(lab.addContainer(s1, 2), false),
      await start(lab.addContainer(s2, 2), false),
      await start(lab.addContainer(s3, 2), false),
    ];
    for (const [i, { peer }] of inner.slice(0, 2).entries()) {
      for (const host of ['0.0.0.0', '::']) {
        await peer.call('listen', { host, port: 80, name: `t${i + 1}` });
        await peer.call('listenUdp', { host, port: 80, name: `t${i + 1}` });
      }
    }
    await Promise.all(nodes.map(open));
  });
  afterEach(async () => {
    if (nodes) await apply([]);
  });
  afterAll(() => lab?.close());

  describe.each(families)('IPv%i', (family) => {
    describe.each(protocols)('%s', (protocol) => {
      it('shows the real client from outside on every node, in exact shares', async () => {
        await apply([entry(protocol, 8080, both(protocol))]);
        const client = addr(outside, family);
        for (const node of nodes)
          expect(await ask(outside, protocol, addr(node, family), 8080, 6), `node ${node.number}`).toEqual([
            ...[`t1 ${client}`, `t1 ${client}`, `t1 ${client}`],
            ...[`t2 ${client}`, `t2 ${client}`, `t2 ${client}`],
          ]);
      });

      it('answers the node itself and the other nodes', async () => {
        await apply([entry(protocol, 8080, both(protocol))]);
        for (const from of nodes)
          for (const to of nodes) {
            const answers = await ask(from, protocol, addr(to, family), 8080, 2);
            expect(
              answers.map((answer) => answer.split(' ')[0]),
              `${from.number} to ${to.number}`,
            ).toEqual(['t1', 't2']);
          }
        if (family === 4)
          for (const node of nodes) {
            const answers = await ask(node, protocol, '127.0.0.1', 8080, 2);
            expect(answers.map((answer) => answer.split(' ')[0])).toEqual(['t1', 't2']);
          }
      });

      it('answers containers, those behind the port included', async () => {
        await apply([entry(protocol, 8080, both(protocol))]);
        for (const from of inner)
          for (const to of nodes) {
            const answers = await ask(from, protocol, addr(to, family), 8080, 2);
            expect(
              answers.map((answer) => answer.split(' ')[0]),
              `to ${to.number}`,
            ).toEqual(['t1', 't2']);
          }
      });
    });
  });

  it.each(families)(
    'tells one client’s connections through different nodes apart, all from one port: IPv%i',
    async (family) => {
      const [n1, n2, n3] = nodes;
      await apply([entry('tcp', 8080, [backend(n1, 'tcp')]), entry('udp', 8080, [backend(n1, 'udp')])]);
      const client = addr(outside, family);
      const ways = [n3, n2, n1].map((node) => ({
        key: `way${family}${node.number}`,
        host: addr(node, family),
        port: 8080,
      }));
      for (const way of ways)
        expect(await outside.peer.call('hold', { ...way, localPort: 23_456 }), way.host).toBe(`t1 ${client}`);
      for (const { key, host } of ways) expect(await outside.peer.call('say', { key, text: host })).toBe(host);
      for (const { host, port } of [...ways, ...ways])
        expect(await outside.peer.call('udp', { key: `ways${family}`, host, port }), host).toEqual([`t1 ${client}`]);
    },
  );

  it('shows the real client to tasks that are processes', async () => {
    const [, n2, n3] = nodes;
    await n2.peer.call('listen', { host: '127.0.0.1', port: 9000, name: 'process' });
    await n2.peer.call('listen', { host: n2.space.addr6, port: 9000, name: 'process' });
    const task = backend(n2, 'tcp', { localAddr: '127.0.0.1', localAddr6: n2.space.addr6, localPort: 9000 });
    await apply([entry('tcp', 8080, [task])]);
    expect(await ask(outside, 'tcp', n3.space.addr, 8080, 1)).toEqual([`process ${outside.space.addr}`]);
    expect(await ask(outside, 'tcp', n3.space.addr6, 8080, 1)).toEqual([`process ${outside.space.addr6}`]);
  });

  it('answers on ::1, for whom nothing routes, by the relay', async () => {
    await apply([entry('tcp', 8080, both('tcp'))]);
    expect(await ask(nodes[0], 'tcp', '::1', 8080, 1)).toEqual(['t1 172.30.0.1']);
  });

  it('masquerades a port that asks for it', async () => {
    await apply([entry('tcp', 8080, both('tcp'), { clientAddress: 'masquerade' }), entry('tcp', 8081, both('tcp'))]);
    expect(await ask(outside, 'tcp', nodes[2].space.addr, 8080, 2)).toEqual([`t1 ${mesh4(3)}`, `t2 ${mesh4(3)}`]);
    expect(await ask(outside, 'tcp', nodes[0].space.addr6, 8080, 2)).toEqual(['t1 fd30::1', `t2 ${mesh6(1)}`]);
    expect((await ask(outside, 'tcp', nodes[2].space.addr, 8081, 1))[0]).toContain(outside.space.addr);
  });

  it('lets in the clients of its ranges alone', async () => {
    const [, n2, n3] = nodes;
    await apply([
      entry('tcp', 8080, both('tcp'), { allow: [`${outside.space.addr}/32`] }),
      entry('tcp', 8081, both('tcp'), { allow: ['fd77::/64'] }),
      entry('tcp', 8082, both('tcp'), { allow: [] }),
    ]);
    const [at4, at6] = [n3.space.addr, n3.space.addr6];
    const sorted = (answers: string[]) => answers.map((answer) => answer.split(' ')[0]);
    expect(sorted(await ask(outside, 'tcp', at4, 8080, 2))).toEqual(['t1', 't2']);
    expect(await ask(n2, 'tcp', at4, 8080, 1)).toEqual(['ECONNREFUSED']);
    expect(await ask(outside, 'tcp', at6, 8080, 1)).toEqual(['ECONNREFUSED']);
    expect(sorted(await ask(outside, 'tcp', at6, 8081, 2))).toEqual(['t1', 't2']);
    expect(await ask(outside, 'tcp', at4, 8081, 1)).toEqual(['ECONNREFUSED']);
    expect(await ask(outside, 'tcp', at4, 8082, 1)).toEqual(['ECONNREFUSED']);
    // Wider in place, by a change alone.
    await apply([entry('tcp', 8080, both('tcp'), { allow: ['10.77.0.0/24'] })]);
    expect(sorted(await ask(n2, 'tcp', at4, 8080, 2))).toEqual(['t1', 't2']);
  });

  it('answers at the address alone that a port is bound to', async () => {
    const [n1, , n3] = nodes;
    n3.space.run('ip', 'addr', 'add', '10.77.0.103/24', 'dev', 'eth0');
    n3.space.run('ip', 'addr', 'add', 'fd77::103/64', 'dev', 'eth0', 'nodad');
    const at = (address: string, node: Node) => entry('tcp', 8080, [backend(node, 'tcp')], { address });
    await apply([at('10.77.0.103', n1), at('fd77::103', n1), at(n3.space.addr, nodes[1])]);
    const client = outside.space.addr;
    expect(await ask(outside, 'tcp', '10.77.0.103', 8080, 2)).toEqual([`t1 ${client}`, `t1 ${client}`]);
    expect(await ask(outside, 'tcp', 'fd77::103', 8080, 1)).toEqual([`t1 ${outside.space.addr6}`]);
    expect(await ask(outside, 'tcp', n3.space.addr, 8080, 2)).toEqual([`t2 ${client}`, `t2 ${client}`]);
    expect(await ask(outside, 'tcp', n3.space.addr6, 8080, 1)).toEqual(['ECONNREFUSED']);
    expect(await ask(outside, 'tcp', n1.space.addr, 8080, 1)).toEqual(['ECONNREFUSED']);
  });

  it.each(families)('sends UDP clients on when their backend leaves, also where it ran: IPv%i', async (family) => {
    const [n1, , n3] = nodes;
    const key = `sticky${family}`;
    const say = () => outside.peer.call('udp', { key, host: addr(n3, family), port: 5353, times: 2, waitMs: 500 });
    const settled = () => Promise.all(nodes.map(({ peer, id }) => peer.call('sweep', { nodeId: id })));
    await apply([entry('udp', 5353, [backend(n1, 'udp')])]);
    const client = addr(outside, family);
    expect(await say()).toEqual([`t1 ${client}`, `t1 ${client}`]);
    await apply([entry('udp', 5353, [backend(nodes[1], 'udp')])]);
    await settled();
    expect(await say()).toEqual([`t2 ${client}`, `t2 ${client}`]);
    expect(n1.space.run('conntrack', '-L', '-p', 'udp', '-f', `ipv${family}`)).not.toContain('dport=32768');
    await apply([entry('udp', 5353, [])]);
    await settled();
    expect(await say()).toEqual(['none', 'none']);
  });

  it.each(families)(
    'lets UDP flows to a backend that drains be until it has ended, on every node: IPv%i',
    async (family) => {
      const [leaving, staying] = [backend(nodes[0], 'udp'), backend(nodes[1], 'udp')];
      const settled = () => Promise.all(nodes.map(({ peer, id }) => peer.call('sweep', { nodeId: id })));
      const say = (key: string) =>
        Promise.all(
          nodes.map((node) =>
            outside.peer.call<string[]>('udp', {
              key: `${key}${family}${node.number}`,
              host: addr(node, family),
              port: 5354,
            }),
          ),
        );
      const through = (name: string) => nodes.map(() => [`${name} ${addr(outside, family)}`]);
      await apply([entry('udp', 5354, [leaving])]);
      expect(await say('old')).toEqual(through('t1'));
      await apply([entry('udp', 5354, [staying], { draining: [leaving] })], nodes, [leaving, staying]);
      await settled();
      expect(await say('old')).toEqual(through('t1'));
      expect(await say('new')).toEqual(through('t2'));
      await apply([entry('udp', 5354, [staying])], nodes, [staying]);
      await settled();
      expect(await say('old')).toEqual(through('t2'));
    },
  );

  it.each(families)(
    'ends TCP connections to a container whose network is gone: IPv%i',
    async (family) => {
      const [n1, , n3] = nodes;
      const gone = lab.addContainer(n1.space, 10 + family);
      const peer = await startPeer(gone);
      await peer.call('listen', { host: family === 4 ? '0.0.0.0' : '::', port: 80, name: 'gone' });
      const task = backend(n1, 'tcp', { localAddr: gone.addr, localAddr6: gone.addr6, nodePort: 32_770 });
      await apply([entry('tcp', 8080, [task])]);
      const key = `gone${family}`;
      await outside.peer.call('hold', { key, host: addr(n3, family), port: 8080 });
      expect(await outside.peer.call('say', { key, text: 'still there' })).toBe('still there');
      const what = [
        '-E',
        '-e',
        'DESTROY',
        '-f',
        `ipv${family}`,
        '-p',
        'tcp',
        '--reply-src',
        addr({ space: gone, peer }, family),
      ];
      const events = n1.space.spawn('conntrack', what, { stdio: ['ignore', 'pipe', 'ignore'] });
      const forgotten = new Promise((resolve) => events.stdout?.once('data', resolve));
      await apply([entry('tcp', 8080, both('tcp'))]);
      expect(await outside.peer.call('say', { key, text: 'still there' })).toBe('still there');
      gone.run('ip', 'link', 'set', 'eth0', 'down');
      await forgotten;
      await expect(outside.peer.call('say', { key, text: 'and now' })).rejects.toThrow(/ECONNRESET|closed/);
      events.kill();
      await peer.end();
    },
    60_000,
  );

  it('has its doors for the mesh alone, and the mesh for its nodes', async () => {
    const [n1] = nodes;
    await apply([entry('tcp', 8080, both('tcp'))]);
    outside.space.run('ip', 'route', 'replace', `${mesh4(1)}/32`, 'via', n1.space.addr);
    expect(await ask(outside, 'tcp', mesh4(1), nodePort, 1)).toEqual(['ETIMEDOUT']);
    outside.space.run('ip', 'route', 'del', `${mesh4(1)}/32`);
    // One that has all of a node's but its address.
    const { run } = outside.space;
    run('ip', 'link', 'add', 'swm', 'address', mac(2), 'type', 'vxlan', 'id', '7', 'dstport', '4789', 'nolearning');
    run('ip', 'addr', 'add', `${mesh4(9)}/16`, 'dev', 'swm');
    run('ip', 'link', 'set', 'swm', 'up');
    run('bridge', 'fdb', 'replace', mac(1), 'dev', 'swm', 'dst', n1.space.addr, 'self', 'permanent');
    run('ip', 'neigh', 'replace', mesh4(1), 'lladdr', mac(1), 'dev', 'swm', 'nud', 'permanent');
    n1.space.run('conntrack', '-F');
    await ask(outside, 'tcp', mesh4(1), nodePort, 1);
    expect(n1.space.run('conntrack', '-L', '-p', 'tcp')).not.toContain(mesh4(9));
    // Without the guard it gets through: the test can fail.
    nft(n1, 'flush', 'chain', 'inet', tableOf(n1), 'c_guard');
    await ask(outside, 'tcp', mesh4(1), nodePort, 1);
    expect(n1.space.run('conntrack', '-L', '-p', 'tcp')).toContain(mesh4(9));
    run('ip', 'link', 'del', 'swm');
    await n1.peer.call('sweep', { nodeId: n1.id });
  });

  it('repairs what others changed, and writes nothing anew that is as it should be', async () => {
    const [n1, , n3] = nodes;
    const handle = (node: Node) =>
      /# handle \d+/.exec(nft(node, '-a', '-t', 'list', 'table', 'inet', tableOf(node)))?.[0];
    const sweep = (node: Node) => node.peer.call('sweep', { nodeId: node.id });
    const entries = [
      entry('tcp', 8080, both('tcp'), { allow: ['10.0.0.0/9', '10.128.0.0/10', '192.0.2.1', 'fd77::/64'] }),
      entry('udp', 8080, both('udp'), { allow: ['10.77.0.0/24'], clientAddress: 'masquerade' }),
      entry('tcp', 8081, both('tcp'), { address: n3.space.addr }),
      entry('tcp', 8081, both('tcp'), { address: n3.space.addr6 }),
      entry('tcp', 8082, []),
      entry('tcp', 8083, [], { address: n3.space.addr }),
      { ...entry('tcp', 2905, both('tcp')), key: 'sctp/2905', protocol: 'sctp' as const },
    ];
    await apply(entries);
    const before = [n1, n3].map(handle);
    for (let i = 0; i < 2; i++) {
      await Promise.all([n1, n3].map(sweep));
      await apply(entries, [n1, n3]);
    }
    expect([n1, n3].map(handle)).toEqual(before);
    for (const damage of [
      `delete element inet ${tableOf(n1)} door6 { tcp . ${nodePort} }`,
      `delete element inet ${tableOf(n1)} peers { ${mac(2)} }`,
      `flush chain inet ${tableOf(n1)} c_mark`,
      `flush set inet ${tableOf(n1)} own4`,
    ]) {
      const was = handle(n1);
      nft(n1, damage);
      await sweep(n1);
      await apply(entries, [n1]);
      expect(handle(n1), damage).not.toBe(was);
      await sweep(n1);
    }
  });

  it('says which clients are masqueraded when the mesh is gone, and why', async () => {
    const [, n2, n3] = nodes;
    const entries = [entry('tcp', 8080, [backend(n2, 'tcp')])];
    await n3.peer.call('apply', { nodeId: n3.id, entries });
    expect(await n3.peer.call('problems', { nodeId: n3.id })).toEqual({
      'tcp/8080': `clients are masqueraded towards node ${n2.id}: this node has no mesh`,
    });
    await apply(entries, [n3]);
    expect(await n3.peer.call('problems', { nodeId: n3.id })).toEqual({});
  });

  it('takes over from the IPv4 table of an older version, under load, without a failed connection', async () => {
    const [, , n3] = nodes;
    await n3.peer.call('shut', { nodeId: n3.id });
    nft(n3, olderTable(tableOf(n3), 8080, [`${mesh4(1)} . ${nodePort}`, `${mesh4(2)} . ${nodePort}`]));
    await apply([entry('tcp', 8080, both('tcp'))], nodes.slice(0, 2));
    await outside.peer.call('load', { host: n3.space.addr, port: 8080, parallel: 4 });
    await open(n3);
    const ours = () => nft(n3, 'list', 'tables').match(/^table .* swarmd_.*$/gm);
    expect(ours()).toEqual([`table ip ${tableOf(n3)}`]);
    await apply([entry('tcp', 8080, both('tcp'))], [n3]);
    expect(ours()).toEqual([`table inet ${tableOf(n3)}`]);
    for (let i = 0; i < 5; i++)
      await apply([entry('tcp', 8080, both('tcp')), entry('tcp', 8100 + i, both('tcp'))], [n3]);
    expect(Object.keys(await outside.peer.call<Record<string, number>>('halt')).sort()).toEqual(['t1', 't2']);
  });

  it('leaves nothing in either firewall in the end', async () => {
    for (const node of nodes) {
      expect(node.space.run('ip6tables', '-S', 'FORWARD')).toContain(tableOf(node));
      await node.peer.call('shut', { nodeId: node.id });
      expect(nft(node, 'list', 'tables')).not.toContain('swarmd');
      for (const tool of ['iptables', 'ip6tables']) expect(node.space.run(tool, '-S')).not.toContain('swarmd');
    }
    await Promise.all(nodes.map(open));
  });
});

/** The device, its neighbours, the ways back, and a firewall and Docker's masquerade around them. */
function makeMesh({ space, number }: Node, nodes: readonly Node[]): void {
  const { run } = space;
  const set = (name: string, value: number) => run('sysctl', '-qw', `${name}=${value}`);
  const device = ['type', 'vxlan', 'id', '7', 'dstport', '4789', 'local', space.addr, 'nolearning'];
  run('ip', 'link', 'add', 'swm', 'address', mac(number), ...device);
  run('ip', 'addr', 'add', `${mesh4(number)}/16`, 'dev', 'swm');
  run('ip', 'addr', 'add', `${mesh6(number)}/64`, 'dev', 'swm', 'nodad');
  run('ip', 'link', 'set', 'swm', 'up');
  set('net.ipv4.conf.all.rp_filter', 1);
  set('net.ipv4.conf.all.src_valid_mark', 1);
  set('net.ipv6.conf.all.forwarding', 0);
  // Else none is told of a connection that is older than its listener.
  set('net.netfilter.nf_conntrack_events', 1);
  for (const family of ['-4', '-6']) run('ip', family, 'rule', 'add', 'pref', '8999', 'iif', 'swm', 'lookup', 'main');
  for (const { number: other, space: its } of nodes) {
    if (other === number) continue;
    run('bridge', 'fdb', 'replace', mac(other), 'dev', 'swm', 'dst', its.addr, 'self', 'permanent');
    for (const [family, to] of [
      ['-4', mesh4(other)],
      ['-6', mesh6(other)],
    ] as const) {
      const table = String(53_770 + other);
      run('ip', family, 'neigh', 'replace', to, 'lladdr', mac(other), 'dev', 'swm', 'nud', 'permanent');
      run('ip', family, 'rule', 'add', 'pref', '9000', 'fwmark', String(mark + other), 'lookup', table);
      run('ip', family, 'route', 'add', 'default', 'via', to, 'dev', 'swm', 'table', table);
    }
  }
  for (const [tool, net] of [
    ['iptables', '172.30.0.0/16'],
    ['ip6tables', 'fd30::/64'],
  ] as const) {
    run(tool, '-P', 'FORWARD', 'DROP');
    run(tool, '-A', 'FORWARD', '-i', 'ctr0', '!', '-o', 'ctr0', '-j', 'ACCEPT');
    run(tool, '-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'ESTABLISHED', '-o', 'ctr0', '-j', 'ACCEPT');
    run(tool, '-t', 'nat', '-A', 'POSTROUTING', '-s', net, '!', '-o', 'ctr0', '-j', 'MASQUERADE');
  }
}

/** As version 1 wrote it, with targets that answer here. */
const olderTable = (name: string, port: number, targets: readonly string[]): string => `
  table ip ${name} {
    comment "route_localnet was 0"
    map ports { type inet_proto . inet_service : verdict; }
    chain ours { masquerade fully-random; }
    chain s_tcp_${port} {
      meta l4proto tcp dnat to numgen inc mod 2 map { ${targets.map((target, i) => `${i} : ${target}`).join(', ')} }
    }
    chain prerouting { type nat hook prerouting priority -110; fib daddr type local meta l4proto . th dport vmap @ports; }
    chain postrouting { type nat hook postrouting priority 90; ct status dnat goto ours; }
  }
  add element ip ${name} ports { tcp . ${port} : goto s_tcp_${port} }
`;
