import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { holdUpgrade, relayRequest, relayUpgrade } from './http-relay.ts';

const open: Server[] = [];
afterEach(() => {
  for (const server of open.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function serve(listener: RequestListener): Promise<{ server: Server; port: number }> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  open.push(server);
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

/** A relay to that port. */
async function relayTo(port: number) {
  const options = {
    to: { host: '127.0.0.1', port },
    refuse: ({ message }: Error) => ({ status: 503, message: `no answer: ${message}` }),
  };
  const relay = await serve((incoming, response) => relayRequest(incoming, response, options));
  relay.server.on('upgrade', (incoming, socket, head) => {
    holdUpgrade(socket, head);
    relayUpgrade(incoming, socket, options);
  });
  return relay.port;
}

async function ask(port: number, method = 'GET', body = ''): Promise<IncomingMessage> {
  const outgoing = request({ host: '127.0.0.1', port, method, agent: false });
  outgoing.end(body);
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  return answer;
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  return text;
}

describe('a relayed request', () => {
  test('goes with its method, body and status', async () => {
    const { port } = await serve(async (incoming, response) => {
      response.writeHead(418, { 'x-method': String(incoming.method) });
      for await (const chunk of incoming) response.write(chunk);
      response.end('!');
    });
    const answer = await ask(await relayTo(port), 'PUT', 'body');
    expect([answer.statusCode, answer.headers['x-method'], await textOf(answer)]).toEqual([418, 'PUT', 'body!']);
  });

  test('shows its head before there is a body', async () => {
    const { port } = await serve((_incoming, response) => response.writeHead(200).flushHeaders());
    const answer = await ask(await relayTo(port));
    expect(answer.statusCode).toBe(200);
    answer.destroy();
  });

  test('ends where its client goes', async () => {
    const gone = new Promise<void>((resolve) => {
      void serve((_incoming, response) => {
        response.writeHead(200).flushHeaders();
        response.once('close', resolve);
      }).then(async ({ port }) => (await ask(await relayTo(port))).destroy());
    });
    await gone;
  });

  test('is answered where nobody else does', async () => {
    const { server, port } = await serve(() => {});
    server.close();
    const answer = await ask(await relayTo(port), 'POST', 'x');
    expect(answer.statusCode).toBe(503);
    expect(await textOf(answer)).toContain('ECONNREFUSED');
  });

  test('is cut off where the other end breaks off', async () => {
    const { port } = await serve((_incoming, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('half', () => response.destroy());
    });
    await expect(textOf(await ask(await relayTo(port)))).rejects.toThrow('aborted');
  });

  test.each(['breaks off', 'has answered'])(
    'is taken whole though the other end %s: some send all before they read',
    async (how) => {
      const { server, port } = await serve((incoming, response) => {
        incoming.once('data', () => {
          if (how === 'breaks off') incoming.socket.destroy();
          else response.writeHead(507).end('full');
          incoming.pause();
        });
      });
      const client = connect({ host: '127.0.0.1', port: await relayTo(port) });
      const size = 16 << 20;
      client.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
      const sent = new Promise((done) => client.write(Buffer.alloc(size), done));
      const [answer] = (await once(client, 'data')) as [Buffer];
      server.closeAllConnections();
      await sent;
      expect(String(answer)).toMatch(how === 'breaks off' ? /^HTTP\/1.1 503 .*no answer/s : /^HTTP\/1.1 507 /);
      client.destroy();
    },
  );

  test('waits for a slow reader', async () => {
    const block = Buffer.alloc(1 << 20);
    let sent = 0;
    let isStalled = () => {};
    const stalled = new Promise<void>((resolve) => {
      isStalled = resolve;
    });
    const { port } = await serve((_incoming, response) => {
      const send = () => {
        while (sent < 1_000 && response.write(block)) sent++;
        sent++;
        // Nothing has left for a while: everything on the way is full.
        const full = setTimeout(() => isStalled(), 300);
        response.once('drain', () => {
          clearTimeout(full);
          if (sent < 1_000) send();
        });
      };
      send();
    });
    const answer = await ask(await relayTo(port));
    answer.pause();
    await stalled;
    expect(sent).toBeLessThan(100);
    answer.destroy();
  });
});

describe('a relayed upgrade', () => {
  async function upgraded(other: (socket: Socket) => void): Promise<Socket> {
    const { server, port } = await serve(() => {});
    server.on('upgrade', (_incoming, socket: Socket) => {
      socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
      other(socket);
    });
    const client = connect({ host: '127.0.0.1', port: await relayTo(port), allowHalfOpen: true });
    client.write('POST / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    await once(client, 'readable');
    return client;
  }

  test('takes the other end along when the client breaks off', async () => {
    let other: Socket | undefined;
    const client = await upgraded((socket) => {
      other = socket.on('error', () => undefined).resume();
    });
    const ended = once(other as Socket, 'end');
    client.destroy();
    await ended;
  });

  test('gives the client all that was said, and then its end', async () => {
    const much = 'x'.repeat(3_000_000);
    const client = await upgraded((socket) => socket.end(much));
    let got = '';
    client.setEncoding('utf8').on('data', (chunk) => {
      got += chunk;
    });
    // More than anybody will read.
    client.write(much);
    await once(client, 'end');
    client.destroy();
    expect(got.split('\r\n\r\n')[1]?.length).toBe(much.length);
  });

  test('is asked for with all its headers, those that are repeated as well, and one host', async () => {
    const { server, port } = await serve(() => {});
    const asked = once(server, 'upgrade') as Promise<[IncomingMessage, Socket]>;
    const client = connect({ host: '127.0.0.1', port: await relayTo(port) });
    client.write(
      'POST / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-A: 1\r\nX-A: 2, 3\r\n\r\n',
    );
    const [{ headersDistinct, headers }, socket] = await asked;
    expect(headersDistinct).toMatchObject({ host: ['x'], upgrade: ['h2c'], 'x-a': ['1', '2, 3'] });
    expect(headers['content-length']).toBe('0');
    socket.destroy();
    client.destroy();
  });

  test('goes on for what is still said when the client has said all', async () => {
    const client = await upgraded((socket) => {
      socket.resume().once('end', () => socket.end('the end'));
    });
    client.end('x');
    let got = '';
    for await (const chunk of client.setEncoding('utf8')) got += chunk;
    expect(got).toMatch(/the end$/);
  });
});
