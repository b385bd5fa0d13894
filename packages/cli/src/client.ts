import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { ClusterError } from '@swarmctl/shared/kit';
import type { Endpoint } from './context.ts';

// The HTTP client of the Docker Engine API, over a unix socket or TCP with TLS client certificates.

const version = '/v1.50';

/** An answer with a status of 400 or more. `message` is the daemon's. */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

export const isNotFound = (error: unknown): error is ApiError => error instanceof ApiError && error.status === 404;

export type QueryValues = Readonly<Record<string, string | number | boolean | undefined>>;

type Headers = Readonly<Record<string, string>>;

interface Sent {
  readonly body?: string | undefined;
  readonly headers?: Headers | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class Client {
  readonly endpoint: Endpoint;

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint;
  }

  get<T>(path: string, query: QueryValues = {}, headers: Headers = {}): Promise<T> {
    return this.#json<T>('GET', path, query, undefined, headers);
  }

  post<T>(path: string, body?: unknown, query: QueryValues = {}, headers: Headers = {}): Promise<T> {
    return this.#json<T>('POST', path, query, body, headers);
  }

  delete(path: string, query: QueryValues = {}): Promise<void> {
    return this.#json<void>('DELETE', path, query);
  }

  /** The raw body of a GET; the caller reads or destroys it. */
  async stream(path: string, query: QueryValues = {}, signal?: AbortSignal): Promise<IncomingMessage> {
    const response = await this.#send('GET', path, query, { signal });
    if ((response.statusCode ?? 500) >= 400) throw errorOf(response.statusCode ?? 500, await text(response));
    return response;
  }

  /** A POST whose connection becomes a stream of bytes, as of attach and exec. */
  upgrade(path: string, body: unknown): Promise<Duplex> {
    const sent = JSON.stringify(body);
    const headers = {
      ...{ 'user-agent': 'swarmctl', connection: 'Upgrade', upgrade: 'tcp' },
      ...{ 'content-type': 'application/json', 'content-length': Buffer.byteLength(sent) },
    };
    return new Promise((resolve, reject) => {
      const options = { ...connectionOptions(this.endpoint), method: 'POST', path: `${version}${path}`, headers };
      const outgoing = (this.endpoint.tls ? httpsRequest : httpRequest)(options);
      outgoing.once('upgrade', (_response, socket: Duplex, head: Buffer) => {
        // What we have to say may end before what we hear.
        socket.allowHalfOpen = true;
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      outgoing.once('response', (response) => {
        text(response).then((content) => reject(errorOf(response.statusCode ?? 500, content)), reject);
      });
      outgoing.once('error', (error: NodeJS.ErrnoException) => reject(unreachable(this.endpoint, error)));
      outgoing.end(sent);
    });
  }

  async #json<T>(method: string, path: string, query: QueryValues, body?: unknown, headers?: Headers): Promise<T> {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const response = await this.#send(method, path, query, { body: sent, headers });
    const content = await text(response);
    if ((response.statusCode ?? 500) >= 400) throw errorOf(response.statusCode ?? 500, content);
    return (content === '' ? undefined : JSON.parse(content)) as T;
  }

  #send(method: string, path: string, query: QueryValues, { body, headers, signal }: Sent): Promise<IncomingMessage> {
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
    const suffix = search.size > 0 ? `?${search}` : '';
    const options: RequestOptions = {
      ...connectionOptions(this.endpoint),
      method,
      path: `${version}${path}${suffix}`,
      headers: {
        'user-agent': 'swarmctl',
        ...headers,
        ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
        ...(method === 'POST' && body === undefined && { 'content-length': 0 }),
      },
      ...(signal && { signal }),
    };
    return new Promise((resolve, reject) => {
      const outgoing = (this.endpoint.tls ? httpsRequest : httpRequest)(options, resolve);
      outgoing.on('error', (error: NodeJS.ErrnoException) => reject(unreachable(this.endpoint, error)));
      outgoing.end(body);
    });
  }
}

function connectionOptions(endpoint: Endpoint): RequestOptions {
  const url = new URL(endpoint.host);
  if (url.protocol === 'unix:') return { socketPath: decodeURIComponent(url.pathname), host: 'localhost' };
  const base = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) || (endpoint.tls ? 2376 : 2375) };
  if (!endpoint.tls) return base;
  const file = (name: string) => readFileSync(join(endpoint.tls?.certPath ?? '', name));
  return { ...base, ca: file('ca.pem'), cert: file('cert.pem'), key: file('key.pem') } as RequestOptions;
}

function unreachable(endpoint: Endpoint, error: NodeJS.ErrnoException): Error {
  if (error.name === 'AbortError') return error;
  const why =
    error.code === 'ENOENT'
      ? 'there is no such socket'
      : error.code === 'ECONNREFUSED'
        ? 'nobody listens there'
        : error.code === 'EACCES'
          ? 'permission denied on the socket (run as its owner or as root)'
          : error.message;
  return new ClusterError(
    'unavailable',
    `Cannot connect to swarmd at ${endpoint.host}: ${why}. Is swarmd running? (host taken from ${endpoint.from})`,
  );
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function errorOf(status: number, content: string): ApiError {
  try {
    const message = (JSON.parse(content) as { message?: unknown }).message;
    if (typeof message === 'string') return new ApiError(status, message);
  } catch {
    // Not JSON: the text itself is the message.
  }
  return new ApiError(status, content.trim() || `HTTP status ${status}`);
}
