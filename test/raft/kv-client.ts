import { Agent, request } from 'node:http';

// A client of the key-value server, or of etcd's gateway, which speaks the same JSON.

export class KvError extends Error {
  /** False: it has certainly not happened. */
  readonly unknown: boolean;
  /** Who leads, as the refusing member knows; 0 for nobody. */
  readonly leader: number;

  constructor(message: string, unknown: boolean, leader = 0) {
    super(message);
    this.unknown = unknown;
    this.leader = leader;
  }
}

export type Where = { readonly socketPath: string } | { readonly host: string; readonly port: number };

const base64 = (text: string): string => Buffer.from(text).toString('base64');

export class KvClient {
  readonly #where: Where;
  readonly #agent = new Agent({ keepAlive: true });
  /** Who answered the last read, and how it stood, for whoever has to explain a wrong one. */
  lastRead: unknown;

  constructor(where: Where) {
    this.#where = where;
  }

  put(key: string, value: string, timeoutMs?: number): Promise<unknown> {
    return this.call('/v3/kv/put', { key: base64(key), value: base64(value) }, timeoutMs);
  }

  async get(key: string, timeoutMs?: number): Promise<string | null> {
    const { header, kvs } = (await this.call('/v3/kv/range', { key: base64(key) }, timeoutMs)) as {
      header: unknown;
      kvs?: { value: string }[];
    };
    this.lastRead = header;
    const value = kvs?.[0]?.value;
    return value === undefined ? null : Buffer.from(value, 'base64').toString();
  }

  async cas(key: string, from: string | null, to: string, timeoutMs?: number): Promise<boolean> {
    const body = { key: base64(key), from: from === null ? null : base64(from), to: base64(to) };
    return ((await this.call('/cas', body, timeoutMs)) as { swapped: boolean }).swapped;
  }

  call(path: string, body: object, timeoutMs = 5_000): Promise<unknown> {
    const json = JSON.stringify(body);
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) };
    return new Promise((resolve, reject) => {
      const sent = request({ ...this.#where, path, method: 'POST', headers, agent: this.#agent, timeout: timeoutMs });
      sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
      sent.on('error', (error: NodeJS.ErrnoException) => {
        // Nobody took it.
        const refused = error.code === 'ECONNREFUSED' || error.code === 'ENOENT';
        reject(new KvError(error.message, !refused));
      });
      sent.on('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', (error) => reject(new KvError(error.message, true)));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode === 200) return resolve(JSON.parse(text));
          const { code = text, leader } = parsed(text);
          reject(new KvError(`${response.statusCode} ${code}`, response.statusCode !== 503, leader));
        });
      });
      sent.end(json);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

function parsed(text: string): { code?: string; leader?: number } {
  try {
    return JSON.parse(text) as { code?: string; leader?: number };
  } catch {
    return {};
  }
}
