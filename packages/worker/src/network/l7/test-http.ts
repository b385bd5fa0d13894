import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from 'node:http';
import { type AddressInfo, connect, createServer as createTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { realClock, silentLogger } from '@swarmctl/shared/kit';
import type { HttpOptions, IngressBackend, IngressEntry } from '@swarmctl/shared/wire';
import type { CertificateSource } from './certificates.ts';
import { HttpIngress } from './ingress.ts';

// What tests of ports of HTTP stand on: an ingress with a real HAProxy on a loopback address of its own, tasks that are servers here, clients.

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface Task {
  readonly id: string;
  readonly backend: IngressBackend;
  readonly server: Server;
}

export class FakeCertificates implements CertificateSource {
  readonly #contents = new Map<string, string>();
  readonly #listeners = new Set<() => void>();

  get(name: string): Uint8Array | undefined {
    const text = this.#contents.get(name);
    return text === undefined ? undefined : Buffer.from(text);
  }

  set(name: string, text: string): void {
    this.#contents.set(name, text);
    for (const listener of this.#listeners) listener();
  }

  clear(): void {
    this.#contents.clear();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export class HttpBench {
  readonly folder = mkdtempSync(join(tmpdir(), 'l7-'));
  readonly certificates = new FakeCertificates();
  readonly addr: string;
  ingress: HttpIngress;
  readonly #servers: Server[] = [];

  constructor(addr = '127.0.0.1') {
    this.addr = addr;
    this.ingress = this.open();
  }

  /** As a daemon does that starts. */
  open(): HttpIngress {
    const options = { nodeId: 'n1', ingressAddrs: [], advertiseAddr: this.addr, folder: join(this.folder, 'run') };
    const modules = { log: silentLogger, clock: realClock, certificates: this.certificates };
    this.ingress = new HttpIngress(options, modules);
    return this.ingress;
  }

  async close(): Promise<void> {
    await this.ingress.close();
    for (const server of this.#servers) {
      server.closeAllConnections();
      server.close();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Of its HAProxy. */
  pids(): number[] {
    const { stdout } = spawnSync('pgrep', ['-f', '^haproxy -W'], { encoding: 'utf8' });
    const isOurs = (pid: string) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === join(this.folder, 'run');
      } catch {
        return false;
      }
    };
    return stdout.split('\n').filter(isOurs).map(Number);
  }

  /** A task that answers with its id, or as `listener` does. */
  async task(id: string, listener?: RequestListener): Promise<Task> {
    const server = createServer(listener ?? ((_, response) => response.end(id)));
    server.keepAliveTimeout = 60_000;
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { id, server, backend: backendOf(id, (server.address() as AddressInfo).port) };
  }

  ask(
    port: number,
    path: string,
    headers: Record<string, string> = {},
    method = 'GET',
    body?: string,
  ): Promise<Answer> {
    return ask({ host: this.addr, port, path, headers, method, agent: false }, body);
  }
}

export const backendOf = (taskId: string, port: number): IngressBackend => ({
  ...{ taskId, nodeId: 'n1', protocol: 'tcp', targetPort: 8080 },
  ...{ nodeAddr: '127.0.0.1', nodePort: port, localAddr: '127.0.0.1', localPort: port },
});

export function entryOf(
  serviceId: string,
  port: number,
  routes: readonly string[],
  tasks: readonly (Task | IngressBackend)[],
  options: Partial<HttpOptions> & Pick<Partial<IngressEntry>, 'allow'> = {},
): IngressEntry {
  const { allow, ...http } = options;
  return {
    ...{ key: `tcp/${port}#${serviceId}`, serviceId, serviceName: serviceId, protocol: 'tcp', publishedPort: port },
    targetPort: 8080,
    ...(allow && { allow }),
    http: {
      routes: routes.map((route) => {
        const at = route.indexOf('/');
        return at < 0 ? { host: route, path: '' } : { host: route.slice(0, at), path: route.slice(at) };
      }),
      timeoutMs: 60_000,
      ...http,
    },
    backends: tasks.map((task) => ('backend' in task ? task.backend : task)),
  };
}

export function ask(options: Parameters<typeof httpRequest>[1], body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    request.once('error', reject);
    request.end(body);
  });
}

/** What comes back for these bytes until the other side ends. */
export function sendRaw(addr: string, port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, addr);
    let said = '';
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      said += text;
    });
    socket.once('error', reject);
    socket.once('end', () => resolve(said));
    socket.write(bytes);
  });
}

/** A port that was free a moment ago. */
export async function freePort(addr = '127.0.0.1'): Promise<number> {
  const server = createTcp();
  await new Promise<void>((resolve) => server.listen(0, addr, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves with the next of what the socket says. */
export const nextData = (socket: Socket): Promise<string> =>
  new Promise((resolve, reject) => {
    socket.once('data', (data) => resolve(data.toString('latin1')));
    socket.once('error', reject);
  });

/** Key and certificate of one's own making for a host. */
/** With a key as openssl's `-newkey` has it; absent: one of the usual curve. */
export function makeCertificate(host: string, kind?: string): { readonly cert: string; readonly key: string } {
  const folder = mkdtempSync(join(tmpdir(), 'l7-cert-'));
  const [key, cert] = [join(folder, 'key'), join(folder, 'cert')];
  const subject = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`];
  const newKey = kind ? [kind] : ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const made = ['req', '-x509', '-newkey', ...newKey, '-nodes', '-days', '2'];
  execFileSync('openssl', [...made, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' });
  const pair = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  rmSync(folder, { recursive: true, force: true });
  return pair;
}
