import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { whyNoHaproxy } from './haproxy.ts';
import { ask, entryOf, freePort, HttpBench, nextData, sendRaw } from './test-http.ts';

/** Of RFC 6455. */
const webSocketId = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

const why = await whyNoHaproxy();

describe.skipIf(why)(`ports of HTTP${why ? ` (skipped: ${why})` : ''}`, () => {
  let bench: HttpBench;
  let port: number;

  beforeEach(async () => {
    bench = new HttpBench();
    port = await freePort();
  });
  afterEach(() => bench.close());

  const echo = (id: string) =>
    bench.task(id, (request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () =>
        response.end(
          JSON.stringify({ id, headers: request.headers, url: request.url, body, trailers: request.trailers }),
        ),
      );
    });
  const get = (path: string, host: string, headers: Record<string, string> = {}) =>
    bench.ask(port, path, { host, ...headers });

  test('go by host, then by the longest path; an exact host is before a wildcard, which is for one label', async () => {
    const tasks = await Promise.all(['root', 'api', 'v2', 'wild', 'any', 'metrics'].map((id) => bench.task(id)));
    const [root, api, v2, wild, any, metrics] = tasks as [never, never, never, never, never, never];
    await bench.ingress.apply([
      entryOf('s1', port, ['a.example.com', 'b.example.com/only'], [root]),
      entryOf('s2', port, ['a.example.com/api'], [api]),
      entryOf('s3', port, ['a.example.com/api/v2'], [v2]),
      entryOf('s4', port, ['*.example.com'], [wild]),
      entryOf('s5', port, ['*/any'], [any]),
      entryOf('s6', port, ['*.example.com/metrics'], [metrics]),
    ]);
    const table: [string, string, string][] = [
      ['a.example.com', '/', 'root'],
      ['A.Example.com:8443', '/?q=/api', 'root'],
      ['a.example.com.', '/api', 'api'],
      ['a.example.com', '/api/', 'api'],
      ['a.example.com', '/apis', 'root'],
      ['a.example.com', '/api/v2/x', 'v2'],
      ['a.example.com', '/api/v20', 'api'],
      ['b.example.com', '/only/x', 'root'],
      ['b.example.com', '/', 'wild'],
      ['b.example.com', '/metrics', 'metrics'],
      ['a.example.com', '/metrics', 'root'],
      ['other.org', '/any', 'any'],
      ['127.0.0.1', '/any?x', 'any'],
    ];
    for (const [host, path, id] of table) expect([host, path, (await get(path, host)).body]).toEqual([host, path, id]);
    for (const [host, path] of [
      ['other.org', '/'],
      ['x.y.example.com', '/'],
      ['example.com', '/'],
    ] as const)
      expect(await get(path, host)).toMatchObject({
        status: 404,
        body: '404: no service answers to this host and path\n',
      });
    expect(bench.ingress.problems()).toEqual(new Map());
  });

  test('go round the tasks, and not to one that has left, also on a connection that is kept', async () => {
    const [a, b] = [await bench.task('a'), await bench.task('b')];
    await bench.ingress.apply([entryOf('s1', port, ['*'], [a, b])]);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const kept = async () => (await ask({ host: bench.addr, port, path: '/', agent })).body;
    const before = new Set([await kept(), await kept(), await kept(), await kept()]);
    expect([...before].sort()).toEqual(['a', 'b']);
    await bench.ingress.apply([entryOf('s1', port, ['*'], [b])]);
    for (let i = 0; i < 4; i++) expect(await kept()).toBe('b');
    // Nothing is kept open to it, so its drain ends at once.
    const count = await new Promise<number>((resolve) => a.server.getConnections((_, n) => resolve(n)));
    expect(count).toBe(0);
    await bench.ingress.apply([entryOf('s1', port, ['*'], [])]);
    expect(await get('/', 'x')).toMatchObject({ status: 503, body: '503: no task of the service can be reached\n' });
    await bench.ingress.apply([entryOf('s1', port, ['*'], [a])]);
    expect(await kept()).toBe('a');
    agent.destroy();
  });

  test('let a request end whose task has left, whatever else changes meanwhile', async () => {
    const slow = await bench.task('slow', (_, response) => response.write('begun '));
    const next = await bench.task('next');
    await bench.ingress.apply([entryOf('s1', port, ['*'], [slow])]);
    const arrived = once(slow.server, 'request');
    const answer = get('/', 'x');
    const [, response] = await arrived;
    await bench.ingress.apply([entryOf('s1', port, ['*'], [next])]);
    // Other services: a new configuration.
    await bench.ingress.apply([entryOf('s1', port, ['*'], [next]), entryOf('s2', port, ['other'], [next])]);
    expect((await get('/', 'x')).body).toBe('next');
    response.end('ended');
    expect((await answer).body).toBe('begun ended');
  });

  test('lead requests on connections from before a new configuration past a task that has left since', async () => {
    const [a, b] = [await bench.task('a'), await bench.task('b')];
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const kept = () => ask({ host: bench.addr, port, path: '/', agent });
    await bench.ingress.apply([entryOf('s1', port, ['*'], [a])]);
    expect((await kept()).body).toBe('a');
    const socket = Object.values(agent.freeSockets)[0]?.[0];
    await bench.ingress.apply([entryOf('s1', port, ['*'], [a]), entryOf('s2', port, ['other'], [])]);
    await bench.ingress.apply([entryOf('s1', port, ['*'], [b]), entryOf('s2', port, ['other'], [])]);
    expect(socket?.closed).toBe(false);
    expect(await kept()).toMatchObject({ body: 'b', headers: { connection: 'close' } });
    agent.destroy();
  });

  test('tell the task of the client, and believe nobody but those who are trusted', async () => {
    const task = await echo('a');
    const claims = {
      'x-forwarded-for': '1.2.3.4',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'evil',
      'x-real-ip': '1.2.3.4',
      x_forwarded_for: '6.6.6.6',
      forwarded: 'for=1.2.3.4',
    };
    await bench.ingress.apply([
      entryOf('s1', port, ['plain'], [task]),
      entryOf('s2', port, ['behind'], [task], { trust: ['127.0.0.0/8'] }),
    ]);
    const plain = JSON.parse((await get('/', 'plain', claims)).body).headers;
    expect(plain).toMatchObject({
      ...{ host: 'plain', 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http', 'x-forwarded-host': 'plain' },
      ...{ 'x-forwarded-port': String(port), forwarded: 'for=127.0.0.1;host="plain";proto=http' },
    });
    expect(JSON.stringify(plain)).not.toMatch(/1\.2\.3\.4|6\.6\.6\.6|evil/);
    expect(JSON.parse((await get('/', 'behind', claims)).body).headers).toMatchObject({
      ...{ 'x-forwarded-for': '1.2.3.4, 127.0.0.1', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'evil' },
      forwarded: 'for=1.2.3.4, for=127.0.0.1;host="behind";proto=http',
    });
  });

  test('keep a client with one task by a cookie, until that has left', async () => {
    const [a, b] = [await bench.task('a'), await bench.task('b')];
    await bench.ingress.apply([entryOf('s1', port, ['*'], [a, b], { sticky: true })]);
    const first = await get('/', 'x');
    expect(first.headers['set-cookie']?.[0]).toBe(`swarm_s1=${first.body}; Path=/; HttpOnly; SameSite=Lax`);
    const cookie = `other=1; swarm_s1=${first.body}`;
    for (let i = 0; i < 6; i++) {
      const answer = await get('/', 'x', { cookie });
      expect([answer.body, answer.headers['set-cookie']]).toEqual([first.body, undefined]);
    }
    const rest = first.body === 'a' ? b : a;
    await bench.ingress.apply([entryOf('s1', port, ['*'], [rest], { sticky: true })]);
    const moved = await get('/', 'x', { cookie });
    expect([moved.body, moved.headers['set-cookie']?.[0]]).toEqual([rest.id, expect.stringContaining(`=${rest.id};`)]);
  });

  test('let in only clients of the allowed ranges', async () => {
    const task = await bench.task('a');
    await bench.ingress.apply([
      entryOf('s1', port, ['no'], [task], { allow: ['10.0.0.0/8'] }),
      entryOf('s2', port, ['yes'], [task], { allow: ['10.0.0.0/8', '127.0.0.0/8'] }),
      entryOf('s3', port, ['nobody'], [task], { allow: [] }),
    ]);
    expect((await get('/', 'yes')).body).toBe('a');
    expect(await get('/', 'no')).toMatchObject({ status: 403, body: expect.stringContaining('from your address') });
    expect((await get('/', 'nobody')).status).toBe(403);
  });

  test('try another task when one refuses, and say what failed', async () => {
    const [dead, alive] = [await bench.task('dead'), await echo('alive')];
    dead.server.close();
    const broken = await bench.task('broken', (request) => request.socket.end('nonsense\r\n\r\n'));
    const silent = await bench.task('silent', () => {});
    await bench.ingress.apply([
      entryOf('s1', port, ['one'], [dead, alive]),
      entryOf('s2', port, ['none'], [dead]),
      entryOf('s3', port, ['broken'], [broken]),
      entryOf('s4', port, ['silent'], [silent], { timeoutMs: 200 }),
    ]);
    for (let i = 0; i < 4; i++) {
      const answer = await bench.ask(port, '/', { host: 'one' }, 'POST', `body ${i}`);
      expect(JSON.parse(answer.body)).toMatchObject({ id: 'alive', body: `body ${i}` });
    }
    expect((await get('/', 'none')).status).toBe(503);
    expect((await get('/', 'broken')).status).toBe(502);
    expect(await get('/', 'silent')).toMatchObject({ status: 504, body: '504: the service did not answer in time\n' });
  });

  test('stream both ways, with trailers', async () => {
    const task = await bench.task('a', (request, response) => {
      response.setHeader('Trailer', 'X-Sum');
      let sum = 0;
      request.on('data', (chunk: Buffer) => {
        sum += chunk.length;
        response.write(`${chunk.length} `);
      });
      request.on('end', () => {
        response.addTrailers({ 'X-Sum': String(sum) });
        response.end();
      });
    });
    await bench.ingress.apply([entryOf('s1', port, ['*'], [task])]);
    const socket = connect(port, bench.addr);
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n');
    expect(await nextData(socket)).toMatch(/^HTTP\/1.1 100 Continue/);
    socket.write('5\r\nhello\r\n');
    // The answer begins before the request has ended.
    let said = '';
    while (!said.includes('5 ')) said += await nextData(socket);
    expect(said).toMatch(/^HTTP\/1.1 200 OK/);
    socket.write('3\r\nfoo\r\n0\r\n\r\n');
    while (!said.includes('\r\n0\r\n')) said += await nextData(socket);
    expect(said).toMatch(/x-sum: 8/i);
    socket.destroy();
  });

  test('hold a sender back whose task does not read', async () => {
    const task = await bench.task('a', (request) => request.pause());
    await bench.ingress.apply([entryOf('s1', port, ['*'], [task])]);
    const socket = connect(port, bench.addr);
    socket.on('error', () => {});
    const size = 256 * 1024 * 1024;
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
    const chunk = Buffer.alloc(1024 * 1024);
    let sent = 0;
    // Until the kernel's buffers on the way are full.
    while (sent < size && (socket.write(chunk) || (await drains(socket)))) sent += chunk.length;
    expect(sent).toBeLessThan(size / 2);
    socket.destroy();
  });

  test('pass on WebSocket, whose sides may end one after the other', async () => {
    const task = await bench.task('a');
    task.server.on('upgrade', (request, socket) => {
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}${webSocketId}`)
        .digest('base64');
      const head = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${head}`);
      socket.write(`for ${request.headers['x-forwarded-for']} `);
      socket.on('data', (data) => socket.write(`<${data}>`));
      socket.on('end', () => socket.end('bye'));
    });
    await bench.ingress.apply([entryOf('s1', port, ['*'], [task])]);
    const socket = connect({ port, host: bench.addr, allowHalfOpen: true });
    const asked = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
    socket.write(`GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${asked}`);
    let said = '';
    socket.on('data', (data) => {
      said += data.toString('latin1');
    });
    while (!said.includes('for 127.0.0.1')) await once(socket, 'data');
    // A task that left, and another configuration, leave it alone.
    await bench.ingress.apply([entryOf('s1', port, ['*'], []), entryOf('s2', port, ['other'], [])]);
    socket.write('hello');
    while (!said.includes('<hello>')) await once(socket, 'data');
    socket.end();
    await once(socket, 'end');
    expect(said).toMatch(/^HTTP\/1.1 101 .*<hello>bye$/s);
  });

  test.each([
    ['two lengths', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello', 400],
    ['a length that is none', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello', 400],
    ['an unknown coding', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n', 400],
    ['a broken chunk', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n', 400],
    ['a space before a colon', 'GET / HTTP/1.1\r\nHost: x\r\nX-A : 1\r\n\r\n', 400],
    ['a folded header first', 'GET / HTTP/1.1\r\n Host: x\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    ['two hosts', 'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n', 400],
    ['a host that would end a quotation', 'GET / HTTP/1.1\r\nHost: x";for=1.2.3.4\r\nConnection: close\r\n\r\n', 400],
    ['hosts in one header', 'GET / HTTP/1.1\r\nHost: y,x\r\nConnection: close\r\n\r\n', 400],
    ['such a one behind another', 'GET / HTTP/1.1\r\nHost: x,y";for=1.2.3.4\r\nConnection: close\r\n\r\n', 400],
    ['headers beyond the limit', `GET / HTTP/1.1\r\nHost: x\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`, 400],
  ])('refuse %s', async (_, bytes, status) => {
    const task = await bench.task('a');
    let requests = 0;
    task.server.on('request', () => requests++);
    await bench.ingress.apply([entryOf('s1', port, ['*'], [task])]);
    expect(await sendRaw(bench.addr, port, bytes)).toMatch(new RegExp(`^HTTP/1.[01] ${status} `));
    expect(requests).toBe(0);
  });

  test('give a length beside a coding to the task as the coding alone', async () => {
    const task = await echo('a');
    await bench.ingress.apply([entryOf('s1', port, ['*'], [task])]);
    const bytes =
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n' +
      '5\r\nhello\r\n0\r\n\r\n';
    const said = await sendRaw(bench.addr, port, bytes);
    expect(said).toContain('"body":"hello"');
    expect(said).not.toContain('content-length":"4"');
  });

  test('report a port that another program has, and take it once that lets go', async () => {
    const task = await bench.task('a');
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(port, bench.addr, resolve));
    const second = await freePort();
    const entries = [entryOf('s1', port, ['*'], [task]), entryOf('s2', second, ['*'], [task])];
    await bench.ingress.apply(entries);
    expect([...bench.ingress.problems()]).toEqual([
      [`tcp/${port}#s1`, `another program has 127.0.0.1:${port}; it is tried again until that lets go`],
    ]);
    expect((await bench.ask(second, '/')).body).toBe('a');
    await new Promise((resolve) => other.close(resolve));
    await bench.ingress.apply(entries);
    expect((await get('/', 'x')).body).toBe('a');
    expect(bench.ingress.problems()).toEqual(new Map());
  });

  test('answer on one address and on all at once, with what each has', async () => {
    const every = new HttpBench('0.0.0.0');
    const [a, b] = [await every.task('a'), await every.task('b')];
    const bound = { ...entryOf('s1', port, ['only'], [a]), key: `tcp/${port}@127.0.0.2#s1`, address: '127.0.0.2' };
    const elsewhere = { ...bound, key: `tcp/${port}@203.0.113.1#s1`, address: '203.0.113.1' };
    const entries = [bound, elsewhere];
    await every.ingress.apply(entries);
    await every.ingress.apply([...entries, entryOf('s2', port, ['*'], [b])]);
    const at = async (host: string, name: string) =>
      (await ask({ host, port, path: '/', headers: { host: name }, agent: false })).body;
    expect([await at('127.0.0.2', 'only'), await at('127.0.0.2', 'x')]).toEqual(['a', 'b']);
    expect([await at('127.0.0.1', 'only'), await at('127.0.0.1', 'x')]).toEqual(['b', 'b']);
    expect(every.ingress.problems()).toEqual(new Map());
    await every.close();
  });

  test('are nothing to do for a node that has none of their addresses', async () => {
    const every = new HttpBench('0.0.0.0');
    const task = await every.task('a');
    const here = entryOf('s1', port, ['*'], [task]);
    const elsewhere = { ...here, key: `tcp/${port}@203.0.113.1#s1`, address: '203.0.113.1' };
    for (const [entry, running] of [
      [elsewhere, 0],
      [here, 2],
      [elsewhere, 0],
    ] as const) {
      await every.ingress.apply([entry]);
      expect([...every.ingress.problems()]).toEqual([]);
      expect(every.pids()).toHaveLength(running);
    }
    await every.close();
  });

  test('come back by themselves when HAProxy was killed', async () => {
    const task = await bench.task('a');
    await bench.ingress.apply([entryOf('s1', port, ['*'], [task])]);
    for (const pid of bench.pids()) process.kill(pid, 'SIGKILL');
    for (;;) {
      const answer = await get('/', 'x').catch((error: NodeJS.ErrnoException) => error.code);
      if (typeof answer === 'object') break;
      expect(['ECONNREFUSED', 'ECONNRESET']).toContain(answer);
    }
    expect((await get('/', 'x')).body).toBe('a');
  });

  test('go on while the daemon is away, and are taken over without a gap', async () => {
    const [a, b] = [await bench.task('a'), await bench.task('b')];
    await bench.ingress.apply([entryOf('s1', port, ['*'], [a])]);
    await bench.ingress.close({ keep: true });
    expect((await get('/', 'x')).body).toBe('a');
    await bench.open().apply([entryOf('s1', port, ['*'], [b])]);
    expect((await get('/', 'x')).body).toBe('b');
    expect(bench.ingress.problems()).toEqual(new Map());
    await bench.ingress.apply([]);
    await expect(get('/', 'x')).rejects.toThrow(/ECONNREFUSED|ECONNRESET/);
  });
});

/** False when nothing was taken for long enough. */
async function drains(socket: ReturnType<typeof connect>): Promise<boolean> {
  const before = socket.bytesWritten - socket.writableLength;
  const controller = new AbortController();
  const late = setTimeout(() => controller.abort(), 1_500);
  const drained = await once(socket, 'drain', { signal: controller.signal }).then(
    () => true,
    () => socket.bytesWritten - socket.writableLength > before,
  );
  clearTimeout(late);
  return drained;
}
