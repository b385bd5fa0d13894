import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { connect, createServer as createNetServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { ClusterError, ManualClock, silentLogger } from '@swarmctl/shared/kit';
import { EngineDoor } from '@swarmctl/worker';
import { type TestApi, type TestApiOptions, testApi } from './api.ts';
import { aCluster, aNode, aStore } from './builders.ts';

// The API of a manager, the doors of its nodes, and engines that are not real behind them, over connections of the kernel's.

export const idOf = (text: string) => text.repeat(64).slice(0, 64);
const made = aCluster();
/** Any certificate will do, but it must be one. */
export const cluster = { ...made, RootCA: { ...made.RootCA, Certificate: rootCertificates[0] ?? '' } };

export interface FakeContainer {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly Created: number;
  readonly State: string;
  readonly Labels: Readonly<Record<string, string>>;
}

export const container = (id: string, name: string, words: Partial<FakeContainer> = {}): FakeContainer => ({
  ...{ Id: idOf(id), Names: [`/${name}`], Created: 1, State: 'running', Labels: {} },
  ...words,
});

/** An answer of an engine that is not one JSON, or no success. */
export class Raw {
  readonly text: string;
  readonly status: number;

  constructor(text: string, status = 200) {
    this.text = text;
    this.status = status;
  }

  static lines(...all: readonly object[]): Raw {
    return new Raw(all.map((one) => JSON.stringify(one)).join('\r\n'));
  }
}

/** An answer that is a function writes itself. Echoes what is attached to it, and says goodbye at the end of the input; at `quit` it is gone. */
export class FakeEngine {
  readonly asked: { method: string; url: string; body: string; headers?: IncomingHttpHeaders }[] = [];
  readonly #server: Server;
  readonly socketPath: string;

  constructor(folder: string, id: string, containers: readonly FakeContainer[], answers: Record<string, unknown> = {}) {
    this.socketPath = join(folder, `${id}.sock`);
    this.#server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const { method = '', url = '' } = request;
      response.setHeader('Api-Version', '1.45');
      if (url !== '/_ping') this.asked.push({ method, url, body, headers: request.headers });
      const path = url.replace(/^\/v1\.\d+/, '').split('?')[0] ?? '';
      const known: Record<string, unknown> = {
        'GET /_ping': 'OK',
        'GET /info': { ID: id },
        'GET /containers/json': containers,
        ...Object.fromEntries(containers.map((one) => [`GET /containers/${one.Id}/json`, { Id: one.Id }])),
        ...answers,
      };
      const answer = known[`${method} ${path}`];
      if (typeof answer === 'function') return void answer(response);
      const raw = answer instanceof Raw ? answer : undefined;
      response.statusCode = raw?.status ?? (answer === undefined ? 404 : 200);
      response.end(raw?.text ?? JSON.stringify(answer ?? { message: `nothing at ${path}` }));
    });
    this.#server.on('upgrade', (request, socket: Socket, head) => {
      const { method = '', url = '' } = request;
      const length = Number(request.headers['content-length'] ?? 0);
      let got = head;
      let body: string | undefined;
      const take = () => {
        if (body !== undefined || got.length < length) return;
        body = String(got.subarray(0, length));
        this.asked.push({ method, url, body });
        if (body.includes('"Detach":true')) {
          socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
          return;
        }
        socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: x/y\r\n\r\n');
        socket.write(`${url.split('?')[0]} `);
      };
      socket.on('data', (chunk) => {
        got = Buffer.concat([got, chunk]);
        take();
        if (got.subarray(length).includes('quit')) socket.end('gone');
      });
      socket.on('end', () => socket.end(`${body}|${got.subarray(length)}|bye`));
      socket.on('error', () => socket.destroy());
      take();
    });
  }

  /** How many are open to it. */
  connections(): Promise<number> {
    return new Promise((resolve) => this.#server.getConnections((_, count) => resolve(count)));
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.socketPath, resolve));
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** Nodes with engines, and the API of a manager before them. */
export class DockerHostWorld {
  readonly folder = mkdtempSync(join(tmpdir(), 'swarm-host-'));
  /** Both ends of all that `pair` made. */
  readonly streams: Socket[] = [];
  /** No engine is reached before. */
  held: Promise<void> | undefined;
  readonly #toClose: (() => unknown)[] = [];
  #streams = 0;

  engine(id: string, containers: readonly FakeContainer[], answers: Record<string, unknown> = {}): FakeEngine {
    return new FakeEngine(this.folder, id, containers, answers);
  }

  /** To be closed with the world, before all that was made earlier. */
  closes(close: () => unknown): void {
    this.#toClose.push(close);
  }

  /** A node without an engine here is away. */
  async host(
    engines: Readonly<Record<string, FakeEngine | 'silent' | undefined>>,
    {
      hasEngine = true,
      engineVersion,
      ...manager
    }: { hasEngine?: boolean; engineVersion?: string } & TestApiOptions['manager'] = {},
  ): Promise<TestApi> {
    const clock = new ManualClock();
    const doors = new Map<string, EngineDoor>();
    for (const [node, engine] of Object.entries(engines)) {
      if (engine === undefined || engine === 'silent') continue;
      await engine.listen();
      this.closes(() => engine.close());
      const socketPath = hasEngine ? { socketPath: engine.socketPath } : undefined;
      doors.set(node, new EngineDoor({ engine: socketPath }, { clock, log: silentLogger }));
    }
    const nodes = Object.keys(engines).map((id) => aNode({ id, hostname: `host-${id}`, engineVersion }));
    const store = aStore({ cluster, nodes });
    const openEngine = async (nodeId: string) => {
      if (engines[nodeId] === 'silent') return new Promise<Socket>(() => {});
      await this.held;
      const door = doors.get(nodeId);
      if (!door) throw new ClusterError('unavailable', 'the node is away');
      return this.pair((far) => door.accept(far));
    };
    const api = await testApi({ store, clock, manager: { openEngine, ...manager } });
    this.closes(() => api.app.close());
    return api;
  }

  /** A connection of the kernel's, so that each direction ends by itself. */
  pair(accept: (far: Socket) => void): Promise<Socket> {
    return new Promise((resolve) => {
      const server = createNetServer({ allowHalfOpen: true }, (far) => {
        server.close();
        this.streams.push(far);
        accept(far);
      });
      server.listen(join(this.folder, `stream-${++this.#streams}.sock`), () => {
        const near = connect({ path: String(server.address()), allowHalfOpen: true }, () => resolve(near));
        this.streams.push(near);
      });
    });
  }

  async close(): Promise<void> {
    for (const close of this.#toClose.splice(0).reverse()) await close();
    rmSync(this.folder, { recursive: true });
  }
}
