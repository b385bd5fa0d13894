import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { ManualClock, silentLogger } from '@swarmctl/shared/kit';
import type { IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ProxyPool } from './pool.ts';

// The pool with real processes on loopback.

const front = '127.31.6.1';
const behind = '127.31.6.2';
const port = 26_380;

describe('ProxyPool', { timeout: 60_000 }, () => {
  let pool: ProxyPool;
  let clock: ManualClock;
  const closers: (() => unknown)[] = [];

  beforeEach(() => {
    clock = new ManualClock();
    pool = new ProxyPool(
      {
        ...{ nodeId: 'n1', ingressAddrs: [], advertiseAddr: front, processes: 2 },
        execArgv: ['--no-warnings', '--conditions=source', '--import', 'tsx'],
      },
      { log: silentLogger, clock },
    );
  });
  afterEach(async () => {
    await pool.close();
    for (const close of closers.splice(0)) close();
  });

  /** Says its name and echoes. */
  async function named(taskId: string): Promise<IngressBackend> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.write(taskId);
      socket.pipe(socket);
    });
    closers.push(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    server.listen(0, behind);
    await once(server, 'listening');
    const { port: localPort } = server.address() as AddressInfo;
    const at = { localAddr: behind, localPort, nodeAddr: '192.0.2.1', nodePort: 9 };
    return { taskId, nodeId: 'n1', protocol: 'tcp', targetPort: 80, ...at };
  }

  /** The first is shared, others are exact unless `shared`. */
  const table = (backends: IngressBackend[], ...ports: number[]) => tableOf(backends, ports);
  const tableOf = (backends: IngressBackend[], ports: number[], shared = [port]) =>
    new Map(
      ports.map((publishedPort): [string, IngressEntry] => {
        const key = `tcp/${publishedPort}`;
        const service = { serviceId: 's', serviceName: 'web', protocol: 'tcp' as const, targetPort: 80 };
        const balance = shared.includes(publishedPort) ? {} : { proxy: { balance: 'least-connections' as const } };
        return [key, { key, ...service, publishedPort, backends, ...balance }];
      }),
    );

  function dial(to = port): Socket {
    const socket = connect({ host: front, port: to });
    closers.push(() => socket.destroy());
    return socket;
  }

  async function ask(to = port): Promise<string> {
    const socket = dial(to);
    try {
      return String((await once(socket, 'data'))[0]);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? '';
    } finally {
      socket.destroy();
    }
  }

  it('shares the ports among its processes, and gives one that must be exact to one', async () => {
    const backends = [await named('a'), await named('b')];
    await pool.apply(table(backends, port, port + 1));
    expect(pool.problems().size).toBe(0);
    const counts = { a: 0, b: 0 };
    for (let i = 0; i < 40; i++) counts[(await ask()) as 'a' | 'b']++;
    // Each process is off by one at most.
    expect(Math.abs(counts.a - counts.b)).toBeLessThanOrEqual(2);
    expect([await ask(port + 1), await ask(port + 1)].sort()).toEqual(['a', 'b']);
    await expect.poll(() => pool.counters().get(`tcp/${port}`)).toMatchObject({ connections: 40, open: 0 });
    expect(pool.counters().get(`tcp/${port + 1}`)).toMatchObject({ connections: 2 });
    const held = dial();
    await once(held, 'data');
    await expect.poll(() => [...pool.connections().values()]).toEqual([1]);
    await pool.apply(new Map());
    expect([await ask(), await ask(port + 1)]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
    held.write('still there');
    expect(String((await once(held, 'data'))[0])).toBe('still there');
  });

  it('goes on without a process that ended, and has another soon', async () => {
    const backends = [await named('a')];
    await pool.apply(table(backends, port, port + 1, port + 2));
    const [first = 0, second] = pool.pids;
    process.kill(first, 'SIGKILL');
    await expect.poll(() => pool.pids).toEqual([second]);
    for (let i = 0; i < 5; i++) expect(await ask()).toBe('a');
    // Those that one process has alone are another's now.
    for (const exact of [port + 1, port + 2]) await expect.poll(() => ask(exact)).toBe('a');
    await clock.advance(1_000);
    expect(pool.pids).toHaveLength(2);
    const b = await named('b');
    await pool.apply(table([b], port, port + 1, port + 2));
    for (let i = 0; i < 5; i++) expect([await ask(), await ask(port + 1)]).toEqual(['b', 'b']);
  });

  it('refuses nobody while a port becomes exact, and shared again', async () => {
    const backends = [await named('a')];
    await pool.apply(table(backends, port));
    let isOver = false;
    const answers = new Set<string>();
    const load = (async () => {
      while (!isOver) answers.add(await ask());
    })();
    for (let i = 0; i < 10; i++) await pool.apply(tableOf(backends, [port], i % 2 === 0 ? [] : [port]));
    isOver = true;
    await load;
    expect([...answers]).toEqual(['a']);
  });

  it('starts no process before there is a port for it', async () => {
    await pool.apply(table([], port));
    expect(pool.pids).toEqual([]);
    await pool.apply(table([await named('a')], port));
    expect(pool.pids).toHaveLength(2);
  });

  it('says which port is taken, and ends with all its processes', async () => {
    const taken = createServer().listen(port, front);
    closers.push(() => taken.close());
    await once(taken, 'listening');
    await pool.apply(table([await named('a')], port));
    expect([...pool.problems().keys()]).toEqual([`tcp/${port}`]);
    const { pids } = pool;
    await pool.close();
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    await expect(pool.apply(new Map())).rejects.toThrow('the ingress is closed');
  });
});
