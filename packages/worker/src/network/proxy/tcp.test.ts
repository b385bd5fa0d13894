import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { buffer } from 'node:stream/consumers';
import { ManualClock, silentLogger } from '@swarmctl/shared/kit';
import type { IngressBackend, IngressEntry, ProxyOptions } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ProxyIngress, type ProxyIngressOptions } from './ingress.ts';
import { handleStreams } from './streams/handles.ts';
import { socketStreams } from './streams/sockets.ts';
import type { Opening, Streams } from './streams/types.ts';

// What a published TCP port does beyond passing on, over real connections on loopback, by both ways to have them.

const front = '127.31.8.1';
const behind = '127.31.8.2';
const other = '127.31.8.3';
const port = 26_280;
const key = `tcp/${port}`;

describe.each([
  ['handles', handleStreams()],
  ['sockets', socketStreams],
])('a TCP port by %s', (_, streams) => {
  let ingress: ProxyIngress;
  let clock: ManualClock;
  /** Ports of backends that never answer; `tried` hears of each attempt. */
  let holes: Set<number>;
  let tried: (() => void) | undefined;
  /** Whether it has dealt with an attempt itself. */
  let fail: ((...[to, done]: Parameters<Streams['connect']>) => boolean) | undefined;
  const closers: (() => unknown)[] = [];

  beforeEach(() => {
    clock = new ManualClock();
    holes = new Set();
    tried = undefined;
    fail = undefined;
  });
  afterEach(async () => {
    await ingress.close();
    for (const close of closers.splice(0)) close();
  });

  function holed(): Streams {
    if (!streams) throw new Error('the handles of this Node are not known');
    return {
      ...streams,
      connect: (to, done): Opening => {
        if (fail?.(to, done)) return { abort: () => {} };
        if (!holes.has(to.port)) return streams.connect(to, done);
        setImmediate(() => tried?.());
        return { abort: () => {} };
      },
    };
  }

  async function publish(
    backends: IngressBackend[],
    proxy: ProxyOptions = {},
    entry: Partial<IngressEntry> = {},
    options: Partial<ProxyIngressOptions> = {},
  ): Promise<void> {
    ingress = new ProxyIngress(
      { nodeId: 'n1', ingressAddrs: [], advertiseAddr: front, ...options },
      { log: silentLogger, clock, streams: holed() },
    );
    await ingress.apply(table(backends, { proxy, ...entry }));
  }

  const table = (backends: IngressBackend[], more: Partial<IngressEntry> = {}) =>
    new Map<string, IngressEntry>([
      [
        more.key ?? key,
        {
          ...{
            key,
            serviceId: 's',
            serviceName: 'web',
            protocol: 'tcp',
            publishedPort: port,
            targetPort: 80,
            backends,
          },
          ...more,
        },
      ],
    ]);

  const backend = (taskId: string, localPort: number): IngressBackend => ({
    ...{ taskId, nodeId: 'n1', protocol: 'tcp', targetPort: 80, localAddr: behind, localPort },
    ...{ nodeAddr: '192.0.2.1', nodePort: 9 },
  });

  async function serve(taskId: string, onConnection: (socket: Socket) => void): Promise<IngressBackend> {
    const sockets = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      onConnection(socket);
    });
    closers.push(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    server.listen(0, behind);
    await once(server, 'listening');
    return backend(taskId, (server.address() as AddressInfo).port);
  }

  const echo = (taskId: string) => serve(taskId, (socket) => socket.pipe(socket));
  /** Says its name; ends when the client does. */
  const named = (taskId: string) =>
    serve(taskId, (socket) => {
      socket.write(taskId);
      socket.resume().once('end', () => socket.end());
    });
  async function refusing(taskId: string): Promise<IngressBackend> {
    const server = createServer();
    server.listen(0, behind);
    await once(server, 'listening');
    const { port: localPort } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return backend(taskId, localPort);
  }
  const hole = (taskId: string, localPort: number) => {
    holes.add(localPort);
    return backend(taskId, localPort);
  };

  function dial(options: Partial<NetConnectOpts> = {}): Socket {
    const socket = connect({ host: front, port, allowHalfOpen: true, ...options } as NetConnectOpts);
    closers.push(() => socket.destroy());
    socket.on('error', () => {});
    return socket;
  }

  /** The first that comes, or the error's code. */
  async function first(socket: Socket): Promise<string> {
    try {
      return String((await once(socket, 'data'))[0]);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? '';
    }
  }

  const counters = () => ingress.counters().get(key);

  describe('towards its backends', () => {
    it.each([
      ['proxy-v1', (from: number) => `PROXY TCP4 ${other} ${front} ${from} ${port}\r\nhello`],
      [
        'proxy-v2',
        (from: number) =>
          Buffer.concat([
            Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c', 'latin1'),
            Buffer.from([127, 31, 8, 3, 127, 31, 8, 1, from >> 8, from & 255, port >> 8, port & 255]),
            Buffer.from('hello'),
          ]).toString('latin1'),
      ],
      ['masquerade', () => 'hello'],
    ] as const)('with %s', async (clientAddress, expected) => {
      let received: Promise<Buffer> | undefined;
      const a = await serve('a', (socket) => {
        received = buffer(socket);
        socket.once('end', () => socket.end('bye'));
      });
      await publish([a], {}, { clientAddress });
      const socket = dial({ localAddress: other });
      socket.end('hello');
      await once(socket, 'connect');
      const from = socket.localPort ?? 0;
      expect(await first(socket)).toBe('bye');
      expect((await received)?.toString('latin1')).toBe(expected(from));
    });

    it('sends a header before anything is said, too', async () => {
      const a = await serve('a', (socket) => socket.once('data', (data) => socket.write(data)));
      await publish([a], {}, { clientAddress: 'proxy-v1' });
      const socket = dial();
      await once(socket, 'connect');
      expect(await first(socket)).toBe(`PROXY TCP4 127.0.0.1 ${front} ${socket.localPort} ${port}\r\n`);
    });

    it('writes a client of IPv4 as such where it listens for both families', async () => {
      const a = await serve('a', (socket) => socket.once('data', (data) => socket.write(data)));
      await publish([a], {}, { clientAddress: 'proxy-v1' }, { ingressAddrs: ['::'] });
      const socket = dial({ host: '127.0.0.1' });
      await once(socket, 'connect');
      expect(await first(socket)).toBe(`PROXY TCP4 127.0.0.1 127.0.0.1 ${socket.localPort} ${port}\r\n`);
    });

    it('goes to another when one refuses, with all that the client has sent', async () => {
      const sent = randomBytes(300_000);
      await publish([await refusing('a'), await refusing('b'), await echo('c')]);
      const socket = dial();
      socket.end(sent);
      expect((await buffer(socket)).equals(sent)).toBe(true);
      expect(counters()).toMatchObject({ connections: 1, retried: 2, failed: 0, bytesIn: 300_000, bytesOut: 300_000 });
    });

    it('goes to another when one does not answer', async () => {
      await publish([hole('a', 1), await named('b')]);
      const attempt = new Promise<void>((resolve) => {
        tried = resolve;
      });
      const answer = first(dial());
      await attempt;
      expect(counters()).toMatchObject({ open: 1, pending: 1 });
      await clock.advance(3_000);
      expect(await answer).toBe('b');
      expect(counters()).toMatchObject({ open: 1, pending: 0, retried: 1 });
    });

    it('gives up after some that do not answer', async () => {
      await publish([1, 2, 3, 4].map((n) => hole(`t${n}`, n)));
      let attempts = 0;
      const third = new Promise<void>((resolve) => {
        tried = () => {
          if (++attempts === 1) void clock.advance(6_000);
          if (attempts === 3) resolve();
        };
      });
      const answer = first(dial());
      await third;
      await clock.advance(3_000);
      expect(await answer).toBe('ECONNRESET');
      expect(counters()).toMatchObject({ open: 0, pending: 0, failed: 1, retried: 2 });
      expect(attempts).toBe(3);
      expect(ingress.connections().size).toBe(0);
    });

    it('leaves a backend that failed alone for a while', async () => {
      await publish([await refusing('a'), await named('b')]);
      for (let i = 0; i < 5; i++) expect(await first(dial())).toBe('b');
      expect(counters()?.retried).toBe(1);
      await clock.advance(1_000);
      for (let i = 0; i < 5; i++) expect(await first(dial())).toBe('b');
      expect(counters()?.retried).toBe(2);
    });

    it('goes to the one with the least connections', async () => {
      await publish([await named('a'), await named('b'), await named('c')], { balance: 'least-connections' });
      const sockets = new Map<string, Socket[]>();
      const open = async () => {
        const socket = dial();
        const name = await first(socket);
        sockets.set(name, [...(sockets.get(name) ?? []), socket]);
        return name;
      };
      for (let i = 0; i < 6; i++) await open();
      expect([...ingress.connections()].sort()).toEqual([...'abc'].map((name) => [name, 2]));
      for (const socket of sockets.get('b') ?? []) socket.destroy();
      await expect.poll(() => ingress.connections().get('b')).toBeUndefined();
      expect([await open(), await open()]).toEqual(['b', 'b']);
    });

    it('passes over one that fails its checks, until it does not', async () => {
      const a = await refusing('a');
      const health = { everyMs: 1_000, timeoutMs: 500, fall: 1, rise: 1 };
      let checks = 0;
      holes.add(a.localPort);
      const checked = new Promise<void>((resolve) => {
        tried = () => {
          checks++;
          resolve();
        };
      });
      await publish([a, await named('b')], { health });
      await checked;
      await clock.advance(500);
      for (let i = 0; i < 4; i++) expect(await first(dial())).toBe('b');
      expect([...ingress.problems()]).toEqual([[key, 'passed over, since they do not accept connections: a']]);
      expect(counters()?.retried).toBe(0);
      expect(checks).toBe(1);
      const server = createServer();
      closers.push(() => server.close());
      server.listen(a.localPort, behind);
      await once(server, 'listening');
      const isChecked = new Promise<void>((resolve) => {
        server.on('connection', (socket) => {
          socket.on('error', () => {}).once('close', () => resolve());
          socket.write('a');
          socket.resume();
        });
      });
      holes.clear();
      await clock.advance(500);
      await isChecked;
      expect([await first(dial()), await first(dial())].sort()).toEqual(['a', 'b']);
      expect(ingress.problems().size).toBe(0);
    });
  });

  describe('beyond a limit', () => {
    it('refuses at once, and takes new ones when others end', async () => {
      await publish([await named('a')], { mostConnections: 2 });
      const [one, two] = [dial(), dial()];
      expect([await first(one), await first(two), await first(dial())]).toEqual(['a', 'a', 'ECONNRESET']);
      expect(counters()).toMatchObject({ connections: 2, open: 2, refused: 1 });
      one.destroy();
      await expect.poll(() => counters()?.open).toBe(1);
      expect(await first(dial())).toBe('a');
    });

    it('counts each client by itself', async () => {
      await publish([await named('a')], { mostPerClient: 1 });
      const mine = dial();
      expect(await first(mine)).toBe('a');
      expect(await first(dial())).toBe('ECONNRESET');
      expect(await first(dial({ localAddress: other }))).toBe('a');
      mine.destroy();
      await expect.poll(() => counters()?.open).toBe(1);
      expect(await first(dial())).toBe('a');
    });

    it('lets only some wait for a backend', async () => {
      await publish([hole('a', 1)], {}, {}, { share: 1_024 });
      const attempt = new Promise<void>((resolve) => {
        tried = resolve;
      });
      const waiting = first(dial());
      await attempt;
      expect(await first(dial())).toBe('ECONNRESET');
      expect(counters()).toMatchObject({ open: 1, pending: 1, refused: 1 });
      await clock.advance(3_000);
      expect(await waiting).toBe('ECONNRESET');
    });

    it('ends those that are idle for long, and no others', async () => {
      await publish([await echo('a')], { idleMs: 4_000 });
      const [quiet, busy] = [dial(), dial()];
      for (const socket of [quiet, busy]) {
        socket.write('x');
        await first(socket);
      }
      const ended = once(quiet, 'end');
      for (let i = 0; i < 5; i++) {
        await clock.advance(1_000);
        busy.write('y');
        expect(await first(busy)).toBe('y');
      }
      await ended;
      expect(counters()).toMatchObject({ open: 1, idle: 1 });
    });

    it('is not there for clients out of its ranges', async () => {
      await publish([await named('a')], {}, { allow: ['127.31.8.3/32', 'fd00::/8'] });
      expect(await first(dial())).toBe('ECONNRESET');
      expect(await first(dial({ localAddress: other }))).toBe('a');
      expect(counters()).toMatchObject({ connections: 1, refused: 1 });
      await ingress.apply(table([await named('a')], { allow: ['127.0.0.0/8'] }));
      expect(await first(dial())).toBe('a');
    });
  });

  it('answers on the address of its entry alone', async () => {
    await publish([await named('a')], {}, { address: other });
    expect(await first(dial())).toBe('ECONNREFUSED');
    expect(await first(dial({ host: other }))).toBe('a');
  });

  it("waits for an address that may be another node's, without a word", async () => {
    await publish([await named('a')], {}, { address: '192.0.2.99' });
    expect(ingress.problems().size).toBe(0);
    expect(clock.untilNext()).toBe(1_000);
    await ingress.apply(table([await named('a')]));
    expect(await first(dial())).toBe('a');
  });

  it('listens elsewhere when the address of its entry changes', async () => {
    const a = await named('a');
    await publish([a]);
    expect(await first(dial())).toBe('a');
    await ingress.apply(table([a], { address: other }));
    expect(await first(dial())).toBe('ECONNREFUSED');
    expect(await first(dial({ host: other }))).toBe('a');
  });

  it('keeps what many connections carry apart, whatever their readers do', async () => {
    await publish([await echo('a'), await echo('b')]);
    const sizes = [1, 4_096, 4_097, 70_000, 300_000, 2_000_000, 6_000_000];
    await Promise.all(
      Array.from({ length: 28 }, async (_, i) => {
        const data = randomBytes(sizes[i % sizes.length] ?? 0);
        const socket = dial();
        socket.end(data);
        const hash = createHash('sha256');
        let bytes = 0;
        for await (const chunk of socket) {
          hash.update(chunk);
          bytes += chunk.length;
          // Back pressure now and then.
          if (bytes % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        expect(bytes).toBe(data.length);
        expect(hash.digest('hex')).toBe(createHash('sha256').update(data).digest('hex'));
      }),
    );
    await expect.poll(() => counters()).toMatchObject({ connections: 28, open: 0, pending: 0 });
    expect(ingress.connections().size).toBe(0);
  });

  it('keeps what it carries whole when much and little take turns, and after a rest', async () => {
    await publish([await echo('a')]);
    const socket = dial();
    for (const size of [3, 200_000, ...Array<number>(20).fill(5), 100_000, 70_000, 1]) {
      const data = randomBytes(size);
      socket.write(data);
      const chunks: Buffer[] = [];
      while (chunks.reduce((sum, { length }) => sum + length, 0) < size)
        chunks.push((await once(socket, 'data'))[0] as Buffer);
      expect(Buffer.concat(chunks).equals(data)).toBe(true);
      if (size === 100_000) await clock.advance(60_000);
    }
  });

  it.each([
    ['EMFILE', { failed: 1, retried: 0 }],
    ['ECONNREFUSED', { failed: 0, retried: 1 }],
  ])('blames %s on whom it concerns', async (code, expected) => {
    const working = await named('b');
    await publish([backend('a', 1), working]);
    fail = (to, done) => to.port === 1 && setImmediate(done, undefined, code) !== undefined;
    expect(await first(dial())).toBe(expected.failed ? 'ECONNRESET' : 'b');
    expect(counters()).toMatchObject(expected);
    expect(await first(dial())).toBe('b');
  });

  it.each([
    ['with its port', 'a'],
    ['and others stay', 'b'],
  ])('refuses nobody who is on the way to a backend when that leaves %s', async (_, expected) => {
    const [a, b] = [await named('a'), await named('b')];
    const started = new Promise<() => void>((resolve) => {
      fail = (to, done) => {
        fail = undefined;
        resolve(() => streams?.connect(to, done));
        return true;
      };
    });
    await publish([a, b]);
    const answer = first(dial());
    const goOn = await started;
    await ingress.apply(expected === 'a' ? new Map() : table([b]));
    goOn();
    expect(await answer).toBe(expected);
  });

  it('keeps the client open when its backend has said all', async () => {
    let received: Promise<Buffer> | undefined;
    const a = await serve('a', (socket) => {
      received = buffer(socket);
      socket.end('that is all');
    });
    await publish([a]);
    const socket = dial();
    const ended = once(socket, 'end');
    expect(await first(socket)).toBe('that is all');
    await ended;
    socket.end('well then');
    expect(String(await received)).toBe('well then');
    await expect.poll(() => counters()?.open).toBe(0);
  });

  it.each([
    ['', 0],
    [' amid much data', 20_000_000],
  ])('passes a reset of the backend%s on', async (_, bytes) => {
    const a = await serve('a', (socket) => {
      socket.write('hello');
      socket.once('data', () => {
        socket.write(Buffer.alloc(bytes));
        socket.resetAndDestroy();
      });
    });
    await publish([a]);
    const socket = dial();
    expect(await first(socket)).toBe('hello');
    const broken = new Promise<string | undefined>((resolve) => {
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
      // Behind data, libuv takes a reset for an end; one that was no reset leaves a connection with another side.
      socket.once('end', () => resolve(socket.remoteAddress === undefined ? 'ECONNRESET' : 'an end'));
    });
    socket.write('go');
    expect(await broken).toBe('ECONNRESET');
    await expect.poll(() => counters()?.open).toBe(0);
  });

  it('ends the backend when the client goes while it is being sent much', async () => {
    let gone: Promise<void> | undefined;
    const a = await serve('a', (socket) => {
      gone = closed(socket);
      socket.write(Buffer.alloc(30_000_000));
    });
    await publish([a]);
    const socket = dial();
    await first(socket);
    socket.destroy();
    await gone;
    await expect.poll(() => counters()?.open).toBe(0);
  });

  describe.skipIf(!hasIpv6())('as a relay of IPv6', () => {
    it('answers clients of IPv6 alone, and says who they are', async () => {
      const a = await serve('a', (socket) => socket.once('data', (data) => socket.write(data)));
      await publish([a], {}, { clientAddress: 'proxy-v1' }, { families: 'ipv6', advertiseAddr: '10.0.0.1' });
      const socket = dial({ host: '::1' });
      await once(socket, 'connect');
      expect(await first(socket)).toBe(`PROXY TCP6 ::1 ::1 ${socket.localPort} ${port}\r\n`);
      expect(await first(dial({ host: '127.0.0.1' }))).toBe('ECONNREFUSED');
      expect(ingress.problems().size).toBe(0);
    });

    it('passes UDP on, too', async () => {
      const server = createSocket('udp4', (data, from) => server.send(`got ${data}`, from.port, from.address));
      closers.push(() => server.close());
      await new Promise<void>((resolve) => server.bind(0, behind, resolve));
      const a: IngressBackend = { ...backend('a', server.address().port), protocol: 'udp' };
      await publish([a], {}, { key: `udp/${port}`, protocol: 'udp' }, { families: 'ipv6', advertiseAddr: '10.0.0.1' });
      const client = createSocket('udp6');
      closers.push(() => client.close());
      client.send('it', port, '::1');
      expect(String((await once(client, 'message'))[0])).toBe('got it');
      // IPv4's is left to others.
      const free = createSocket('udp4');
      closers.push(() => free.close());
      await new Promise<void>((resolve) => free.bind(port, '127.0.0.1', resolve));
    });

    it('reaches backends of IPv6 for clients of IPv4', async () => {
      const server = createServer((socket) => socket.once('data', (data) => socket.end(data)));
      closers.push(() => server.close());
      server.listen(0, '::1');
      await once(server, 'listening');
      const a = { ...backend('a', (server.address() as AddressInfo).port), localAddr: '::1' };
      await publish([a], {}, { clientAddress: 'proxy-v1' });
      const socket = dial();
      await once(socket, 'connect');
      expect(await first(socket)).toBe(`PROXY TCP4 127.0.0.1 ${front} ${socket.localPort} ${port}\r\n`);
    });

    it('does nothing for addresses of IPv4', async () => {
      await publish([await named('a')], {}, {}, { families: 'ipv6' });
      expect(await first(dial())).toBe('ECONNREFUSED');
      expect(await first(dial({ host: '::1' }))).toBe('ECONNREFUSED');
    });
  });
});

const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()));

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));
}
