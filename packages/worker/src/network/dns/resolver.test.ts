import { createSocket } from 'node:dgram';
import { type AddressInfo, connect, createServer } from 'node:net';
import { realClock, seededRandom, silentLogger } from '@swarmctl/shared/kit';
import type { NetworkName, NetworkView } from '@swarmctl/shared/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeAnswer, parseQuery, rcodes, types } from './codec.ts';
import type { Upstream } from './forward.ts';
import { type Client, NameResolver } from './resolver.ts';
import { Frames, framed } from './tcp-frames.ts';
import { addresses, ask, read } from './test-packets.ts';
import { parseResolvConf } from './upstreams.ts';

// A resolver at addresses of the loopback, whose networks are parts of it.

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const web: NetworkName = {
  name: 'web',
  vip: '127.1.0.100',
  tasks: [
    { taskId: 't1', slot: 1, addr: '127.1.0.11' },
    { taskId: 't2', slot: 2, addr: '127.1.0.12' },
  ],
};
const view = (id: string, net: number, names: readonly NetworkName[], internal = false): NetworkView => ({
  ...{ id, name: `${id}net`, vni: 4096 + net, port: 4789, encrypted: false, internal, far: [], names },
  subnets: [{ subnet: `127.${net}.0.0/16`, gateway: `127.${net}.0.1` }],
});
const viewsOf = (...views: NetworkView[]) => new Map(views.map((one) => [one.id, one]));
const front = view('a', 1, [
  web,
  { name: 'db', tasks: web.tasks },
  { name: 'alias', vip: '127.1.0.100', tasks: web.tasks },
  { name: 'none', tasks: [] },
  { name: 'app_web', tasks: [{ taskId: 't3', slot: 1, addr: '127.1.0.21' }] },
]);
const back = view('b', 2, [
  { name: 'queue', vip: '127.2.0.100', tasks: [] },
  { name: 'web', vip: '127.2.0.101', tasks: [] },
]);

async function opened(views: ReadonlyMap<string, NetworkView>, upstreams: readonly Upstream[] = []) {
  const resolver = new NameResolver({
    ...{ log: silentLogger, clock: realClock, random: seededRandom(1), port: 0 },
    upstreams: async () => upstreams,
  });
  cleanups.push(() => resolver.close());
  resolver.set(views);
  for (const { id, subnets } of views.values()) await resolver.listen(id, subnets[0]!.gateway);
  return resolver;
}

/** By UDP, from an address on the network. */
async function query(
  resolver: NameResolver,
  name: string,
  { type = 1, network = front, from = '127.1.0.50', payload }: Partial<Asking> = {},
): Promise<Buffer> {
  const { gateway } = network.subnets[0]!;
  const port = (await resolver.portOf(network.id, gateway))!;
  return udp(ask(name, type, { id: 77, ...(payload !== undefined && { payload }) }), port, gateway, from);
}
interface Asking {
  readonly type: number;
  readonly network: NetworkView;
  readonly from: string;
  readonly payload: number;
}

function udp(packet: Buffer, port: number, addr: string, from: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.once('message', (answer) => {
      socket.close();
      resolve(answer);
    });
    socket.bind(0, from, () => socket.send(packet, port, addr));
  });
}

function tcp(packets: readonly Buffer[], port: number, addr: string, from: string): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: addr, port, localAddress: from });
    const frames = new Frames();
    const answers: Buffer[] = [];
    socket.on('data', (chunk) => answers.push(...frames.push(chunk)));
    socket.once('error', reject);
    socket.once('close', () => resolve(answers));
    socket.end(Buffer.concat(packets.map(framed)));
  });
}

let upstreams = 0;

/** A resolver of the machine's; by TCP it knows more. */
async function upstream(answer: 'all' | 'by tcp' | 'nothing'): Promise<Upstream & { asked: string[] }> {
  const asked: string[] = [];
  const records = Array.from({ length: 60 }, (_, i) => `192.0.2.${i}`);
  const reply = (packet: Buffer, transport: string) => {
    asked.push(transport);
    const limit = transport === 'tcp' ? 65_535 : 512;
    return encodeAnswer(
      parseQuery(packet)!,
      { rcode: rcodes.ok, records: answer === 'all' ? ['192.0.2.1'] : records },
      limit,
    );
  };
  const socket = createSocket('udp4', (packet, from) => {
    if (answer === 'nothing') asked.push('udp');
    else socket.send(reply(packet, 'udp'), from.port, from.address);
  });
  const addr = `127.9.0.${++upstreams}`;
  await new Promise<void>((resolve) => socket.bind(0, addr, () => resolve()));
  const { port } = socket.address();
  const server = createServer((connection) => {
    const frames = new Frames();
    connection.on('error', () => {});
    connection.on('data', (chunk) => {
      for (const packet of frames.push(chunk)) connection.write(framed(reply(packet, 'tcp')));
    });
  });
  await new Promise<void>((resolve) => server.listen(port, addr, () => resolve()));
  cleanups.push(() => {
    socket.close();
    server.close();
  });
  return { addr, port, asked };
}

describe('names of a network', () => {
  it.each<[string, readonly string[]]>([
    ['web', ['127.1.0.100']],
    ['WEB', ['127.1.0.100']],
    ['alias', ['127.1.0.100']],
    ['web.anet', ['127.1.0.100']],
    ['tasks.web', ['127.1.0.11', '127.1.0.12']],
    ['tasks.web.anet', ['127.1.0.11', '127.1.0.12']],
    ['db', ['127.1.0.11', '127.1.0.12']],
    ['2.web', ['127.1.0.12']],
    ['1.alias', ['127.1.0.11']],
    ['web.1.t1', ['127.1.0.11']],
    ['none', []],
    ['tasks.none', []],
    ['app_web', ['127.1.0.21']],
    ['tasks.App_Web', ['127.1.0.21']],
    ['1.app_web.anet', ['127.1.0.21']],
  ])('%s', async (name, wanted) => {
    const answer = await query(await opened(viewsOf(front)), name);
    expect(addresses(answer).sort()).toEqual(wanted);
    expect(read(answer)).toMatchObject({ id: 77, rcode: rcodes.ok });
    expect(read(answer).records.every(({ ttl }) => ttl === 1)).toBe(true);
  });

  it('come in any order where there are several', async () => {
    const resolver = await opened(viewsOf(front));
    const first = new Set<string | undefined>();
    for (let i = 0; i < 20; i++) first.add(addresses(await query(resolver, 'db'))[0]);
    expect(first).toEqual(new Set(['127.1.0.11', '127.1.0.12']));
  });

  it('have no records of other kinds, and are not unknown for it', async () => {
    const resolver = await opened(viewsOf(front));
    for (const type of [types.AAAA, 15, 16, 33, 65, 255])
      expect(read(await query(resolver, 'web', { type }))).toMatchObject({ rcode: rcodes.ok, records: [] });
  });

  it('of slots that nobody serves are unknown, and asked of nobody else', async () => {
    const up = await upstream('all');
    const resolver = await opened(viewsOf(front), [up]);
    for (const name of ['3.web', '1.none', '3.web.anet'])
      expect([name, read(await query(resolver, name)).rcode]).toEqual([name, rcodes.noName]);
    expect(up.asked).toEqual([]);
    // A number before what is no service is somebody else's.
    expect(read(await query(resolver, '3.example.com'))).toMatchObject({ rcode: rcodes.ok });
  });

  it('of both families are asked for by kind, and found by address', async () => {
    const names: NetworkName[] = [
      { name: 'six', vip: '127.1.0.90', tasks: [{ taskId: 't6', slot: 1, addr: '127.1.0.91' }] },
      { name: 'six', vip: 'fd00::90', tasks: [{ taskId: 't6', slot: 1, addr: 'fd00::91' }] },
    ];
    const resolver = await opened(viewsOf({ ...front, names }));
    const six = async (name: string, type: number) =>
      read(await query(resolver, name, { type })).records.map(({ data }) => data);
    expect(addresses(await query(resolver, 'six'))).toEqual(['127.1.0.90']);
    expect(await six('six', types.AAAA)).toEqual([`fd00${'0'.repeat(26)}90`]);
    expect(await six('tasks.six', types.AAAA)).toEqual([`fd00${'0'.repeat(26)}91`]);
    expect(await six('1.six', types.AAAA)).toEqual([`fd00${'0'.repeat(26)}91`]);
    const arpa = `1.9.${'0.'.repeat(26)}0.0.d.f.ip6.arpa`;
    const [pointer = ''] = await six(arpa, types.PTR);
    expect(Buffer.from(pointer, 'hex').toString('latin1')).toContain('anet');
  });

  it('are found by address', async () => {
    const resolver = await opened(viewsOf(front));
    const reverse = async (addr: string) => {
      const name = `${addr.split('.').reverse().join('.')}.in-addr.arpa`;
      const { rcode, records } = read(await query(resolver, name, { type: types.PTR }));
      const text = Buffer.from(records[0]?.data ?? '', 'hex').toString('latin1');
      return {
        rcode,
        name: text.replaceAll(/[^a-z0-9]+/g, ' ').trim(),
      };
    };
    expect(await reverse('127.1.0.100')).toMatchObject({ rcode: rcodes.ok, name: 'web anet' });
    expect(await reverse('127.1.0.12')).toMatchObject({ rcode: rcodes.ok, name: '2 web anet' });
    expect(await reverse('127.1.0.99')).toMatchObject({ rcode: rcodes.noName });
  });

  it('follow the state at once', async () => {
    const resolver = await opened(viewsOf(front));
    resolver.set(viewsOf({ ...front, names: [{ ...web, tasks: web.tasks.slice(1) }] }));
    expect(addresses(await query(resolver, 'tasks.web'))).toEqual(['127.1.0.12']);
    expect(read(await query(resolver, 'db'))).toMatchObject({ rcode: rcodes.failed });
  });

  it('that are many come in part by UDP, whole by TCP, one answer a question', async () => {
    const tasks = Array.from({ length: 100 }, (_, i) => ({ taskId: `t${i}`, slot: i, addr: `127.1.1.${i}` }));
    const resolver = await opened(viewsOf({ ...front, names: [{ name: 'web', tasks }] }));
    expect(read(await query(resolver, 'web'))).toMatchObject({ truncated: true });
    expect(read(await query(resolver, 'web', { payload: 4096 }))).toMatchObject({ truncated: false });
    const port = (await resolver.portOf('a', '127.1.0.1'))!;
    const packets = Array.from({ length: 40 }, (_, id) => ask('web', 1, { id }));
    const answers = await tcp(packets, port, '127.1.0.1', '127.1.0.50');
    expect(answers.map((one) => addresses(one).length)).toEqual(packets.map(() => 100));
    expect(new Set(answers.map((one) => read(one).id)).size).toBe(40);
  });
});

describe('who asks', () => {
  const client: Client = {
    addrs: [
      { networkId: 'a', addr: '127.1.0.50' },
      { networkId: 'b', addr: '127.2.0.50' },
    ],
  };

  it('sees the names of the network asked alone', async () => {
    const resolver = await opened(viewsOf(front, back));
    expect(read(await query(resolver, 'queue'))).toMatchObject({ rcode: rcodes.failed });
    expect(addresses(await query(resolver, 'queue', { network: back, from: '127.2.0.9' }))).toEqual(['127.2.0.100']);
  });

  it('sees all networks that it is on, and the one asked first', async () => {
    const resolver = await opened(viewsOf(front, back));
    resolver.attached('t', client);
    expect(addresses(await query(resolver, 'queue'))).toEqual(['127.2.0.100']);
    expect(addresses(await query(resolver, 'web'))).toEqual(['127.1.0.100']);
    expect(addresses(await query(resolver, 'web.bnet'))).toEqual(['127.2.0.101']);
    resolver.detached('t');
    expect(read(await query(resolver, 'queue'))).toMatchObject({ rcode: rcodes.failed });
  });

  it('has names of its own for others, as long as those are there', async () => {
    const resolver = await opened(viewsOf(front, back));
    resolver.attached('t', {
      ...client,
      links: new Map([
        ['web', 'queue'],
        ['shop', 'app_web'],
        ['db', 'nobody'],
      ]),
    });
    expect(addresses(await query(resolver, 'SHOP'))).toEqual(['127.1.0.21']);
    expect(addresses(await query(resolver, 'web'))).toEqual(['127.2.0.100']);
    expect(addresses(await query(resolver, 'db')).sort()).toEqual(['127.1.0.11', '127.1.0.12']);
    // Nobody else has them.
    expect(read(await query(resolver, 'shop', { from: '127.1.0.51' }))).toMatchObject({ rcode: rcodes.failed });
  });

  it('is told of the first network that has a service which is on several', async () => {
    const tasks = [{ taskId: 't9', slot: 1, addr: '127.2.0.61' }];
    const both = { ...back, names: [...back.names, { name: 'web', vip: '127.2.0.101', tasks }] };
    const resolver = await opened(viewsOf(front, both));
    resolver.attached('t', client);
    expect(addresses(await query(resolver, 'tasks.web')).sort()).toEqual(['127.1.0.11', '127.1.0.12']);
    const there = { network: both, from: '127.2.0.50' };
    expect(addresses(await query(resolver, 'tasks.web', there))).toEqual(['127.2.0.61']);
    expect(addresses(await query(resolver, 'tasks.web.anet', there)).sort()).toEqual(['127.1.0.11', '127.1.0.12']);
    // What the first one lacks, the next may have.
    expect(addresses(await query(resolver, '2.web', there))).toEqual(['127.1.0.12']);
  });

  it('must be on the network', async () => {
    const resolver = await opened(viewsOf(front, back));
    expect(read(await query(resolver, 'web', { from: '127.2.0.50' }))).toMatchObject({ rcode: rcodes.refused });
  });

  it('is not answered for a network that is gone', async () => {
    const resolver = await opened(viewsOf(front, back));
    resolver.set(viewsOf(back));
    expect(await resolver.portOf('a', '127.1.0.1')).toBeUndefined();
    expect(addresses(await query(resolver, 'web', { network: back, from: '127.2.0.9' }))).toEqual(['127.2.0.101']);
  });
});

describe('other names', () => {
  it('are the machine’s resolvers’ business', async () => {
    const up = await upstream('all');
    const resolver = await opened(viewsOf(front), [up]);
    expect(read(await query(resolver, 'example.com'))).toMatchObject({ id: 77, rcode: rcodes.ok, name: 'example.com' });
    expect(addresses(await query(resolver, 'example.com'))).toEqual(['192.0.2.1']);
  });

  it('are asked for by TCP when the answer is long', async () => {
    const up = await upstream('by tcp');
    const resolver = await opened(viewsOf(front), [up]);
    expect(addresses(await query(resolver, 'example.com', { payload: 4096 }))).toHaveLength(60);
    expect(up.asked).toEqual(['udp', 'tcp']);
    expect(read(await query(resolver, 'example.com'))).toMatchObject({ truncated: true });
  });

  it('are asked of the next resolver when one is silent or away, and fail within a bound', async () => {
    const [silent, other] = [await upstream('nothing'), await upstream('all')];
    const away = { addr: '127.0.0.1', port: 1 };
    const next = await opened(viewsOf(front), [away, silent, other]);
    expect(addresses(await query(next, 'example.com'))).toEqual(['192.0.2.1']);
    expect(silent.asked).toEqual(['udp']);
    const none = await opened(viewsOf(front), [silent]);
    const begun = performance.now();
    expect(read(await query(none, 'example.com'))).toMatchObject({ rcode: rcodes.failed });
    expect(performance.now() - begun).toBeLessThan(3_500);
  });

  it('are asked of the next resolver when there is no way to one', async () => {
    const other = await upstream('all');
    // A socket that may not broadcast is refused this address at once, as any is without a route.
    const resolver = await opened(viewsOf(front), [{ addr: '255.255.255.255', port: 53 }, other]);
    expect(addresses(await query(resolver, 'example.com'))).toEqual(['192.0.2.1']);
  });

  it('are never asked of itself', async () => {
    const resolver = new NameResolver({
      ...{ log: silentLogger, clock: realClock, random: seededRandom(1), port: 5399 },
      upstreams: async () => [{ addr: '127.1.0.1', port: 5399 }],
    });
    cleanups.push(() => resolver.close());
    resolver.set(viewsOf(front));
    await resolver.listen('a', '127.1.0.1');
    expect(read(await query(resolver, 'example.com'))).toMatchObject({ rcode: rcodes.failed });
  });

  it('go round no circle, by whichever resolver of the machine’s', async () => {
    const asked: number[] = [];
    const circle = createSocket('udp4', async (packet, from) => {
      asked.push(packet.length);
      const port = (await resolver.portOf('a', '127.1.0.1'))!;
      circle.send(await udp(packet, port, '127.1.0.1', '127.1.0.1'), from.port, from.address);
    });
    await new Promise<void>((resolve) => circle.bind(0, '127.9.1.1', () => resolve()));
    cleanups.push(() => void circle.close());
    const resolver = await opened(viewsOf(front), [{ addr: '127.9.1.1', port: circle.address().port }]);
    expect(read(await query(resolver, 'example.com'))).toMatchObject({ rcode: rcodes.refused });
    expect(asked).toHaveLength(1);
    // What is the cluster's own, the machine may ask for.
    expect(addresses(await query(resolver, 'web', { from: '127.1.0.1' }))).toEqual(['127.1.0.100']);
  });

  it('do not leave an internal network', async () => {
    const up = await upstream('all');
    const inner = { ...front, internal: true };
    const resolver = await opened(viewsOf(inner, back), [up]);
    expect(read(await query(resolver, 'secret.example.com'))).toMatchObject({ rcode: rcodes.noName });
    expect(addresses(await query(resolver, 'web'))).toEqual(['127.1.0.100']);
    expect(up.asked).toEqual([]);
    // With another network, the client has a way out anyway.
    resolver.attached('t', {
      addrs: [
        { networkId: 'a', addr: '127.1.0.50' },
        { networkId: 'b', addr: '127.2.0.50' },
      ],
    });
    expect(read(await query(resolver, 'example.com'))).toMatchObject({ rcode: rcodes.ok });
  });
});

it('bears with garbage, and answers the next question', async () => {
  const resolver = await opened(viewsOf(front));
  const port = (await resolver.portOf('a', '127.1.0.1'))!;
  const socket = createSocket('udp4');
  cleanups.push(() => void socket.close());
  const random = seededRandom(3);
  await new Promise<void>((resolve) => socket.bind(0, '127.1.0.60', resolve));
  for (let i = 0; i < 500; i++) {
    const noise = Buffer.from(Array.from({ length: Math.floor(random() * 80) }, () => Math.floor(random() * 256)));
    socket.send(noise, port, '127.1.0.1');
  }
  await tcp([Buffer.from('garbage')], port, '127.1.0.1', '127.1.0.60');
  expect(addresses(await query(resolver, 'web'))).toEqual(['127.1.0.100']);
});

it('says who has the address already', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.1.0.1', () => resolve()));
  cleanups.push(() => void server.close());
  const resolver = new NameResolver({
    ...{ log: silentLogger, clock: realClock, random: seededRandom(1) },
    port: (server.address() as AddressInfo).port,
  });
  cleanups.push(() => resolver.close());
  await expect(resolver.listen('a', '127.1.0.1')).rejects.toThrow('another program listens there');
});

it('reads resolv.conf', () => {
  const text =
    '# nameserver 1.1.1.1\nsearch x\nnameserver 10.0.0.2\n nameserver fd00::1 \nnameserver fe80::1%eth0\nnameserver nonsense\n';
  expect(parseResolvConf(text).map(({ addr }) => addr)).toEqual(['10.0.0.2', 'fd00::1', 'fe80::1%eth0']);
});
