import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type Clock, ClusterError } from '@swarmctl/shared/kit';

// One HTTP exchange with a registry or its token service: bounded in time and size. Further authorities come by Node's means
// (NODE_EXTRA_CA_CERTS).

export interface Exchange {
  readonly method?: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Take whatever certificate the server shows. */
  readonly unverified?: boolean;
  /** Bytes. */
  readonly maxBytes: number;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** The server could not be talked to. */
export class Unreachable extends Error {}

const maxRedirects = 3;

/** Follows redirects, as those of blobs, with the credentials staying at home. Throws Unreachable, and `unknown` for too large an answer. */
export async function exchange(given: Exchange, signal: AbortSignal): Promise<Reply> {
  let at = given;
  for (let hops = 0; ; hops++) {
    const reply = await once(at, signal);
    const location = reply.headers.location;
    if (reply.status < 300 || reply.status >= 400 || location === undefined || at.method === 'POST') return reply;
    if (hops === maxRedirects)
      throw new ClusterError('unknown', `Get "${given.url}": more than ${maxRedirects} redirects`);
    const url = new URL(location, at.url);
    if (url.protocol !== 'https:' && url.protocol !== at.url.protocol) {
      throw new ClusterError(
        'unknown',
        `Get "${given.url}": it redirects to ${url.protocol}//${url.host}, which is not https`,
      );
    }
    const { authorization, ...plain } = at.headers as Record<string, string>;
    const isHome = url.origin === at.url.origin && authorization !== undefined;
    at = { ...at, url, headers: isHome ? { ...plain, authorization } : plain };
  }
}

function once(
  { method = 'GET', url, headers, body, unverified, maxBytes }: Exchange,
  signal: AbortSignal,
): Promise<Reply> {
  const options: RequestOptions & { rejectUnauthorized?: boolean } = {
    method,
    headers: { ...headers, ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }) },
    signal,
    agent: false,
    ...(unverified && { rejectUnauthorized: false }),
  };
  return new Promise((resolve, reject) => {
    const fail = (error: Error) =>
      reject(new Unreachable(signal.aborted ? String((signal.reason as Error).message) : error.message));
    const outgoing = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size <= maxBytes) return chunks.push(chunk);
        reject(
          new ClusterError(
            'unknown',
            `Get "${url.origin}${url.pathname}": the answer is larger than ${maxBytes} bytes`,
          ),
        );
        return outgoing.destroy();
      });
      response.on('error', fail);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    });
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}

/** Aborts the signal after `ms`, with a message that says so. */
export async function within<T>(clock: Clock, ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const timer = clock.after(ms, () => abort.abort(new Error(`no answer within ${ms / 1000} s`)));
  try {
    return await work(abort.signal);
  } finally {
    timer.cancel();
  }
}
