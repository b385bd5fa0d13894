import { connect, createServer, type Socket } from 'node:net';
import type { Endpoint, Stream, Streams } from './types.ts';

// TCP by the public interface of Node: works wherever Node does.

class SocketStream implements Stream {
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => socket.destroy());
  }

  remote = (): Endpoint | undefined => endpoint(this.socket.remoteAddress, this.socket.remotePort);
  local = (): Endpoint | undefined => endpoint(this.socket.localAddress, this.socket.localPort);

  keepAlive(afterMs: number): void {
    this.socket.setKeepAlive(true, afterMs);
  }

  relax(): void {}

  close(): void {
    this.socket.destroy();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }
}

const endpoint = (addr: string | undefined, port: number | undefined): Endpoint | undefined =>
  addr === undefined || port === undefined ? undefined : { addr, port };

/** A listener that is not `exclusive` is shared with the other workers of a cluster. */
export const makeSocketStreams = (exclusive: boolean): Streams => ({
  listen({ addr, port }, { ipv6Only, backlog, keepAliveMs }, events) {
    const server = createServer({
      ...{ allowHalfOpen: true, pauseOnConnect: true, noDelay: true },
      ...{ keepAlive: true, keepAliveInitialDelay: keepAliveMs },
    });
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: addr, port, ipv6Only, backlog, exclusive }, () => {
        server.off('error', reject);
        server.on('error', (error: NodeJS.ErrnoException) => events.error(error.code ?? error.message));
        server.on('connection', (socket) => events.client(new SocketStream(socket)));
        resolve({ close: () => void server.close() });
      });
    });
  },

  connect({ addr, port }, done) {
    const socket = connect({ host: addr, port, allowHalfOpen: true, noDelay: true });
    const fail = (error: NodeJS.ErrnoException) => done(undefined, error.code ?? error.message);
    const open = () => {
      socket.off('error', fail);
      done(new SocketStream(socket), '');
    };
    socket.once('error', fail);
    socket.once('connect', open);
    return {
      abort: () => {
        socket
          .off('error', fail)
          .off('connect', open)
          .on('error', () => {});
        socket.destroy();
      },
    };
  },

  join(client, server, first, passage) {
    const [a, b] = [socketOf(client), socketOf(server)];
    let open = 2;
    const onClose = () => {
      if (--open === 0) passage.ended();
    };
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      tie(from, to);
      from.once('close', onClose);
      from.on('data', (data: Buffer) => passage.moved(from === a, data.length));
    }
    // One of them may have gone in the meantime; its close has been told by then.
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      if (!from.destroyed) continue;
      to.destroy();
      if (from.closed) onClose();
    }
    if (first && !b.destroyed) b.write(first);
    a.pipe(b, { end: false });
    b.pipe(a, { end: false });
  },
});

export const socketStreams = makeSocketStreams(true);

function socketOf(stream: Stream): Socket {
  if (!(stream instanceof SocketStream)) throw new TypeError('a stream of another kind');
  return stream.socket;
}

/** When `from` is gone before its time, `to` hears of it as it was: a reset stays a reset. */
function tie(from: Socket, to: Socket): void {
  let isBroken = false;
  from.on('error', () => {
    isBroken = true;
  });
  from.once('end', () => {
    // Behind data, libuv takes a reset for an end; the connection has no other side then, while one that has not been ended from here has.
    if (!to.readableEnded && from.remoteAddress === undefined) {
      isBroken = true;
      from.destroy();
    } else to.end();
  });
  from.once('close', () => {
    if (isBroken) to.resetAndDestroy();
    else if (!from.readableEnded || !from.writableFinished) to.destroy();
  });
}
