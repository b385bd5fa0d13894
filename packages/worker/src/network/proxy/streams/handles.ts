import { createServer, type Server } from 'node:net';
import type { Endpoint, Listening, Passage, Stream, Streams } from './types.ts';

// TCP by the handles beneath Node's sockets: no streams, no events, no allocation for a read, half the time a connection. They are not a
// public interface of Node, so `handleStreams` says when they are not as expected, and sockets do the work.
//
// Reads go into one buffer for all, since each is written on (or copied) before the next; an end that reads much gets one of its own, which
// is written from without a copy. A write that the kernel did not take at once stops the reading until it has.

interface Handle {
  onread: ((this: Handle) => Buffer | undefined) | undefined;
  end: HandleStream | undefined;
  readStart(): number;
  readStop(): number;
  writeBuffer(request: WriteRequest, data: Uint8Array): number;
  shutdown(request: Request): number;
  useUserBuffer(buffer: Uint8Array): void;
  close(): void;
  reset(callback?: () => void): number;
  setNoDelay(on: boolean): number;
  setKeepAlive(on: boolean, seconds: number): number;
  connect(request: ConnectRequest, addr: string, port: number): number;
  connect6(request: ConnectRequest, addr: string, port: number): number;
  getpeername(out: Name): number;
  getsockname(out: Name): number;
}

interface Name {
  address?: string;
  port?: number;
}

interface Request {
  oncomplete: ((status: number) => void) | undefined;
  handle?: Handle;
}

interface ConnectRequest extends Request {
  addr: string;
  port: number;
}

/** Keeps what it needs while the kernel is at it: nothing else refers to the data. */
interface WriteRequest extends Request {
  buffer?: Uint8Array;
  from?: HandleStream;
}

interface Bindings {
  readonly TCP: new (type: number) => Handle;
  readonly TCPConnectWrap: new () => ConnectRequest;
  readonly WriteWrap: new () => WriteRequest;
  readonly ShutdownWrap: new () => Request;
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
  readonly socketType: number;
  readonly endOfFile: number;
  readonly nameOf: (status: number) => string;
}

type ServerHandle = Handle & { onconnection: (status: number, client: Handle | undefined) => void };

const bufferBytes = 65_536;
/** What is copied out of the common buffer; more makes an end have its own, until it has read as little some times in a row. */
const smallBytes = 4_096;
const smallReads = 16;
const common = Buffer.allocUnsafeSlow(bufferBytes);

class HandleStream implements Stream {
  readonly handle: Handle;
  peer: HandleStream | undefined;
  passage: Passage | undefined;
  isClient = false;
  hasEnded = false;
  isClosed = false;
  /** The handle reads into it, else into the common one. */
  own: Buffer | undefined;
  smallReads = 0;

  constructor(handle: Handle) {
    this.handle = handle;
    handle.end = this;
  }

  remote(): Endpoint | undefined {
    const out: Name = {};
    return this.isClosed || this.handle.getpeername(out) !== 0 ? undefined : endpoint(out);
  }

  local(): Endpoint | undefined {
    const out: Name = {};
    return this.isClosed || this.handle.getsockname(out) !== 0 ? undefined : endpoint(out);
  }

  keepAlive(afterMs: number): void {
    if (!this.isClosed) this.handle.setKeepAlive(true, afterMs / 1_000);
  }

  relax(): void {
    if (!this.own || this.isClosed) return;
    // A write of it that is not over keeps it.
    this.own = undefined;
    this.handle.useUserBuffer(common);
  }

  close(): void {
    const { peer } = this;
    closeOne(this);
    if (peer) settle(this, peer, false);
  }

  reset(): void {
    const { peer } = this;
    resetOne(this);
    if (peer) settle(this, peer, true);
  }
}

const endpoint = ({ address = '', port = 0 }: Name): Endpoint => ({ addr: address, port });

function closeOne(end: HandleStream): void {
  if (end.isClosed) return;
  end.isClosed = true;
  end.handle.close();
}

function resetOne(end: HandleStream): void {
  if (end.isClosed) return;
  end.isClosed = true;
  // Refused while it is shutting down.
  if (end.handle.reset() !== 0) end.handle.close();
}

/** `end` is closed: so is its peer, and that was it. */
function settle(end: HandleStream, peer: HandleStream, reset: boolean): void {
  if (reset) resetOne(peer);
  else closeOne(peer);
  const { passage } = end;
  end.passage = undefined;
  peer.passage = undefined;
  passage?.ended();
}

/** `end` is broken; its peer hears of it by a reset. */
function broken(end: HandleStream): void {
  const { peer } = end;
  closeOne(end);
  if (peer) settle(end, peer, true);
}

/** Undefined where Node's handles are not as they are known. A listener that is not `exclusive` is shared with the other workers of a cluster. */
export function handleStreams(exclusive = true, from: object = process): Streams | undefined {
  const bindings = bindingsOf(from as { binding?: (name: string) => Record<string, unknown> });
  return bindings && makeStreams(bindings, exclusive);
}

function bindingsOf(from: { binding?: (name: string) => Record<string, unknown> }): Bindings | undefined {
  try {
    const [tcp, stream, uv] = ['tcp_wrap', 'stream_wrap', 'uv'].map((name) => from.binding?.(name) ?? {});
    const { TCP, TCPConnectWrap, constants } = tcp as unknown as Bindings & { constants?: { SOCKET?: number } };
    const { WriteWrap, ShutdownWrap, streamBaseState, ...at } = stream as unknown as Bindings;
    const { UV_EOF, errname } = uv as { UV_EOF?: number; errname?: (status: number) => string };
    const { kReadBytesOrError, kLastWriteWasAsync } = at;
    const numbers = [kReadBytesOrError, kLastWriteWasAsync, constants?.SOCKET, UV_EOF];
    const methods = ['useUserBuffer', 'writeBuffer', 'readStart', 'readStop', 'shutdown', 'reset', 'connect', 'close'];
    const prototype = TCP?.prototype as unknown as Record<string, unknown> | undefined;
    if (
      ![TCP, TCPConnectWrap, WriteWrap, ShutdownWrap, errname].every((one) => typeof one === 'function') ||
      !numbers.every((one) => Number.isInteger(one)) ||
      !methods.every((method) => typeof prototype?.[method] === 'function') ||
      !(streamBaseState instanceof Int32Array)
    )
      return undefined;
    return {
      ...{ TCP, TCPConnectWrap, WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync },
      ...{ socketType: Number(constants?.SOCKET), endOfFile: Number(UV_EOF) },
      nameOf: (status) => errname?.(status) ?? String(status),
    };
  } catch {
    return undefined;
  }
}

function makeStreams(bindings: Bindings, exclusive: boolean): Streams {
  const { TCP, TCPConnectWrap, WriteWrap, ShutdownWrap, streamBaseState, nameOf } = bindings;
  const { kReadBytesOrError, kLastWriteWasAsync, endOfFile } = bindings;
  /** Used again and again by writes that are over at once. */
  let spare = new WriteWrap();

  function onread(this: Handle): Buffer | undefined {
    const bytes = streamBaseState[kReadBytesOrError] as number;
    const end = this.end as HandleStream;
    const { peer } = end;
    if (bytes === 0 || end.isClosed || !peer) return undefined;
    if (bytes < 0) {
      if (bytes === endOfFile) onEnd(end, peer);
      else broken(end);
      return undefined;
    }
    const { own } = end;
    end.smallReads = bytes > smallBytes ? 0 : end.smallReads + 1;
    let data: Buffer;
    let next: Buffer | undefined;
    if (own && end.smallReads < smallReads) data = own.subarray(0, bytes);
    else if (bytes <= smallBytes) {
      data = Buffer.allocUnsafe(bytes);
      (own ?? common).copy(data, 0, 0, bytes);
      if (own) next = common;
      end.own = undefined;
    } else {
      next = Buffer.allocUnsafeSlow(bufferBytes);
      common.copy(next, 0, 0, bytes);
      end.own = next;
      data = next.subarray(0, bytes);
    }
    end.passage?.moved(end.isClient, bytes);
    write(end, peer, data);
    // What is returned is read into from now on.
    return next;
  }

  /** Reads from `from` go on when `data` is on its way. */
  function write(from: HandleStream, to: HandleStream, data: Buffer): void {
    const request = spare;
    const status = to.handle.writeBuffer(request, data);
    if (status !== 0) {
      broken(to);
      return;
    }
    if (streamBaseState[kLastWriteWasAsync] === 0) return;
    spare = new WriteWrap();
    request.handle = to.handle;
    request.buffer = data;
    request.from = from;
    request.oncomplete = onWritten;
    from.handle.readStop();
  }

  function onWritten(this: unknown, status: number): void {
    const { from } = this as WriteRequest;
    if (!from || from.isClosed || !from.peer) return;
    if (status < 0) broken(from.peer);
    else from.handle.readStart();
  }

  function onEnd(end: HandleStream, peer: HandleStream): void {
    // Behind data, libuv takes a reset for an end; the connection has no other side then, while one that has not been ended from here has.
    if (!peer.hasEnded && !end.remote()) {
      broken(end);
      return;
    }
    end.hasEnded = true;
    if (peer.hasEnded) {
      end.close();
      return;
    }
    const request = new ShutdownWrap();
    request.handle = peer.handle;
    request.oncomplete = nothing;
    if (peer.handle.shutdown(request) !== 0) broken(peer);
  }

  function begin(end: HandleStream): void {
    end.handle.onread = onread;
    end.handle.useUserBuffer(common);
    end.handle.readStart();
  }

  return {
    async listen({ addr, port }, { ipv6Only, backlog, keepAliveMs }, events): Promise<Listening> {
      const server = createServer();
      await listening(server, { host: addr, port, ipv6Only, backlog, exclusive });
      server.on('error', (error: NodeJS.ErrnoException) => events.error(error.code ?? error.message));
      const handle = (server as unknown as { _handle: ServerHandle })._handle;
      // Accepted connections inherit both.
      handle.setNoDelay(true);
      handle.setKeepAlive(true, keepAliveMs / 1_000);
      handle.onconnection = (status, client) => {
        if (status !== 0 || !client) events.error(nameOf(status));
        else events.client(new HandleStream(client));
      };
      return { close: () => void server.close() };
    },

    connect({ addr, port }, done) {
      const handle = new TCP(bindings.socketType);
      const request = new TCPConnectWrap();
      const stream = new HandleStream(handle);
      let isOver = false;
      const finish = (status: number) => {
        if (isOver) return;
        isOver = true;
        if (status === 0) {
          handle.setNoDelay(true);
          done(stream, '');
        } else {
          closeOne(stream);
          done(undefined, nameOf(status));
        }
      };
      request.oncomplete = finish;
      request.handle = handle;
      request.addr = addr;
      request.port = port;
      const status = addr.includes(':') ? handle.connect6(request, addr, port) : handle.connect(request, addr, port);
      if (status !== 0) setImmediate(finish, status);
      return {
        abort: () => {
          isOver = true;
          closeOne(stream);
        },
      };
    },

    join(client, server, first, passage) {
      if (!(client instanceof HandleStream && server instanceof HandleStream))
        throw new TypeError('another kind of stream');
      client.isClient = true;
      client.peer = server;
      server.peer = client;
      client.passage = passage;
      server.passage = passage;
      if (first) write(client, server, first);
      if (client.isClosed || server.isClosed) {
        client.close();
        return;
      }
      begin(client);
      begin(server);
    },
  };
}

const nothing = () => {};

function listening(server: Server, options: Parameters<Server['listen']>[0] & object): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
