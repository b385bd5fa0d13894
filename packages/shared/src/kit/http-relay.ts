import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { Duplex } from 'node:stream';
import { ClusterError } from './errors.ts';
import { leadingBody } from './http-body.ts';

// Passes HTTP requests on as they come: bodies stream both ways, a slow end slows the other, and one that goes takes the other along. After an upgrade
// each direction ends by itself, as the Docker Engine API wants it of attach and exec: `echo x | docker exec -i c cat`.

/** What is said where the other end gave no answer. */
export interface RelayRefusal {
  readonly status: number;
  readonly message: string;
}

export interface RelayOptions {
  /** Where to, and with what path; members of the request that came are the default. */
  readonly to: RequestOptions;
  /** Instead of the body that comes. */
  readonly body?: Buffer | undefined;
  readonly refuse: (error: Error) => RelayRefusal;
  /** Headers of ours on the answer. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** The status and headers came. */
  readonly onAnswer?: ((answer: IncomingMessage) => void) | undefined;
}

/** Of one connection, not of the request (RFC 9110, 7.6.1). The framing of a body is kept: it says that there is one. */
const ofConnection = ['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade', 'expect'];

export function withoutConnection<T extends object>(headers: T, ...more: readonly string[]): T {
  const dropped = new Set([...ofConnection, ...more]);
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !dropped.has(name.toLowerCase()))) as T;
}

/** Never throws; what fails is said in the answer, or cuts it off. */
export function relayRequest(request: IncomingMessage, response: ServerResponse, options: RelayOptions): void {
  const { to, body, refuse, onAnswer } = options;
  const framing = body ? { 'content-length': String(body.length) } : {};
  const given = withoutConnection(request.headers, ...(body ? ['transfer-encoding', 'content-length'] : []));
  const outgoing = httpRequest({ method: request.method, path: request.url, headers: { ...given, ...framing }, ...to });
  response.once('close', () => outgoing.destroy());
  let answered = false;
  outgoing.once('response', (answer) => {
    answered = true;
    onAnswer?.(answer);
    const headers = withoutConnection(answer.headers, 'transfer-encoding');
    response.writeHead(answer.statusCode ?? 502, { ...headers, ...options.headers });
    response.flushHeaders();
    answer.once('error', () => response.destroy());
    answer.pipe(response);
  });
  // Its client may have gone before anybody listened.
  if (response.destroyed) outgoing.destroy();
  outgoing.on('error', (error) => {
    // An answer that has begun tells of its own end.
    if (answered || response.destroyed) return;
    const { status, message } = refuse(error);
    const text = `${JSON.stringify({ message })}\n`;
    response
      .writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      .end(text);
  });
  if (body) outgoing.end(body);
  else passBody(request, outgoing);
}

/** What the other end does not take any more is read and passed over: there are clients that read no answer before all is sent. */
export function passBody(request: IncomingMessage, outgoing: ClientRequest): void {
  request.pipe(outgoing);
  outgoing.once('close', () => request.resume());
}

/**
 * The same for a request whose connection becomes a stream both ways, which `holdUpgrade` has held since the server's `upgrade` event. Asked with an
 * `Upgrade`; who sent none, as older Docker clients do, is answered with 200 as Docker answers it. Never throws.
 */
export function relayUpgrade(request: IncomingMessage, socket: Duplex, options: RelayOptions): void {
  socket.on('error', () => socket.destroy());
  const body = options.body ? Promise.resolve(options.body) : bodyOfUpgrade(request, socket);
  body.then(
    (bytes) => passUpgrade(request, socket, bytes, options),
    (error: Error) => refuseUpgrade(socket, { status: 400, message: error.message }),
  );
}

/** To be called at once with what the event came with: later the stream's end may have been seen, behind which nothing can be put back. */
export function holdUpgrade(socket: Duplex, head: Buffer): void {
  socket.on('error', () => socket.destroy());
  socket.pause();
  if (head.length > 0) socket.unshift(head);
}

/** Reads exactly the body, which may still be on its way; what follows stays in the stream. Rejects `invalid-argument`. */
export function bodyOfUpgrade(request: IncomingMessage, socket: Duplex): Promise<Buffer> {
  let isAwaited = request.headers.expect?.toLowerCase() === '100-continue';
  let got = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    const attempt = () => {
      got = Buffer.concat([got, (socket.read() as Buffer | null) ?? Buffer.alloc(0)]);
      try {
        const found = leadingBody(request.headers, got);
        if (found && found.rest.length > 0) socket.unshift(found.rest);
        if (found) return done(() => resolve(found.body));
      } catch (error) {
        return done(() => reject(error));
      }
      if (socket.readableEnded || socket.destroyed) return onEnd();
      if (isAwaited) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      isAwaited = false;
    };
    const onEnd = () =>
      done(() => reject(new ClusterError('invalid-argument', 'the body ended before all of it came')));
    const done = (settle: () => void) => {
      socket.off('readable', attempt);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      settle();
    };
    socket.on('readable', attempt);
    socket.once('end', onEnd);
    socket.once('close', onEnd);
    attempt();
  });
}

function passUpgrade(request: IncomingMessage, socket: Duplex, body: Buffer, options: RelayOptions): void {
  const { to, refuse, onAnswer } = options;
  const { upgrade } = request.headers;
  const protocol = { connection: 'Upgrade', upgrade: upgrade ?? 'tcp' };
  const framing = { 'content-length': String(body.length) };
  const outgoing = httpRequest({
    ...{ method: request.method, path: request.url },
    ...to,
    headers: {
      ...withoutConnection(headersOf(request), 'content-length', 'transfer-encoding'),
      ...{ ...framing, ...(to.headers as Record<string, string> | undefined), ...protocol },
    },
  });
  const onGone = () => outgoing.destroy();
  socket.once('close', onGone);
  let answered = false;
  outgoing.once('upgrade', (answer, there, first) => {
    answered = true;
    socket.off('close', onGone);
    onAnswer?.(answer);
    if (first.length > 0) there.unshift(first);
    const headers = { ...answer.headers, ...options.headers };
    socket.write(
      upgrade === undefined ? headOf(hijacked, { ...withoutConnection(headers), ...raw }) : headOf(answer, headers),
    );
    join(socket, there);
  });
  outgoing.once('response', (answer) => {
    answered = true;
    onAnswer?.(answer);
    const plain = withoutConnection(answer.headers, 'transfer-encoding');
    socket.write(headOf(answer, { ...plain, ...options.headers, connection: 'close' }));
    answer.once('error', () => socket.destroy());
    answer.pipe(socket);
    // Nobody reads what else comes; read, it lets the connection close.
    socket.resume();
  });
  outgoing.on('error', (error) => {
    if (!answered && !socket.destroyed) refuseUpgrade(socket, refuse(error));
  });
  if (socket.destroyed) outgoing.destroy();
  else outgoing.end(body);
}

/** One that is repeated stays so, as sessions of BuildKit name their methods; of those that may be there once, such as the host, the first counts. */
const headersOf = ({ headers, headersDistinct }: IncomingMessage): Record<string, string | readonly string[]> =>
  Object.fromEntries(
    Object.entries(headersDistinct).map(([name, all = []]) => [
      name,
      all.length > 1 && headers[name] !== all[0] ? all : (all[0] ?? ''),
    ]),
  );

const hijacked = { statusCode: 200, statusMessage: 'OK' };
const raw = { 'content-type': 'application/vnd.docker.raw-stream' };

function headOf(
  answer: Pick<IncomingMessage, 'statusCode' | 'statusMessage'>,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): string {
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value ?? '']).map((one) => `${name}: ${one}`),
  );
  return `HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\n${lines.join('\r\n')}\r\n\r\n`;
}

/** Answers a request for an upgrade, and ends its connection. */
export function refuseUpgrade(socket: Duplex, { status, message }: RelayRefusal): void {
  const text = `${JSON.stringify({ message })}\n`;
  socket
    .resume()
    .end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
    );
}

/**
 * The client's input may end by itself; once the other end has said all, and the client has it, the connection is over. One end that is gone takes the
 * other along.
 */
function join(client: Duplex, there: Duplex): void {
  for (const [from, to] of [
    [client, there],
    [there, client],
  ] as const) {
    from.allowHalfOpen = true;
    from.on('error', () => from.destroy());
    from.pipe(to);
  }
  client.once('close', () => there.destroy());
  client.once('finish', () => {
    there.destroy();
    // Closed with input unread, the kernel would throw away what the client has not got yet: the client closes.
    client.resume();
  });
  there.once('close', () => {
    // What it said may still be on its way.
    if (!there.readableEnded) client.destroy();
  });
}
