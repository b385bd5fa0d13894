import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { ManualClock, settle, silentLogger } from '@swarmctl/shared/kit';
import type { IngressBackend, IngressEntry, ProxyOptions } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bindProblem } from '../problems.ts';
import { ProxyIngress } from './ingress.ts';
import { handleStreams } from './streams/handles.ts';
import { socketStreams } from './streams/sockets.ts';

// The proxy on loopback: backends are small servers in this process. Addresses of their own keep tests from other listeners' ways.

const front = '127.31.7.1';
const behind = '127.31.7.2';

describe.each([
  ['handles', handleStreams()],
  ['sockets', socketStreams],
])('ProxyIngress by %s', (_, streams) => {
  let ingress: ProxyIngress;
  let clock: ManualClock;
  const closers: (() => unknown)[] = [];

  beforeEach(() => {
    clock = new ManualClock();
    if (!streams) throw new Error('the handles of this Node are not known');
    ingress = new ProxyIngress(
      { nodeId: 'n1', ingressAddrs: [], advertiseAddr: front },
      { log: silentLogger, clock, streams },
    );
  });
  afterEach(async () => {
    await ingress.close();
    for (const close of closers.splice(0)) close();
  });

  async function serve(onConnection: (socket: Socket) => void, port = 0): Promise<number> {
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
    server.listen(port, behind);
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  /** Says its name, then echoes. */
  const named = (name: string) =>
    serve((socket) => {
      socket.write(`${name}\n`);
      socket.pipe(socket);
    });

  const backend = (taskId: string, localPort: number): IngressBackend => ({
    ...{ taskId, nodeId: 'n1', protocol: 'tcp', targetPort: 80, localAddr: behind, localPort },
    ...{ nodeAddr: '192.0.2.1', nodePort: 9 },
  });

  const table = (
    publishedPort: number,
    backends: IngressBackend[],
    protocol: 'tcp' | 'udp' = 'tcp',
    proxy: ProxyOptions = {},
  ) => {
    const key = `${protocol}/${publishedPort}`;
    const entry: IngressEntry = {
      ...{ key, serviceId: 's', serviceName: 'web', protocol, publishedPort, targetPort: 80, backends },
      proxy,
    };
    return new Map([[key, entry]]);
  };

  function dial(port: number): Socket {
    const socket = connect({ host: front, port, allowHalfOpen: true });
    closers.push(() => socket.destroy());
    return socket;
  }

  async function ask(port: number): Promise<string> {
    const socket = dial(port);
    try {
      const [data] = await once(socket, 'data');
      return String(data).trim();
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? '';
    } finally {
      socket.destroy();
    }
  }

  const askAll = async (port: number, times: number) => {
    const answers: string[] = [];
    for (let i = 0; i < times; i++) answers.push(await ask(port));
    return answers.sort().join(' ');
  };

  it('goes round the backends', async () => {
    const backends = [backend('a', await named('a')), backend('b', await named('b')), backend('c', await named('c'))];
    await ingress.apply(table(26180, backends));
    expect(await askAll(26180, 9)).toBe('a a a b b b c c c');
  });

  it('answers on its own address alone', async () => {
    await ingress.apply(table(26180, [backend('a', await named('a'))]));
    const socket = connect({ host: behind, port: 26180 });
    const [error] = await once(socket, 'error');
    expect((error as NodeJS.ErrnoException).code).toBe('ECONNREFUSED');
  });

  it('passes over a backend that does not answer, and asks it last for a while', async () => {
    const dead = await named('dead');
    closers.splice(0).forEach((close) => {
      close();
    });
    await ingress.apply(table(26180, [backend('dead', dead), backend('b', await named('b'))]));
    expect(await askAll(26180, 4)).toBe('b b b b');
  });

  it('ends a connection that nobody takes', async () => {
    const dead = await named('dead');
    closers.splice(0).forEach((close) => {
      close();
    });
    await ingress.apply(table(26180, [backend('dead', dead)]));
    expect(await ask(26180)).toBe('ECONNRESET');
  });

  it('refuses where there is no backend, and where a port is gone', async () => {
    const a = backend('a', await named('a'));
    await ingress.apply(table(26180, [a]));
    expect(await ask(26180)).toBe('a');
    await ingress.apply(table(26180, []));
    expect(await ask(26180)).toBe('ECONNREFUSED');
    await ingress.apply(table(26180, [a]));
    expect(await ask(26180)).toBe('a');
    await ingress.apply(new Map());
    expect(await ask(26180)).toBe('ECONNREFUSED');
    expect(ingress.problems().size).toBe(0);
  });

  it('lets connections go on when their backend or their port leaves, and counts them', async () => {
    const [a, b] = [backend('a', await named('a')), backend('b', await named('b'))];
    await ingress.apply(table(26180, [a]));
    const socket = dial(26180);
    await once(socket, 'data');
    await ingress.apply(table(26180, [b]));
    expect(await askAll(26180, 3)).toBe('b b b');
    socket.write('one');
    expect(String((await once(socket, 'data'))[0])).toBe('one');
    await ingress.apply(new Map());
    socket.write('two');
    expect(String((await once(socket, 'data'))[0])).toBe('two');
    expect(ingress.connections().get('a')).toBe(1);
    socket.destroy();
    await expect.poll(() => ingress.connections().size).toBe(0);
  });

  it('keeps a half-closed connection open in the other direction', async () => {
    let received = '';
    const port = await serve((socket) => {
      socket.setEncoding('utf8');
      socket.on('data', (data) => {
        received += data;
      });
      // Answers only once the client has ended.
      socket.on('end', () => socket.end(`got ${received}`));
    });
    await ingress.apply(table(26180, [backend('a', port)]));
    const socket = dial(26180);
    socket.end('question');
    expect(String(await buffer(socket))).toBe('got question');
  });

  it('passes much data on unharmed, no faster than it is read', async () => {
    const size = 32 * 1024 * 1024;
    let written = 0;
    const port = await serve((socket) => {
      const chunk = Buffer.alloc(64 * 1024, 7);
      const pump = () => {
        while (written < size) {
          written += chunk.length;
          if (!socket.write(chunk)) return void socket.once('drain', pump);
        }
        socket.end();
      };
      pump();
    });
    await ingress.apply(table(26180, [backend('a', port)]));
    const socket = dial(26180);
    socket.pause();
    // Until buffers along the way are full; they are far smaller than all of it.
    let before = -1;
    while (before !== written || written === 0) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(written).toBeLessThan(size);
    let read = 0;
    for await (const data of socket) read += (data as Buffer).length;
    expect(read).toBe(size);
  });

  it('passes a reset on as a reset', async () => {
    const errors: string[] = [];
    const port = await serve((socket) => {
      socket.write('hello');
      socket.once('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? ''));
    });
    await ingress.apply(table(26180, [backend('a', port)]));
    const socket = dial(26180);
    await once(socket, 'data');
    socket.resetAndDestroy();
    await expect.poll(() => errors).toEqual(['ECONNRESET']);
  });

  it('says that a port is taken, keeps the others, and tries again', async () => {
    const taken: Server = createServer();
    taken.listen(26181, front);
    await once(taken, 'listening');
    const a = backend('a', await named('a'));
    const wanted = new Map([...table(26180, [a]), ...table(26181, [a])]);
    await ingress.apply(wanted);
    expect([...ingress.problems()]).toEqual([
      ['tcp/26181', 'another program has 127.31.7.1:26181; it is tried again until that lets go'],
    ]);
    expect(await ask(26180)).toBe('a');
    taken.close();
    await once(taken, 'close');
    await clock.advance(1_000);
    await expect.poll(() => ingress.problems().size).toBe(0);
    expect(await ask(26181)).toBe('a');
  });

  it.each([
    ['EACCES', /run swarmd as root.*ip_unprivileged_port_start to 80 or lower/],
    ['EADDRNOTAVAIL', /this machine has no address 10.0.0.1/],
  ])('says what %s is about', (code, text) => {
    expect(bindProblem('10.0.0.1', 80, Object.assign(new Error(code), { code }))).toMatch(text);
  });

  it('refuses what it cannot do by name', async () => {
    const [entry] = table(26180, []).values();
    await ingress.apply(new Map([['sctp/26180', { ...(entry as IngressEntry), key: 'sctp/26180', protocol: 'sctp' }]]));
    expect(ingress.problems().get('sctp/26180')).toBe('the proxy cannot answer on sctp port 26180');
  });

  it('lets nothing go on after its end', async () => {
    await ingress.apply(table(26180, [backend('a', await named('a'))]));
    const socket = dial(26180);
    socket.on('error', () => {});
    await once(socket, 'data');
    await Promise.all([once(socket, 'end'), ingress.close(), socket.resume()]);
    expect(await ask(26180)).toBe('ECONNREFUSED');
    await expect(ingress.apply(new Map())).rejects.toThrow('the ingress is closed');
    expect(clock.untilNext()).toBeUndefined();
  });

  describe('with UDP', () => {
    it('refuses clients beyond the limit, and takes others when some are quiet', async () => {
      await ingress.apply(table(26053, [backend('a', await udp('a'))], 'udp', { mostConnections: 1 }));
      const [first, second] = [client(), client()];
      expect(await first('1')).toBe('a 1');
      const answer = second('lost');
      await expect.poll(() => ingress.counters().get('udp/26053')?.refused).toBe(1);
      await clock.advance(30_000);
      expect(ingress.counters().get('udp/26053')).toMatchObject({ open: 0, idle: 1 });
      void second('2');
      expect(await answer).toBe('a 2');
    });

    const udp = async (name: string): Promise<number> => {
      const socket: UdpSocket = createSocket('udp4', (data, from) =>
        socket.send(`${name} ${data}`, from.port, from.address),
      );
      closers.push(() => socket.close());
      socket.bind(0, behind);
      await once(socket, 'listening');
      return socket.address().port;
    };
    const client = () => {
      const socket = createSocket('udp4');
      closers.push(() => socket.close());
      return async (text: string) => {
        socket.send(text, 26053, front);
        return String((await once(socket, 'message'))[0]);
      };
    };

    it('goes to another when a backend is not there, and asks it last for a while', async () => {
      const dead = await udp('dead');
      closers.splice(0).forEach((close) => {
        close();
      });
      await ingress.apply(table(26053, [backend('dead', dead), backend('b', await udp('b'))], 'udp'));
      const first = client();
      void first('lost').catch(() => {});
      await expect.poll(() => ingress.counters().get('udp/26053')?.failed).toBe(1);
      expect([await first('1'), await client()('2'), await client()('3')]).toEqual(['b 1', 'b 2', 'b 3']);
      expect([...ingress.connections()]).toEqual([['b', 3]]);
    });

    it('lets a client stay with a task that is to stop until that leaves, and sends it nobody new', async () => {
      const [a, b] = [backend('a', await udp('a')), backend('b', await udp('b'))];
      const draining = (backends: IngressBackend[], left: IngressBackend[]) =>
        new Map([...table(26053, backends, 'udp')].map(([key, entry]) => [key, { ...entry, draining: left }]));
      await ingress.apply(table(26053, [a, b], 'udp'));
      const [first, second] = [client(), client()];
      expect([await first('1'), await second('1')]).toEqual(['a 1', 'b 1']);
      await ingress.apply(draining([b], [a]));
      expect([await first('2'), await client()('new'), await client()('new')]).toEqual(['a 2', 'b new', 'b new']);
      expect(ingress.connections()).toEqual(
        new Map([
          ['a', 1],
          ['b', 3],
        ]),
      );
      // With nobody else behind it, the port stays for those who have come.
      await ingress.apply(draining([], [a, b]));
      expect([await first('3'), await second('3')]).toEqual(['a 3', 'b 3']);
      await ingress.apply(draining([b], []));
      expect(await first('4')).toBe('b 4');
    });

    it('keeps a client with its backend until that leaves or the client is quiet', async () => {
      const [a, b] = [backend('a', await udp('a')), backend('b', await udp('b'))];
      await ingress.apply(table(26053, [a, b], 'udp'));
      const [first, second] = [client(), client()];
      expect([await first('1'), await second('1'), await first('2'), await second('2')]).toEqual([
        ...['a 1', 'b 1', 'a 2', 'b 2'],
      ]);
      await ingress.apply(table(26053, [b], 'udp'));
      expect(await first('3')).toBe('b 3');
      expect([...ingress.connections()]).toEqual([['b', 2]]);
      expect(ingress.counters().get('udp/26053')).toMatchObject({ connections: 3, open: 2, bytesIn: 5, bytesOut: 15 });
      await clock.advance(30_000);
      await settle();
      expect(ingress.connections().size).toBe(0);
    });
  });
});
